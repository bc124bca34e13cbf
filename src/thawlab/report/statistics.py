"""Paired differences between two strategies, with intervals that hold for new seeds and new test images.

Why the seeds' part is drawn from Student's t and not resampled: docs/adr/0013.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thawlab.report.findings import Interval

DRAWS = 40_000  # the smallest p is 2 of so many, times as many as are compared: enough for 1,000 differences
CONFIDENCE = 0.95
_SEED = 0  # of the draws: the same records give the same report


@dataclass(frozen=True)
class Tested:
    """A mean difference with its 95% interval, and the two-sided p of the same draws."""

    points: Interval
    p: float


def of_images(differences: NDArray[np.floating] | NDArray[np.integer]) -> Tested:
    """Test a mean difference (seeds, images): 1 where only the strategy was right, -1 where only the other was.

    Seeds and images are crossed random effects: every seed saw every image. Given the images, the seeds' means spread
    as Student's t with seeds - 1 degrees of freedom; the images' part is a bootstrap over images, lessened by the
    noise of single (seed, image) pairs, which the seeds' part has already. Of one seed the interval is over images
    alone.
    """
    values = np.asarray(differences, float)
    seeds, images = values.shape
    rng = np.random.default_rng(_SEED)
    by_image = values.mean(axis=0)
    deviations = _resampled(by_image, rng)
    if seeds > 1 and images > 1:
        of_seeds, of_pairs, of_means = _variances(values)
        shared = min(of_seeds, of_pairs)  # never more than the seeds' part holds: no interval narrower than one seed's
        deviations *= np.sqrt(max(1 - shared / of_means, 0)) if of_means > 0 else 0
        deviations += np.sqrt(of_seeds) * rng.standard_t(seeds - 1, DRAWS)
    return _tested(float(values.mean()), deviations, seeds)


def _variances(differences: NDArray[np.floating]) -> tuple[float, float, float]:
    """Of the overall mean: what the seeds' means say, what is left in single pairs, what the images' means say."""
    seeds, images = differences.shape
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - by_seed[:, None] - by_image[None, :] + differences.mean()
    of_pairs = (rest**2).sum() / ((seeds - 1) * (images - 1)) / (seeds * images)
    return float(by_seed.var(ddof=1) / seeds), float(of_pairs), float(by_image.var(ddof=1) / images)


def _resampled(values: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """Bootstrap deviations of the mean. There are few distinct values: their counts are drawn, not the images."""
    distinct, counts = np.unique(values, return_counts=True)
    drawn = rng.multinomial(len(values), counts / len(values), DRAWS)
    return drawn @ distinct / len(values) - values.mean()


def of_seeds(differences: Sequence[float]) -> Tested:
    """Test the mean of differences, one for each seed, by Student's t; of one seed no interval, and p 1."""
    values = np.asarray(differences, float)
    n = len(values)
    if n == 1:
        return Tested(Interval(float(values[0]), None, None, 1), 1.0)
    rng = np.random.default_rng(_SEED)
    return _tested(float(values.mean()), values.std(ddof=1) / np.sqrt(n) * rng.standard_t(n - 1, DRAWS), n)


def _tested(mean: float, deviations: NDArray[np.floating], n: int) -> Tested:
    """The percentile interval of the draws around the mean, and how often they pass zero."""
    tail = (1 - CONFIDENCE) / 2
    draws = mean + deviations
    draws[np.abs(draws) < 1e-12] = 0  # sums in another order: zero is zero
    low, high = np.quantile(draws, [tail, 1 - tail])
    beyond = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    p = min(1.0, 2 * float(beyond + 1) / (DRAWS + 1))  # + 1: of so many draws no p is zero
    return Tested(Interval(mean, float(low), float(high), n), p)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values for the size of their family (Holm 1979): below 0.05 holds for all of them at once."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted
