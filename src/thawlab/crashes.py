"""What is recorded of a run whose process ended without recording it."""

import signal
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thawlab.errors import UserError
from thawlab.record import Record

CGROUP, OF_PROCESS, VMSTAT = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/vmstat")


@dataclass(frozen=True)
class Ended:
    """How a run ended: the record's status, or `kept` (finished earlier) or `held` (another process does it)."""

    status: str
    reason: str | None = None
    told: bool = False  # the terminal shows it already


class MemoryKills:
    """Processes that the kernel killed for want of memory: in our cgroup or, where there is none, on this machine."""

    def __init__(self) -> None:
        self._seen = _oom_kills()

    def is_new(self) -> bool:
        """Whether there was one more than this has told of."""
        is_new = _oom_kills() > self._seen
        self._seen += is_new
        return is_new


def _oom_kills() -> int:
    """How many there were; `oom_kill` of cgroup v2's memory.events, of v1's memory.oom_control, or of /proc/vmstat."""
    for path in (*_memory_files(), VMSTAT):
        try:
            counts = dict(line.split()[:2] for line in path.read_text().splitlines() if len(line.split()) > 1)
        except OSError:
            continue
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return 0


def _memory_files() -> list[Path]:
    try:
        lines = [line.split(":", 2) for line in OF_PROCESS.read_text().splitlines()]
    except OSError:
        return []
    found = []
    for _, controllers, place in (line for line in lines if len(line) == 3):
        if not controllers:
            found += [CGROUP / place.lstrip("/") / "memory.events", CGROUP / "memory.events"]
        elif "memory" in controllers.split(","):
            root = CGROUP / "memory"
            found += [root / place.lstrip("/") / "memory.oom_control", root / "memory.oom_control"]
    return found


def crashed(exit_code: int | None, kills: MemoryKills) -> Ended:
    """Why a process is gone that has not said how its run ended; `exit_code` as `multiprocessing` gives it."""
    if exit_code is None or exit_code >= 0:
        return Ended("failed", f"its process exited with status {exit_code} before the run's end")
    if -exit_code == signal.SIGKILL and kills.is_new():
        return Ended("out_of_memory", "killed by the kernel, since the memory was used up (signal 9, SIGKILL)")
    return Ended("failed", f"killed by signal {-exit_code} ({_name(-exit_code)})")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a real-time signal"


def recorded(folder: Path) -> Record | None:
    """The record in a run's folder; None: there is no sound one."""
    try:
        return Record.read(folder)
    except UserError:
        return None


def complete(folder: Path, config: dict[str, Any], earlier: Record | None, ended: Ended) -> Ended:
    """Record how a run ended that could not do so itself; returns what the record says then.

    What it had recorded of its plan and data stays. The record of a run that had finished stays as it is, and so does
    an earlier result where the run never began. OSError where nothing can be written.
    """
    record = recorded(folder)
    if record is not None and record.status == "finished":
        return Ended("finished") if record != earlier else ended
    if record is None or record == earlier:
        record = Record(name=folder.name, status="running", config=config)
    if record.status == "running":
        record = replace(record, status=ended.status, reason=ended.reason, ended=_now())
        record.write(folder)
    return Ended(record.status, record.reason)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
