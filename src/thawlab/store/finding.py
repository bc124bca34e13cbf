"""Where the wanted items are, and whether their rows are as they were written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thawlab.store.digests import ITEM, Items, Places
from thawlab.store.entry import Entry
from thawlab.store.faults import Damaged
from thawlab.store.layout import Layout
from thawlab.store.segment import Segment


@dataclass(frozen=True)
class Found:
    """Of each wanted item its segment, -1 where there is none, and its row; and which segments are bad, and why."""

    segments: list[Segment]
    part: Places
    row: Places
    bad: dict[Path, str]

    @property
    def missing(self) -> Places:
        """Places among the wanted that are nowhere."""
        return np.flatnonzero(self.part < 0)


class Search:
    """Looks through entries; remembers which rows this process has checked."""

    def __init__(self) -> None:
        self._checked: dict[Path, np.ndarray] = {}

    def trust(self, folder: Path, rows: int) -> None:
        """Take the rows of a segment for checked: this process wrote them."""
        self._checked[folder] = np.ones(rows, np.bool_)

    def names(self, entry: Entry) -> Items:
        """The items of all segments that can be opened."""
        found = [segment.items for _, segment in entry.segments() if isinstance(segment, Segment)]
        return np.concatenate([np.zeros(0, f"S{ITEM}"), *found])

    def sound(self, entry: Entry, wanted: Items, layout: Layout) -> Found:
        """Find the wanted items, which are sorted and differ, in segments of this layout whose rows are in order."""
        bad: dict[Path, str] = {}
        segments = []
        for folder, segment in entry.segments():
            if isinstance(segment, Damaged):
                bad[folder] = str(segment)
            elif segment.layout == layout:
                segments.append(segment)
        while True:
            part, row = _locate(wanted, segments)
            damaged = self._damaged(segments, part, row)
            if not damaged:
                return _used(segments, part, row, bad)
            bad |= {folder: fact for folder, fact in damaged.items() if folder.exists()}
            segments = [segment for segment in segments if segment.folder not in damaged]

    def _damaged(self, segments: list[Segment], part: Places, row: Places) -> dict[Path, str]:
        damaged = {}
        for i, segment in enumerate(segments):
            checked = self._checked.setdefault(segment.folder, np.zeros(len(segment), np.bool_))
            rows = np.sort(row[part == i])
            rows = rows[~checked[rows]]
            try:
                segment.check(rows)
            except Damaged as fault:
                damaged[segment.folder] = str(fault)
            else:
                checked[rows] = True
        return damaged


def _locate(wanted: Items, segments: list[Segment]) -> tuple[Places, Places]:
    """Segment and row of each wanted item; -1 where there is none."""
    part, row = np.full(len(wanted), -1), np.full(len(wanted), -1)
    for i, segment in enumerate(segments):
        _, at, rows = np.intersect1d(wanted, segment.items, assume_unique=True, return_indices=True)
        new = part[at] < 0
        part[at[new]], row[at[new]] = i, rows[new]
    return part, row


def _used(segments: list[Segment], part: Places, row: Places, bad: dict[Path, str]) -> Found:
    """Leave out segments of which nothing is wanted: what is not read need not be mapped."""
    kept = np.unique(part[part >= 0])
    renamed = np.where(part < 0, -1, np.searchsorted(kept, part))
    return Found([segments[i] for i in kept], renamed, row, bad)
