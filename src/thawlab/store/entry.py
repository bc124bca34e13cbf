"""An entry: the folder of all segments with one key."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from thawlab.files import replace
from thawlab.store import segment
from thawlab.store.faults import Damaged
from thawlab.store.key import Key
from thawlab.store.segment import Segment
from thawlab.store.writing import BUILDING, RESERVED

KEY, USED = "key.json", "used"
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Entry:
    """`<root>/<digest>`; it need not be there."""

    root: Path
    digest: str

    @property
    def folder(self) -> Path:
        """Where its segments are."""
        return self.root / self.digest

    def segments(self) -> Iterator[tuple[Path, Segment | Damaged]]:
        """Every segment in the order of their names, opened; or what is wrong with it."""
        for folder in self.places():
            try:
                found = segment.read(folder)
            except Damaged as damaged:
                yield folder, damaged
                continue
            if found is not None:
                yield folder, found

    def places(self) -> list[Path]:
        """Folders of the segments."""
        return [path for path in _folders(self.folder) if not path.name.startswith(".")]

    def leftovers(self) -> list[Path]:
        """What is being written; or, where nobody holds the lock, what a dead process left."""
        return [path for path in _folders(self.folder) if path.name.startswith(BUILDING)]

    def prepare(self, key: Key) -> None:
        """Make the folder and the readable key. To be called by the builder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.leftovers():
            shutil.rmtree(left, ignore_errors=True)
        if not self.key_is_right():
            replace(self.folder / KEY, key.text)

    def parts(self) -> dict[str, str]:
        """What the entry is of; empty where its key.json cannot be read."""
        try:
            return dict(json.loads((self.folder / KEY).read_bytes())["parts"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def key_is_right(self) -> bool:
        """Whether key.json is the one that named the folder."""
        key = Key(self.parts())
        try:
            return key.digest == self.digest and (self.folder / KEY).read_bytes() == key.text.encode()
        except OSError:
            return False

    def touch(self) -> None:
        """Count as used now; a folder that only lets read stays as it is."""
        try:
            (self.folder / USED).touch()
        except OSError:
            return

    def last_used(self) -> float:
        """Seconds since 1970."""
        for path in (self.folder / USED, self.folder):
            try:
                return path.stat().st_mtime
            except OSError:
                continue
        return time.time()

    def nbytes(self) -> int:
        """Bytes on the disk, and what is reserved for segments being written."""
        return self.written() + sum(outstanding(left) for left in self.leftovers())

    def written(self) -> int:
        """Bytes on the disk."""
        return folder_bytes(self.folder)


def entries(root: Path) -> list[Entry]:
    """Every entry, used longest ago first."""
    names = [path.name for path in _folders(root) if len(path.name) == 64 and _HEX.issuperset(path.name)]
    return sorted((Entry(root, name) for name in names), key=Entry.last_used)


def outstanding(building: Path) -> int:
    """Bytes that a segment being written may still grow by."""
    try:
        return max(0, int((building / RESERVED).read_text()) - folder_bytes(building))
    except (OSError, ValueError):
        return 0


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below; what vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
