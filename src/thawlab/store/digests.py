"""What the store tells rows, and damage, by: 32-byte names of items, checksums of rows and of files."""

import hashlib
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

ITEM = 32  # bytes of an item's name: a sha256
_CHUNK = 1 << 20  # bytes read at once, by each thread
_THREADS = 8  # more wait for the disk

Items = NDArray[np.bytes_]
Places = NDArray[np.int64]
Sums = NDArray[np.uint32]


def item_array(items: Sequence[bytes]) -> Items:
    """Names (n,) that numpy can sort and look up; each must have 32 bytes."""
    if wrong := next((item for item in items if len(item) != ITEM), None):
        raise ValueError(f"an item is named by {ITEM} bytes, not {len(wrong)}")
    return np.frombuffer(b"".join(items), dtype=f"S{ITEM}")


def sha256(content: bytes | memoryview) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()


def row_sums(rows: NDArray[np.uint8]) -> Sums:
    """crc32 (n,) of rows (n, bytes)."""
    return np.fromiter((zlib.crc32(row) for row in rows), np.uint32, len(rows))


def unlike(file: int, starts: Places, ends: Places, sums: Sums) -> NDArray[np.bool_]:
    """Which rows (n,), given by where they start and end in an open file in rising order, lack their checksums.

    Read, not mapped: mapped pages would count as this process's memory. By several threads: zlib lets go of the
    interpreter.
    """
    groups = _groups(starts, ends)
    if len(groups) == 1:
        return _unlike(file, starts, ends, sums)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        parts = list(pool.map(lambda group: _unlike(file, starts[group], ends[group], sums[group]), groups))
    return np.concatenate([np.zeros(0, np.bool_), *parts])


def _groups(starts: Places, ends: Places) -> list[slice]:
    """Neighbours that lie within `_CHUNK` bytes, to be read together."""
    groups, first = [], 0
    for i in range(1, len(starts) + 1):
        if i == len(starts) or ends[i] - starts[first] > _CHUNK:
            groups.append(slice(first, i))
            first = i
    return groups


def _unlike(file: int, starts: Places, ends: Places, sums: Sums) -> NDArray[np.bool_]:
    origin = int(starts[0])
    content = memoryview(_read(file, origin, int(ends[-1]) - origin))
    places = zip((starts - origin).tolist(), (ends - origin).tolist(), sums.tolist(), strict=True)
    return np.array([zlib.crc32(content[start:end]) != known for start, end, known in places])


def _read(file: int, origin: int, total: int) -> bytes:
    """So many bytes, or as many as there are."""
    parts = []
    while total and (part := os.pread(file, total, origin)):
        parts.append(part)
        origin, total = origin + len(part), total - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
