"""Which labels are doubtful: confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thawlab.checkup.facts import Facts

FOLDS = 5
BETTER = 2  # a judge of labels errs so many times less than whoever always says the commonest class
AXES = 64  # principal axes of the features that the classifier is given: more cost time and add noise


@dataclass(frozen=True, eq=False)
class Suspect:
    """An image whose label a classifier that never saw it doubts; `margin` is by how much of a probability."""

    image: Facts
    likelier: str
    margin: float


@dataclass(frozen=True, eq=False)
class Judged:
    """Doubtful labels, the most doubtful first, and the share of images whose class was told right.

    Where that is not `BETTER` than guessing, doubting labels by it would be noise: `able` is false, and none is.
    """

    suspects: tuple[Suspect, ...] = ()
    right: float = 0.0
    able: bool = False


def judged(images: Sequence[Facts], features: np.ndarray) -> Judged:
    """Find images that are likelier of another class; each has one. Features are float (n, d).

    Each image's classes are predicted by a logistic regression on the other folds. A class's mean probability among its
    own images is what counts as sure of it; an image is suspect if some class is sure of it, and the surest is another
    than its own. Classes of fewer than `FOLDS` images are left out.
    """
    names, labels = np.unique([one.label for one in images], return_inverse=True)
    counted = np.bincount(labels)[labels] >= FOLDS
    kept = np.flatnonzero(counted)
    present = np.unique(labels[kept])
    if len(present) < 2:
        return Judged()
    own = np.searchsorted(present, labels[kept])
    probabilities = _out_of_fold(features[kept], own)
    right = float((probabilities.argmax(axis=1) == own).mean())
    if BETTER * (1 - right) > 1 - np.bincount(own).max() / len(own):
        return Judged((), right)
    likelier, margin = doubted(probabilities, own)
    found = [
        Suspect(images[kept[i]], str(names[present[likelier[i]]]), float(margin[i]))
        for i in np.flatnonzero(likelier != own)
    ]
    return Judged(tuple(sorted(found, key=lambda suspect: -suspect.margin)), right, able=True)


def doubted(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class that each image is confidently of, its own where there is none, and how much likelier that is.

    `probabilities` float (n, classes), `labels` int (n,) of 0 to classes - 1, each of which occurs.

    >>> doubted(np.array([[.9, .1], [.8, .2], [.1, .9], [.9, .1]]), np.array([0, 0, 1, 1]))[0].tolist()
    [0, 0, 1, 0]
    """
    rows = np.arange(len(labels))
    sums = np.bincount(labels, probabilities[rows, labels], probabilities.shape[1])
    sure = sums / np.bincount(labels, minlength=probabilities.shape[1])
    confident = np.where(probabilities >= sure, probabilities, -1.0)
    likelier = np.where(confident.max(axis=1) >= 0, confident.argmax(axis=1), labels)
    return likelier, probabilities[rows, likelier] - probabilities[rows, labels]


def _out_of_fold(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    axes = min(AXES, features.shape[1], len(features) * (FOLDS - 1) // FOLDS - 1)
    model = make_pipeline(StandardScaler(), PCA(axes, random_state=0), LogisticRegression(max_iter=100, tol=1e-2))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough to tell doubt
        return np.asarray(cross_val_predict(model, features, labels, cv=folds, method="predict_proba"))
