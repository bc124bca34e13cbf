"""Paired differences between two strategies, with intervals that hold for new seeds and new test images.

Why the seeds are not resampled, and why nothing is drawn at random: docs/adr/0013.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats
from scipy.optimize import root_scalar
from scipy.special import stdtr

from thawlab.report.findings import Interval
from thawlab.report.rows import CONFIDENCE

ALPHA = 1 - CONFIDENCE  # a corrected p below it shows a difference
_TAIL = (1 - CONFIDENCE) / 2
_NOTHING = 1e-15  # what the transform leaves of a probability of zero
SMALLEST = 1e-12  # p: sums of chances say no more than that

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Tested:
    """A mean difference of scores with its 95% interval, and the two-sided p that belongs to it."""

    points: Interval
    p: float


def of_images(differences: NDArray[np.integer]) -> Tested:
    """Test a mean difference (seeds, images): 1 where only the strategy was right, -1 where only the other was, else 0.

    Seeds and images are crossed random effects: every seed saw every image. Given the images, the seeds' means spread
    as Student's t with seeds - 1 degrees of freedom. The images' part is a bootstrap over images, lessened by the noise
    of single (seed, image) pairs as far as the seeds' part has it already. Of one seed it is over images alone.
    """
    seeds, images = differences.shape
    mean = float(differences.mean())
    deviations, chances = bootstrap(differences)
    of_seeds = 0.0
    if seeds > 1 and images > 1:
        of_seeds, of_pairs, of_means = variances(differences)
        of_seeds = max(of_seeds, 1 / images**2 / seeds)
        shared = min(of_seeds, of_pairs)  # no more than the seeds' part holds: never narrower than the images' alone
        deviations = deviations * (np.sqrt(max(1 - shared / of_means, 0)) if of_means > 0 else 0.0)
    if of_seeds == 0:
        return _of_steps(mean, mean + deviations, chances, seeds)
    return _of_sum(mean, deviations, chances, float(np.sqrt(of_seeds)), seeds)


def variances(differences: NDArray[np.integer]) -> tuple[float, float, float]:
    """Variances of the overall mean: of the seeds' means, of what is left in single pairs, of the images' means."""
    seeds, images = differences.shape
    values = differences.astype(float)
    by_seed, by_image = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_image[None, :] + values.mean()
    of_pairs = (rest**2).sum() / ((seeds - 1) * (images - 1)) / (seeds * images)
    return float(by_seed.var(ddof=1) / seeds), float(of_pairs), float(by_image.var(ddof=1) / images)


def bootstrap(differences: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """The bootstrap over images in the limit of endless draws: each deviation of the mean, rising, and its chance.

    An image's sum over the seeds is one of a few whole numbers, and a resample adds as many of them as there are
    images: a convolution, done as a power of their Fourier transform.
    """
    seeds, images = differences.shape
    sums = differences.sum(axis=0, dtype=int)
    shares = np.bincount(sums + seeds, minlength=2 * seeds + 1) / images
    length = 2 * seeds * images + 1
    padded = fft.next_fast_len(length, real=True)
    chances = np.asarray(fft.irfft(np.asarray(fft.rfft(shares, padded)) ** images, padded))[:length]
    deviations = (np.arange(length) - seeds * images - sums.sum()) / (seeds * images)
    kept = chances > _NOTHING
    return deviations[kept], chances[kept] / chances[kept].sum()


def _of_steps(mean: float, places: Floats, chances: Floats, n: int) -> Tested:
    """Test a mean whose bootstrap has these places alone."""
    zero = np.abs(places) < 1e-12
    below = np.cumsum(chances)
    low, high = (places[min(int(np.searchsorted(below, share)), len(places) - 1)] for share in (_TAIL, 1 - _TAIL))
    p = _two_sided(float(chances[zero | (places < 0)].sum()), float(chances[zero | (places > 0)].sum()))
    return Tested(Interval(mean, float(low), float(high), n), p)


def _of_sum(mean: float, deviations: Floats, chances: Floats, scale: float, n: int) -> Tested:
    """Test a mean whose error is a deviation of the images' part plus `scale` times Student's t with n - 1 degrees."""

    def below(place: float) -> float:
        return float(chances @ stdtr(n - 1, (place - mean - deviations) / scale))

    reach = float(np.abs(deviations).max()) - scale * float(stats.t.ppf(_TAIL / 2, n - 1))
    low, high = (_where(below, share, mean - reach, mean + reach) for share in (_TAIL, 1 - _TAIL))
    return Tested(Interval(mean, low, high, n).cut(-1, 1), _two_sided(below(0.0), 1 - below(0.0)))


def _where(below: Callable[[float], float], share: float, low: float, high: float) -> float:
    """The place below which so much of a distribution lies."""
    return float(root_scalar(lambda place: below(place) - share, bracket=(low, high), xtol=1e-9).root)


def _two_sided(below: float, above: float) -> float:
    return min(1.0, max(2 * min(below, above), SMALLEST))


def of_seeds(differences: Sequence[float], images: int) -> Tested:
    """Test the mean of differences, one for each seed, by Student's t; of one seed no interval, and p 1.

    A score of so many test images moves in steps of 1 / images, and seeds that agree to the step may differ within it:
    their deviation is taken to be a step at least.
    """
    values = np.asarray(differences, float)
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Tested(Interval(mean, None, None, 1), 1.0)
    scale = max(float(values.std(ddof=1)), 1 / max(images, 1)) / float(np.sqrt(n))
    half = -scale * float(stats.t.ppf(_TAIL, n - 1))
    p = max(2 * float(stats.t.sf(abs(mean) / scale, n - 1)), SMALLEST)
    return Tested(Interval(mean, mean - half, mean + half, n).cut(-1, 1), p)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values for the size of their family (Holm 1979): below 0.05 holds for all of them at once."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted
