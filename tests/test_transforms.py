import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from thawlab.data.transforms import Augmentation, AugmentSpec, Preprocessing, draw_seed
from thawlab.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALL = AugmentSpec("all", scale=0.5, flip=0.5, rotate=20, shift=0.1, jitter=0.3)


def photo(height, width, seed=0):
    """Smooth colour, edges and grain: what resizing has to cope with in a photograph."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / a + c) * np.cos(y / b) for a, b, c in ((31, 47, 0), (17, 90, 1), (60, 12, 2))]
    pixels = 127 + 90 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, 3))
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (250, 20, 60)
    return torch.tensor(pixels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width", "size", "crop"),
    [
        pytest.param(375, 500, 224, 0.875, id="landscape"),
        pytest.param(601, 333, 224, 0.95, id="portrait"),
        pytest.param(224, 224, 224, 1.0, id="as it is"),
        pytest.param(28, 28, 64, 0.9, id="enlarged"),
        pytest.param(97, 41, 32, 1.0, id="a strip"),
    ],
)
def test_evaluation_is_timms(interpolation, height, width, size, crop):
    image = photo(height, width)
    timms = create_transform((3, size, size), interpolation=interpolation, mean=MEAN, std=STD, crop_pct=crop)
    expected = timms(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()))
    ours = Preprocessing(size, MEAN, STD, interpolation, crop)(image)
    assert ours.dtype == torch.float32
    one_grey_level = 1 / 255 / min(STD)
    assert (ours - expected).abs().max() <= 1.01 * one_grey_level
    assert (ours - expected).abs().mean() < 0.25 * one_grey_level, "and off by that in few pixels"


def test_normalising_a_batch_is_normalising_each_image():
    preprocessing = Preprocessing(16, MEAN, STD)
    images = torch.stack([photo(16, 16, seed) for seed in range(3)])
    assert torch.equal(preprocessing.normalise(images), torch.stack([preprocessing.normalise(i) for i in images]))
    by_hand = (images / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert torch.allclose(preprocessing.normalise(images), by_hand, atol=1e-5)


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


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"size": 0}, "backbone.size is 0", id="no pixels"),
        pytest.param({"mean": (0.5,)}, "backbone.mean", id="one channel"),
        pytest.param({"std": (0.5, 0, 0.5)}, "backbone.std", id="division by zero"),
        pytest.param({"interpolation": "bicubik"}, "Did you mean 'bicubic'", id="a typo"),
        pytest.param({"crop": 1.2}, "backbone.crop is 1.2", id="more than all"),
    ],
)
def test_refuses_preprocessing(values, said):
    with pytest.raises(UserError, match=said):
        Preprocessing(**{"size": 32, "mean": MEAN, "std": STD, **values})


def test_only_what_is_on_counts_as_a_change():
    assert not AugmentSpec().changes
    assert AugmentSpec(scale=0.9).changes
    assert AugmentSpec(flip=0.5).changes
    assert not AugmentSpec(flip=0.5).crops
