"""Why something could not be kept on disk, in one line: the run goes on without it."""

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("thawlab")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreError(Exception):
    """The store cannot be used here; the message is one line and says why."""


class TooLarge(StoreError):
    """What was asked for finds no room: `needed` bytes, of which `allowed` may be taken."""

    def __init__(self, reason: str, needed: int, allowed: int) -> None:
        super().__init__(reason)
        self.needed = needed
        self.allowed = allowed


class Damaged(Exception):
    """A segment that is not as it was written; the message says what is wrong with it."""


@contextmanager
def keeping(folder: Path, needed: int = 0) -> Iterator[None]:
    """Tell what the system refuses while the store works in `folder` as a StoreError, a full disk as TooLarge."""
    try:
        yield
    except BrokenPipeError:  # of who reads our output, not of the folder
        raise
    except OSError as error:
        fact = error.strerror or str(error)
        if error.errno in _FULL:
            raise TooLarge(f"{folder} cannot be written: {fact} ({error.errno})", needed, 0) from error
        raise StoreError(f"{folder} cannot be used: {fact} ({error.filename or folder})") from error


def tell(line: str) -> None:
    """One line for who watches, and for the run's log."""
    print(line, file=sys.stderr, flush=True)
    log.info("%s", line)
