"""Images that need no file: scikit-learn's handwritten digits, and the tasks that the package makes itself."""

import logging
import math
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import torch

from thawlab.data.images import ArrayImages, Pools
from thawlab.data.remembering import remembered
from thawlab.data.spec import DatasetSpec
from thawlab.store.faults import StoreError
from thawlab.store.key import Key
from thawlab.store.layout import TensorLayout
from thawlab.store.rowstore import RowStore

if TYPE_CHECKING:
    from thawlab.data.made import Task

log = logging.getLogger(__name__)

# As in the tables of the documentation: 497 of 1,797, so that accuracies resolve to 0.2 points.
DIGITS_TESTED = 497
DEFAULT_IMAGES = {"characters": 40_000, "characters_near": 4_000, "shapes": 4_000}


def read_digits(spec: DatasetSpec) -> Pools:
    """Give scikit-learn's 1,797 real handwritten digits, 8 x 8 grey; its values 0 to 16 become 0 to 255."""
    # Here, and not above: sklearn.datasets takes a second to import, which other sources need not pay.
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(values).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = ArrayImages(pixels, np.asarray(labels, np.int64), _names("digits", len(labels)), spec.channels)
    return Pools(tuple(str(digit) for digit in range(10)), images, test_share=DIGITS_TESTED / len(labels))


def read_made(spec: DatasetSpec) -> Pools:
    """Make the images of `spec.source`; `split_seed` draws them, so that `seed` never changes the test set."""
    count = spec.images or DEFAULT_IMAGES[spec.source]
    pixels, labels, classes = _make(spec.source, count, spec.split_seed)
    images = ArrayImages(pixels, labels, _names(spec.source, len(labels)), spec.channels)
    return Pools(classes, images, test_share=spec.test_share)


@lru_cache(maxsize=2)
def _make(source: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Remembered, for drawing 4,000 images takes longer than many a run on them: by the process, and on disk."""
    from thawlab.data.made import TASKS

    task = TASKS[source]
    return _pixels(task, source, count, seed), task.labels(count), task.classes


def _pixels(task: "Task", source: str, count: int, seed: int) -> np.ndarray:
    if (rows := remembered()) is not None:
        try:
            return _kept(rows, task, source, count, seed)
        except StoreError as error:
            log.info("images that were drawn cannot be kept: %s", error)
    return task.pixels(range(count), seed)


def _kept(rows: RowStore, task: "Task", source: str, count: int, seed: int) -> np.ndarray:
    from thawlab.data.made import drawn_by

    def draw(places: list[int]) -> Iterator[tuple[torch.Tensor]]:
        yield (torch.from_numpy(task.pixels(places, seed)),)

    key = Key({"kind": "drawn", "source": source, "seed": str(seed), "code": drawn_by()})
    names = [sha256(str(place).encode()).digest() for place in range(count)]
    found = rows.open(key, names, (TensorLayout(task.shape, "uint8"),), draw, math.prod(task.shape))
    (pixels,) = found.gather(torch.arange(count))
    return torch.as_tensor(pixels).numpy()


def _names(source: str, count: int) -> tuple[str, ...]:
    width = max(4, len(str(count - 1)))
    return tuple(f"{source}/{index:0{width}d}" for index in range(count))
