"""Training, validation and test images, drawn so that runs can be compared."""

import hashlib
from collections.abc import Sequence

import numpy as np

from thawlab.data.images import ImagePool, Pools, Splits
from thawlab.data.sources import read
from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError

# Streams of random numbers that share a seed but must not share draws.
TEST, VAL, SUBSET = 1, 2, 3


def load_splits(spec: DatasetSpec, seed: int) -> Splits:
    """Read and split the images of `spec`, stratified by class.

    Test and validation images follow from `spec.split_seed` alone: neither how many images a run trains on, nor its
    `seed`, nor its strategy moves them. `per_class` and `share` choose among the training images, by `seed`; for one
    seed the smaller choice lies within the larger. Raises UserError for whatever makes this impossible.
    """
    pools = read(spec)
    _check_class_sizes(pools)
    train, test = _draw(pools.train, pools.test, pools.test_share, spec.split_seed, TEST)
    train, val = _draw(train, pools.val, spec.val_share, spec.split_seed, VAL)
    _check_drawn(pools, {"training": train, "validation": val, "test": test})
    train = train.take(_subset(spec, train.labels, pools.classes, seed))
    parts = {"train": train, "val": val, "test": test}
    digests = {name: [part.digest(i) for i in range(len(part))] for name, part in parts.items()}
    notes = (*pools.notes, *_copies(digests))
    whole = _fingerprint(pools.classes, parts, digests)
    test_alone = _fingerprint(pools.classes, {"test": test}, digests)
    return Splits(pools.classes, train, val, test, whole, test_alone, notes, pools.task)


def _check_class_sizes(pools: Pools) -> None:
    if len(pools.classes) < 2:
        raise UserError(
            f"The images are of {len(pools.classes)} classes ({', '.join(pools.classes)}), but telling images apart "
            "takes two or more. Add a class."
        )
    drawn = [name for name, part in (("validation", pools.val), ("test", pools.test)) if part is None]
    wants = {"training": (pools.train, 1 + len(drawn)), "validation": (pools.val, 1), "test": (pools.test, 1)}
    for name, (part, needed) in wants.items():
        if part is None:
            continue
        counts = np.bincount(part.labels, minlength=len(pools.classes))
        smallest = int(counts.argmin())
        if counts[smallest] < needed:
            others = f" and {' and '.join(drawn)}" if name == "training" and drawn else ""
            raise UserError(
                f"Class {pools.classes[smallest]!r} has {counts[smallest]} readable images for {name}{others}, but "
                f"needs {needed}: one for each. Add images to the class, or take it out of the data set."
            )


def _check_drawn(pools: Pools, parts: dict[str, ImagePool]) -> None:
    """A large share can leave a small class without an image in one of the splits."""
    counts = {name: np.bincount(part.labels, minlength=len(pools.classes)) for name, part in parts.items()}
    for label, name in enumerate(pools.classes):
        of_class = {part: int(count[label]) for part, count in counts.items()}
        if not all(of_class.values()):
            told = ", ".join(f"{count} for {part}" for part, count in of_class.items())
            raise UserError(
                f"Class {name!r} gets {told} of its readable images, but needs one for each. "
                "Lower dataset.test_share or dataset.val_share, or add images to the class."
            )


def _draw(
    pool: ImagePool, given: ImagePool | None, share: float, split_seed: int, stream: int
) -> tuple[ImagePool, ImagePool]:
    if given is not None:
        return pool, given
    rest, held = hold_out(pool.labels, share, np.random.SeedSequence([split_seed, stream]))
    return pool.take(rest), pool.take(held)


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


def _subset(spec: DatasetSpec, labels: np.ndarray, classes: Sequence[str], seed: int) -> np.ndarray:
    """Choose training images, sorted: the first of one fixed order per class, so that less lies within more."""
    if spec.per_class is None and spec.share is None:
        return np.arange(len(labels))
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
    orders = _orders(labels, np.random.SeedSequence([seed, SUBSET]))
    return np.sort(np.concatenate([order[:count] for order, count in zip(orders, chosen, strict=True)]))


def _copies(digests: dict[str, list[bytes]]) -> tuple[str, ...]:
    """Tell of test images that training has seen: a score on them is memory."""
    seen = {*digests["train"], *digests["val"]}
    copies = sum(digest in seen for digest in digests["test"])
    return (f"{copies} of {len(digests['test'])} test images are also training or validation images",) * bool(copies)


def _fingerprint(classes: Sequence[str], parts: dict[str, ImagePool], digests: dict[str, list[bytes]]) -> str:
    total = hashlib.sha256(repr(tuple(classes)).encode("utf-8", "surrogateescape"))
    for split, part in parts.items():
        rows = zip(part.names, part.labels.tolist(), digests[split], strict=True)
        total.update(repr((split, sorted(rows))).encode("utf-8", "surrogateescape"))
    return total.hexdigest()
