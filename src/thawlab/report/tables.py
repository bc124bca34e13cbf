"""What the findings say in tables of text, by section of the page."""

from collections.abc import Sequence
from typing import Any

from thawlab.report.figures.differences import table as differences
from thawlab.report.findings import Cell, EffectiveData, Findings, PaysOff, Reached, RunRow
from thawlab.report.words import (
    NONE,
    Table,
    amount,
    count,
    duration,
    percent,
    rate,
    score,
    shown,
    span,
)

# Heading of a column of the runs' table, and whether it is sorted as numbers.
RUN_COLUMNS = (
    ("run", False), ("strategy", False), ("test %", True), ("val %", True), ("target", False), ("images", True),
    ("rate", True), ("seed", True), ("status", False), ("counts as", False), ("seconds", True), ("FLOPs", True),
    ("trained %", True), ("source", False), ("reason", False),
)  # fmt: skip


def all_of(findings: Findings) -> dict[str, Table | None]:
    """The tables by the name of what they show; None for one without rows."""
    found = {
        "scores": _scores(findings),
        "differences": differences("Every strategy minus scratch, paired by seed and test image", findings.differences),
        "crossings": _crossings(findings),
        "effective": _effective(findings),
        "cells": _cells(findings),
        "sources": _sources(findings),
        "reached": _reached(findings),
        "pays_off": _pays_off(findings),
        "left_out": Table(
            "Runs left out", ("run", "why"), tuple((shown(n), shown(why)) for n, why in findings.left_out)
        ),
        "versions": _versions(findings),
    }
    return {name: table if table.rows else None for name, table in found.items()}


def _where(one: Cell | EffectiveData | Reached | PaysOff) -> tuple[str, str, str, str]:
    return shown(one.task.target), shown(one.task.source), count(one.task.size), shown(one.strategy)


def _scores(findings: Findings) -> Table:
    """Task by task, the best first."""
    tasks = {task: i for i, task in enumerate(dict.fromkeys(cell.task for cell in findings.cells))}
    ranked = sorted(findings.cells, key=lambda cell: (tasks[cell.task], -cell.score.value))
    rows = [
        (
            shown(cell.strategy), score(cell.score), str(cell.score.n), count(cell.test_images), rate(cell.rate),
            duration(cell.seconds), *_where(cell)[:3],
        )
        for cell in ranked
    ]  # fmt: skip
    columns = (
        *("strategy", "score % [95%]", "seeds", "test images", "rate", "time of a run", "target", "source"),
        "training images",
    )
    caption = "Mean over the seeds and its 95% interval, cut at 0 and 100%, beyond which no score lies"
    return Table(caption, columns, tuple(rows))


def _crossings(findings: Findings) -> Table:
    rows = [
        (
            shown(one.target), shown(one.source), shown(one.strategy), count(one.size), span(one.low, one.high),
            " to ".join(map(count, one.between)) if one.between else NONE, shown(one.note) or NONE,
        )
        for one in findings.crossings
    ]  # fmt: skip
    columns = ("target", "source", "strategy", "crosses at, images", "95% interval", "between", "note")
    return Table("Where scratch catches up", columns, tuple(rows))


def _effective(findings: Findings) -> Table:
    rows = [
        (
            *_where(one), percent(one.score),
            count(one.scratch_needs), span(one.low, one.high), count(one.transferred), shown(one.note) or NONE,
        )
        for one in findings.effective
    ]  # fmt: skip
    columns = (
        "target",
        "source",
        "images",
        "strategy",
        "score %",
        "scratch needs, images",
        "95% interval",
        "transferred, images",
        "note",
    )
    return Table("Effective data", columns, tuple(rows))


def _cells(findings: Findings) -> Table:
    rows = []
    for cell in findings.cells:
        search = cell.search or (None, None, None)
        rows.append(
            (
                *_where(cell),
                score(cell.score), str(cell.score.n), rate(cell.rate), duration(cell.seconds), amount(cell.flops),
                amount(cell.images), str(len(cell.searched)), duration(search[0]), amount(search[1]),
            )
        )  # fmt: skip
    columns = (
        *("target", "source", "images", "strategy", "score % [95%]", "n", "rate", "time", "FLOPs", "images seen"),
        *("rates tried", "search: time", "search: FLOPs"),
    )
    return Table("What every strategy reached, and what a run of it cost", columns, tuple(rows))


def _sources(findings: Findings) -> Table:
    rows = [
        (shown(one.source), duration(one.seconds), amount(one.flops), amount(one.images), shown(one.told_by))
        for one in findings.sources
    ]
    columns = ("source network", "time", "FLOPs", "images seen", "told by")
    return Table("What the source networks cost", columns, tuple(rows))


def _reached(findings: Findings) -> Table:
    rows = [
        (
            *_where(one), percent(one.score),
            duration(one.seconds), amount(one.flops), amount(one.images),
        )
        for one in findings.reached
    ]  # fmt: skip
    columns = ("target", "source", "images", "strategy", "validation score %", "time", "FLOPs", "images seen")
    return Table("What it took to come to a score; - where not every run came there", columns, tuple(rows))


def _pays_off(findings: Findings) -> Table:
    rows = [
        (
            *_where(one), amount(one.saved_flops), count(one.targets), shown(one.note) or NONE,
        )
        for one in findings.pays_off
    ]  # fmt: skip
    columns = ("target", "source", "images", "strategy", "FLOPs saved a target", "paid for after targets", "note")
    return Table("When the source network has paid for itself", columns, tuple(rows))


def _versions(findings: Findings) -> Table:
    rows = [(shown(name), ", ".join(map(shown, found))) for name, found in sorted(findings.versions.items())]
    return Table("Versions that the runs saw", ("what", "versions"), tuple(rows))


def runs(rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    """The runs' table: for each run its cells, (text, number to sort by or None), and what it is filtered by."""
    return [{"cells": _run_cells(row), "status": shown(row.status), "strategy": shown(row.strategy)} for row in rows]


def _run_cells(row: RunRow) -> list[tuple[str, float | None]]:
    task = row.task
    return [
        (shown(row.name), None),
        (shown(row.strategy), None),
        (percent(row.score), row.score),
        (percent(row.val_score), row.val_score),
        (shown(task.target) if task else NONE, None),
        (count(task.size), task.size) if task else (NONE, None),
        (rate(row.rate), row.rate),
        (NONE if row.seed is None else str(row.seed), row.seed),
        (shown(row.status), None),
        (shown(row.role), None),
        (NONE if row.seconds is None else f"{row.seconds:.1f}", row.seconds),
        (amount(row.flops), row.flops),
        (percent(row.trained_share), row.trained_share),
        (shown(task.source) if task else NONE, None),
        (shown(row.reason or NONE), None),
    ]
