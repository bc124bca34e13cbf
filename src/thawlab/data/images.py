"""Labelled images, in memory or in files, behind one small interface."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import torch
from PIL import Image

from thawlab.data.decode import UnreadableImage, decode_bytes
from thawlab.data.spec import DEFAULT_TEST_SHARE
from thawlab.data.stores import Store
from thawlab.errors import UserError, printable


class ImageSet(Protocol):
    """Images with labels.

    A label is an index into the classes of the splits that the set belongs to; of a multilabel task, a row of zeros
    and ones over these classes.
    """

    @property
    def labels(self) -> np.ndarray:
        """int64, (n,); multilabel: uint8, (n, classes)."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """A stable id of each image: a relative path, or "digits/0017"."""
        ...

    def __len__(self) -> int: ...

    def load(self, index: int) -> torch.Tensor:
        """Give one image: uint8, (channels, height, width)."""
        ...


class ImagePool(ImageSet, Protocol):
    """Images that can still be dealt out to splits."""

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Give the images at these places, in this order."""
        ...

    def digest(self, index: int) -> bytes:
        """Give the sha256 of one image's content, whatever its name and label."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images of one size in memory: `pixels` uint8, (n, height, width) grey or (n, height, width, 3) RGB.

    `channels` is how they are given: 1 grey, 3 RGB.
    """

    pixels: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    channels: int = 3

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        assert self.pixels.dtype == np.uint8, self.pixels.dtype
        assert len(shape) == 3 or (len(shape) == 4 and shape[3] == 3), shape
        assert len(self.labels) == len(self.names) == len(self.pixels)
        if self.channels not in (1, 3):
            raise UserError(
                f"dataset.channels is {self.channels}, but these images are {'grey' if len(shape) == 3 else 'RGB'}. "
                "Give 1 (grey) or 3."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> torch.Tensor:
        """As in ImageSet; grey is given in all of three channels, colour as luma where one is asked for."""
        pixels = self.pixels[index]
        if pixels.ndim == 3 and self.channels == 1:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        # torch.tensor copies: the source may be read-only, and a view of it would be changed in place.
        image = torch.tensor(pixels)
        return image.permute(2, 0, 1).contiguous() if image.ndim == 3 else image[None].repeat(self.channels, 1, 1)

    def take(self, indices: Sequence[int] | np.ndarray) -> "ArrayImages":
        """As in ImagePool; the pixels are copied."""
        chosen = np.asarray(indices, dtype=np.int64)
        names = tuple(self.names[i] for i in chosen)
        return ArrayImages(self.pixels[chosen], self.labels[chosen], names, self.channels)

    def digest(self, index: int) -> bytes:
        """As in ImagePool, over the image's shape and pixels."""
        image = self.pixels[index]
        return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Image files of a store, decoded when they are asked for; `digests` are of the files' bytes."""

    store: Store
    names: tuple[str, ...]
    labels: np.ndarray
    digests: tuple[bytes, ...]
    channels: int = 3

    def __len__(self) -> int:
        return len(self.names)

    def load(self, index: int) -> torch.Tensor:
        """As in ImageSet. Raises UserError as `read` does."""
        try:
            return decode_bytes(self.read(index), self.channels)
        except UnreadableImage as error:
            raise self._spoilt(index, str(error)) from error

    def read(self, index: int) -> bytes:
        """Give the bytes that were checked. Raises UserError where the file is gone, or its bytes are others now.

        A run of other images than its record names would be a false one.
        """
        try:
            content = self.store.read(self.names[index])
        except OSError as error:
            raise self._spoilt(index, f"cannot be read any more: {error.strerror or error}") from error
        if hashlib.sha256(content).digest() != self.digests[index]:
            raise self._spoilt(index, "has other content than when the run began")
        return content

    def _spoilt(self, index: int, fact: str) -> UserError:
        return UserError(
            f"{printable(f'{self.store.place}/{self.names[index]}')} {fact}. It was readable when the run began: leave "
            "the files alone while a run reads them, and start it again."
        )

    def take(self, indices: Sequence[int] | np.ndarray) -> "EncodedImages":
        """As in ImagePool."""
        chosen = np.asarray(indices, dtype=np.int64)
        names, digests = tuple(self.names[i] for i in chosen), tuple(self.digests[i] for i in chosen)
        return EncodedImages(self.store, names, self.labels[chosen], digests, self.channels)

    def digest(self, index: int) -> bytes:
        """As in ImagePool, over the file's bytes."""
        return self.digests[index]


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint sets of images over the same classes.

    `fingerprint` is a sha256 (hex) over the content of all three: names, classes and bytes; `test_fingerprint` over
    the test set's alone, by which runs are comparable. `notes` is what a user must be told about them, one line each.
    """

    classes: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    fingerprint: str
    test_fingerprint: str
    notes: tuple[str, ...] = ()
    task: str = "multiclass"  # or "multilabel"
    digests: Mapping[str, Sequence[bytes]] = field(default_factory=dict)  # of each image of "train", "val" and "test"
    unreadable: tuple[tuple[str, str], ...] = ()  # what was left out: its name, and what is wrong with it


@dataclass(frozen=True, eq=False)
class Pools:
    """What a source hands over to be split: `val` and `test` are None where they are to be drawn from `train`.

    `test_share` is how much of `train` to draw for testing.
    """

    classes: tuple[str, ...]
    train: ImagePool
    val: ImagePool | None = None
    test: ImagePool | None = None
    test_share: float = DEFAULT_TEST_SHARE
    notes: tuple[str, ...] = ()
    task: str = "multiclass"
    unreadable: tuple[tuple[str, str], ...] = ()  # what was left out: its name, and what is wrong with it
