"""Who does a run: one process at a time for each run's folder.

The kernel lets go of the lock when its owner dies, however it dies. The lock's file stays: it takes no room, and
removing it would let two processes hold what they take for the same.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from thawlab.errors import UserError

PATIENCE = 10.0  # seconds: an orphan that saves, or a worker process that outlives its owner, is gone by then
_LOCK, _OWNER = ".run.lock", ".run.owner"
log = logging.getLogger(__name__)


class Held(UserError):
    """Another process does this run."""


@contextmanager
def held(folder: Path, patience: float | None = None) -> Iterator[None]:
    """Be the one that does the run in `folder`; `Held`, naming the owner, where another still does after `patience` s.

    Where the file system knows no locks, a warning in the log says that nobody is kept out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=PATIENCE if patience is None else patience)
    try:
        lock.acquire()
    except Timeout:
        raise Held(
            f"{os.path.relpath(folder)} is being run by {_owner(folder)}. "
            "Wait until it has ended, or end it with kill and its number. Then start this again."
        ) from None
    except NotImplementedError as error:
        log.warning("%s: no locks here (%s), so that the same run started twice is not noticed", folder, error)
        yield
        return
    owner = folder / _OWNER
    try:
        owner.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


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
        return _owner(folder)
    except NotImplementedError as error:
        raise OSError(str(error)) from None
    lock.release()
    return None


def _owner(folder: Path) -> str:
    for _ in range(5):  # it writes its name once it has the lock
        try:
            owner = json.loads((folder / _OWNER).read_text("utf-8"))
            return f"process {owner['process']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.1)
    return "another process"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
