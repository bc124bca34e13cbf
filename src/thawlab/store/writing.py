"""A segment being written: nobody reads it before it is complete and on the disk."""

import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from thawlab.files import replace
from thawlab.store.digests import Items, row_sums, sha256
from thawlab.store.faults import keeping
from thawlab.store.key import FORMAT
from thawlab.store.layout import Bytes, Layout, one_to_bytes, to_bytes
from thawlab.store.segment import ITEMS, MANIFEST, SUMS, manifest_text, shapes_file, tensor_file

if TYPE_CHECKING:
    from torch import Tensor

    Batch = tuple[Tensor | Sequence[Tensor], ...]

BUILDING = ".building-"
RESERVED = "reserved"  # file: how many bytes the segment may grow to
_SYNC = 64 << 20  # bytes that may wait in memory for the disk


def remove(folder: Path) -> None:
    """Delete a folder so that no half of it is taken for the whole: it changes its name first."""
    gone = folder.parent / f"{BUILDING}gone-{secrets.token_hex(8)}"
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def building(entry: Path, layout: Layout, items: Items) -> "Iterator[SegmentWriter]":
    """A segment to add rows to; whatever ends the block early, nothing of it stays."""
    writer = SegmentWriter(entry, layout, items)
    try:
        with keeping(entry):
            writer.start()
        yield writer
    except BaseException:
        writer.discard()
        raise


class SegmentWriter:
    """Takes rows in the order of `items`; `publish` makes them readable, `discard` leaves nothing."""

    def __init__(self, entry: Path, layout: Layout, items: Items) -> None:
        self.entry, self.layout, self.items = entry, layout, items
        self.rows, self.nbytes = 0, 0
        self.folder = entry / f"{BUILDING}{os.getpid()}-{secrets.token_hex(8)}"
        self._sums: list[np.ndarray] = []
        self._shapes: list[list[tuple[int, ...]]] = [[] for _ in layout]
        self._files: list[IO[bytes]] = []
        self._open = ExitStack()
        self._unsynced = 0

    def start(self) -> None:
        """Make the folder and its files."""
        self.folder.mkdir()
        for i in range(len(self.layout)):
            file = (self.folder / tensor_file(i)).open("wb", buffering=0)
            self._files.append(self._open.enter_context(file))

    def reserve(self, nbytes: int) -> None:
        """Tell other processes how much room this one will take."""
        (self.folder / RESERVED).write_text(str(nbytes))

    def add(self, batch: "Batch") -> None:
        """Write rows; ValueError where they do not fit the layout or are more than was asked for."""
        if len(batch) != len(self.layout):
            raise ValueError(f"{len(batch)} tensors were computed where the layout has {len(self.layout)}")
        blocks = [self._blocks(i, tensor) for i, tensor in enumerate(batch)]
        sums = [np.concatenate([row_sums(block) for block in each]) for each in blocks]
        if len({len(each) for each in sums}) > 1 or self.rows + len(sums[0]) > len(self.items):
            raise ValueError(f"{[len(each) for each in sums]} rows came, {len(self.items) - self.rows} were left")
        with keeping(self.folder):
            for file, each in zip(self._files, blocks, strict=True):
                for block in each:
                    self._write(file, block)
        self._sums.append(np.stack(sums, axis=1))
        self.rows += len(sums[0])

    def _blocks(self, i: int, tensor: "Tensor | Sequence[Tensor]") -> list[Bytes]:
        """Bytes (rows, row bytes) of one tensor's rows; ragged rows in blocks of one."""
        layout = self.layout[i]
        if layout.shape is not None:
            return [to_bytes(layout, tensor)]  # type: ignore[arg-type]
        self._shapes[i] += [tuple(row.shape) for row in tensor]
        return [np.zeros((0, 0), np.uint8), *(one_to_bytes(layout, row)[None] for row in tensor)]

    def _write(self, file: IO[bytes], block: Bytes) -> None:
        left = block.reshape(-1).data
        while left:
            left = left[file.write(left) :]
        self.nbytes += block.size
        self._unsynced += block.size
        if self._unsynced > _SYNC:
            self._sync()

    def _sync(self) -> None:
        for file in self._files:
            os.fsync(file.fileno())
        self._unsynced = 0

    def publish(self) -> Path:
        """Put the segment in its place, in one step, with everything on the disk; its folder."""
        if self.rows != len(self.items):
            raise ValueError(f"{self.rows} rows were computed where {len(self.items)} were asked for")
        with keeping(self.folder):
            self._sync()
            self._open.close()
            self._write_manifest()
            (self.folder / RESERVED).unlink(missing_ok=True)
            sync_folder(self.folder)
            place = self.entry / secrets.token_hex(8)
            self.folder.rename(place)
            sync_folder(self.entry)
        return place

    def _write_manifest(self) -> None:
        sums = np.concatenate(self._sums).astype("<u4")
        small = {ITEMS: self.items.tobytes(), SUMS: sums.tobytes()}
        for i, tensor in enumerate(self.layout):
            if tensor.shape is None:
                small[shapes_file(i)] = np.array(self._shapes[i], dtype="<i8").tobytes()
        for name, content in small.items():
            with open(self.folder / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        content = {
            "version": FORMAT,
            "layout": [tensor.as_json() for tensor in self.layout],
            "rows": self.rows,
            "bytes": self.nbytes,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "sha256": {name: sha256(content) for name, content in small.items()},
        }
        replace(self.folder / MANIFEST, manifest_text(content))

    def discard(self) -> None:
        """Leave nothing behind."""
        self._open.close()
        shutil.rmtree(self.folder, ignore_errors=True)
