"""Rows of a data set read back, in any order."""

import mmap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thawlab.store.digests import Places
from thawlab.store.layout import Layout, TensorLayout, empty, empty_one
from thawlab.store.segment import Segment, take

if TYPE_CHECKING:
    from torch import Tensor

_RESIDENT = 32 << 20  # bytes of mapped files that may count as this process's memory
_AROUND = 64 << 10  # bytes that the kernel maps around what is touched


class Rows:
    """What one `open` gave: rows by the place of their item in `items`.

    `built` and `found` count rows, each once however often its item comes; `nbytes` is what these rows take on the
    disk, `seconds` what opening took.
    """

    def __init__(self, layout: Layout, segments: Sequence[Segment], segment_of: Places, row_of: Places) -> None:
        self.built, self.found, self.seconds, self.nbytes = 0, 0, 0.0, 0
        self._layout = layout
        self._segments = segments
        self._segment_of, self._row_of = segment_of, row_of  # of each place in `items`
        self._maps = [segment.maps() for segment in segments]
        self._memory = [[_bytes(*each) for each in zip(segment.layout, maps, strict=True)]
                        for segment, maps in zip(segments, self._maps, strict=True)]  # fmt: skip
        self._touched = 0

    def __getstate__(self) -> dict[str, Any]:
        """All but the mapped files: another process maps them for itself."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_maps", "_memory")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fresh = Rows(state["_layout"], state["_segments"], state["_segment_of"], state["_row_of"])
        self.__dict__.update(fresh.__dict__ | state)

    def __len__(self) -> int:
        return len(self._row_of)

    def gather(self, positions: "Tensor") -> "tuple[Tensor | list[Tensor], ...]":
        """The rows at these positions (n,), int64, in that order; positions may come again.

        Fresh tensors (n, *shape) with the layout's strides, for a ragged one a list of n tensors.
        """
        at = positions.numpy()
        if len(at) and (at.min() < 0 or at.max() >= len(self)):
            raise IndexError(f"positions {at.min()} to {at.max()} in {len(self)} rows")
        parts, rows = self._segment_of[at], self._row_of[at]
        self._forget(sum(len(at) * _AROUND + self._size(parts, rows, i) for i in range(len(self._layout))))
        return tuple(
            self._ragged(i, parts, rows) if tensor.shape is None else self._fixed(i, tensor, parts, rows)
            for i, tensor in enumerate(self._layout)
        )

    def _fixed(self, i: int, tensor: TensorLayout, parts: Places, rows: Places) -> "Tensor":
        batch, into = empty(tensor, len(rows))
        used = np.unique(parts)
        for part in used:
            memory = self._memory[part][i]
            if len(used) == 1:
                take(memory, rows, into)
            else:
                where = np.flatnonzero(parts == part)
                into[where] = memory[rows[where]]
        return batch

    def _ragged(self, i: int, parts: Places, rows: Places) -> "list[Tensor]":
        batch = []
        for part, row in zip(parts.tolist(), rows.tolist(), strict=True):
            segment = self._segments[part]
            shapes, starts = segment.shapes[i], segment.starts[i]
            assert shapes is not None
            tensor, into = empty_one(self._layout[i], shapes[row].tolist())
            into[:] = self._memory[part][i][starts[row] : starts[row + 1]]
            batch.append(tensor)
        return batch

    def _size(self, parts: Places, rows: Places, i: int) -> int:
        tensor = self._layout[i]
        if tensor.shape is not None:
            return len(rows) * tensor.row_bytes
        ends = [self._segments[part].starts[i][row : row + 2] for part, row in zip(parts, rows, strict=True)]
        return int(sum(end - start for start, end in ends))

    def _forget(self, more: int) -> None:
        """Unmap what has been read, so that memory does not grow with the store; the page cache keeps it at hand."""
        self._touched += more
        if self._touched <= _RESIDENT:
            return
        for maps in self._maps:
            for mapped in maps:
                if mapped is not None:
                    mapped.madvise(mmap.MADV_DONTNEED)
        self._touched = more


def _bytes(tensor: TensorLayout, mapped: mmap.mmap | None) -> np.ndarray:
    """A tensor's file as bytes: (rows, row bytes), or where ragged (bytes,)."""
    flat = np.frombuffer(b"" if mapped is None else mapped, np.uint8)
    if tensor.shape is None:
        return flat
    return flat.reshape(-1, tensor.row_bytes) if tensor.row_bytes else flat.reshape(0, 0)
