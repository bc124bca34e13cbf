"""Where the bytes of image files come from: a folder, an archive, a table of a data set."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Gives a file's bytes by its name.

    Hashable, equal only to a store of the same content, so that what was found out about its files can be remembered;
    picklable, for worker processes; safe to read from several threads.
    """

    @property
    def place(self) -> str:
        """What a message calls it, such as the folder's path."""
        ...

    def read(self, name: str) -> bytes:
        """Give a file's content. Raises OSError where it cannot be read."""
        ...


@dataclass(frozen=True)
class FolderStore:
    """Files below a folder, by their path from there, with forward slashes."""

    root: Path

    @property
    def place(self) -> str:
        """The folder's path."""
        return str(self.root)

    def read(self, name: str) -> bytes:
        """As in Store."""
        return read_file(self.root / name)


def read_file(path: Path) -> bytes:
    """Give a file's content. Raises OSError where it cannot be read or is no file: a pipe would be waited for."""
    with open(path, "rb", opener=_without_waiting) as file:
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    handle = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("it is no file but a folder, a pipe or a device")
    return handle
