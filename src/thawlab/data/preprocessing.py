"""An image → what the network sees, the same way in training, evaluation and use."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from thawlab.errors import UserError, nearest

Floats = tuple[float, ...]
LONGEST = 32  # times its shorter side: longer images are cut before they are resized
INTERPOLATIONS = {
    "nearest": v2.InterpolationMode.NEAREST_EXACT,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
}


@dataclass(frozen=True)
class Preprocessing:
    """What a backbone expects of its images: `size` pixels square, normalised with `mean` and `std` of each channel.

    `crop` is the share of the resized image that the centre crop keeps; values are as in timm's data configs. Raises
    UserError naming the `backbone` field.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise UserError(f"backbone.size is {self.size!r}, but it is a number of pixels. Give 1 or more.")
        for field, values in (("mean", self.mean), ("std", self.std)):
            if not values or not all(math.isfinite(value) for value in values):
                raise UserError(f"backbone.{field} is {values!r}. Give a finite number for each channel.")
        if len(self.mean) != len(self.std):
            raise UserError(
                f"backbone.mean is {self.mean!r} and backbone.std is {self.std!r}, but both are of the same channels. "
                "Give as many numbers of each."
            )
        if min(self.std) <= 0:
            raise UserError(f"backbone.std is {self.std!r}, but pixels are divided by it. Give numbers above 0.")
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(
                f"backbone.interpolation is {self.interpolation!r}, which is unknown. "
                f"{nearest(str(self.interpolation), INTERPOLATIONS)}"
            )
        if not 0 < self.crop <= 1:
            raise UserError(f"backbone.crop is {self.crop!r}, but it is a share. Give more than 0 up to 1.")

    @property
    def channels(self) -> int:
        """How many channels the images have: as many as there are means."""
        return len(self.mean)

    def fit(self, image: torch.Tensor) -> torch.Tensor:
        """Bring uint8 (channels, height, width) of any size to uint8 (channels, size, size).

        The shorter side is resized to size / crop, antialiased, and the centre cut out: timm's evaluation, on
        tensors. Small images are enlarged.
        """
        side = math.floor(self.size / self.crop)
        image = _without_far_ends(image)
        if image.shape[1:] != (side, side):
            image = F.resize(image, [side], INTERPOLATIONS[self.interpolation], antialias=True)
        square = (self.size, self.size)
        return image if image.shape[1:] == square else F.center_crop(image, list(square))

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 (..., channels, size, size) into float32 (value / 255 - mean) / std, on the images' device."""
        factor, offset = _scaling(self.mean, self.std, images.device)
        return images.to(torch.float32, copy=True).mul_(factor).sub_(offset)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Do both, for one image: what evaluation and use see."""
        return self.normalise(self.fit(image))


def _without_far_ends(image: torch.Tensor) -> torch.Tensor:
    """Cut a strip down to `LONGEST` times its width about its centre, of which alone the crop shows anything.

    Resized whole, 1 x 5,000 pixels would take three gigabytes. What is cut off is even, so that the centre stays.
    """
    height, width = image.shape[1:]
    most = LONGEST * min(height, width)
    spare = (max(height, width) - most) // 2
    if spare <= 0:
        return image
    kept = slice(spare, -spare)
    return image[:, kept] if height > width else image[:, :, kept]


@lru_cache(maxsize=8)  # made once, so that no batch waits for them to be sent to its device
def _scaling(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    factor = 1 / (255 * torch.tensor(std)[:, None, None])
    offset = (torch.tensor(mean) / torch.tensor(std))[:, None, None]
    return factor.to(device), offset.to(device)
