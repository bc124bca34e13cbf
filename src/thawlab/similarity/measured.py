"""What was measured of how near source and target are, as plain values: they stand in the record, and are read back."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Any

_UNDEFINED = (int, float, NoneType)  # null: a number that the images do not define, NaN here


@dataclass(frozen=True)
class StageSimilarity:
    """What a head would get from the network cut after this stage, measured on training images alone.

    A number that the images do not define, as a cross-validated one of classes with one image each, is NaN.
    """

    stage: str
    width: int  # numbers per image, places averaged
    log_evidence: float  # LogME, nats per image
    h_score: float  # 0 to classes - 1
    nearest_neighbour: float  # leave-one-out accuracy, 0 to 1
    linear_probe: float  # cross-validated accuracy, 0 to 1
    norm_distance: float | None  # source's BatchNorm statistics to the target's, 0 or more; None: it has no such layer


@dataclass(frozen=True)
class Similarity:
    """How near source and target are; `docs/howto/similarity.md` explains each number."""

    images: int  # that were measured
    classes: int
    per_class_min: int
    per_class_mean: float
    chance: float  # accuracy of always naming the commonest class, 0 to 1
    stages: tuple[StageSimilarity, ...]  # input to last before the head
    leep: float | None  # mean log-likelihood, nats, 0 or less; None: the source has no classifier
    pixels_probe: float  # linear probe on 16x16 raw pixels: what features must beat
    random_probe: float | None  # linear probe on the same network's last stage with random weights
    seconds: float
    notes: tuple[str, ...] = ()  # what must be known to read it aright: a sample, a stage left out

    def to_plain(self) -> dict[str, Any]:
        """Numbers, words, lists and dicts alone, as JSON holds them; NaN is None."""
        plain = asdict(self)
        plain["stages"] = [_defined(stage) for stage in plain["stages"]]
        plain["notes"] = list(self.notes)
        return _defined(plain)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Similarity":
        """What `to_plain` gave. Raises ValueError naming the first field that is missing, strange or of another type.

        Numbers that were NaN, None in between, are NaN again.
        """
        fields = _checked("similarity", plain, _SIMILARITY)
        stages = tuple(
            StageSimilarity(**_checked(f"similarity.stages[{i}]", stage, _STAGE))
            for i, stage in enumerate(fields["stages"])
        )
        return cls(**{**fields, "stages": stages, "notes": tuple(fields["notes"])})


_STAGE: dict[str, tuple[type, ...]] = {
    "stage": (str,),
    "width": (int,),
    "log_evidence": _UNDEFINED,
    "h_score": _UNDEFINED,
    "nearest_neighbour": _UNDEFINED,
    "linear_probe": _UNDEFINED,
    "norm_distance": (int, float, NoneType),
}
_SIMILARITY: dict[str, tuple[type, ...]] = {
    "images": (int,),
    "classes": (int,),
    "per_class_min": (int,),
    "per_class_mean": (int, float),
    "chance": (int, float),
    "stages": (list, tuple),
    "leep": (int, float, NoneType),
    "pixels_probe": _UNDEFINED,
    "random_probe": (int, float, NoneType),
    "seconds": (int, float),
    "notes": (list, tuple),
}
# Here None is an answer and no number: there is nothing to measure.
_OPTIONAL = ("norm_distance", "leep", "random_probe")


def _defined(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in plain.items()}


def _checked(where: str, plain: Any, shape: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    if not isinstance(plain, Mapping):
        raise ValueError(f"{where} is {plain!r:.60}, but it is an object")
    for name in shape:
        if name not in plain:
            raise ValueError(f"{where} lacks {name!r}")
    for name, value in plain.items():
        if name not in shape:
            raise ValueError(f"{where} has {name!r}, which it does not know")
        if type(value) not in shape[name]:  # a bool is an int to Python, and must not pass for one
            raise ValueError(f"{where}.{name} is {value!r:.60}, of the wrong type")
    undefined = [name for name, types in shape.items() if types is _UNDEFINED and name not in _OPTIONAL]
    return {name: math.nan if value is None and name in undefined else value for name, value in plain.items()}
