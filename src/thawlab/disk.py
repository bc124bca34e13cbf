"""What the system says of a folder that takes no more, in one message."""

import errno
import os
import tempfile
from pathlib import Path

from thawlab.errors import UserError

_REMEDY = {
    errno.ENOSPC: "Make room there (df -h; python scripts/cache.py prunes what is kept between runs)",
    errno.EDQUOT: "Your quota is used up: make room there, or ask for more",
    errno.EFBIG: "A file would be larger than it may be: see ulimit -f",
    errno.EROFS: "It is mounted for reading alone: start from another folder",
    errno.EACCES: "It is not yours to write: start from another folder",
    errno.EPERM: "It is not yours to write: start from another folder",
    errno.EIO: "The disk fails: see dmesg",
}


def fault(error: BaseException, folder: Path | str) -> str | None:
    """Why `folder` could not be written, with the remedy; None: the error is of another kind.

    Libraries pass on the system's words without its number: these are looked for too.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number not in _REMEDY:
        number = next((n for n in _REMEDY if os.strerror(n) in str(error)), None)
    if number is None:
        return None
    return (
        f"{os.path.relpath(folder)} cannot be written: {os.strerror(number)}. {_REMEDY[number]}, then start it again."
    )


def check_writable(folder: Path) -> None:
    """Refuse a folder on whose disk not even a small file can be written; UserError."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(16384))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if message := fault(error, folder):
            raise UserError(message) from None
        raise
