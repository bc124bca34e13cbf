"""Moves against the three transforms of torchvision's that do the same over a margin."""

import math

import pytest
import torch
from torchvision.transforms import v2

from thawlab.data.moves import Moves


def over_a_margin(size, rotate, shift):
    """A corner of the shifted image may be turned onto an axis; one pixel more to interpolate."""
    margin = math.ceil(size * ((0.5 + shift) * math.sqrt(2) - 0.5)) + 1
    share = shift * size / (size + 2 * margin)
    affine = v2.RandomAffine([-rotate, rotate], (share, share), interpolation=v2.InterpolationMode.BILINEAR)
    return v2.Compose([v2.Pad(margin, padding_mode="edge"), affine, v2.CenterCrop(size)])


def picture(channels, size):
    torch.manual_seed(size)
    return torch.randint(0, 256, (channels, size, size), dtype=torch.uint8)


@pytest.mark.parametrize(("rotate", "shift"), [(10, 0.1), (180, 0.5), (30, 0.0), (0, 0.3)])
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 33), (4, 17)])
def test_moves_are_torchvisions_over_a_margin(rotate, shift, channels, size):
    image = v2.functional.gaussian_blur(picture(channels, size), [3, 3])
    moves, expected = Moves(rotate, shift), over_a_margin(size, rotate, shift)
    for seed in range(10):
        torch.manual_seed(seed)
        found = moves(image)
        torch.manual_seed(seed)
        wanted = expected(image)
        assert found.dtype == torch.uint8
        assert (found.int() - wanted.int()).abs().max() <= 1


def test_a_shift_alone_moves_whole_pixels_and_repeats_the_edge():
    image = picture(3, 8)
    torch.manual_seed(0)
    found = Moves(0, 0.5)(image)
    torch.manual_seed(0)
    _angle, across, down = (float(torch.empty(1).uniform_(-most, most)) for most in (0, 4, 4))
    rows = (torch.arange(8) - round(down)).clamp(0, 7)
    columns = (torch.arange(8) - round(across)).clamp(0, 7)
    assert torch.equal(found, image[:, rows][:, :, columns])
