"""Tar files of samples, as WebDataset writes them, indexed once so that any file in them is one seek away.

A sample is a run of files with one key: `dir/0001.jpg` and `dir/0001.cls` have the key `dir/0001` and the endings `jpg`
and `cls` (https://github.com/webdataset/webdataset: an ending begins at the first dot of the file's own name).
"""

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from thawlab.errors import UserError

_BLOCK = tarfile.BLOCKSIZE
REWRITE = "Write the shard again"


@dataclass(frozen=True)
class Shard:
    """A tar file as it was found, so that what is remembered about it is forgotten when it changes."""

    path: Path
    size: int
    changed: int  # nanoseconds


@dataclass(frozen=True)
class Place:
    """Where a file's content lies in its shard, in bytes."""

    start: int
    size: int


Sample = dict[str, Place]  # ending → where


def found(path: Path) -> Shard:
    """Describe a tar file. Raises OSError where it is not there."""
    about = path.stat()
    return Shard(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=4096)
def index(shard: Shard) -> dict[str, Sample]:
    """Give each key's sample in a shard, in the order of the file.

    Raises UserError for a compressed, truncated or odd file, and for a key that comes twice: samples would overwrite
    each other.
    """
    samples: dict[str, Sample] = {}
    before = None
    end = 0
    try:
        with tarfile.open(shard.path, "r:") as tar:
            for member in tar:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                key, ending = _split(member.name)
                if not member.isfile() or not ending:
                    continue
                if (key in samples and key != before) or ending in samples.get(key, {}):
                    raise UserError(
                        f"{shard.path} holds {member.name} although it has had the key {key!r} with that ending, or "
                        f"other samples since: one key means one sample. {REWRITE} with keys that differ."
                    )
                samples.setdefault(key, {})[ending] = Place(member.offset_data, member.size)
                before = key
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"{shard.path} {_defect(shard.path, error)}") from error
    _check_end(shard, end)
    return samples


def _split(name: str) -> tuple[str, str]:
    """Key and ending; no ending for what is no part of a sample, as hidden files."""
    folder, slash, own = name.removeprefix("./").rpartition("/")
    stem, _, ending = own.partition(".")
    return f"{folder}{slash}{stem}", ending.lower() if stem else ""


def _defect(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b" or start[:3] == b"BZh" or start in (b"\xfd7zX", b"\x28\xb5\x2f\xfd"):
        return (
            "is compressed, so that no image in it can be read without all before it. Images are compressed by "
            "themselves: decompress it, as by gunzip, and give the .tar."
        )
    return f"cannot be read as a tar file: {error}. {REWRITE}, or fetch it again."


def _check_end(shard: Shard, end: int) -> None:
    """A tar file ends with empty blocks: tarfile itself takes one that is cut off between two files for whole."""
    with shard.path.open("rb") as file:
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise UserError(
                f"{shard.path} ends without the empty block that closes a tar file: it is cut off, or not written to "
                f"its end. {REWRITE}, or fetch it again."
            )


def content(shard: Shard, place: Place) -> bytes:
    """Read a file of a shard. Raises OSError where the shard is gone or shorter than it was."""
    with shard.path.open("rb") as file:
        file.seek(place.start)
        read = file.read(place.size)
    if len(read) < place.size:
        raise OSError("its shard has become shorter")
    return read


@dataclass(frozen=True)
class ShardStore:
    """Files in shards; a file's name is its shard's and its own: `train-000.tar/0001.jpg`."""

    root: Path
    shards: tuple[Shard, ...]
    places: Mapping[str, tuple[int, Place]] = field(compare=False, repr=False)  # name → number of the shard, where

    @property
    def place(self) -> str:
        """The folder of the shards."""
        return str(self.root)

    def read(self, name: str) -> bytes:
        """As in Store."""
        number, place = self.places[name]
        return content(self.shards[number], place)
