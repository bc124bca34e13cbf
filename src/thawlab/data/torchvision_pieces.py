"""One part of a data set of torchvision, constructed: its labels, and where its images are."""

import ast
import inspect
import logging
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thawlab.data.torchvision_table import Arguments, parameters
from thawlab.errors import UserError, in_words
from thawlab.offline import impatient_sockets

_ENDINGS = (".gz", ".tgz", ".tar", ".zip", ".mat", ".bin", ".bz2", ".xz", ".csv", ".data", ".h5")
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Piece:
    """One constructed data set: its labels, their names, and where its images are.

    Either `files` are the paths of its images, or `pixels` uint8 (n, height, width[, 3]); with neither, only its own
    code reads them, as `arguments` construct it.
    """

    arguments: Arguments
    labels: tuple[Any, ...]
    names: tuple[str, ...] | None
    changed: int  # nanoseconds: when a file that its own code reads last changed
    files: tuple[str, ...] | None = None
    pixels: np.ndarray | None = None


def construct(kind: type, root: Path, arguments: Arguments) -> Any:
    """Construct a data set, fetching its files where they are not there. Raises UserError where that fails."""
    known = parameters(kind)
    # A data set that opens files by a loader gives their paths instead of their pixels.
    told = {**arguments, **({"loader": os.fspath} if "loader" in known else {})}
    fetch = {"download": False} if "download" in known else {}
    try:
        return kind(str(root), **told, **fetch)
    except Exception as error:  # absent or odd files raise anything, from FileNotFoundError to a number's ValueError
        if not fetch:
            raise _not_there(kind, root, error) from error
    log.info("fetching %s into %s", kind.__name__, root)
    try:
        with impatient_sockets():
            return kind(str(root), **told, download=True)
    except Exception as error:
        raise _not_there(kind, root, error) from error


def _not_there(kind: type, root: Path, error: Exception) -> UserError:
    files = wanted_files(kind)
    listed = f" It is made from {', '.join(files)}." if files else ""
    return UserError(
        f"dataset.id is {kind.__name__!r}, but torchvision cannot read it in {root}, nor fetch it there "
        f"({in_words(error)})."
        f"{listed} Fetch it where there is network and copy the folder here, laid out as "
        f"torchvision.datasets.{kind.__name__} documents, or give dataset.root the folder that holds it."
    )


def piece_of(dataset: Any, arguments: Arguments) -> Piece:
    """Find the labels and the images of a constructed data set."""
    names = _names_in(dataset)
    if (pixels := _pixels(dataset)) is not None:
        # What the set itself would show settles the order of the axes.
        assert np.array_equal(pixels[0], np.asarray(dataset[0][0])), type(dataset).__name__
        return Piece(arguments, _array_labels(dataset), names, 0, pixels=pixels)
    listed = _listed(dataset)
    if all(path is not None for path, _ in listed):
        listed.sort(key=lambda pair: str(pair[0]))  # some list files as the file system does, here so and there so
    labels = tuple(_label(label) for _, label in listed)
    files = tuple(path for path, _ in listed if path is not None)
    if len(files) == len(labels):
        return Piece(arguments, labels, names, 0, files)
    return Piece(arguments, labels, names, _newest(Path(getattr(dataset, "_base_folder", dataset.root))))


def _names_in(dataset: Any) -> tuple[str, ...] | None:
    """The classes' names by number. Several words for one class are joined, as ImageNet's."""
    for attribute in ("classes", "categories", "all_categories", "attr_names"):
        if found := getattr(dataset, attribute, None):
            return tuple(", ".join(name) if isinstance(name, tuple) else str(name) for name in found if name)
    return None


def _pixels(dataset: Any) -> np.ndarray | None:
    data = getattr(dataset, "data", None)
    samples = getattr(dataset, "_samples", None)
    if data is None and samples and isinstance(samples[0][0], torch.Tensor):  # FER2013
        data = torch.stack([image for image, _ in samples])
    if not isinstance(data, np.ndarray | torch.Tensor):
        return None
    pixels = np.asarray(data)
    if pixels.ndim == 4 and pixels.shape[1] == 3 and pixels.shape[3] != 3:
        pixels = pixels.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels)


def _array_labels(dataset: Any) -> tuple[int | None, ...]:
    found = getattr(dataset, "targets", getattr(dataset, "labels", None))
    if found is None:
        return tuple(label for _, label in dataset._samples)
    numbers = np.asarray(found)
    # QMNIST writes eight numbers for each image, of which the first is the digit.
    return tuple(int(number) for number in (numbers[:, 0] if numbers.ndim == 2 else numbers))


def _listed(dataset: Any) -> list[tuple[str | None, Any]]:
    """Each image's path and label; None for a path where only the set's own code can read the image."""
    # These two open files by themselves, decode them, and forget where they were.
    if type(dataset).__name__ == "GTSRB":
        return list(dataset._samples)
    if type(dataset).__name__ == "OxfordIIITPet":
        return [(str(path), label) for path, label in zip(dataset._images, dataset._labels, strict=True)]
    listed = [_one(*dataset[i]) for i in range(len(dataset))]
    if type(dataset).__name__ == "Omniglot":  # it numbers its classes in the order that the file system lists them
        listed = [(path, dataset._characters[label]) for path, label in listed]
    return listed


def _one(image: Any, label: Any) -> tuple[str | None, Any]:
    if isinstance(image, str):
        return image, label
    path = getattr(image, "filename", "") or None  # opened, not decoded: Pillow remembers the file
    image.close()
    return path, label


def _label(label: Any) -> Any:
    """A number, a name or None; of a row of zeros and ones the numbers of the ones."""
    if isinstance(label, torch.Tensor | np.ndarray) and label.ndim == 1:
        return tuple(int(place) for place in np.flatnonzero(np.asarray(label)))
    return int(label) if isinstance(label, np.integer | torch.Tensor) else label


def _newest(root: Path) -> int:
    return max((path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()), default=0)


def wanted_files(kind: type) -> tuple[str, ...]:
    """Addresses and names of files in the source of a data set's class: what it is made from, as far as it says."""
    found: dict[str, None] = {}
    for value in vars(kind).values():
        _collect(value, found)
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    documented = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value not in documented:
            _collect(node.value, found)
    return tuple(found)


def _collect(value: Any, found: dict[str, None]) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            _collect(inner, found)
    elif isinstance(value, str) and len(value.split()) == 1 and value.endswith(_ENDINGS) and not value.startswith("."):
        found[value] = None
