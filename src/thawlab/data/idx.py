"""MNIST's file format: one header, then bytes (http://yann.lecun.com/exdb/mnist, "IDX")."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from thawlab.data.images import ArrayImages, Pools
from thawlab.data.roots import root_of
from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError

UNSIGNED_BYTES = 0x08
# torchvision knows these by the name of the folder that it puts them in.
NAMED = ("FashionMNIST", "KMNIST")


def read_idx(spec: DatasetSpec) -> Pools:
    """Read `train-` and `t10k-` `images-idx3-ubyte` and `labels-idx1-ubyte`, also `.gz`, in root or root/raw.

    Labels become classes in the order of their numbers. Names of classes: one a line in `classes.txt`; else
    torchvision's, if the folder is called FashionMNIST or KMNIST; else the numbers.
    """
    root = root_of("idx", spec.root or "")
    train_pixels, train_numbers = _read_part(root, "train")
    test_pixels, test_numbers = _read_part(root, "t10k")
    numbers = np.unique(train_numbers)
    _check_known(root, numbers, np.unique(test_numbers))
    return Pools(
        _class_names(root, numbers),
        _images(spec, "train", train_pixels, np.searchsorted(numbers, train_numbers)),
        test=_images(spec, "test", test_pixels, np.searchsorted(numbers, test_numbers)),
    )


def _images(spec: DatasetSpec, part: str, pixels: np.ndarray, labels: np.ndarray) -> ArrayImages:
    names = tuple(f"{part}/{i:05d}" for i in range(len(labels)))
    return ArrayImages(pixels, labels.astype(np.int64), names, spec.channels)


def _read_part(root: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = _find(root, part, "images", 3), _find(root, part, "labels", 1)
    pixels, numbers = read_idx_file(images, 3), read_idx_file(labels, 1)
    if len(pixels) != len(numbers):
        raise UserError(
            f"{images} holds {len(pixels)} images, but {labels} holds {len(numbers)} labels. "
            "They are not of one set: fetch both again."
        )
    return pixels, numbers


def _find(root: Path, part: str, what: str, dimensions: int) -> Path:
    # Some mirrors write a dot in place of the hyphen.
    names = [f"{part}-{what}{mark}idx{dimensions}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    for folder in (root, root / "raw"):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise UserError(
        f"dataset.root is {str(root)!r}, but neither it nor its folder raw holds {names[0]} or {names[1]}. "
        "Give the folder that holds the four files of MNIST's format."
    )


def read_idx_file(path: Path, dimensions: int) -> np.ndarray:
    """Read one file: uint8, (n,) of labels or (n, height, width) of images. Raises UserError for any defect."""
    content = _content(path)
    start = 4 + 4 * dimensions
    magic = bytes((0, 0, UNSIGNED_BYTES, dimensions))
    if content[:4] != magic or len(content) < start:
        raise UserError(
            f"{path} begins with {content[:4].hex()!r}, but a file of {dimensions}-dimensional bytes in MNIST's format "
            f"begins with {magic.hex()!r} and has a header of {start} bytes. Fetch the file again."
        )
    shape = tuple(int(side) for side in np.frombuffer(content[4:start], ">u4"))
    promised = start + math.prod(shape)
    if len(content) != promised:
        raise UserError(
            f"{path} holds {len(content)} bytes, but its header promises {promised} "
            f"({' x '.join(map(str, shape))}). Fetch the file again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}. Fetch the file again.") from error


def _check_known(root: Path, train: np.ndarray, test: np.ndarray) -> None:
    odd = np.setdiff1d(test, train)
    if len(odd):
        raise UserError(
            f"In dataset.root {root} the labels {', '.join(map(str, odd))} occur only in the test images. Every class "
            "needs training images."
        )


def _class_names(root: Path, numbers: np.ndarray) -> tuple[str, ...]:
    listed = root / "classes.txt"
    folder = root.parent.name if root.name == "raw" else root.name
    if listed.is_file():
        names = listed.read_text(encoding="utf-8").split("\n")
    elif folder in NAMED:
        from torchvision import datasets

        names = getattr(datasets, folder).classes
    else:
        names = [str(number) for number in range(256)]
    chosen = tuple(names[number].strip() if number < len(names) else "" for number in numbers)
    if not all(chosen) or len(set(chosen)) < len(chosen):
        raise UserError(
            f"{listed} must name {len(numbers)} classes, each differently and on a line of its own, "
            f"the line of label 0 first; it gives {', '.join(map(repr, chosen))}."
        )
    return chosen
