"""Confusion matrices, summed over the seeds of a cell."""

from collections.abc import Iterator, Sequence

import numpy as np

from thawlab.report.few import ENOUGH_SEEDS
from thawlab.report.figures.drawn import Drawn, finish, some
from thawlab.report.figures.style import styled
from thawlab.report.findings import Findings, cell_name
from thawlab.report.words import Table, count, percent, shown
from thawlab.tensorboard import confusion_figure

MOST = 4
_WHOLE = 12  # classes: of more, the table has the commonest mistakes alone
_COMMONEST = 15


def draw(findings: Findings) -> Iterator[Drawn]:
    """A figure for each cell, those of the cases' winners first, `MOST` in all."""
    several = len({cell.task.source for cell in findings.cells}) > 1
    best = [cell_name(case.winners[0], case.task, several) for case in findings.cases if case.winners]
    keys = [*(key for key in dict.fromkeys(best) if key in findings.confusions), *findings.confusions]
    drawn, rest = some((key for key in dict.fromkeys(keys) if findings.confusions[key][1]), MOST, "cells")
    for i, key in enumerate(drawn):
        classes, counts, seeds = findings.confusions[key]
        yield _matrix(f"confusion-{i + 1}", key, classes, np.asarray(counts, dtype=np.int64), seeds, rest)


def _matrix(name: str, key: str, classes: Sequence[str], counts: np.ndarray, seeds: int, rest: str) -> Drawn:
    title = f"Confusion matrix: {shown(key)}"
    names = [shown(one) for one in classes]
    worst = commonest(names, counts)
    with styled(name):
        figure = confusion_figure(counts, names, seeds)
        told = _told(counts, seeds)
        told += (
            f"Commonest mistake: {worst[0][0]} taken for {worst[0][1]}, {_times(worst[0][2])}."
            if worst
            else "No mistake."
        )
        table = _whole(title, names, counts) if len(names) <= _WHOLE else _mistakes(title, worst)
        return finish(figure, name, title, told + rest, table)


def _told(counts: np.ndarray, seeds: int) -> str:
    answers = int(counts.sum())
    right = f"{percent(np.trace(counts) / max(answers, 1))}%"
    if seeds == 1:
        return f"{answers:,} test images, {right} right; one seed: another may mistake other images. "
    few = "; few seeds: others may mistake other images" if seeds < ENOUGH_SEEDS else ""
    return f"{answers // seeds:,} test images, {seeds} seeds, {right} of the {answers:,} answers right{few}. "


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def commonest(classes: Sequence[str], counts: np.ndarray) -> list[tuple[str, str, int]]:
    """(true class, predicted class, images) of the commonest mistakes, the commonest first."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_COMMONEST]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    return [(classes[i], classes[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


def _whole(title: str, classes: Sequence[str], counts: np.ndarray) -> Table:
    rows = tuple((name, *map(count, row)) for name, row in zip(classes, counts.tolist(), strict=True))
    return Table(f"{title}: a row per true class", ("true class", *classes), rows)


def _mistakes(title: str, worst: Sequence[tuple[str, str, int]]) -> Table:
    rows = tuple((true, taken, count(images)) for true, taken, images in worst)
    return Table(f"{title}: the commonest mistakes", ("true class", "taken for", "images"), rows)
