"""In which order batch sizes are tried, so that few attempts are made, and none that is known to fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_SMALL = 4  # images per forward pass to begin with: of one, BatchNorm cannot make statistics


@dataclass(frozen=True)
class Attempt:
    """A few steps of `size` images, tried or foreseen."""

    size: int
    images: int = 0  # in one forward pass on one device, as the batches really fell out
    peak: int = 0  # bytes
    why: str = ""  # it did not fit; empty: it did

    def __str__(self) -> str:
        return f"{self.size:,} images: {self.why or gibibytes(self.peak)}"


Attempting = Callable[[int], Attempt]
Outcome = tuple[Attempt | None, Attempt | None]  # the largest that fits, and the smallest found not to


def gibibytes(size: int) -> str:
    """Say bytes as a person reads them."""
    return f"{size / 2**30:.2f} GiB"


def sizes(parts: int, most: int) -> list[int]:
    """Powers of two times `parts`, up to `most`: the sizes that share out evenly over so many forward passes."""
    return [parts << k for k in range(most.bit_length()) if parts << k <= most]


def by_doubling(sizes: Sequence[int], parts: int, attempt: Attempting) -> Outcome:
    """Try larger and larger sizes until one fails: for devices that refuse what does not fit, and serve one program."""
    first = _first(sizes, parts)
    best, failed = _downwards(sizes[: first + 1], attempt)
    for size in sizes[first + 1 :] if failed is None else ():
        made = attempt(size)
        if made.why:
            return best, made
        best = made
    return best, failed


def by_prediction(sizes: Sequence[int], parts: int, attempt: Attempting, budget: int) -> Outcome:
    """Measure two small sizes, foresee the rest along a straight line, and try what should fit in `budget` bytes.

    For memory that other programs need as well: nothing is tried that would fill it.
    """
    first = _first(sizes, parts)
    second = min(first + 2, len(sizes) - 1)
    small, failed = _downwards(sizes[: first + 1], attempt)
    if small is None or failed is not None or second == first:
        return small, failed
    larger, failed = _downwards(sizes[first + 1 : second + 1], attempt)
    if larger is None or failed is not None:
        return larger or small, failed
    rest = [_foreseen(size, size // parts, (small, larger), budget) for size in sizes[second + 1 :]]
    hopeful = [foreseen.size for foreseen in rest if not foreseen.why]
    best, failed = _downwards(hopeful, attempt)
    return best or larger, failed or next((foreseen for foreseen in rest if foreseen.why), None)


def _first(sizes: Sequence[int], parts: int) -> int:
    return next((i for i, size in enumerate(sizes) if size >= _SMALL * parts), len(sizes) - 1)


def _downwards(sizes: Sequence[int], attempt: Attempting) -> Outcome:
    """Try the largest first, then each smaller one until one fits."""
    failed = None
    for size in reversed(sizes):
        made = attempt(size)
        if not made.why:
            return made, failed
        failed = made
    return None, failed


def _foreseen(size: int, images: int, measured: tuple[Attempt, Attempt], budget: int) -> Attempt:
    """What a size of `images` a forward pass would take, on the line through two measured ones."""
    small, larger = measured
    each = max(0, larger.peak - small.peak) / max(1, larger.images - small.images)
    peak = larger.peak + int(each * (images - larger.images))
    why = f"it would take about {gibibytes(peak)} of {gibibytes(budget)}" if peak > budget else ""
    return Attempt(size, images, peak, why)
