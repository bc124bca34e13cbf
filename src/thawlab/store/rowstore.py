"""The store: what is there is read, what is missing is computed and kept."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thawlab.store.digests import Items, Places, item_array
from thawlab.store.entry import Entry
from thawlab.store.faults import StoreError, keeping, tell
from thawlab.store.finding import Found, Search
from thawlab.store.key import Key
from thawlab.store.layout import Layout
from thawlab.store.locks import builder
from thawlab.store.rows import Rows
from thawlab.store.space import Space, predicted
from thawlab.store.writing import SegmentWriter, building, remove

if TYPE_CHECKING:
    from torch import Tensor

    Batch = tuple[Tensor | Sequence[Tensor], ...]
# Places in `items` -> batches of their rows, first axis rows (ragged: a list of tensors), in that order.
Compute = Callable[[list[int]], "Iterable[Batch]"]


class RowStore:
    """A folder of entries that all together stay below `max_bytes`.

    What was opened through it makes no room for more under the same key.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._space = Space(folder, max_bytes)
        self._search = Search()
        self._opened: set[Path] = set()  # segments

    def has(self, key: Key, items: Sequence[bytes]) -> int:
        """How many of the items are there, their rows unchecked; waits for nobody and changes nothing."""
        names = item_array(items)
        with keeping(self.folder):
            there = self._search.names(Entry(self.folder, key.digest))
        return int(np.isin(names, there).sum())

    def forget(self, key: Key) -> None:
        """Remove an entry's rows, whoever made them; a reader that has them open goes on with what it has."""
        entry = Entry(self.folder, key.digest)
        with builder(self.folder, key.digest), keeping(self.folder):
            for folder in entry.places():
                remove(folder)

    def open(self, key: Key, items: Sequence[bytes], layout: Layout, compute: Compute, row_bytes: float) -> Rows:
        """The rows of `items`, of which `compute` is asked for those that are not there.

        `row_bytes` is the mean size of a row, all tensors together. One process at a time computes for a key; others
        wait, and read. Raises TooLarge before anything is computed where the rows would find no room, and StoreError
        where the folder cannot be used.
        """
        started = time.monotonic()
        names = item_array(items)
        wanted, inverse = np.unique(names, return_inverse=True)
        entry = Entry(self.folder, key.digest)
        rows, built = self._ready(entry, wanted, inverse, layout), 0
        if rows is None:
            with builder(self.folder, key.digest):
                rows, built = self._completed(key, names, layout, compute, row_bytes)
        entry.touch()
        self._opened.update(rows.places)
        rows.built, rows.found = built, len(wanted) - built
        rows.seconds = time.monotonic() - started
        return rows

    def _ready(self, entry: Entry, wanted: Items, inverse: Places, layout: Layout) -> Rows | None:
        """The rows where all are there and sound."""
        with keeping(self.folder):
            found = self._search.sound(entry, wanted, layout)
            if found.bad or len(found.missing):
                return None
            try:
                return Rows(layout, found.segments, found.part[inverse], found.row[inverse])
            except FileNotFoundError:  # removed by another process since it was found
                return None

    def _completed(
        self, key: Key, names: Items, layout: Layout, compute: Compute, row_bytes: float
    ) -> tuple[Rows, int]:
        """The rows, after what is missing or damaged was computed, and how many that were. By the builder alone."""
        entry = Entry(self.folder, key.digest)
        wanted, first, inverse = np.unique(names, return_index=True, return_inverse=True)
        with keeping(self.folder):
            entry.prepare(key)
            found = self._search.sound(entry, wanted, layout)
            _drop(found)
        positions = np.sort(first[found.missing])
        if len(positions):
            self._build(entry, found, names[positions], positions.tolist(), layout, compute, row_bytes)
        rows = self._ready(entry, wanted, inverse, layout)
        if rows is None:
            raise StoreError(f"{entry.folder} does not hold what was just written to it")
        return rows, len(positions)

    def _build(
        self,
        entry: Entry,
        found: Found,
        names: Items,
        positions: list[int],
        layout: Layout,
        compute: Compute,
        row_bytes: float,
    ) -> None:
        def reserve(writer: SegmentWriter, size: float) -> int:
            needed = predicted(len(names), size, layout)
            self._space.reserve(entry, writer, needed, lambda: self._unused(entry, found))
            return needed

        with building(entry.folder, layout, names) as writer:
            reserved = reserve(writer, row_bytes)
            for batch in compute(positions):
                writer.add(batch)
                if writer.nbytes > reserved:  # images larger than the mean that was guessed
                    reserved = reserve(writer, 1.1 * writer.nbytes / writer.rows)
            place = writer.publish()
        self._search.trust(place, len(names))

    def _unused(self, entry: Entry, found: Found) -> list[Path]:
        """Segments that hold nothing of what is wanted now, and nothing that was opened before."""
        used = {segment.folder for i, segment in enumerate(found.segments) if (found.part == i).any()}
        return [folder for folder in entry.places() if folder not in used | self._opened]


def _drop(found: Found) -> None:
    """Remove what is damaged, with one warning."""
    for folder in found.bad:
        remove(folder)
    if found.bad:
        folder, fact = next(iter(found.bad.items()))
        more = f" (and {len(found.bad) - 1} more)" if len(found.bad) > 1 else ""
        tell(f"cache: {folder}: {fact}{more}. It is dropped, and its rows are computed again.")
