import math
import re

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from photos import photo
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from thawlab.data.augment import Augmentation, AugmentSpec
from thawlab.data.framing import RATIOS, Framing
from thawlab.data.preprocessing import Preprocessing


def preprocessing(size=24, **options):
    return Preprocessing(size, (0.5,) * 3, (0.2,) * 3, **options)


def smallest_crop(height, width, scale):
    """The shorter side of the smallest crop that RandomResizedCrop may draw, from its definition."""
    sides = []
    for ratio in RATIOS:
        wide, high = math.sqrt(height * width * scale * ratio), math.sqrt(height * width * scale / ratio)
        sides.append(min(wide, high))
    return min(*sides, height, width)


def test_without_a_drawn_crop_an_image_is_fitted_as_in_evaluation():
    pre = preprocessing(interpolation="bilinear", crop=0.8)
    framing = Framing(pre)
    assert framing.shape == (3, 24, 24)
    assert torch.equal(framing(photo(60, 90)), pre.fit(photo(60, 90)))


@settings(max_examples=60, deadline=None)
@example(285, 187, 24, 0.875)  # where rounding adds a pixel
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([8, 24, 96]), st.floats(0.05, 0.99))
def test_the_smallest_crop_of_a_whole_image_keeps_its_pixels(height, width, size, scale):
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    framing = Framing(preprocessing(size), scale)
    _, high, wide = framing(image).shape
    assert framing.shape is None
    assert (high, wide) <= (height, width), "enlarged"
    needed = min(size, smallest_crop(height, width, scale))
    assert smallest_crop(high, wide, scale) >= needed * (1 - 1e-9)
    if (high, wide) != (height, width):  # no larger than that, but for a whole number of pixels, which rounding may add
        assert (high - 1) * smallest_crop(height, width, scale) <= size * height * (1 + 1e-9)
        assert (wide - 1) * smallest_crop(height, width, scale) <= size * width * (1 + 1e-9)


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0, 0, 0.6, 0.6), (0.4, 0.3, 0.55, 0.6), (0.1, 0.5, 0.8, 0.45)])
def test_a_crop_of_a_shrunk_photo_is_near_that_of_the_photo(box):
    image, pre = photo(375, 500), preprocessing(48, interpolation="bilinear")
    framing = Framing(pre, 0.35)
    assert Augmentation(AugmentSpec("mine", scale=0.35), pre, seed=3).framing == framing
    shrunk = framing(image)
    assert shrunk.shape[1] < 375 / 3
    near, full = (crop_of(each, box) for each in (shrunk, image))
    assert (near - full).abs().mean() < 4, "of 255"
    assert (full - full.flip(2)).abs().mean() > 20, "any two pictures are near: the test shows nothing"


def crop_of(image, box):
    """The crop, given in shares of the image, at 48 pixels."""
    sides = [round(share * side) for share, side in zip(box, 2 * image.shape[1:], strict=True)]
    return F.resized_crop(image, *sides, [48, 48], antialias=True).float()


def test_a_smaller_image_is_left_as_it_is():
    image = photo(40, 50)
    assert Framing(preprocessing(24), 0.35)(image) is image


def test_crops_are_drawn_between_the_ratios_that_the_shrinking_reckons_with():
    assert tuple(v2.RandomResizedCrop(8).ratio) == pytest.approx(RATIOS)


def test_the_text_names_all_that_the_result_depends_on():
    plain = preprocessing(crop=0.9)
    framings = [Framing(plain), Framing(plain, 0.4), Framing(plain, 0.5)]
    framings += [Framing(preprocessing(**{"crop": 0.9} | change), 1.0)
                 for change in ({"size": 25}, {"crop": 0.8}, {"interpolation": "bilinear"})]  # fmt: skip
    assert len({framing.text for framing in framings}) == len(framings)
    assert re.search("24.*bicubic", framings[0].text)
