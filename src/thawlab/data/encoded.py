"""Image files with their labels → pools: every source of files ends here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thawlab.data.checking import ImageFile, Verdict, check_files, notes_on, refuse_bad
from thawlab.data.images import EncodedImages, Pools
from thawlab.data.spec import DEFAULT_TEST_SHARE, DatasetSpec
from thawlab.data.stores import Store
from thawlab.errors import UserError

VAL_AS_TEST = (
    "no test images are given: the given validation images are the test set, used for no choice, and validation "
    "images are drawn from the training images"
)


@dataclass(frozen=True)
class Entry:
    """A file, the split that it was found in ("train" where there are none), and its label's place in the classes."""

    part: str
    label: int | tuple[int, ...]  # multilabel: the places of all its labels
    file: ImageFile


def pools_of(
    spec: DatasetSpec, store: Store, classes: tuple[str, ...], entries: Sequence[Entry], notes: Sequence[str] = ()
) -> Pools:
    """Check every file, and pool the images by split.

    What is not given is drawn from train. Given train and val alone, val becomes the test set: it was set aside by
    someone else, and choosing an epoch by it would spoil it. Raises UserError for files that do not decode, unless
    they are to be left out.
    """
    files = tuple(entry.file for entry in entries)
    verdicts = check_files(store, files, spec.channels)
    if spec.bad_images == "error":
        refuse_bad(store.place, files, verdicts)
    sound = [(entry, verdict) for entry, verdict in zip(entries, verdicts, strict=True) if not verdict.defect]
    pools = {
        part: _images(spec, store, len(classes), [one for one in sound if one[0].part == part])
        for part in dict.fromkeys(entry.part for entry in entries)
    }
    notes = (*notes, *notes_on(files, verdicts))
    if "val" in pools and "test" not in pools:
        pools["test"] = pools.pop("val")
        notes = (*notes, VAL_AS_TEST)
    refuse_unused_share(spec, store.place, "test" in pools, "val" in pools)
    bad = tuple((file.name, verdict.defect) for file, verdict in zip(files, verdicts, strict=True) if verdict.defect)
    return Pools(classes, pools["train"], pools.get("val"), pools.get("test"), spec.test_share, notes, spec.task, bad)


def _images(spec: DatasetSpec, store: Store, classes: int, sound: Sequence[tuple[Entry, Verdict]]) -> EncodedImages:
    names, digests = tuple(e.file.name for e, _ in sound), tuple(verdict.digest for _, verdict in sound)
    labels = [entry.label for entry, _ in sound]
    arranged = _rows(labels, classes) if spec.task == "multilabel" else np.array(labels, dtype=np.int64)
    return EncodedImages(store, names, arranged, digests, spec.channels)


def _rows(labels: Sequence[int | tuple[int, ...]], classes: int) -> np.ndarray:
    """Give each image's labels as a row of zeros and ones: uint8, (n, classes)."""
    rows = np.zeros((len(labels), classes), dtype=np.uint8)
    for row, places in zip(rows, labels, strict=True):
        row[list(places) if isinstance(places, tuple) else [places]] = 1
    return rows


def refuse_unused_share(spec: DatasetSpec, place: str, test_given: bool, val_given: bool) -> None:
    """Raise UserError for a share that was set although nothing is drawn by it."""
    val_default = DatasetSpec.__dataclass_fields__["val_share"].default
    for field, given, default in (
        ("test_share", test_given, DEFAULT_TEST_SHARE),
        ("val_share", val_given, val_default),
    ):
        if given and getattr(spec, field) != default:
            raise UserError(
                f"dataset.{field} is {getattr(spec, field)!r}, but {place} gives these images apart from the "
                f"others, so nothing is drawn. Leave dataset.{field} out."
            )
