"""An image → what its changes start from: fitted, or whole and no larger than a crop drawn from it needs."""

import math
from dataclasses import dataclass

import torch
from torchvision.transforms.v2 import functional as F

from thawlab.data.preprocessing import INTERPOLATIONS, Preprocessing

RATIOS = (3 / 4, 4 / 3)  # of a drawn crop's width to its height; torchvision's


@dataclass(frozen=True)
class Framing:
    """How an image is brought to the form that augmentation and normalisation take, in every epoch the same.

    With `scale` 1 it is fitted as in evaluation. Below, a crop will be drawn that shows `scale` or more of the image:
    then it stays whole, but is shrunk so far that the smallest of these crops still has `size` pixels either way; it is
    never enlarged. A crop is thus resized twice, antialiased both times, which blurs it slightly; in exchange a photo
    of 12 megapixels takes and costs no more than one of 0.2.
    """

    preprocessing: Preprocessing
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, ...] | None:
        """(channels, size, size); None where each image has its own height and width."""
        size = self.preprocessing.size
        return (self.preprocessing.channels, size, size) if self.scale == 1 else None

    @property
    def text(self) -> str:
        """All that the result depends on besides the image."""
        pre = self.preprocessing
        form = f"fitted, crop {pre.crop!r}" if self.scale == 1 else f"whole, shrunk for crops of {self.scale!r}"
        return f"{form}, size {pre.size}, {pre.interpolation}"

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Bring uint8 (channels, height, width) to that form."""
        return self.preprocessing.fit(image) if self.scale == 1 else self._shrunk(image)

    def _shrunk(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[1:]
        # Of a very long image the drawn crops may all fall outside; torchvision then takes one as wide as it is short.
        smallest = min(height, width, math.sqrt(height * width * self.scale * min(RATIOS)))
        share = self.preprocessing.size / smallest
        if share >= 1:
            return image
        sides = [math.ceil(height * share), math.ceil(width * share)]
        return F.resize(image, sides, INTERPOLATIONS[self.preprocessing.interpolation], antialias=True)
