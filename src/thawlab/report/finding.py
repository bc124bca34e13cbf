"""A sweep's folder → everything that a report says of it."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thawlab.errors import UserError
from thawlab.rates import validation_score
from thawlab.record import Record, Sweep, read_sweep
from thawlab.report import few
from thawlab.report.cases import cases, depth
from thawlab.report.differences import differences, notes_on
from thawlab.report.evidence import Evidence, Group, cell_of, gather, notes_on_rates, rows_of
from thawlab.report.findings import Findings, Mistake, cell_name
from thawlab.report.ledger import pays_off, reached, sources
from thawlab.report.pairing import Reader
from thawlab.report.rows import unmeasured
from thawlab.report.sizes import crossings, effective
from thawlab.run_files import read_curves, read_mistakes
from thawlab.study_record import StudyRecord

_PER_STAGE = ("rate/", "trains/")  # columns of curves.csv that the plan tells in fewer words


def find(folder: Path | str) -> Findings:
    """Read a sweep's folder; UserError for a folder that is no sweep, or has a broken study.json."""
    sweep = read_sweep(folder)
    study = StudyRecord.read(sweep.folder)
    evidence = gather(sweep, study)
    notes = list(evidence.notes)
    reader = Reader(sweep.folder, notes)
    cells = tuple(cell_of(group) for group in evidence.groups)
    curves = _curves(sweep, evidence, notes)
    held = differences(evidence, reader)
    costs = sources(evidence, study.source if study else None)
    came = reached(evidence, curves)
    four = cases(evidence, study, reader)
    worth = effective(evidence, reader)
    mistakes = _mistakes(sweep, evidence, reader)
    return Findings(
        title=sweep.folder.resolve().name,
        folder=str(sweep.folder),
        commands=sweep.commands or ((tuple(study.command),) if study else ()),
        metric=evidence.metric,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(sweep.records),
        runs=rows_of(evidence),
        cells=cells,
        differences=held,
        crossings=crossings(evidence, held),
        effective=worth,
        sources=costs,
        reached=came,
        pays_off=pays_off(evidence, came, costs),
        cases=four,
        depth=depth(evidence),
        plans=_plans(evidence),
        confusions=_confusions(evidence),
        curves=curves,
        mistakes=mistakes,
        left_out=tuple(unmeasured(sweep)),
        cautions=(*_few_images(evidence), *few.notes_on_seeds(cells)),
        notes=tuple(dict.fromkeys([*notes, *notes_on_rates(cells), *notes_on(held)])),
        advice={record.name: advice for record in sweep.records if (advice := record.advice)},
    )


def _few_images(evidence: Evidence) -> list[str]:
    """The warnings of targets with few images, a line for all that have the same."""
    of: dict[str, list[Record]] = defaultdict(list)
    for group in evidence.groups:
        of[group.task.target] += [run.record for run in group.chosen]
    said: dict[str, list[str]] = defaultdict(list)
    for target, records in of.items():
        test, val = (min(record.data.get(split) or 0 for record in records) for split in ("test", "val"))
        if warning := few.warning(test, val, evidence.metric):
            said[warning].append(target)
    return [one if len(of) == 1 else f"{', '.join(targets)}: {one}" for one, targets in said.items()]


def _curves(sweep: Sweep, evidence: Evidence, notes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The epochs of the runs that cells count."""
    curves = {}
    for run in (run for group in evidence.groups for run in group.chosen):
        try:
            rows = read_curves(sweep.folder / run.record.name, run.record)
        except UserError as error:
            notes.append(f"Curves were not read: {error}")
            continue
        curves[run.record.name] = [{k: v for k, v in row.items() if not k.startswith(_PER_STAGE)} for row in rows]
    return curves


def _plans(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """A plan of each strategy; of each network where there are several, and of each task for what chooses by it."""
    several = len({group.task.source for group in evidence.groups}) > 1
    found = {}
    for group in reversed(evidence.groups):
        record = group.chosen[0].record
        name = f"{group.strategy}, {group.task.source}" if several else group.strategy
        name += f", {group.task.target}, {group.task.size}" if record.advice else ""
        found[name] = record.plan
    return found


def _versions(records: Sequence[Record]) -> dict[str, list[str]]:
    seen: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for package, version in record.versions.items():
            seen[package].add(version)
    return {package: sorted(versions) for package, versions in sorted(seen.items())}


def _confusions(evidence: Evidence) -> dict[str, tuple[list[str], list[list[int]], int]]:
    """Counts of test images, summed over seeds; nothing where the seeds' classes differ."""
    several = len({group.task.source for group in evidence.groups}) > 1
    found = {}
    for group in evidence.groups:
        records = [run.record for run in group.chosen]
        classes = records[0].data.get("classes", [])
        if all(record.confusion and record.data.get("classes") == classes for record in records):
            found[cell_name(group.strategy, group.task, several)] = (
                classes,
                _sum([record.confusion for record in records]),
                len(records),
            )
    return found


def _sum(matrices: Sequence[Sequence[Sequence[int]]]) -> list[list[int]]:
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def _mistakes(sweep: Sweep, evidence: Evidence, reader: Reader) -> tuple[Mistake, ...]:
    """What the best run of each cell, by validation images, was surest of and wrong about."""
    return tuple(mistake for group in evidence.groups for mistake in _mistakes_of(sweep.folder, group, reader))


def _mistakes_of(folder: Path, group: Group, reader: Reader) -> list[Mistake]:
    best = max(group.chosen, key=lambda run: validation_score(run.record) or 0.0)
    answers, name = reader.answers(best), best.record.name
    if answers is None or not answers.mistakes:
        return []
    try:
        pictures = read_mistakes(folder / name, best.record)
    except UserError as error:
        reader.notes.append(f"Thumbnails were not read: {error}")
        pictures = {}
    return [
        Mistake(name, row["name"], row["label"], row["predicted"], row["confidence"] or 0.0, pictures.get(row["name"]))
        for row in answers.mistakes
    ]


def to_json(findings: Findings) -> str:
    """The findings as one JSON object; of each difference also whether it is `negative_transfer`."""
    plain = asdict(findings)
    for one, found in zip(plain["differences"], findings.differences, strict=True):
        one["negative_transfer"] = found.negative_transfer
    return json.dumps(_finite(plain), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """A copy without NaN and infinity, which JSON lacks: a loss may have been either."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
