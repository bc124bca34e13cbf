"""How much room there is, and who has to make some."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from thawlab.store.entry import Entry, entries, folder_bytes, outstanding
from thawlab.store.faults import TooLarge, keeping
from thawlab.store.layout import Layout
from thawlab.store.locks import if_free, room
from thawlab.store.writing import BUILDING, SegmentWriter, remove

_MANIFEST = 4096  # bytes, and some for folders
_RESERVE = 1_000_000_000  # bytes of the disk that others may need; on a small disk a twentieth


def predicted(rows: int, row_bytes: float, layout: Layout) -> int:
    """Bytes of a segment: the tensors, each row's name and checksums, shapes where ragged."""
    beside = 32 + sum(4 if tensor.shape is not None else 4 + 8 * 4 for tensor in layout)
    return int(rows * (row_bytes + beside)) + _MANIFEST * (2 + len(layout))


@dataclass(frozen=True)
class Space:
    """The folder's limit, kept by everybody who writes."""

    root: Path
    max_bytes: int

    def reserve(self, entry: Entry, writer: SegmentWriter, needed: int, spare: Callable[[], list[Path]]) -> None:
        """Make room for `needed` bytes in all, and let others know that they are taken.

        Entries used longest ago go first, never `entry` nor one that is being written; then segments of `entry` itself
        that `spare` names. TooLarge where that is not enough.
        """
        with keeping(self.root, needed), room(self.root):
            writer.reserve(0)
            self._sweep()
            self._make_room(entry, needed - writer.nbytes, spare)
            writer.reserve(needed)

    def _sweep(self) -> None:
        for left in self.root.glob(f"{BUILDING}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _make_room(self, entry: Entry, needed: int, spare: Callable[[], list[Path]]) -> None:
        others = [other for other in entries(self.root) if other != entry]
        own = [folder for folder in spare() if folder.exists()]
        missing = max(self._missing(needed))
        possible = sum(other.nbytes() for other in others) + sum(map(folder_bytes, own))
        if missing > possible:
            raise self._too_large(needed, needed - missing + possible)
        for candidate in (*others, *own):
            if missing <= 0:
                return
            if isinstance(candidate, Entry):
                evict(candidate)
            else:
                remove(candidate)
            missing = max(self._missing(needed))
        if missing > 0:
            raise self._too_large(needed, needed - missing)

    def _missing(self, needed: int) -> tuple[int, int]:
        """Bytes that have to go before `needed` more fit: below the limit, and on the disk."""
        found = entries(self.root)
        promised = sum(outstanding(left) for entry in found for left in entry.leftovers())
        total = sum(entry.written() for entry in found) + promised
        disk = shutil.disk_usage(self.root)
        free = disk.free - promised - min(_RESERVE, disk.total // 20)
        return total + needed - self.max_bytes, needed - free

    def _too_large(self, needed: int, allowed: int) -> TooLarge:
        allowed = max(0, allowed)
        limit, disk = self._missing(needed)
        short = f"cache.max_gb={self.max_bytes / 1e9:g}" if limit >= disk else "the free disk"
        return TooLarge(f"{_size(needed)} are needed in {self.root}, {_size(allowed)} left of {short}", needed, allowed)


def evict(entry: Entry) -> bool:
    """Remove an entry unless somebody writes to it. Who reads from it goes on: what is mapped stays until let go of."""
    with if_free(entry.root, entry.digest) as free:
        if free and entry.folder.exists():
            remove(entry.folder)
        return free


def _size(nbytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if nbytes >= size / 10:
            return f"{nbytes / size:.2f} {unit}"
    return f"{nbytes / 1e3:.2f} kB"
