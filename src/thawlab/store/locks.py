"""Who may write: one process for an entry, one for the folder's room.

The kernel lets go of a lock when its owner dies, however it dies. The locks' files stay: they take no room, and
removing one would let two processes hold what they take for the same.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from thawlab.store.faults import keeping, tell

LOCKS = ".locks"
_SPACE = "space"  # the lock on the folder's room, held for moments


@contextmanager
def builder(root: Path, digest: str) -> Iterator[None]:
    """Be the one that writes to an entry; waits for another, and says once for whom.

    StoreError where nobody can write.
    """
    owner = root / LOCKS / f"{digest}.owner"
    with keeping(root):
        lock = _lock(root, digest)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell(f"cache: waiting for {_name(owner)}, which writes {root / digest[:12]}")
            lock.acquire()
    try:
        with keeping(root):
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextmanager
def if_free(root: Path, digest: str) -> Iterator[bool]:
    """Whether nobody writes to an entry; then nobody does in this block either."""
    lock = _lock(root, digest)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def room(root: Path) -> Iterator[None]:
    """Be the one that reckons how much room is left."""
    with _lock(root, _SPACE):
        yield


def _lock(root: Path, name: str) -> FileLock:
    (root / LOCKS).mkdir(parents=True, exist_ok=True)
    return FileLock(root / LOCKS / f"{name}.lock")


def _name(owner: Path) -> str:
    try:
        return owner.read_text() or "another process"
    except OSError:
        return "another process"
