"""The `study` group as a checked value."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from thawlab.errors import UserError, nearest
from thawlab.study_record import DEPTH_PROFILE, FOUR_CASES, KINDS

NONE = "none"


@dataclass(frozen=True)
class SourceCost:
    """What it cost to train the source network; None: somebody else has to tell."""

    seconds: float | None = None
    flops: float | None = None
    images: float | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f"study.source.{one.name} is {value}, but it is a cost. Give 0 or more.")


@dataclass(frozen=True)
class StudySpec:
    """What a study compares; see `schema.StudyConfig`. Raises UserError for what is no study."""

    kind: str = NONE
    similar: Sequence[str] = ()
    different: Sequence[str] = ()
    sizes: Sequence[int | float] = ()
    epochs: Sequence[int] = ()
    batch_sizes: Sequence[int] = ()
    strategies: Sequence[str] = ()
    rates: Sequence[float] = ()
    search_seeds: Sequence[int] = ()
    seeds: Sequence[int] = ()
    source: SourceCost = field(default_factory=SourceCost)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "StudySpec":
        """From a resolved config's `study` group."""
        return cls(**{**config, "source": SourceCost(**config["source"])})

    def __post_init__(self) -> None:
        if self.kind not in (NONE, *KINDS):
            raise UserError(f"study.kind is {self.kind!r}. {nearest(self.kind, (NONE, *KINDS))}")
        if self.kind == NONE:
            return
        self._check_there()
        for key in ("sizes", "strategies", "rates", "search_seeds", "seeds"):
            self._check_once(key)
        self._check_sizes()
        for rate in self.rates:
            if not 0 < rate < math.inf:
                raise UserError(f"study.rates has {rate}, but a learning rate is a positive number.")
        for key in ("epochs", "batch_sizes"):
            self._check_counts(key)

    def _check_there(self) -> None:
        if not (self.similar or self.different):
            raise UserError(
                "study.similar and study.different are empty, but a study needs a target. Give one: "
                "study.similar=[dataset=folder,dataset.root=photos]"
            )
        needed = ["sizes", "rates", "search_seeds", "seeds", *(["strategies"] if self.kind == FOUR_CASES else [])]
        for key in needed:
            if not getattr(self, key):
                raise UserError(f"study.{key} is empty, but a study needs at least one. Give study.{key}=[...].")
        if self.kind == DEPTH_PROFILE and self.strategies:
            raise UserError(
                f"study.strategies is {list(self.strategies)}, but study.kind=depth_profile makes its own, one for "
                "each depth. Leave it out."
            )

    def _check_once(self, key: str) -> None:
        values = getattr(self, key)
        if len(set(values)) < len(values):
            raise UserError(f"study.{key} is {list(values)}, with one of them twice. Give each once.")

    def _check_sizes(self) -> None:
        shares = [isinstance(size, float) for size in self.sizes]
        if any(shares) and not all(shares):
            raise UserError(
                f"study.sizes is {list(self.sizes)}: whole numbers are images per class, others shares of the training "
                "images, and one axis cannot have both. Give numbers of one kind; all images are 1.0."
            )
        if list(self.sizes) != sorted(self.sizes):
            raise UserError(f"study.sizes is {list(self.sizes)}. Give them from the smallest to the largest.")
        for size in self.sizes:
            if not (0 < size <= 1 if isinstance(size, float) else size >= 1):
                raise UserError(
                    f"study.sizes has {size}. Give images per class (1 or more), or shares (above 0, up to 1.0)."
                )

    def _check_counts(self, key: str) -> None:
        values = getattr(self, key)
        if len(values) > 2 or any(value < 1 for value in values):
            raise UserError(
                f"study.{key} is {list(values)}. Give a number of 1 or more for all sizes, two for the smallest and "
                "the largest, or none."
            )
