"""The record of a run, and of a sweep: what reports know. docs/record.md explains every field.

Imports neither torch nor Lightning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from thawlab.errors import UserError
from thawlab.files import read_json, write_json
from thawlab.json_shapes import AGAIN, check, current, defect

VERSION = 3
_MANIFEST_VERSION = 4  # since when it has `earlier`
STATUSES = (
    *("running", "finished", "refused"),
    *("failed", "diverged", "out_of_memory", "timeout", "interrupted"),
)
RESULT, MANIFEST = "result.json", "sweep.json"

_GIVE_A_SWEEP = "Give a sweep's folder, such as outputs/<sweep>."
_NUMBER = (int, float, None)  # null: it was NaN or infinite
_NEW: dict[int, dict[str, Any]] = {2: {"files": {}}, 3: {"advice": {}}}  # version -> fields that it added
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
    "files": {str: {"sha256": str, "bytes": int}},
    "advice": dict,
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
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # what it left: path from its folder -> checksum
    advice: dict[str, Any] = field(default_factory=dict)  # what strategy=auto came to: `advice.Advice`, as plain values
    record_version: int = VERSION

    def write(self, folder: Path | str) -> None:
        """Write result.json: a reader sees the old record or the new one, never half of either."""
        write_json(Path(folder) / RESULT, asdict(self), sealed=True)

    @classmethod
    def read(cls, folder: Path | str) -> "Record":
        """Read the record of a run's folder; UserError naming file and defect where there is no sound one."""
        path = Path(folder) / RESULT
        content = current(path, read_json(path, AGAIN), [f.name for f in fields(cls)], VERSION, _NEW)
        if content["status"] not in STATUSES:
            raise defect(path, f"status is {content['status']!r}, not one of: {', '.join(STATUSES)}")
        check(path, "record", content, _SHAPES)
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
    commands: tuple[tuple[str, ...], ...]  # of every launch, each once, the latest last; none without a manifest
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
    commands, planned = _read_manifest(folder / MANIFEST) if has_manifest else ((), ())
    records, unreadable = _read_runs(runs)
    return Sweep(folder, commands, planned, records, unreadable)


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

    Runs planned by an earlier launch stay planned, and its command known; `command` is the latest launch's.
    """
    path = Path(folder) / MANIFEST
    commands, before = _read_manifest(path) if path.exists() else ((), ())
    united = {run.name: run for run in (*before, *planned)}
    content = {
        "record_version": _MANIFEST_VERSION,
        "command": list(command),
        "earlier": [list(one) for one in commands if one != tuple(command)],
        "planned": [asdict(run) for run in united.values()],
    }
    write_json(path, content, sealed=True)


def _read_manifest(path: Path) -> tuple[tuple[tuple[str, ...], ...], tuple[PlannedRun, ...]]:
    content = read_json(path, "Delete it, and launch the sweep again: finished runs stay.")
    names = ["record_version", "command", "earlier", "planned"]
    content = current(path, content, names, _MANIFEST_VERSION, {_MANIFEST_VERSION: {"earlier": []}})
    check(path, "command", content["command"], [str])
    check(path, "earlier", content["earlier"], [[str]])
    check(path, "planned", content["planned"], [{"name": str, "overrides": [str]}])
    planned = tuple(PlannedRun(row["name"], tuple(row["overrides"])) for row in content["planned"])
    return (*map(tuple, content["earlier"]), tuple(content["command"])), planned
