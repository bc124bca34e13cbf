"""Decoded images on disk: a file is decoded once, for all epochs, seeds and runs that want it in the same form."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np
import torch

from thawlab.data.decode import DECODER, versions
from thawlab.data.framing import Framing
from thawlab.data.images import EncodedImages, ImageSet
from thawlab.store.faults import StoreError, tell
from thawlab.store.key import Key
from thawlab.store.layout import Layout, TensorLayout
from thawlab.store.rows import Rows
from thawlab.store.rowstore import RowStore

AT_ONCE = 64  # images written together
LOOKED_AT = 16  # images by which the size of all is predicted


class PixelStore:
    """Opens the rows of images in a form, decoding what is not there yet; `notes` are what was said meanwhile."""

    def __init__(self, store: RowStore) -> None:
        self.notes: list[str] = []
        self._store = store

    def open(self, images: ImageSet, framing: Framing) -> Rows | None:
        """Give rows in the order of the images: uint8 (channels, size, size), or (channels, height, width) of each.

        None where there is nothing to decode (images in memory), and, after a line that says why, where they cannot be
        kept. Raises UserError for a file that has changed since it was checked.
        """
        if not isinstance(images, EncodedImages):
            return None
        key = key_of(framing)
        try:
            found = self._store.has(key, images.digests)
            size = _row_bytes(images, framing) if found < len(images) else 0
            return self._store.open(key, images.digests, layout_of(framing), partial(_decoded, images, framing), size)
        except StoreError as error:
            self._say(f"cache: decoded images are not kept, so that each use decodes its own: {error}")
            return None

    def _say(self, note: str) -> None:
        """Once: the next split has no more room than this one."""
        if not self.notes:
            self.notes.append(note)
            tell(f"  {note}")


def key_of(framing: Framing) -> Key:
    """What the pixels depend on besides the file's bytes."""
    channels = str(framing.preprocessing.channels)
    parts = {"kind": "pixels", "form": framing.text, "channels": channels, "decoder": DECODER, "versions": versions()}
    return Key(parts)


def layout_of(framing: Framing) -> Layout:
    """Bytes; images of many sizes have their channels last in memory, as they come from decoding."""
    return (TensorLayout(framing.shape, "uint8", (1, 2, 0) if framing.shape is None else None),)


def _row_bytes(images: EncodedImages, framing: Framing) -> float:
    """Bytes of a row; where they differ, the mean over a few images, spread over all."""
    if framing.shape is not None:
        return float(np.prod(framing.shape))
    some = np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int)).tolist()
    return sum(framing(images.load(place)).numel() for place in some) / len(some)


def _decoded(images: EncodedImages, framing: Framing, places: Sequence[int]) -> Iterator[tuple[torch.Tensor | list]]:
    """Rows of the images at these places, `AT_ONCE` of them at a time."""
    framed = (framing(image) for image in _read(images, places))
    for start in range(0, len(places), AT_ONCE):
        rows = list(islice(framed, min(AT_ONCE, len(places) - start)))
        # Not torch.stack: its threads would wait for cores that are decoding, at several times the cost.
        yield (rows if framing.shape is None else torch.from_numpy(np.stack([row.numpy() for row in rows])),)


def _read(images: EncodedImages, places: Sequence[int]) -> Iterator[torch.Tensor]:
    """Decode in order by several threads, few images ahead: decoders let go of the interpreter.

    They do not resize as well: torch does that with threads of its own, which would be as many for each of these.
    """
    threads = max(2, min(4, os.cpu_count() or 2))
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[torch.Tensor]] = deque()
        for place in places:
            waiting.append(pool.submit(images.load, place))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
