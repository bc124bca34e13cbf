"""Rows of a data set read back, in any order."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thawlab.store.digests import Places
from thawlab.store.layout import Layout, TensorLayout, empty, empty_one
from thawlab.store.reading import SMALL, Mapped, Opened
from thawlab.store.segment import Segment, tensor_file

if TYPE_CHECKING:
    from torch import Tensor


class Rows:
    """What one `open` gave: rows by the place of their item in `items`.

    `built` and `found` count rows, each once however often its item comes; `nbytes` is what these rows take on the
    disk, `seconds` what opening took.
    """

    def __init__(self, layout: Layout, segments: Sequence[Segment], segment_of: Places, row_of: Places) -> None:
        """For each place in `items`, which segment its row is in, and where in that."""
        self.built, self.found, self.seconds = 0, 0, 0.0
        self.nbytes = sum(segment.nbytes(np.unique(row_of[segment_of == i])) for i, segment in enumerate(segments))
        self._layout = layout
        self._segments = segments
        self._segment_of, self._row_of = segment_of, row_of
        kind = Mapped if sum(segment.total for segment in segments) <= SMALL else Opened
        self._files = [[kind(segment.folder / tensor_file(i)) for i in range(len(layout))] for segment in segments]

    def __getstate__(self) -> dict[str, Any]:
        """All but the open files: another process opens them for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_files"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fresh = Rows(state["_layout"], state["_segments"], state["_segment_of"], state["_row_of"])
        self.__dict__.update(fresh.__dict__ | state)

    @property
    def places(self) -> list[Path]:
        """Folders of the segments that these rows are in."""
        return [segment.folder for segment in self._segments]

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
        return tuple(
            self._ragged(i, parts, rows) if tensor.shape is None else self._fixed(i, tensor, parts, rows)
            for i, tensor in enumerate(self._layout)
        )

    def _fixed(self, i: int, tensor: TensorLayout, parts: Places, rows: Places) -> "Tensor":
        batch, into = empty(tensor, len(rows))
        if not into.size:
            return batch
        used = np.unique(parts)
        for part in used:
            if len(used) == 1:
                self._files[part][i].take(rows, into)
                break
            where = np.flatnonzero(parts == part)
            some = np.empty((len(where), into.shape[1]), np.uint8)
            self._files[part][i].take(rows[where], some)
            into[where] = some
        return batch

    def _ragged(self, i: int, parts: Places, rows: Places) -> "list[Tensor]":
        batch = []
        for part, row in zip(parts.tolist(), rows.tolist(), strict=True):
            segment = self._segments[part]
            shapes = segment.shapes[i]
            assert shapes is not None, "only ragged tensors have shapes of their own"
            tensor, into = empty_one(self._layout[i], shapes[row].tolist())
            if into.size:
                self._files[part][i].span(int(segment.starts[i][row]), into)
            batch.append(tensor)
        return batch
