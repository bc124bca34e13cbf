"""How well features tell classes apart, and how far two sets of norm statistics lie apart.

Pure functions in float64: features (n, d), labels int (n,), which need not count from 0. What the images do not define
is NaN; constant features, fewer images than features, and classes of one image are no errors.
"""

import math
import warnings

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]

FOLDS = 5
STRENGTHS = np.logspace(-3, 5, 9)  # of the ridge, tried on standardised features
FEW, REPEATS = 500, 5  # up to so many images, one division into folds is a matter of luck: the mean over several
# The ratio of noise to signal that a fixed point may come to, as a multiple of the features' own largest variance: a
# fit without any noise would have infinite evidence.
RATIOS = (1e-9, 1e9)
STEPS, CLOSE = 1000, 1e-9  # of the fixed point
ROUNDING = float(np.finfo(np.float64).eps)


def log_evidence(features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """LogME in nats per image: the evidence of labels under a linear model of the features, best prior and noise.

    You, Liu, Wang and Long 2021 (arXiv:2102.11005): for each class, y in {0, 1} is N(0, I / beta + F F' / alpha); alpha
    and beta are those that make it likeliest, by the fixed point of its extended version (arXiv:2110.10545); the mean
    over the classes. Higher is better; what it is by chance depends on n and on the shares of the classes, so that it
    ranks stages and networks on the same images. Features are not centred; rotating or scaling them changes nothing.
    """
    rows = np.asarray(features, np.float64)
    targets = (np.asarray(labels)[:, None] == np.unique(labels)).astype(np.float64)
    if not len(rows):
        return math.nan
    left, values, _ = scipy.linalg.svd(rows, full_matrices=False, check_finite=True)
    rank = int((values > values[:1] * ROUNDING * max(rows.shape)).sum())
    inside = (left[:, :rank].T @ targets) ** 2
    total = (targets**2).sum(axis=0)
    outside = total - inside.sum(axis=0)
    outside[(outside < ROUNDING * len(rows) * total) | (rank == len(rows))] = 0.0
    scaled = (values[:rank] / values[0]) ** 2 if rank else np.empty(0)
    return float(np.mean([_evidence(scaled, own, out, len(rows)) for own, out in zip(inside.T, outside, strict=True)]))


def _evidence(variances: Array, inside: Array, outside: float, n: int) -> float:
    """Of one target per image: `inside` its squares along the features' axes, `outside` what no feature explains.

    With the ratio t = alpha / beta, the best beta is n / q, so that t alone is to be found.
    """
    t = _ratio(variances, inside, outside, n)
    q = float((inside * t / (t + variances)).sum()) + outside
    return -0.5 * (math.log(2 * math.pi * q / n) + 1) - 0.5 * float(np.log1p(variances / t).sum()) / n


def _ratio(variances: Array, inside: Array, outside: float, n: int) -> float:
    t = 1.0
    for _ in range(STEPS):
        shares = variances / (t + variances)
        fitted = float((inside * shares / (t + variances)).sum())  # |m|^2
        residual = float((inside * (1 - shares) ** 2).sum()) + outside
        effective = float(shares.sum())
        if not fitted * effective or n - effective <= 0:
            return RATIOS[1] if not fitted * effective else t
        new = min(max(effective / fitted * residual / (n - effective), RATIOS[0]), RATIOS[1])
        if abs(new - t) <= CLOSE * t:
            return new
        t = new
    return t


def leep(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """LEEP in nats per image, 0 at best: how well the source classifier's own answers tell the target's classes.

    Nguyen, Hassner, Seeger and Archambeau 2020 (arXiv:2002.12462): `probabilities` (n, source classes) give the joint
    distribution of source and target classes; the mean log-probability that it gives to each image's label.
    """
    given = np.asarray(probabilities, np.float64)
    classes, own = np.unique(labels, return_inverse=True)
    joint = (own[:, None] == np.arange(len(classes))).T.astype(np.float64) @ given
    mass = joint.sum(axis=0)
    conditional = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    return float(np.log((conditional[own] * given).sum(axis=1)).mean()) if len(given) else math.nan


def h_score(features: NDArray[np.floating], labels: NDArray[np.integer], shrink: bool = True) -> float:
    """H-score: how much of the features' variance, each direction by its own measure, lies between the classes.

    Bao et al. 2019 (arXiv:2212.10082): the trace of pinv(covariance) @ covariance of class means; 0 to classes - 1, d
    at most. With few images in many dimensions that is 1 for each direction by chance, hence `shrink`: the covariance
    of Ledoit and Wolf (2004, scikit-learn's), and the class means' weighed by what is not shrunk, as Ibrahim et al.
    2021 (arXiv:2110.06893) do. Both covariances are over n. Rotating features changes nothing; scaling them all alike
    neither.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    rows = np.asarray(features, np.float64)
    rows = rows - rows.mean(axis=0)
    largest = np.abs(rows).max(initial=0.0)
    if largest <= ROUNDING * np.abs(features).max(initial=0.0):
        return 0.0 if len(rows) else math.nan
    rows = rows / largest
    _, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([rows[own == i].mean(axis=0) for i in range(len(counts))]).T
    shrinkage = float(ledoit_wolf_shrinkage(rows, assume_centered=True)) if shrink else 0.0
    covariance = (1 - shrinkage) * rows.T @ rows / len(rows)
    covariance.flat[:: len(covariance) + 1] += shrinkage * (rows**2).sum() / rows.size
    between = (1 - shrinkage) * (means * _solved(covariance, means, shrinkage > ROUNDING) * counts).sum() / len(rows)
    return float(between)


def _solved(covariance: Array, means: Array, definite: bool) -> Array:
    if definite:
        try:
            return scipy.linalg.solve(covariance, means, assume_a="pos")
        except (scipy.linalg.LinAlgError, scipy.linalg.LinAlgWarning):
            pass  # so little shrunk that rounding shows
    return scipy.linalg.pinvh(covariance) @ means


def nearest_neighbour(features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Share of images whose nearest other image, by Euclidean distance, is of their class: 0 to 1.

    Where several are as near, their share of the class counts, so that constant features score as guessing does.
    """
    rows = np.asarray(features, np.float64)
    if len(rows) < 2:
        return math.nan
    rows = rows - rows.mean(axis=0)
    squares = (rows**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    np.fill_diagonal(distances, np.inf)
    # What rounding leaves of a distance of nothing.
    noise = 8 * ROUNDING * rows.shape[1] * (squares[:, None] + squares)
    nearest = distances <= distances.min(axis=1, keepdims=True) + noise
    np.fill_diagonal(nearest, False)
    alike = np.asarray(labels)[:, None] == np.asarray(labels)
    return float(((nearest & alike).sum(axis=1) / nearest.sum(axis=1)).mean())


def linear_probe(features: NDArray[np.floating], labels: NDArray[np.integer], seed: int = 0) -> float:
    """Accuracy of a linear classifier on images that it was not fitted to: 0 to 1.

    scikit-learn's ridge classifier on standardised features, its strength chosen by leave-one-out on each fold's
    training images, in `FOLDS` stratified folds or as many as the largest class has images (Alain and Bengio 2016,
    arXiv:1610.01644, measure layers by such probes). Up to `FEW` images, the mean over `REPEATS` divisions. Classes of
    one image take no part: none is left to learn them from. NaN where fewer than two classes have two images.
    """
    rows, own = np.asarray(features, np.float64), np.asarray(labels)
    _, places, counts = np.unique(own, return_inverse=True, return_counts=True)
    kept = counts[places] > 1
    if int((counts > 1).sum()) < 2:
        return math.nan
    rows, own = rows[kept], own[kept]
    repeats = REPEATS if len(rows) <= FEW else 1
    folds = min(FOLDS, int(counts.max()))
    return float(np.mean([_probed(rows, own, folds, seed + repeat) for repeat in range(repeats)]))


def _probed(rows: Array, labels: NDArray[np.integer], folds: int, seed: int) -> float:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeClassifierCV(STRENGTHS))
    divided = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # A class of fewer images than folds is in as many of them as it has images, which is what is wanted.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        predicted = np.asarray(cross_val_predict(model, rows, labels, cv=divided))
    return float((predicted == labels).mean())


def norm_distance(
    mean: NDArray[np.floating],
    variance: NDArray[np.floating],
    target_mean: NDArray[np.floating],
    target_variance: NDArray[np.floating],
    epsilon: float,
) -> float:
    """How far what enters a BatchNorm lies from what entered it on the source, in the layer's own units: 0 or more.

    The mean over its channels of the 2-Wasserstein distance between two normal distributions, which is the square root
    of (difference of means)^2 + (difference of deviations)^2, divided by the deviation that the layer divides by,
    sqrt(variance + epsilon). Unlike a Kullback-Leibler divergence it is finite where a channel is constant on the
    target, as dead ones are. Scaling a channel on both sides changes nothing where epsilon is small.
    """
    source, target = (np.sqrt(np.asarray(v, np.float64)) for v in (variance, target_variance))
    apart = np.hypot(np.asarray(target_mean, np.float64) - np.asarray(mean, np.float64), target - source)
    return float((apart / np.sqrt(source**2 + epsilon)).mean())
