"""Tar archives, compressed or not, read without unpacking."""

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from thawlab.data.members import LARGEST, BadArchive, Index, Member, index_of

PACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
CHUNK = 2**20
SWELLS = 100  # a compressed tar of more than `LARGEST` bytes that grows by more than this is made to do harm


class TarArchive:
    """An opened tar. Its members are read by their places, so that threads and forked processes may share it.

    A compressed one cannot be read at random: it is decompressed once, into a temporary file that has no name and so
    goes with the process. Raises BadArchive for a file that is no whole tar, OSError where it cannot be opened or
    the temporary file does not fit.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = _plain(path)
            weakref.finalize(self, os.close, self._file)
            self.index: Index[int] = index_of(_found(self._file))
        except BadArchive:
            raise
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the archive's
                raise
            raise BadArchive(f"is no whole tar: {error}. Fetch or pack it again.") from error

    def read(self, name: str) -> bytes:
        """As in Archive."""
        member = self.index.files[name]
        if member.size > LARGEST:
            raise OSError(f"it claims {member.size} bytes, more than the {LARGEST} that are read")
        content = os.pread(self._file, member.size, member.where)
        if len(content) < member.size:
            raise OSError(f"it ends after {len(content)} of {member.size} bytes")
        return content


def _plain(path: Path) -> int:
    """Open the tar itself, of a compressed one its content."""
    with path.open("rb") as file:
        magic = file.read(6)
    for start, opener in PACKERS.items():
        if magic.startswith(start):
            with opener(path, "rb") as source:
                return _decompressed(source, path.stat().st_size)
    return os.open(path, os.O_RDONLY)


def _decompressed(source: IO[Any], packed: int) -> int:
    most = max(LARGEST, SWELLS * packed)
    with tempfile.TemporaryFile() as target:
        while chunk := source.read(CHUNK):
            target.write(chunk)
            if target.tell() > most:
                raise BadArchive(f"swells from {packed} to more than {most} bytes. Fetch it again, or unpack it.")
        target.seek(0)
        return os.dup(target.fileno())


def _found(file: int) -> Iterator[tuple[str, str, Member[int] | None]]:
    known: dict[str, Member[int]] = {}
    with open(file, "rb", closefd=False) as content, tarfile.open(fileobj=content, mode="r:") as tar:
        while (info := tar.next()) is not None:
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue] - tarfile would keep them all
            if info.isdir():
                yield info.name, "folder", None
                continue
            member = Member(info.size, info.offset_data) if info.isreg() and not info.issparse() else None
            if info.islnk():  # another name for a file that came before
                member = known.get(info.linkname)
            if member is not None:
                known[info.name] = member
            yield info.name, "other" if member is None else "file", member
        # tarfile takes a damaged header, and a file cut off between two members, for the end.
        if os.pread(file, tarfile.BLOCKSIZE, tar.offset) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise BadArchive(f"is damaged or cut off after {tar.offset} bytes. Fetch or pack it again.")
