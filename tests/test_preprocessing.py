import pytest
import torch
from photos import photo
from PIL import Image
from timm.data import create_transform

from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
