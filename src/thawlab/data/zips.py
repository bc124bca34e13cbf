"""Zip archives, read without unpacking."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from thawlab.data.members import LARGEST, BadArchive, Index, Member, index_of

# Decoders of the others take a member whole, however far it swells.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1


class ZipArchive:
    """An opened zip. Not for use in a process forked later: the two would share one place in the file.

    Raises BadArchive for a file that is no whole zip, OSError where it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise BadArchive(f"is no whole zip: {error}. Fetch or pack it again.") from error
        self.index: Index[zipfile.ZipInfo] = index_of(_found(self._zip))

    def read(self, name: str) -> bytes:
        """As in Archive."""
        info = self.index.files[name].where
        if info.flag_bits & ENCRYPTED:
            raise OSError("it is encrypted: pack it again without a password")
        if info.compress_type not in METHODS:
            raise OSError(f"it is compressed by method {info.compress_type}: pack it again with deflate")
        if info.file_size > LARGEST:
            raise OSError(f"it claims {info.file_size} bytes, more than the {LARGEST} that are read")
        try:
            with self._zip.open(info) as file:
                content = file.read(info.file_size)  # no more than that, whatever it would swell to
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
            raise OSError(f"{error}") from error
        if len(content) < info.file_size:
            raise OSError(f"it ends after {len(content)} of {info.file_size} bytes")
        return content


def _found(archive: zipfile.ZipFile) -> Iterator[tuple[str, str, Member[zipfile.ZipInfo] | None]]:
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # as some programs on Windows write it
        if name.endswith("/"):
            yield name, "folder", None
        elif stat.S_ISLNK(info.external_attr >> 16):
            yield name, "other", None
        else:
            yield name, "file", Member(info.file_size, info)
