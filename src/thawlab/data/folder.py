"""Images in folders: one folder for each class, with or without a folder for each split above them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thawlab.data.checking import ImageFile, Verdict, check_files, notes_on, refuse_bad
from thawlab.data.images import FolderImages, Pools
from thawlab.data.listing import Listing, list_folder
from thawlab.data.spec import DEFAULT_TEST_SHARE, DatasetSpec
from thawlab.errors import UserError

VAL_AS_TEST = (
    "there is no test folder: the given validation folder is the test set, used for no choice, and validation "
    "images are drawn from the training images"
)


@dataclass(frozen=True)
class _Found:
    """One file of one class of one part, and what decoding it showed."""

    part: str
    label: int
    file: ImageFile
    verdict: Verdict


def read_folder(spec: DatasetSpec) -> Pools:
    """Read `root/{train,val,test}/class/...` as given, or `root/class/...` to be split by us.

    What is not given is drawn from train. Given train and val alone, val becomes the test set: it was set aside by
    someone else, and choosing an epoch by it would spoil it. Raises UserError for whatever `list_folder` refuses and
    for files that do not decode, unless they are to be left out.
    """
    root = Path(spec.root or "").expanduser()
    listing = list_folder(root)
    found = _check(spec, root, listing)
    classes = tuple(sorted(listing.parts["train"].classes))
    pools = {
        part: _images(root, [one for one in found if one.part == part and not one.verdict.defect])
        for part in listing.parts
    }
    notes = (*listing.notes, *notes_on([one.file for one in found], [one.verdict for one in found]))
    if "val" in pools and "test" not in pools:
        pools["test"] = pools.pop("val")
        notes = (*notes, VAL_AS_TEST)
    _refuse_unused_share(spec, root, "test" in pools, "val" in pools)
    return Pools(classes, pools["train"], pools.get("val"), pools.get("test"), spec.test_share, notes)


def _check(spec: DatasetSpec, root: Path, listing: Listing) -> list[_Found]:
    where = [
        (part, label, file)
        for part, held in listing.parts.items()
        for label, name in enumerate(sorted(held.classes))
        for file in held.classes[name]
    ]
    files = tuple(file for _, _, file in where)
    verdicts = check_files(root, files)
    if spec.bad_images == "error":
        refuse_bad(root, files, verdicts)
    return [_Found(*place, verdict) for place, verdict in zip(where, verdicts, strict=True)]


def _images(root: Path, found: list[_Found]) -> FolderImages:
    return FolderImages(
        root,
        tuple(one.file.name for one in found),
        np.array([one.label for one in found], dtype=np.int64),
        tuple(one.verdict.digest for one in found),
    )


def _refuse_unused_share(spec: DatasetSpec, root: Path, test_given: bool, val_given: bool) -> None:
    val_default = DatasetSpec.__dataclass_fields__["val_share"].default
    for field, given, default in (
        ("test_share", test_given, DEFAULT_TEST_SHARE),
        ("val_share", val_given, val_default),
    ):
        if given and getattr(spec, field) != default:
            raise UserError(
                f"dataset.{field} is {getattr(spec, field)!r}, but dataset.root {root} gives these images in a folder "
                f"of their own, so nothing is drawn. Leave dataset.{field} out."
            )
