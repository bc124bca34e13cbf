"""Rows out of a tensor's file, in any order.

A small store is mapped into memory. A large one is read row by row: mapped, it would count as this process's memory
(since Linux 6.18 a touched byte brings in up to 2 MB around it), and letting go of that again and again costs more than
reading. Either way the file stays readable when it is deleted.
"""

import mmap
import os
import weakref
from pathlib import Path

import numpy as np

from thawlab.store.digests import Places
from thawlab.store.faults import StoreError
from thawlab.store.layout import Bytes

SMALL = 32 << 20  # bytes of all files together that may be mapped


class Mapped:
    """A file in memory."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            empty = not os.fstat(file.fileno()).st_size
            mapped = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = np.frombuffer(mapped, np.uint8)

    def take(self, rows: Places, into: Bytes) -> None:
        """Copy rows (n,) into (n, row bytes)."""
        # "clip": with the default numpy copies twice, lest an index prove wrong half-way.
        np.take(self._bytes.reshape(-1, into.shape[1]), rows, axis=0, out=into, mode="clip")

    def span(self, start: int, into: Bytes) -> None:
        """Copy the bytes from `start` on into (n,)."""
        into[:] = self._bytes[start : start + len(into)]


class Opened:
    """A file that is read."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def take(self, rows: Places, into: Bytes) -> None:
        """Read rows (n,) into (n, row bytes)."""
        size = into.shape[1]
        if len(rows) and (np.diff(rows) == 1).all():
            self.span(int(rows[0]) * size, into.reshape(-1))
            return
        for row, one in zip(rows.tolist(), into, strict=True):
            self.span(row * size, one)

    def span(self, start: int, into: Bytes) -> None:
        """Read the bytes from `start` on into (n,)."""
        done = os.preadv(self._file, [into.data], start)
        while done < len(into):
            got = os.preadv(self._file, [into[done:].data], start + done)
            if not got:
                raise StoreError(f"a file of the cache ends {len(into) - done} bytes too early")
            done += got
