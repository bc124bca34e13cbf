"""A segment: rows written in one go, never changed after."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from thawlab.store.digests import ITEM, Items, Places, Sums, sha256, unlike
from thawlab.store.faults import Damaged
from thawlab.store.layout import Layout, layout_of

MANIFEST, ITEMS, SUMS = "manifest.json", "items.bin", "sums.bin"


def tensor_file(i: int) -> str:
    """Where the rows of tensor i lie, one after the other."""
    return f"tensor{i}.bin"


def shapes_file(i: int) -> str:
    """Where the shapes (n, ndim) of a ragged tensor's rows lie, int64."""
    return f"shapes{i}.bin"


def manifest_text(content: Mapping[str, Any]) -> str:
    """The manifest with its own checksum; the one way to write it, so that any changed byte is noticed."""
    plain = {name: value for name, value in content.items() if name != "checksum"}
    checksum = sha256(json.dumps(plain, sort_keys=True).encode())
    return json.dumps({**plain, "checksum": checksum}, sort_keys=True, indent=1) + "\n"


@dataclass(frozen=True)
class Segment:
    """What a published segment holds; opened by `read`, which checks all but the rows."""

    folder: Path
    layout: Layout
    items: Items  # (n,)
    sums: Sums  # (n, tensors)
    shapes: tuple[Places | None, ...]  # of each tensor: (n, ndim) where ragged

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def starts(self) -> tuple[Places, ...]:
        """Where each tensor's rows start in its file, and where the last ends: (n + 1,)."""
        return tuple(self._starts(i) for i in range(len(self.layout)))

    def _starts(self, i: int) -> Places:
        tensor, shapes = self.layout[i], self.shapes[i]
        if shapes is None:
            return np.arange(len(self) + 1, dtype=np.int64) * tensor.row_bytes
        sizes = [tensor.bytes_of(shape) for shape in shapes.tolist()]
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    @property
    def total(self) -> int:
        """Bytes of all rows, all tensors together."""
        return sum(int(starts[-1]) for starts in self.starts)

    def nbytes(self, rows: Places) -> int:
        """Bytes of these rows, all tensors together."""
        return int(sum((starts[rows + 1] - starts[rows]).sum() for starts in self.starts))

    def check(self, rows: Places) -> None:
        """Read these rows, in rising order, and compare their checksums; Damaged where one differs."""
        for i, starts in enumerate(self.starts):
            path = self.folder / tensor_file(i)
            try:
                with open(path, "rb") as file:
                    bad = rows[unlike(file.fileno(), starts[rows], starts[rows + 1], self.sums[rows, i])]
            except OSError as error:
                raise Damaged(f"{path.name} cannot be read: {error.strerror}") from error
            if len(bad):
                raise Damaged(f"row {bad[0]} of {path.name} is not as it was written")


def read(folder: Path) -> Segment | None:
    """Open a segment; None where it has just been removed, Damaged where anything but a row is not as written."""
    try:
        return _read(folder)
    except OSError as error:
        if not folder.exists():
            return None
        raise Damaged(f"{Path(error.filename or folder).name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{MANIFEST} is not as it was written") from error


def _read(folder: Path) -> Segment:
    text = (folder / MANIFEST).read_bytes()
    content = json.loads(text)
    if manifest_text(content).encode() != text:
        raise Damaged(f"{MANIFEST} is not as it was written")
    layout, n = layout_of(content["layout"]), content["rows"]
    items = np.frombuffer(_whole(folder, ITEMS, content), dtype=f"S{ITEM}")
    sums = np.frombuffer(_whole(folder, SUMS, content), dtype="<u4").reshape(n, len(layout))
    shapes = tuple(
        np.frombuffer(_whole(folder, shapes_file(i), content), dtype="<i8").reshape(n, -1)
        if tensor.shape is None
        else None
        for i, tensor in enumerate(layout)
    )
    segment = Segment(folder, layout, items, sums, shapes)
    _check_sizes(segment)
    return segment


def _whole(folder: Path, name: str, content: Mapping[str, Any]) -> bytes:
    found = (folder / name).read_bytes()
    if sha256(found) != content["sha256"][name]:
        raise Damaged(f"{name} is not as it was written")
    return found


def _check_sizes(segment: Segment) -> None:
    """A file cut short would end a process that maps it."""
    for i, starts in enumerate(segment.starts):
        size = (segment.folder / tensor_file(i)).stat().st_size
        if size != starts[-1]:
            raise Damaged(f"{tensor_file(i)} has {size:,} bytes of {starts[-1]:,}")
