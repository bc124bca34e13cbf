"""What a run leaves behind, written and read: the only thing that reports know. docs/record.md explains every field.

Imports neither torch nor Lightning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from thawlab.errors import UserError
from thawlab.files import read_csv, read_json, write_csv, write_json

VERSION = 1
STATUSES = (
    *("running", "finished", "refused"),
    *("failed", "diverged", "out_of_memory", "timeout", "interrupted"),
)
RESULT, CURVES, PREDICTIONS, MANIFEST = "result.json", "curves.csv", "predictions.csv", "sweep.json"
IMAGES, IMAGE_COLUMNS = "images-{}.csv", ("split", "name", "label", "sha256")
PREDICTION_COLUMNS = ("name", "label", "predicted", "confidence")

_AGAIN = "Delete it, and run the command that made it again."
_GIVE_A_SWEEP = "Give a sweep's folder, such as outputs/<sweep>."
_NUMBER = (int, float, None)  # null: it was NaN or infinite
_MEASURED = {"value": _NUMBER, "n": int}
_SHAPES: dict[str, Any] = {
    "name": str,
    "status": str,
    "reason": (str, None),
    "config": dict,
    "plan": [
        {"stage": str, "kept": bool, "weights": str, "first_epoch": (int, None)}
        | {"rate": _NUMBER, "parameters": int, "share": _NUMBER, "norm": str}
    ],
    "data": dict,
    "metrics": {str: _MEASURED},
    "per_class": {str: {"accuracy": _NUMBER, "n": int}},
    "confusion": [[int]],
    "best_epoch": (int, None),
    "costs": dict,
    "audit": dict,
    "versions": {str: str},
    "started": (str, None),
    "ended": (str, None),
    "record_version": int,
}


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
        content = read_json(path, _AGAIN)
        _check_fields(path, content, [f.name for f in fields(cls)])
        if content["status"] not in STATUSES:
            raise _defect(path, f"status is {content['status']!r}, not one of: {', '.join(STATUSES)}")
        _check(path, "record", content, _SHAPES)
        return cls(**content)


def main_metric(record: Record) -> str:
    """The metric by which a run is first judged: of images with several labels each, the mean average precision."""
    several = "test/mean_average_precision"
    return several if several in record.metrics else "test/accuracy"


def is_finished(folder: Path | str) -> bool:
    """Whether a run's folder holds the record of a finished run; a broken record is no result."""
    try:
        return (Path(folder) / RESULT).exists() and Record.read(folder).status == "finished"
    except UserError:
        return False


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
        raise UserError(f"{folder} is no folder. {_GIVE_A_SWEEP}")
    has_manifest = (folder / MANIFEST).exists()
    runs = sorted(path.parent for path in folder.glob(f"*/{RESULT}"))
    if not has_manifest and not runs:
        is_run = (folder / RESULT).exists()
        remedy = f"Give {folder.parent}, which this run belongs to." if is_run else _GIVE_A_SWEEP
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


def write_images(folder: Path | str, fingerprint: str, rows: Iterable[Sequence[str]]) -> None:
    """Write which images the runs of one fingerprint saw, unless it is there: split, name, label, sha256 (hex)."""
    path = Path(folder) / IMAGES.format(fingerprint[:12])
    if not path.exists():
        write_csv(path, IMAGE_COLUMNS, rows, quote_strings=True)


def write_curves(folder: Path | str, rows: Sequence[Mapping[str, float | None]]) -> None:
    """Write curves.csv, one row per epoch: epoch, step, the metrics, then rate/<stage> and trains/<stage>.

    A value that an epoch lacks is an empty cell; a loss that became NaN is written as `nan`.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = sorted(dict.fromkeys(["epoch", "step", *names]), key=_column_rank)
    write_csv(Path(folder) / CURVES, columns, ([_cell(row.get(name)) for name in columns] for row in rows))


def _cell(value: float | None) -> float | None:
    return int(value) if isinstance(value, bool) else value


def _column_rank(name: str) -> int:
    if name in ("epoch", "step"):
        return 0
    return 2 if name.startswith("rate/") else 3 if name.startswith("trains/") else 1


def read_curves(folder: Path | str) -> list[dict[str, float | None]]:
    """Read curves.csv; whole numbers come back as int, empty cells as None."""
    path = Path(folder) / CURVES
    columns, rows = read_csv(path, _AGAIN)
    if columns[:2] != ["epoch", "step"]:
        raise _defect(path, f"its columns begin with {columns[:2]}, not with epoch, step")
    return [{name: _number(path, line, cell) for name, cell in zip(columns, row, strict=True)} for line, row in rows]


def write_predictions(folder: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write predictions.csv, one row per test image: name, label, predicted (class names), confidence (0 to 1)."""
    cells = ([*(str(row[key]) for key in PREDICTION_COLUMNS[:3]), float(row["confidence"])] for row in rows)
    write_csv(Path(folder) / PREDICTIONS, PREDICTION_COLUMNS, cells, quote_strings=True)


def read_predictions(folder: Path | str) -> list[dict[str, Any]]:
    """Read predictions.csv; `confidence` is a float, the rest are strings."""
    path = Path(folder) / PREDICTIONS
    columns, rows = read_csv(path, _AGAIN)
    if tuple(columns) != PREDICTION_COLUMNS:
        raise _defect(path, f"its columns are {', '.join(columns)}, not {', '.join(PREDICTION_COLUMNS)}")
    return [
        {"name": name, "label": label, "predicted": predicted, "confidence": _number(path, line, confidence)}
        for line, (name, label, predicted, confidence) in rows
    ]


def _number(path: Path, line: int, cell: str) -> float | None:
    if not cell:
        return None
    try:
        return int(cell) if cell.lstrip("-").isdecimal() else float(cell)
    except ValueError:
        raise _defect(path, f"line {line} has {cell!r} where a number belongs") from None


def _check_fields(path: Path, content: Mapping[str, Any], wanted: Sequence[str]) -> None:
    """The version first: another version explains whatever else differs."""
    version = content.get("record_version")
    if version != VERSION:
        raise UserError(
            f"{path} has record_version {version!r}, but this thawlab reads version {VERSION}. "
            "Read it with the thawlab that wrote it, or run it again in another folder."
        )
    if missing := [name for name in wanted if name not in content]:
        raise _defect(path, f"it lacks {', '.join(missing)}")
    if unknown := [name for name in content if name not in wanted]:
        raise _defect(path, f"it has fields that version {VERSION} lacks: {', '.join(unknown)}")


def _check(path: Path, name: str, value: Any, shape: Any) -> None:
    """Hold a JSON value against a shape; UserError with the place of the first mismatch.

    A type or a tuple of types (None for null) stands for itself, [shape] for a list, {str: shape} for a mapping,
    {"key": shape, ...} for an object that has these keys at least.
    """
    if isinstance(shape, list):
        _check(path, name, value, list)
        for i, item in enumerate(value):
            _check(path, f"{name}[{i}]", item, shape[0])
    elif isinstance(shape, dict):
        _check(path, name, value, dict)
        for key, inner in shape.items() if str not in shape else ((key, shape[str]) for key in value):
            if key not in value:
                raise _defect(path, f"{name} lacks {key!r}")
            _check(path, f"{name}.{key}", value[key], inner)
    elif not _is_a(value, shape if isinstance(shape, tuple) else (shape,)):
        raise _defect(path, f"{name} is {value!r:.60}, of the wrong type")


def _is_a(value: Any, types: Sequence[type | None]) -> bool:
    # A bool is an int to Python, and must not pass for one.
    return type(value) in [type(None) if t is None else t for t in types]


def _defect(path: Path, defect: str) -> UserError:
    return UserError(f"{path} is no sound record: {defect}. {_AGAIN}")
