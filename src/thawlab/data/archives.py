"""Archives of images as stores: the bytes of their members, whatever kind of archive it is."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from thawlab.data.members import Archive, BadArchive
from thawlab.data.tars import TarArchive
from thawlab.data.zips import ZipArchive
from thawlab.errors import UserError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ENDINGS = (".zip", *TARS)


@dataclass(frozen=True)
class ArchiveStore:
    """Files of an archive below `prefix`, which is empty or ends in a slash.

    Size and time of change are part of it: a file that was written over is another store. Each process opens the
    archive when it first reads from it.
    """

    path: Path
    size: int
    changed: int  # nanoseconds
    prefix: str = ""

    @property
    def place(self) -> str:
        """The archive's path, and the folder in it."""
        return f"{self.path}/{self.prefix}".rstrip("/")

    def read(self, name: str) -> bytes:
        """As in Store."""
        full = self.prefix + name
        try:
            archive = self.opened()
        except BadArchive as error:
            raise OSError(f"{self.path} {error}") from error
        if full in archive.index.others:
            raise OSError("it is a link or a device, which is not followed within an archive")
        if full not in archive.index.files:
            raise FileNotFoundError("it is not in the archive")
        return archive.read(full)

    def opened(self) -> Archive:
        """Give the archive, opened once in each process. Raises BadArchive, and OSError where it has changed."""
        # A zip's handle must not be shared with a forked process, a tar's may.
        is_tar = self.path.name.lower().endswith(TARS)
        return _opened(self.path, self.size, self.changed, 0 if is_tar else os.getpid())


@lru_cache(maxsize=8)
def _opened(path: Path, size: int, changed: int, _process: int) -> Archive:
    now = path.stat()
    if (now.st_size, now.st_mtime_ns) != (size, changed):
        raise OSError(f"{path} has changed since the run began")
    return TarArchive(path) if path.name.lower().endswith(TARS) else ZipArchive(path)


def store_of(path: Path) -> ArchiveStore:
    """Open an archive and read what it holds. Raises UserError for one that is damaged or not safe to read."""
    try:
        found = path.stat()
        store = ArchiveStore(path, found.st_size, found.st_mtime_ns)
        store.opened()
    except BadArchive as error:
        raise UserError(f"{path} {error}") from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be opened: {error.strerror or error}. Mend that (a compressed tar is decompressed into the "
            "folder that TMPDIR names), or unpack it and give dataset.root the folder."
        ) from error
    return store
