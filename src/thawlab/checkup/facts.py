"""Every image of a data set, decoded once → what is known of it, in a few hundred bytes."""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

import numpy as np
import torch
from PIL import Image

from thawlab.data.decode import EXTENSIONS, decode_bytes, described
from thawlab.data.images import EncodedImages, ImageSet, Splits
from thawlab.data.preprocessing import Preprocessing

PARTS = ("train", "val", "test")
SIDE = 16  # pixels of a thumbnail: of 8, 12, 16 and 24 the one that tells copies best from merely similar images
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg"), "TIFF": (".tif", ".tiff"), "PPM": (".ppm", ".pgm"), "PNG": (".png",), "GIF": (".gif",),
    "BMP": (".bmp",), "WEBP": (".webp",), "NPY": (".npy",),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Facts:
    """One image: where it is, what it is called, and what its file and its pixels are.

    `labels` are class names, of a multilabel task any number; `pixels` is the sha256 of size and pixels, `thumbnail`
    uint8 (channels, SIDE * SIDE), `format` what the content is where the name says another, else "".
    """

    part: str
    index: int
    name: str
    labels: tuple[str, ...]
    digest: bytes
    pixels: bytes
    height: int
    width: int
    grey: bool
    pictures: int
    format: str
    thumbnail: np.ndarray

    @property
    def label(self) -> str:
        """Its labels as one text."""
        return "|".join(self.labels)


def scan(splits: Splits, preprocessing: Preprocessing | None = None) -> Iterator[tuple[Facts, torch.Tensor | None]]:
    """Decode each image of train, val and test, in order, by several threads; fitted as well where it is asked for.

    Threads are enough: decoders let go of the interpreter. Few images are ahead of whoever takes them. Raises UserError
    for a file that changes meanwhile.
    """
    threads = max(2, min(8, os.cpu_count() or 2))
    every = ((part, index) for part in PARTS for index in range(len(getattr(splits, part))))
    with _quiet_pillow(), _closing(ThreadPoolExecutor(threads)) as pool:
        waiting: deque[Future[tuple[Facts, torch.Tensor | None]]] = deque(
            pool.submit(_look, splits, part, index, preprocessing) for part, index in islice(every, 4 * threads)
        )
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(_look, splits, *one, preprocessing) for one in islice(every, 1))


@contextmanager
def _closing(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """End without what was not begun: an interrupted scan must not go on."""
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def _look(
    splits: Splits, part: str, index: int, preprocessing: Preprocessing | None
) -> tuple[Facts, torch.Tensor | None]:
    images: ImageSet = getattr(splits, part)
    label = images.labels[index]
    places = label.nonzero()[0] if splits.task == "multilabel" else [label]
    name, odd, pictures = images.names[index], "", 1
    if isinstance(images, EncodedImages):
        content = images.read(index)
        image, (odd, pictures) = decode_bytes(content, images.channels), _as_named(name, *described(content))
    else:
        image = images.load(index)
    planes = image.numpy()
    facts = Facts(
        part=part,
        index=index,
        name=name,
        labels=tuple(splits.classes[place] for place in places),
        digest=splits.digests[part][index],
        pixels=_digest(planes),
        height=planes.shape[1],
        width=planes.shape[2],
        grey=all(np.array_equal(planes[0], plane) for plane in planes[1:]),
        pictures=pictures,
        format=odd,
        thumbnail=_thumbnail(planes),
    )
    return facts, None if preprocessing is None else preprocessing.fit(image)


def _as_named(name: str, found: str, pictures: int) -> tuple[str, int]:
    """The format where it belies the name; a name without an ending, as of a row of a table, says nothing."""
    ending = PurePosixPath(name).suffix.lower()
    return ("" if ending not in EXTENSIONS or ending in ENDINGS.get(found, ()) else found), pictures


def _digest(planes: np.ndarray) -> bytes:
    total = hashlib.sha256(repr(planes.shape).encode())
    total.update(np.ascontiguousarray(planes.transpose(1, 2, 0)).data)  # as they lie in memory
    return total.digest()


def _thumbnail(planes: np.ndarray) -> np.ndarray:
    """Means over SIDE x SIDE fields: uint8 (channels, SIDE * SIDE)."""
    small = [Image.fromarray(plane).resize((SIDE, SIDE), Image.Resampling.BOX) for plane in planes]
    return np.stack([np.asarray(one).reshape(-1) for one in small])
