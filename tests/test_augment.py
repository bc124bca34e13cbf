import pytest
import torch
from photos import photo

from thawlab.data.augment import Augmentation, AugmentSpec, draw_seed
from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALL = AugmentSpec("all", scale=0.5, flip=0.5, rotate=20, shift=0.1, jitter=0.3)


def test_augmentation_follows_from_seed_epoch_and_index_alone():
    image = photo(60, 80)
    augment = Augmentation(ALL, Preprocessing(32, MEAN, STD), seed=3)
    first = augment(image, 1, 2)
    state = torch.get_rng_state()
    torch.rand(7)
    again = Augmentation(ALL, Preprocessing(32, MEAN, STD), seed=3)(image, 1, 2)
    assert torch.equal(first, again)
    assert first.shape == (3, 32, 32)
    others = [(3, 1, 3), (3, 2, 2), (4, 1, 2), (3, 2, 1)]
    for seed, epoch, index in others:
        assert not torch.equal(first, Augmentation(ALL, Preprocessing(32, MEAN, STD), seed)(image, epoch, index))
    torch.set_rng_state(state)
    augment(image, 5, 5)
    assert torch.equal(torch.get_rng_state(), state), "drawing must not move anyone else's random numbers"


def test_seeds_of_neighbours_are_unlike_and_fixed():
    seeds = {draw_seed(s, e, i) for s in range(8) for e in range(8) for i in range(8)}
    assert len(seeds) == 512
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert draw_seed(0, 0, 0) == 1445694884619442965, "another value would change every augmented run"


def each(spec, image, count=300, size=32):
    augment = Augmentation(spec, Preprocessing(size, MEAN, STD), 0)
    return [augment(image, 0, index) for index in range(count)]


def test_flip_flips_as_often_as_asked():
    image = photo(32, 32)
    seen = each(AugmentSpec(flip=0.25), image)
    flipped = sum(torch.equal(one, image.flip(-1)) for one in seen)
    assert flipped + sum(torch.equal(one, image) for one in seen) == 300
    assert 45 < flipped < 105


def centre(image):
    mass = image[0].float()
    grid = torch.arange(len(mass)) + 0.5
    return float((mass.sum(0) * grid).sum() / mass.sum()), float((mass.sum(1) * grid).sum() / mass.sum())


def test_shift_moves_by_up_to_its_share_of_the_side():
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[:, 18:22, 18:22] = 255
    moves = torch.tensor([centre(one) for one in each(AugmentSpec(shift=0.2), image, size=40)]) - 20
    assert 7 < moves.abs().max() <= 8.5
    assert moves.mean().abs() < 0.8


def test_rotation_turns_by_up_to_its_degrees():
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[:, 4:8, 18:22] = 255
    turned = torch.tensor([centre(one) for one in each(AugmentSpec(rotate=30), image, size=40)]) - 20
    degrees = torch.rad2deg(torch.atan2(turned[:, 0], -turned[:, 1]))
    assert 27 < degrees.abs().max() < 31
    assert degrees.mean().abs() < 3


@pytest.mark.parametrize(("rotate", "shift"), [(45, 0), (0, 0.5), (45, 0.3), (180, 1)])
def test_corners_that_turning_and_shifting_uncover_repeat_the_edge(rotate, shift):
    white = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    assert all((one == 255).all() for one in each(AugmentSpec(rotate=rotate, shift=shift), white))


def test_crops_show_at_least_their_share():
    size = 64
    ramp = torch.arange(size, dtype=torch.uint8).expand(3, size, size).contiguous()
    shown = [(one[0].max() - one[0].min()).item() / (size - 1) for one in each(AugmentSpec(scale=0.25), ramp)]
    assert min(shown) > 0.4, "a quarter of the area at 3:4 is 43% wide"
    assert min(shown) < 0.6


def test_jitter_changes_colours_only():
    image = photo(32, 32)
    seen = each(AugmentSpec(jitter=0.4), image, count=20)
    assert not any(torch.equal(one, image) for one in seen)
    shapes = torch.stack([one.float().mean(0).flatten() for one in [image, *seen]])
    assert torch.corrcoef(shapes)[0].min() > 0.9, "the same picture in other colours"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"scale": 0}, "augment.scale is 0", id="a crop of nothing"),
        pytest.param({"flip": 1.5}, "augment.flip is 1.5", id="more than always"),
        pytest.param({"rotate": -5}, "augment.rotate is -5", id="negative degrees"),
        pytest.param({"shift": float("nan")}, "augment.shift is nan", id="not a number"),
        pytest.param({"jitter": "strong"}, "augment.jitter is 'strong'", id="a word"),
    ],
)
def test_refuses_augmentation(values, said):
    with pytest.raises(UserError, match=said):
        AugmentSpec(**values)


def test_only_what_is_on_counts_as_a_change():
    assert not AugmentSpec().changes
    assert AugmentSpec(scale=0.9).changes
    assert AugmentSpec(flip=0.5).changes
    assert not AugmentSpec(flip=0.5).crops
