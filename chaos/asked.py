"""What a part of `make chaos` was asked to do, and the rows of the table that it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """How much of a part to do, and where."""

    work: Path  # on the disk
    count: int | None  # None: as many as the issue of it asks for
    seed: int
    tell: Callable[[str], None] = print

    def times(self, full: int) -> int:
        """How often, where `full` is the whole."""
        return full if self.count is None else min(full, self.count)


@dataclass(frozen=True)
class Row:
    """A promise put to the test."""

    test: str
    asked: str
    count: int
    figure: str
    reached: bool
    faults: tuple[str, ...] = ()  # what was not as promised, one line each
