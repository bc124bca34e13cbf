"""Turning and shifting an image whose edge goes on for ever, so that no corner shows a colour of ours."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


class Moves(torch.nn.Module):
    """Turn by up to `rotate` degrees about the middle, then shift by up to `shift` of each side, in whole pixels.

    What torchvision's Pad(padding_mode="edge"), RandomAffine and CenterCrop do one after the other, from the same
    random numbers and but for rounding to the same pixels, without the margin: that took five times as long.
    """

    def __init__(self, rotate: float, shift: float) -> None:
        super().__init__()
        self.rotate, self.shift = rotate, shift

    def forward(self, image: Tensor) -> Tensor:
        """Move uint8 (channels, height, width), which it stays."""
        height, width = image.shape[1:]
        angle = math.radians(_drawn(self.rotate))
        across, down = (round(_drawn(self.shift * side)) for side in (width, height)) if self.shift else (0, 0)
        where = _inverse(angle, across, down, height, width)
        grid = affine_grid(where[None], [1, *image.shape], align_corners=False)
        moved = grid_sample(image[None].float(), grid, "bilinear", "border", align_corners=False)
        return moved[0].round().to(image.dtype)


def _drawn(most: float) -> float:
    return float(torch.empty(1).uniform_(-most, most))


def _inverse(angle: float, across: int, down: int, height: int, width: int) -> Tensor:
    """Where each place of the result comes from: (2, 3), in `affine_grid`'s coordinates from -1 to 1."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned = torch.tensor([[cos, sin * height / width], [-sin * width / height, cos]])
    shifted = torch.tensor([2 * across / width, 2 * down / height])
    return torch.cat([turned, -(turned @ shifted)[:, None]], dim=1)
