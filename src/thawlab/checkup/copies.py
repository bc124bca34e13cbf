"""Which images are the same, to the byte, to the pixel, or to the eye."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from thawlab.checkup.facts import PARTS, Facts

MOST = 100_000  # pairs that are looked at; images of which more are alike have no copies that could be told
BLOCK = 256  # rows that are compared with all others at a time: 50 MB for 50,000 images
SAMPLED = 1000  # images whose nearest neighbours tell how alike the images of this set are anyway
LEAST, ENOUGH = 0.98, 0.995  # between them lies the correlation from which on two images are taken for copies
STANDS_OUT = 10  # a copy differs so many times less than the usual nearest neighbour
FLAT = 1.0  # levels of deviation: below, a picture is of one colour, and like any other such
SHIFTED = 40.0  # levels by which a copy may be brighter or darker, in the mean of each channel


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images that are the same; `how` says by what: bytes, pixels, or alike. The first is nearer to training."""

    first: Facts
    second: Facts
    how: str
    correlation: float = 1.0

    @property
    def leaks(self) -> bool:
        """Whether they lie in different splits."""
        return self.first.part != self.second.part

    @property
    def conflicts(self) -> bool:
        """Whether they are labelled differently."""
        return set(self.first.labels) != set(self.second.labels)

    @property
    def rank(self) -> tuple[int, float]:
        """Leaks first, those of training into test images before all."""
        parts = (self.first.part, self.second.part)
        order = (("train", "test"), ("train", "val"), ("val", "test"))
        return (order.index(parts) if self.leaks else len(order), -self.correlation)


def exact(images: Sequence[Facts]) -> list[Pair]:
    """Pairs of the same bytes, and of the same pixels in other bytes: of n copies the first with each of the others."""
    groups: dict[bytes, list[Facts]] = {}
    for one in images:
        groups.setdefault(one.pixels, []).append(one)
    pairs = [
        Pair(first, other, "bytes" if other.digest == first.digest else "pixels")
        for first, *others in groups.values()
        for other in others
    ]
    return sorted(pairs, key=lambda pair: pair.rank)


def firsts(images: Sequence[Facts]) -> list[Facts]:
    """Each picture once, without those of one colour."""
    once = {one.pixels: one for one in reversed(images)}
    return [one for one in reversed(once.values()) if _deviations(one.thumbnail).std() >= FLAT]


def alike(images: Sequence[Facts]) -> tuple[list[Pair], bool]:
    """Pairs of different pixels that look the same: saved again, resized, brightened; and whether these are all.

    Two images are, whose thumbnails correlate by `threshold` or more, channel by channel about its mean: with the means
    in, any two brown pictures would. Cropped, mirrored and turned copies are not found. O(n^2) multiplications.
    """
    chosen = firsts(images)
    if len(chosen) < 2:
        return [], True
    rows = _normalised(chosen)
    least = threshold(rows)
    pairs: list[Pair] = []
    for start, correlations in _blocks(rows):
        later = np.arange(len(rows)) > np.arange(start, start + len(correlations))[:, None]
        for i, j in zip(*np.nonzero((correlations >= least) & later), strict=True):
            one, other = chosen[start + i], chosen[j]
            if np.abs(one.thumbnail.mean(axis=1) - other.thumbnail.mean(axis=1)).max() <= SHIFTED:
                pairs.append(_pair(one, other, float(correlations[i, j])))
        if len(pairs) > MOST:
            return sorted(pairs, key=lambda pair: pair.rank), False
    return sorted(pairs, key=lambda pair: pair.rank), True


def threshold(rows: np.ndarray) -> float:
    """The correlation from which on two of these are copies.

    Where images are alike by nature, as digits in the middle of a black square, the usual nearest neighbours correlate
    by 0.95 and more: a copy has to stand out from these.
    """
    some = np.random.default_rng(0).permutation(len(rows))[:SAMPLED]
    nearest = []
    for start in range(0, len(some), BLOCK):
        places = some[start : start + BLOCK]
        correlations = rows[places] @ rows.T
        correlations[np.arange(len(places)), places] = -1
        nearest.append(correlations.max(axis=1))
    usual = float(np.median(np.concatenate(nearest)))
    return min(max(1 - (1 - usual) / STANDS_OUT, LEAST), ENOUGH)


def _normalised(images: Sequence[Facts]) -> np.ndarray:
    """Thumbnails about 0 and of length 1, so that a product of two is their correlation: float32 (n, values)."""
    rows = np.empty((len(images), images[0].thumbnail.size), np.float32)
    for row, one in zip(rows, images, strict=True):
        row[:] = _deviations(one.thumbnail).reshape(-1)
        row /= np.linalg.norm(row)
    return rows


def _deviations(thumbnail: np.ndarray) -> np.ndarray:
    return thumbnail - thumbnail.mean(axis=1, keepdims=True)


def _blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(rows), BLOCK):
        yield start, rows[start : start + BLOCK] @ rows.T


def _pair(one: Facts, other: Facts, correlation: float) -> Pair:
    first, second = sorted((one, other), key=lambda facts: PARTS.index(facts.part))
    return Pair(first, second, "alike", correlation)
