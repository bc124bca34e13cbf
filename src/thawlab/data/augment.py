"""What changes in a training image from epoch to epoch.

The changes are torchvision's: among them RandAugment (Cubuk et al. 2020) and random erasing (Zhong et al. 2020).
"""

import hashlib
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torchvision.transforms import v2

from thawlab.data.framing import RATIOS, Framing
from thawlab.data.moves import Moves
from thawlab.data.preprocessing import INTERPOLATIONS, Preprocessing
from thawlab.errors import UserError

SHARES = {"scale": 1, "flip": 1, "rotate": 180, "shift": 1, "jitter": 1, "erase": 1}
# Below 0.01, sampling a Beta distribution in float32 underflows and gives a half where there should be 0 or 1.
ALPHAS = (0.01, 100)


@dataclass(frozen=True)
class AugmentSpec:
    """The `augment` group as a checked value; the fields are those of `schema.AugmentConfig`."""

    name: str = "none"
    scale: float = 1.0
    flip: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    jitter: float = 0.0
    randaugment: int = 0
    magnitude: int = 9
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    tta: int = 0

    def __post_init__(self) -> None:
        for field, most in SHARES.items():
            value = getattr(self, field)
            if not isinstance(value, int | float) or not 0 <= value <= most:
                raise UserError(f"augment.{field} is {value!r}. Give a number from 0 to {most}.")
        if self.scale == 0:
            raise UserError("augment.scale is 0, but a crop shows some share of the image. Give more than 0 up to 1.")
        for field, most in (("randaugment", math.inf), ("magnitude", 30), ("tta", math.inf)):
            value = getattr(self, field)
            if not isinstance(value, int) or not 0 <= value <= most:
                wanted = "0 or more" if most == math.inf else f"0 to {most}"
                raise UserError(f"augment.{field} is {value!r}. Give a whole number, {wanted}.")
        for field in ("mixup", "cutmix"):
            value = getattr(self, field)
            if not isinstance(value, int | float) or not (value == 0 or ALPHAS[0] <= value <= ALPHAS[1]):
                raise UserError(f"augment.{field} is {value!r}. Give 0 (none), or an alpha from 0.01 to 100.")
        if not self.randaugment and self.magnitude != type(self).magnitude:
            raise UserError(
                f"augment.magnitude is {self.magnitude}, but augment={self.name} draws no operations that it could "
                "strengthen. Leave it out, or give augment.randaugment=2."
            )
        if self.tta and not self.changes:
            raise UserError(
                f"augment.tta is {self.tta}, but augment={self.name} changes nothing within an image, so that all "
                "views of it would be the same. Leave augment.tta out, or take another augment, as augment=light."
            )

    def check_channels(self, channels: int) -> None:
        """Raise UserError where a change is asked for that images of so many channels cannot take."""
        for field in ("jitter", "randaugment"):
            if getattr(self, field) and channels not in (1, 3):
                raise UserError(
                    f"augment.{field} is {getattr(self, field)}, which changes colours and takes grey or RGB images, "
                    f"but these have {channels} channels. Give augment.{field}=0."
                )

    @property
    def changes(self) -> bool:
        """Whether a training image differs from epoch to epoch, by itself: mixing comes after."""
        return self.crops or max(self.flip, self.rotate, self.shift, self.jitter, self.randaugment, self.erase) > 0

    @property
    def mixes(self) -> bool:
        """Whether the images of a training batch are mixed with each other; see `mixing`."""
        return max(self.mixup, self.cutmix) > 0

    @property
    def crops(self) -> bool:
        """Whether the crop is drawn, so that it must start from the whole image: see `framing`."""
        return self.scale < 1


class Augmentation:
    """Random changes to training images, before they are normalised.

    What happens to an image follows from (seed, epoch, index) alone: not from the number of worker processes, the
    order of the images, or where an interrupted run went on. Raises UserError for a change that the images' number
    of channels rules out.
    """

    def __init__(self, spec: AugmentSpec, preprocessing: Preprocessing, seed: int) -> None:
        spec.check_channels(len(preprocessing.mean))
        self.spec = spec
        self.seed = seed
        self.framing = Framing(preprocessing, spec.scale)  # what the images must have been through
        self._transform = v2.Compose(_transforms(spec, preprocessing))

    def __call__(self, image: torch.Tensor, epoch: int, index: int) -> torch.Tensor:
        """Change uint8 (c, height, width), as `framing` gives it, into uint8 (c, size, size)."""
        with drawn_from(self.seed, epoch, index):
            return self._transform(image)


@contextmanager
def drawn_from(*numbers: int) -> Iterator[None]:
    """Let torch's random numbers on the CPU follow from these numbers alone; afterwards they go on as before."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the GPU, whose state is not put back: dropout would repeat itself.
        torch.default_generator.manual_seed(draw_seed(*numbers))
        yield


def draw_seed(*numbers: int) -> int:
    """Mix numbers into 63 bits that are the same on every machine; neighbours share no pattern."""
    mixed = hashlib.blake2b(struct.pack(f"<{len(numbers)}q", *numbers), digest_size=8).digest()
    return int.from_bytes(mixed, "little") >> 1


def _transforms(spec: AugmentSpec, preprocessing: Preprocessing) -> list[torch.nn.Module]:
    size = preprocessing.size
    chosen: list[torch.nn.Module] = []
    if spec.crops:
        mode = INTERPOLATIONS[preprocessing.interpolation]
        chosen.append(v2.RandomResizedCrop(size, (spec.scale, 1.0), RATIOS, interpolation=mode, antialias=True))
    if spec.flip:
        chosen.append(v2.RandomHorizontalFlip(spec.flip))
    if spec.rotate or spec.shift:
        chosen.append(Moves(spec.rotate, spec.shift))
    # What is uncovered or erased shows the mean colour, which is 0 to the network, to half a grey level: timm's way.
    fill = [float(min(max(round(255 * mean), 0), 255)) for mean in preprocessing.mean]
    if spec.randaugment:
        mode = v2.InterpolationMode.BILINEAR
        chosen.append(v2.RandAugment(spec.randaugment, spec.magnitude, interpolation=mode, fill=fill))
    if spec.jitter:
        chosen.append(v2.ColorJitter(spec.jitter, spec.jitter, spec.jitter))
    if spec.erase:
        chosen.append(v2.RandomErasing(spec.erase, value=fill))  # pyright: ignore[reportArgumentType]
    return chosen
