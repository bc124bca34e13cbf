"""Which source network a run starts from, checked before anything is built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from thawlab.backbones import timm_models, torchvision_models
from thawlab.errors import UserError, nearest
from thawlab.stages import GRAINS

SMALLEST = 8  # pixels
LIBRARIES = {"timm": timm_models.check_name, "torchvision": torchvision_models.check_name}


@dataclass(frozen=True)
class BackboneSpec:
    """Which source network; see `schema.BackboneConfig`."""

    name: str
    library: str = "timm"
    function: str | None = None
    weights: str | None = None
    allow_partial: bool = False
    stages: str = "coarse"
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    interpolation: str | None = None
    crop: float | None = None

    def __post_init__(self) -> None:
        if self.library not in LIBRARIES:
            raise UserError(f"backbone.library is {self.library!r}. {nearest(self.library, LIBRARIES)}")
        if self.stages not in GRAINS:
            raise UserError(f"backbone.stages is {self.stages!r}, but it is one of: {', '.join(GRAINS)}.")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not values:
                raise UserError(f"backbone.{key} is empty. Give a number for each channel, or leave it out.")
        if self.size is not None and self.size < SMALLEST:
            raise UserError(f"backbone.size is {self.size} pixels. Give {SMALLEST} or more.")
        if self.function is None:
            LIBRARIES[self.library](self.name)
