"""What two strategies said of the same test images, seed by seed. Each file is read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thawlab.errors import UserError
from thawlab.mistakes import surest
from thawlab.report.evidence import Group, Run
from thawlab.report.rows import test_set_of
from thawlab.report.statistics import Tested, of_images, of_seeds
from thawlab.run_files import read_predictions


@dataclass(frozen=True)
class Answers:
    """What a run said of its test images."""

    images: tuple[str, ...]
    right: NDArray[np.bool_]
    mistakes: tuple[Mapping[str, Any], ...]  # rows of predictions.csv, the surest first


@dataclass
class Reader:
    """Reads the predictions of runs, each once, and keeps of them what reports need; defects become notes."""

    folder: Path
    notes: list[str]
    _read: dict[str, Answers | None] = field(default_factory=dict)
    _images: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)  # one copy of what all runs share

    def answers(self, run: Run) -> Answers | None:
        """A run's answers; None where its predictions are not there, or not as its record says."""
        name = run.record.name
        if name not in self._read:
            self._read[name] = self._from_file(run)
        return self._read[name]

    def _from_file(self, run: Run) -> Answers | None:
        try:
            rows = read_predictions(self.folder / run.record.name, run.record)
        except UserError as error:
            self.notes.append(f"Predictions were not read: {error}")
            return None
        names = tuple(row["name"] for row in rows)
        right = np.array([row["label"] == row["predicted"] for row in rows], bool)
        return Answers(self._images.setdefault(names, names), right, tuple(rows[i] for i in surest(rows)))


@dataclass(frozen=True)
class Paired:
    """A mean difference over pairs of runs with the same seed and test images."""

    tested: Tested
    images: int


def compare(group: Group, other: Group, reader: Reader) -> Paired | None:
    """Test `group` minus `other`, seed by seed; None, and a note, where no two runs can be paired."""
    both = " and ".join(sorted([group.strategy, other.strategy]))
    where = f"{both}, {group.task.target}, {group.task.size} images"
    pairs = _pairs(group, other, where, reader.notes)
    if not pairs:
        return None
    return test(pairs, where, reader)


def test(pairs: Sequence[tuple[Run, Run]], where: str, reader: Reader) -> Paired:
    """Test the first of each pair minus the second; both had the same seed and test images."""
    images = min(run.record.data.get("test", 0) for pair in pairs for run in pair)
    if pairs[0][0].record.data.get("task") == "multilabel":
        return Paired(_of_scores(pairs, images), images)
    answers = [(reader.answers(one), reader.answers(two)) for one, two in pairs]
    found = [(one, two) for one, two in answers if one is not None and two is not None]
    if len(found) < len(pairs) or len({one.images for pair in found for one in pair}) > 1:
        reader.notes.append(
            f"{where}: its interval is over seeds alone, for predictions are missing or differ in images."
        )
        return Paired(_of_scores(pairs, images), images)
    differences = np.stack([one.right.astype(np.int8) - two.right.astype(np.int8) for one, two in found])
    return Paired(of_images(differences), differences.shape[1])


def pairs_of(group: Group, other: Group) -> list[tuple[Run, Run]]:
    """Runs with the same seed, trained and tested on the same images: what may be held against each other."""
    return [(one, two) for one, two in _shared(group, other) if _same_training(one, two) and _same_test(one, two)]


def _shared(group: Group, other: Group) -> list[tuple[Run, Run]]:
    others = {run.seed: run for run in other.chosen}
    return [(run, others[run.seed]) for run in group.chosen if run.seed in others]


def _same_test(one: Run, two: Run) -> bool:
    return test_set_of(one.record) == test_set_of(two.record)


def _same_training(one: Run, two: Run) -> bool:
    """Whether both trained on the same images, as far as their records tell."""
    prints = {run.record.data.get("fingerprint") for run in (one, two)} - {None}
    return len(prints) < 2


def _pairs(group: Group, other: Group, where: str, notes: list[str]) -> list[tuple[Run, Run]]:
    """What can be paired, all of it tested on the same images; what cannot becomes a note."""
    shared = _shared(group, other)
    pairs = pairs_of(group, other)
    if not shared:
        notes.append(f"{where}: not compared, for they share no seed.")
        return []
    if len({test_set_of(run.record) for pair in shared for run in pair}) > 1:
        notes.append(f"{where}: not compared, for their runs were tested on different images.")
        return []
    if other_images := [str(one.seed) for one, two in shared if not _same_training(one, two)]:
        seeds = ", ".join(other_images)
        notes.append(f"{where}: not paired where they trained on different images (seeds {seeds}).")
    if pairs and len(pairs) < max(len(group.chosen), len(other.chosen)):
        seeds = ", ".join(str(one.seed) for one, _ in pairs)
        notes.append(f"{where}: compared over the seeds that both have ({seeds}).")
    return pairs


def _of_scores(pairs: Sequence[tuple[Run, Run]], images: int) -> Tested:
    return of_seeds([(one.score or 0.0) - (two.score or 0.0) for one, two in pairs], images)
