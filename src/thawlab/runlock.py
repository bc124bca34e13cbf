"""Who does a run: one process at a time for each run's folder.

The kernel lets go of the lock when its owner dies, however it dies. The lock's file stays: it takes no room, and
removing it would let two processes hold what they take for the same.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from thawlab.errors import UserError

PATIENCE = 10.0  # seconds: a worker process that outlives its owner is gone by then
_LOOK = 1.0  # seconds between two looks at whether an owner still says that it ends
_LOCK, _OWNER = ".run.lock", ".run.owner"
log = logging.getLogger(__name__)


class Held(UserError):
    """Another process does this run."""


@contextmanager
def held(folder: Path, patience: float | None = None, tell: Callable[[str], None] = log.info) -> Iterator[None]:
    """Be the one that does the run in `folder`; `Held`, naming the owner, where another still does after `patience` s.

    One that has said that it ends is waited for as long as it gave itself; `tell` hears of that. Where the file system
    knows no locks, a warning in the log says that nobody is kept out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        _acquire(lock, folder, PATIENCE if patience is None else patience, tell)
    except Timeout:
        raise Held(
            f"{os.path.relpath(folder)} is being run by {_owner(folder)}. "
            "Wait until it has ended, or end it with kill and its number. Then start this again."
        ) from None
    except NotImplementedError as error:
        log.warning("%s: no locks here (%s), so that the same run started twice is not noticed", folder, error)
        yield
        return
    try:
        _leave_word(folder)
        yield
    finally:
        (folder / _OWNER).unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, folder: Path, patience: float, tell: Callable[[str], None]) -> None:
    """Raises Timeout where the owner outlasts `patience`, in seconds, or what it gave itself to end."""
    began = told = None
    while True:
        try:
            lock.acquire(timeout=patience if began is None else _LOOK)
            return
        except Timeout:
            owner, began = _owner(folder), began or time.monotonic()
            if owner.ends_within is None or time.monotonic() - began > owner.ends_within + PATIENCE:
                raise
            if told is None:
                told = f"  {os.path.relpath(folder)} is still being saved by {owner}: waits until that has ended"
                tell(told)


def say_ending(folder: Path, within: float) -> None:
    """Leave word for who wants the run in `folder` next that this process, if it does it, is gone in `within` s."""
    with suppress(OSError):  # a full disk: then nobody waits
        if _owner(folder).process == os.getpid():
            _leave_word(folder, within)


def owner_of(folder: Path) -> str | None:
    """Who does the run in `folder` now, in words; None: nobody. Writes nothing where no run ever took the lock.

    Raises OSError where the lock cannot be tried, as in another's folder.
    """
    if not (folder / _LOCK).exists():
        return None
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return str(_owner(folder))
    except NotImplementedError as error:
        raise OSError(str(error)) from None
    lock.release()
    return None


@dataclass(frozen=True)
class _Owner:
    """Who has a run, as it says itself; all None: it has not said."""

    process: int | None = None
    host: str | None = None
    since: str | None = None
    ends_within: float | None = None  # seconds, at most; None: it goes on

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}" if self.process else "another process"


def _leave_word(folder: Path, ends_within: float | None = None) -> None:
    owner = _Owner(os.getpid(), socket.gethostname(), _now(), ends_within)
    (folder / _OWNER).write_text(json.dumps(asdict(owner)))


def _owner(folder: Path) -> _Owner:
    for _ in range(5):  # it writes its name once it has the lock
        try:
            said = json.loads((folder / _OWNER).read_text("utf-8"))
            within = said.get("ends_within")
            return _Owner(said["process"], said["host"], said["since"], None if within is None else float(within))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            time.sleep(0.1)
    return _Owner()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
