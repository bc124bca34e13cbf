"""Draws among images of one class each, in the shares of the classes."""

from collections.abc import Sequence

import numpy as np

from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError


def hold_out(labels: np.ndarray, share: float, seed: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
    """Divide places into those kept and those held out, both sorted.

    Of n images round(share * n) are held out, and of each class its exact share rounded down or up, so that no split
    is off by more than one image in any class; but never none, and never all. (scikit-learn's stratified split leaves
    a small class without a test image.) Every class must have two images or more.
    """
    orders = _orders(labels, seed)
    quotas = _quotas(np.array([len(order) for order in orders]), share)
    held = np.concatenate([order[:quota] for order, quota in zip(orders, quotas, strict=True)])
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(held)


def _quotas(counts: np.ndarray, share: float) -> np.ndarray:
    """Round each class's exact share so that the sum is right: largest remainder, within bounds."""
    exact = counts * share
    low = np.clip(np.floor(exact), 1, counts - 1).astype(np.int64)
    high = np.clip(np.ceil(exact), low, counts - 1).astype(np.int64)
    missing = max(round(float(exact.sum())) - int(low.sum()), 0)
    by_remainder = np.argsort(low - exact, kind="stable")
    raisable = by_remainder[(high > low)[by_remainder]][:missing]
    low[raisable] += 1
    return low


def _orders(labels: np.ndarray, seed: np.random.SeedSequence) -> list[np.ndarray]:
    """Give each class's places in a random order of its own, untouched by how large the other classes are."""
    return [
        np.random.default_rng(child).permutation(np.flatnonzero(labels == label))
        for label, child in enumerate(seed.spawn(int(labels.max()) + 1))
    ]


def choose(spec: DatasetSpec, labels: np.ndarray, classes: Sequence[str], seed: np.random.SeedSequence) -> np.ndarray:
    """Choose `per_class` or `share` of the images, sorted: the first of one order per class, so that less lies in more.

    Raises UserError where a class has too few.
    """
    counts = np.bincount(labels, minlength=len(classes))
    smallest = int(counts.argmin())
    if spec.per_class is not None and spec.per_class > counts[smallest]:
        raise UserError(
            f"dataset.per_class is {spec.per_class}, but class {classes[smallest]!r} has {counts[smallest]} training "
            f"images. Give 1 to {counts[smallest]}."
        )
    chosen = [spec.per_class or int(np.floor((spec.share or 0) * count + 0.5)) for count in counts]
    if not all(chosen):
        raise UserError(
            f"dataset.share is {spec.share}, which leaves class {classes[smallest]!r} none of its {counts[smallest]} "
            f"training images. Give {np.ceil(500 / counts[smallest]) / 1000:g} or more."
        )
    orders = _orders(labels, seed)
    return np.sort(np.concatenate([order[:count] for order, count in zip(orders, chosen, strict=True)]))
