from types import SimpleNamespace

import pytest
import torch
from photos import photo
from torchvision.transforms import v2

from thawlab.data.augment import Augmentation, AugmentSpec, draw_seed
from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALL = AugmentSpec("all", scale=0.5, flip=0.5, rotate=20, shift=0.1, jitter=0.3, randaugment=2, erase=0.5)


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
    assert len({draw_seed(0, 0, 0), draw_seed(0, 0, 0, 0), draw_seed(0, -1, 0), draw_seed(0, 0, -1)}) == 4


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


def test_randaugment_is_torchvisions():
    image, spec = photo(32, 32), AugmentSpec(randaugment=2, magnitude=7)
    fill = [124.0, 116.0, 104.0]  # the mean colour in bytes
    theirs = v2.RandAugment(2, 7, interpolation=v2.InterpolationMode.BILINEAR, fill=fill)
    for index, mine in enumerate(each(spec, image, count=60)):
        torch.manual_seed(draw_seed(0, 0, index))
        assert torch.equal(mine, theirs(image))


def test_randaugment_changes_more_at_a_greater_magnitude():
    image = photo(32, 32)
    changes = [
        torch.stack(
            [(one.float() - image).abs().mean() for one in each(AugmentSpec(randaugment=1, magnitude=m), image)]
        )
        for m in (0, 5, 15, 30)
    ]
    means = [float(change.mean()) for change in changes]
    assert means == sorted(means)
    assert means[3] > 2 * means[1]


def test_erased_is_one_rectangle_of_the_mean_colour_as_often_as_asked():
    white = torch.full((3, 40, 40), 255, dtype=torch.uint8)
    pre, areas = Preprocessing(40, MEAN, STD), []
    for one in each(AugmentSpec(erase=0.3), white, size=40):
        erased = (one != 255).any(0)
        areas += [float(erased.float().mean())] if erased.any() else []
        assert torch.equal(erased, erased.any(1)[:, None] & erased.any(0))
        assert (pre.normalise(one)[:, erased].abs() <= 0.5 / 255 / min(STD) + 1e-6).all(), "0 to the network"
    assert 60 < len(areas) < 120
    assert min(areas) > 0.015
    assert 0.25 < max(areas) < 0.34


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_images_of_any_number_of_channels_are_moved_and_erased(channels):
    pre = SimpleNamespace(size=16, mean=(0.5,) * channels, interpolation="bilinear")
    spec = AugmentSpec(scale=0.5, flip=0.5, rotate=10, shift=0.1, erase=1)
    image = torch.zeros(channels, 20, 24, dtype=torch.uint8)
    seen = Augmentation(spec, pre, 0)(image, 0, 0)
    assert seen.shape == (channels, 16, 16)
    assert seen.unique().tolist() == [0, 128]


def test_grey_images_take_changes_of_colour_too():
    pre = SimpleNamespace(size=32, mean=(0.5,), interpolation="bilinear")
    augment = Augmentation(AugmentSpec(jitter=0.3, randaugment=3, magnitude=15), pre, 0)
    grey = photo(32, 32)[:1]
    assert all(augment(grey, 0, index).shape == (1, 32, 32) for index in range(60))


@pytest.mark.parametrize("values", [{"jitter": 0.2}, {"randaugment": 2}])
@pytest.mark.parametrize("channels", [2, 4, 12])
def test_refuses_changes_of_colour_where_there_is_none(values, channels):
    (field,) = values
    with pytest.raises(
        UserError, match=f"augment.{field} is .* these have {channels} channels. Give augment.{field}=0"
    ):
        Augmentation(AugmentSpec(**values), SimpleNamespace(size=8, mean=(0.5,) * channels), 0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"magnitude": 31}, "augment.magnitude is 31. Give a whole number, 0 to 30", id="magnitude"),
        pytest.param({"magnitude": 5}, "augment.magnitude is 5, but augment=none draws no op", id="strength of none"),
        pytest.param(
            {"randaugment": -1}, "augment.randaugment is -1. Give a whole number, 0 or more", id="less than 0"
        ),
        pytest.param({"randaugment": 1.5}, "augment.randaugment is 1.5. Give a whole number", id="half an operation"),
        pytest.param({"erase": 2}, "augment.erase is 2. Give a number from 0 to 1", id="erased twice over"),
        pytest.param({"mixup": -0.2}, "augment.mixup is -0.2. Give 0", id="no such distribution"),
        pytest.param({"cutmix": 0.001}, "augment.cutmix is 0.001. Give 0 .none., or an alpha", id="too small an alpha"),
        pytest.param({"tta": 4}, "augment.tta is 4, but augment=none changes nothing", id="views all alike"),
        pytest.param({"tta": 4, "mixup": 0.2, "name": "m"}, "but augment=m changes nothing", id="mixing is no view"),
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
    assert AugmentSpec(randaugment=1).changes
    assert AugmentSpec(erase=0.1).changes
    assert not AugmentSpec(flip=0.5).crops
    assert not AugmentSpec(mixup=0.2, cutmix=1.0).changes, "mixing changes a batch, not an image"
    assert [AugmentSpec(**one).mixes for one in ({}, {"flip": 1}, {"mixup": 1}, {"cutmix": 1})] == [0, 0, 1, 1]
