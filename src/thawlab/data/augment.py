"""What changes in a training image from epoch to epoch."""

import hashlib
import math
import struct
from dataclasses import dataclass

import torch
from torchvision.transforms import v2

from thawlab.data.preprocessing import INTERPOLATIONS, Preprocessing
from thawlab.errors import UserError


@dataclass(frozen=True)
class AugmentSpec:
    """The `augment` group as a checked value; the fields are those of `schema.AugmentConfig`."""

    name: str = "none"
    scale: float = 1.0
    flip: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for field, most in (("scale", 1), ("flip", 1), ("rotate", 180), ("shift", 1), ("jitter", 1)):
            value = getattr(self, field)
            if not isinstance(value, int | float) or not 0 <= value <= most:
                raise UserError(f"augment.{field} is {value!r}. Give a number from 0 to {most}.")
        if self.scale == 0:
            raise UserError("augment.scale is 0, but a crop shows some share of the image. Give more than 0 up to 1.")

    @property
    def changes(self) -> bool:
        """Whether a training image differs from epoch to epoch."""
        return self.crops or max(self.flip, self.rotate, self.shift, self.jitter) > 0

    @property
    def crops(self) -> bool:
        """Whether the crop is drawn, so that it must start from the whole image."""
        return self.scale < 1


class Augmentation:
    """Random changes to training images, before they are normalised.

    What happens to an image follows from (seed, epoch, index) alone: not from the number of worker processes, the
    order of the images, or where an interrupted run went on.
    """

    def __init__(self, spec: AugmentSpec, preprocessing: Preprocessing, seed: int) -> None:
        self.spec = spec
        self.seed = seed
        self._transform = v2.Compose(_transforms(spec, preprocessing))

    def __call__(self, image: torch.Tensor, epoch: int, index: int) -> torch.Tensor:
        """Change uint8 (3, height, width), whole if `spec.crops` and else fitted, into uint8 (3, size, size)."""
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also seed the GPU, whose state is not put back: dropout would repeat itself.
            torch.default_generator.manual_seed(draw_seed(self.seed, epoch, index))
            return self._transform(image)


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """Mix three numbers into 63 bits that are the same on every machine; neighbours share no pattern."""
    mixed = hashlib.blake2b(struct.pack("<3q", seed, epoch, index), digest_size=8).digest()
    return int.from_bytes(mixed, "little") >> 1


def _transforms(spec: AugmentSpec, preprocessing: Preprocessing) -> list[torch.nn.Module]:
    size = preprocessing.size
    chosen: list[torch.nn.Module] = []
    if spec.crops:
        mode = INTERPOLATIONS[preprocessing.interpolation]
        chosen.append(v2.RandomResizedCrop(size, scale=(spec.scale, 1.0), interpolation=mode, antialias=True))
    if spec.flip:
        chosen.append(v2.RandomHorizontalFlip(spec.flip))
    if spec.rotate or spec.shift:
        chosen += _moves(spec, size)
    if spec.jitter:
        chosen.append(v2.ColorJitter(spec.jitter, spec.jitter, spec.jitter))
    return chosen


def _moves(spec: AugmentSpec, size: int) -> tuple[torch.nn.Module, ...]:
    """Turn and shift over a margin that repeats the image's edge, so that no corner shows a colour of ours."""
    # A corner of the shifted image lies this far out, and turning may lay it on an axis; one pixel to interpolate.
    reach = (0.5 + spec.shift) * (math.sqrt(2) if spec.rotate else 1)
    margin = math.ceil(size * (reach - 0.5)) + 1
    shift = spec.shift * size / (size + 2 * margin)
    return (
        v2.Pad(margin, padding_mode="edge"),
        v2.RandomAffine([-spec.rotate, spec.rotate], (shift, shift), interpolation=v2.InterpolationMode.BILINEAR),
        v2.CenterCrop(size),
    )
