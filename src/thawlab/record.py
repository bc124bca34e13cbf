"""What a run leaves behind, written and read: the only thing that reports know. docs/record.md explains every field.

Imports neither torch nor Lightning.
"""

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from thawlab.errors import UserError

VERSION = 1
STATUSES = ("running", "finished", "failed", "refused")
RESULT, CURVES, PREDICTIONS, MANIFEST = "result.json", "curves.csv", "predictions.csv", "sweep.json"
PREDICTION_COLUMNS = ("name", "label", "predicted", "confidence")

_NUMBER = (int, float)
_PLAN_ROW = {
    "stage": str, "kept": bool, "weights": str, "first_epoch": (int, None),
    "rate": (*_NUMBER, None), "parameters": int, "share": (*_NUMBER, None), "norm": str,
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One run. Only a finished one has everything; whatever was not reached keeps its default."""

    name: str  # the run's folder name
    status: str
    config: dict[str, Any]  # resolved, as `schema.Config`
    reason: str | None = None  # why it failed or was refused
    plan: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)  # {"test/accuracy": {"value": 0.93, "n": 497}}
    per_class: dict[str, dict[str, Any]] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)  # a row per true class
    best_epoch: int | None = None
    costs: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    started: str | None = None  # ISO 8601, UTC
    ended: str | None = None
    record_version: int = VERSION

    def write(self, folder: Path | str) -> None:
        """Write result.json: a reader sees the old record or the new one, never half of either."""
        write_json(Path(folder) / RESULT, asdict(self))

    @classmethod
    def read(cls, folder: Path | str) -> "Record":
        """Read the record of a run's folder; UserError naming file and defect where there is no sound one."""
        path = Path(folder) / RESULT
        content = read_json(path, "Run the command that made it again: it does only what is missing.")
        _check_fields(path, content, [f.name for f in fields(cls)])
        if content["status"] not in STATUSES:
            raise _defect(path, f"status is {content['status']!r}, not one of: {', '.join(STATUSES)}")
        _check_shapes(path, content)
        return cls(**content)


@dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep set out to do."""

    name: str
    overrides: tuple[str, ...]  # as typed: ("strategy=freeze", "seed=1")


@dataclass(frozen=True)
class Sweep:
    """What stands in a sweep's folder."""

    folder: Path
    command: tuple[str, ...]  # of the latest launch; empty where there is no manifest
    planned: tuple[PlannedRun, ...]
    records: tuple[Record, ...]  # sorted by name
    unreadable: Mapping[str, str]  # run's folder name -> what is wrong with its record

    @property
    def missing(self) -> tuple[PlannedRun, ...]:
        """Planned runs that left no record at all."""
        known = {record.name for record in self.records} | set(self.unreadable)
        return tuple(run for run in self.planned if run.name not in known)


def read_sweep(folder: Path | str) -> Sweep:
    """Read every record of a sweep; UserError for a folder that holds neither a manifest nor a record."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder. Give a sweep's folder, such as outputs/<sweep>.")
    has_manifest = (folder / MANIFEST).exists()
    runs = sorted(path.parent for path in folder.glob(f"*/{RESULT}"))
    if not has_manifest and not runs:
        remedy = f"Give {folder.parent}, the sweep that it belongs to." if (folder / RESULT).exists() else (
            "Give a sweep's folder, such as outputs/<sweep>."
        )
        raise UserError(f"{folder} is no sweep: it holds no {MANIFEST} and no run with a {RESULT}. {remedy}")
    command, planned = _read_manifest(folder / MANIFEST) if has_manifest else ((), ())
    records, unreadable = _read_runs(runs)
    return Sweep(folder, command, planned, records, unreadable)


def _read_runs(runs: Iterable[Path]) -> tuple[tuple[Record, ...], dict[str, str]]:
    """One broken record must not hide the others: its defect is kept beside them."""
    records, unreadable = [], {}
    for run in runs:
        try:
            records.append(Record.read(run))
        except UserError as error:
            unreadable[run.name] = str(error)
    return tuple(records), unreadable


def add_to_manifest(folder: Path | str, command: Sequence[str], planned: Sequence[PlannedRun]) -> None:
    """Write down, before the first job, what a sweep will do, so that missing runs can be named.

    Runs planned by an earlier launch stay planned; `command` is the latest launch's.
    """
    path = Path(folder) / MANIFEST
    earlier = _read_manifest(path)[1] if path.exists() else ()
    united = {run.name: run for run in (*earlier, *planned)}
    rows = [asdict(run) for run in united.values()]
    write_json(path, {"record_version": VERSION, "command": list(command), "planned": rows})


def _read_manifest(path: Path) -> tuple[tuple[str, ...], tuple[PlannedRun, ...]]:
    content = read_json(path, "Delete it, and launch the sweep again: finished runs stay.")
    _check_fields(path, content, ["record_version", "command", "planned"])
    _check(path, "command", content["command"], [str])
    _check(path, "planned", content["planned"], [{"name": str, "overrides": [str]}])
    planned = tuple(PlannedRun(row["name"], tuple(row["overrides"])) for row in content["planned"])
    return tuple(content["command"]), planned


def write_curves(folder: Path | str, rows: Sequence[Mapping[str, float | None]]) -> None:
    """Write curves.csv, one row per epoch: epoch, step, the metrics, then rate/<stage> and trains/<stage>.

    A value that an epoch lacks is an empty cell; a loss that became NaN is written as `nan`.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = sorted(dict.fromkeys(["epoch", "step", *names]), key=_column_rank)
    _write_csv(Path(folder) / CURVES, columns, ([row.get(name) for name in columns] for row in rows))


def _column_rank(name: str) -> int:
    if name in ("epoch", "step"):
        return 0
    return 2 if name.startswith("rate/") else 3 if name.startswith("trains/") else 1


def read_curves(folder: Path | str) -> list[dict[str, float | None]]:
    """Read curves.csv; whole numbers come back as int, empty cells as None."""
    path = Path(folder) / CURVES
    columns, rows = _read_csv(path)
    if columns[:2] != ["epoch", "step"]:
        raise _defect(path, f"its columns begin with {columns[:2]}, not with epoch, step")
    return [{name: _number(path, line, cell) for name, cell in zip(columns, row, strict=True)} for line, row in rows]


def write_predictions(folder: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write predictions.csv, one row per test image: name, label, predicted (class names), confidence (0 to 1)."""
    cells = ([*(str(row[key]) for key in PREDICTION_COLUMNS[:3]), float(row["confidence"])] for row in rows)
    _write_csv(Path(folder) / PREDICTIONS, PREDICTION_COLUMNS, cells)


def read_predictions(folder: Path | str) -> list[dict[str, Any]]:
    """Read predictions.csv; `confidence` is a float, the rest are strings."""
    path = Path(folder) / PREDICTIONS
    columns, rows = _read_csv(path)
    if tuple(columns) != PREDICTION_COLUMNS:
        raise _defect(path, f"its columns are {', '.join(columns)}, not {', '.join(PREDICTION_COLUMNS)}")
    return [
        {"name": name, "label": label, "predicted": predicted, "confidence": _number(path, line, confidence)}
        for line, (name, label, predicted, confidence) in rows
    ]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain JSON atomically; NaN and infinity, which JSON lacks, become null."""
    _replace(path, json.dumps(_plain(content), indent=1, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object; UserError with the file, the defect and `remedy` where it is none."""
    try:
        content = json.loads(path.read_text("utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}. {remedy}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not an object. {remedy}")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _plain(value: Any) -> Any:
    """Copy of a value as JSON has it: arrays become lists, so that a finished run is never lost to a numpy scalar."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def _replace(path: Path, text: str) -> None:
    """Put `text` in the place of `path` in one step, through a synced temporary file in the same folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # surrogateescape: file names on Linux need not be valid Unicode.
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    # Quoting every string keeps line breaks in file names apart from the ends of rows.
    csv.writer(text, quoting=csv.QUOTE_STRINGS if hasattr(csv, "QUOTE_STRINGS") else csv.QUOTE_NONNUMERIC)
    _replace(path, text.getvalue())
