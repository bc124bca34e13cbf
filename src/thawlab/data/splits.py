"""Training, validation and test images, drawn so that runs can be compared."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from thawlab.data import multilabel, stratified
from thawlab.data.images import ImagePool, ImageSet, Pools, Splits
from thawlab.data.sources import read
from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError

# Streams of random numbers that share a seed but must not share draws.
TEST, VAL, SUBSET = 1, 2, 3
SHOWN = 5  # classes named in a note
# How images are drawn, by the task that their labels are for.
DRAWS = {"multiclass": stratified, "multilabel": multilabel}


def load_splits(spec: DatasetSpec, seed: int) -> Splits:
    """Read and split the images of `spec`, in the shares of its classes.

    Test and validation images follow from `spec.split_seed` alone: neither how many images a run trains on, nor its
    `seed`, nor its strategy moves them. `per_class` and `share` choose among the training images, by `seed`; for one
    seed the smaller choice lies within the larger. Raises UserError for whatever makes this impossible.
    """
    pools = read(spec)
    _check_class_sizes(pools)
    draws = DRAWS[pools.task]
    train, test, val = pools.train, pools.test, pools.val
    if test is None:
        train, test = _divide(train, draws.hold_out(train.labels, pools.test_share, _stream(spec.split_seed, TEST)))
    if val is None:
        train, val = _divide(train, draws.hold_out(train.labels, spec.val_share, _stream(spec.split_seed, VAL)))
    _check_drawn(pools, {"training": train, "validation": val, "test": test})
    if spec.per_class is not None or spec.share is not None:
        train = train.take(draws.choose(spec, train.labels, pools.classes, _stream(seed, SUBSET)))
    parts = {"train": train, "val": val, "test": test}
    digests = {name: [part.digest(i) for i in range(len(part))] for name, part in parts.items()}
    unseen = _unseen(pools.classes, {"validation": val, "test": test})
    notes = (*pools.notes, *unseen, *_copies(digests))
    whole = _fingerprint(pools.classes, parts, digests)
    test_alone = _fingerprint(pools.classes, {"test": test}, digests)
    return Splits(pools.classes, train, val, test, whole, test_alone, notes, pools.task, digests, pools.unreadable)


def rows(splits: Splits) -> Iterator[tuple[str, str, str, str]]:
    """Give every image's split, name, class (several joined by "|") and the sha256 (hex) of its content."""
    for split, digests in splits.digests.items():
        images: ImageSet = getattr(splits, split)
        for name, label, digest in zip(images.names, images.labels, digests, strict=True):
            places = label.nonzero()[0] if splits.task == "multilabel" else [label]
            yield split, name, "|".join(splits.classes[place] for place in places), digest.hex()


def _stream(seed: int, stream: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, stream])


def _divide(pool: ImagePool, places: tuple[np.ndarray, np.ndarray]) -> tuple[ImagePool, ImagePool]:
    kept, held = places
    return pool.take(kept), pool.take(held)


def count_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Count the images of each class: int64, (classes,), from labels of either task."""
    return labels.sum(axis=0, dtype=np.int64) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


def _check_class_sizes(pools: Pools) -> None:
    """Every class needs training images; of one class each also one for each split that is drawn.

    Nothing is asked of a class in a split that is given: its user may not be able to change it, and scores are
    defined without.
    """
    if len(pools.classes) < 2:
        raise UserError(
            f"The images are of {len(pools.classes)} classes ({', '.join(pools.classes)}), but telling images apart "
            "takes two or more. Add a class."
        )
    drawn = [name for name, part in (("validation", pools.val), ("test", pools.test)) if part is None]
    counts = count_labels(pools.train.labels, len(pools.classes))
    needed = 1 + (len(drawn) if pools.task == "multiclass" else 0)
    smallest = int(counts.argmin())
    if counts[smallest] < needed:
        others = f" and {' and '.join(drawn)}" if needed > 1 else ""
        raise UserError(
            f"Class {pools.classes[smallest]!r} has {counts[smallest]} readable images for training{others}, but "
            f"needs {needed}{': one for each' if needed > 1 else ''}. Add images to the class, or take it out of the "
            "data set."
        )


def _check_drawn(pools: Pools, parts: dict[str, ImagePool]) -> None:
    """A large share can leave a small class without an image in a split that was drawn."""
    _check_not_empty(pools, parts)
    of_one_class = pools.task == "multiclass"
    needing = [name for name, given in (("validation", pools.val), ("test", pools.test)) if given is None]
    needing = ["training", *(needing if of_one_class else ())]
    counts = {name: count_labels(part.labels, len(pools.classes)) for name, part in parts.items()}
    for label, name in enumerate(pools.classes):
        of_class = {part: int(count[label]) for part, count in counts.items()}
        if not all(of_class[part] for part in needing):
            told = ", ".join(f"{count} for {part}" for part, count in of_class.items())
            raise UserError(
                f"Class {name!r} gets {told} of its readable images, but needs one for {' and '.join(needing)}. "
                "Lower dataset.test_share or dataset.val_share, or add images to the class."
            )


def _check_not_empty(pools: Pools, parts: dict[str, ImagePool]) -> None:
    """No score is defined without an image, nor average precision where no image has a label."""
    for name, part in parts.items():
        if not len(part):
            raise UserError(f"No readable image is left for {name}. Add images.")
        if not part.labels.any() and pools.task == "multilabel":
            raise UserError(
                f"None of the {len(part)} {name} images has a label, so that nothing can be measured on them. Add "
                "images that have one, or leave these out."
            )


def _unseen(classes: Sequence[str], parts: dict[str, ImagePool]) -> Iterator[str]:
    """Tell which classes a split says nothing of."""
    for name, part in parts.items():
        counts = count_labels(part.labels, len(classes))
        missing = [label for label, count in zip(classes, counts, strict=True) if not count]
        if missing:
            shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
            yield f"{len(missing)} of {len(classes)} classes have no {name} image and no part in its scores: {shown}"


def _copies(digests: dict[str, list[bytes]]) -> tuple[str, ...]:
    """Tell of test images that training has seen: a score on them is memory."""
    seen = {*digests["train"], *digests["val"]}
    copies = sum(digest in seen for digest in digests["test"])
    many = f"{copies} of {len(digests['test'])} test images are also training or validation images"
    return (f"{many}, so that the score on them is memory: scripts/check_data.py names them",) * bool(copies)


def _fingerprint(classes: Sequence[str], parts: dict[str, ImagePool], digests: dict[str, list[bytes]]) -> str:
    total = hashlib.sha256(repr(tuple(classes)).encode("utf-8", "surrogateescape"))
    for split, part in parts.items():
        rows = zip(part.names, part.labels.tolist(), digests[split], strict=True)
        total.update(repr((split, sorted(rows))).encode("utf-8", "surrogateescape"))
    return total.hexdigest()
