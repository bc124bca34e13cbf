"""Any image classification set of torchvision.datasets, by the name of its class."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thawlab.data.checking import ImageFile
from thawlab.data.encoded import Entry, pools_of, refuse_unused_share
from thawlab.data.images import ArrayImages, Pools
from thawlab.data.labels import Labelled, labelled, unique, without_unlabelled
from thawlab.data.spec import DatasetSpec
from thawlab.data.stores import FolderStore, Store
from thawlab.data.torchvision_pieces import Piece, construct, piece_of
from thawlab.data.torchvision_table import arguments_of, class_of
from thawlab.errors import UserError


@dataclass(frozen=True)
class SetStore:
    """Images that only a data set's own code can read (HDF5), handed over as PNG: nothing of their pixels is lost.

    `parts`: the constructor's arguments for each split, as JSON; a file's name is the split and the image's number.
    `changed` tells apart the stores of one folder with other content.
    """

    name: str
    root: str
    parts: tuple[tuple[str, str], ...]
    changed: int  # nanoseconds

    @property
    def place(self) -> str:
        """The data set and its folder."""
        return f"torchvision's {self.name} in {self.root}"

    def read(self, name: str) -> bytes:
        """As in Store."""
        part, _, number = name.rpartition("/")
        try:
            image, _ = _opened(self.name, self.root, dict(self.parts)[part])[int(number)]
        except Exception as error:  # as many kinds as there are formats
            raise OSError(f"{type(error).__name__}: {error}") from error
        content = io.BytesIO()
        image.save(content, "PNG", compress_level=1)
        return content.getvalue()


@lru_cache(maxsize=4)
def _opened(name: str, root: str, arguments: str) -> Any:
    return class_of(name)(root, **json.loads(arguments))


def default_root() -> Path:
    """Where data sets are kept unless dataset.root says otherwise: beside torch's own cache, as TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()).parent / "datasets"


def read_torchvision(spec: DatasetSpec) -> Pools:
    """Read a data set of torchvision, fetching it into `root` where its files are not there.

    Its own splits are taken as given, whatever they are; what is not given is drawn. Raises UserError for an unknown
    or unfit data set, and where files are missing and cannot be fetched.
    """
    kind = class_of(spec.id)
    arguments = arguments_of(kind.__name__, spec.subset)
    root = Path(spec.root).expanduser() if spec.root else default_root()
    root = root.absolute()
    pieces = {
        part: [piece_of(construct(kind, root, one), one) for one in several] for part, several in arguments.items()
    }
    place = f"torchvision's {kind.__name__} in {root}"
    raw = {part: [label for piece in several for label in piece.labels] for part, several in pieces.items()}
    raw, notes = without_unlabelled(place, raw, "Take another data set.")
    found = labelled(place, raw, _class_names(pieces))
    _check_task(spec, found)
    notes = (*notes, *found.notes)
    if all(piece.pixels is not None for part in raw for piece in pieces[part]):
        return _in_memory(spec, place, pieces, found, notes)
    return _from_files(spec, kind.__name__, root, pieces, found, notes)


def _class_names(pieces: Mapping[str, Sequence[Piece]]) -> tuple[str, ...] | None:
    """The one list of names that all pieces share, which several read from their own files; None: numbers."""
    lists = {piece.names for several in pieces.values() for piece in several}
    if len(lists) > 1:
        raise UserError(
            "The training and test images of this data set name different classes: "
            f"{'; '.join(', '.join((names or ('numbers',))[:5]) for names in lists)}. Its files are incomplete: "
            "fetch them again."
        )
    (names,) = lists
    return unique(names) if names else None


def _check_task(spec: DatasetSpec, found: Labelled) -> None:
    several = any(isinstance(place, tuple) for places in found.places.values() for place in places[:1])
    if several != (spec.task == "multilabel"):
        right, how = ("multilabel", "any number of labels") if several else ("multiclass", "one label")
        raise UserError(
            f"dataset.task is {spec.task!r}, but each image of {spec.id} has {how}. Give dataset.task={right}."
        )


def _in_memory(
    spec: DatasetSpec, place: str, pieces: Mapping[str, Sequence[Piece]], found: Labelled, notes: tuple[str, ...]
) -> Pools:
    if spec.bad_images != "error":
        raise UserError(
            f"dataset.bad_images is {spec.bad_images!r}, but {spec.id} is read into memory as it is. Leave "
            "dataset.bad_images out."
        )
    refuse_unused_share(spec, place, "test" in found.places, "val" in found.places)
    pools = {
        part: ArrayImages(
            np.concatenate([piece.pixels for piece in pieces[part] if piece.pixels is not None]),
            np.array(places, dtype=np.int64),
            tuple(f"{part}/{i:06d}" for i in range(len(places))),
            spec.channels,
        )
        for part, places in found.places.items()
    }
    return Pools(found.classes, pools["train"], pools.get("val"), pools.get("test"), spec.test_share, notes, spec.task)


def _from_files(
    spec: DatasetSpec,
    name: str,
    root: Path,
    pieces: Mapping[str, Sequence[Piece]],
    found: Labelled,
    notes: tuple[str, ...],
) -> Pools:
    files = {part: _files(root, part, pieces[part]) for part in found.places}
    entries = [
        Entry(part, place, file)
        for part, places in found.places.items()
        for place, file in zip(places, files[part], strict=True)
    ]
    return pools_of(spec, _store(name, root, pieces), found.classes, entries, notes)


def _store(name: str, root: Path, pieces: Mapping[str, Sequence[Piece]]) -> Store:
    every = [piece for several in pieces.values() for piece in several]
    if all(piece.files is not None for piece in every):
        return FolderStore(root)
    parts = tuple((part, json.dumps(dict(several[0].arguments))) for part, several in pieces.items())
    return SetStore(name, str(root), parts, max(piece.changed for piece in every))


def _files(root: Path, part: str, pieces: Sequence[Piece]) -> list[ImageFile]:
    if any(piece.files is None for piece in pieces):
        (piece,) = pieces
        return [ImageFile(f"{part}/{i:06d}", 0, 0) for i in range(len(piece.labels))]
    return [_image_file(root, path) for piece in pieces for path in piece.files or ()]


def _image_file(root: Path, path: str) -> ImageFile:
    name = Path(os.path.relpath(path, root)).as_posix()
    try:
        found = os.stat(path)
    except OSError:
        return ImageFile(name, 0, 0)  # reading it fails, and it is reported with the other unreadable files
    return ImageFile(name, found.st_size, found.st_mtime_ns)
