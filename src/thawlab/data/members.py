"""What archives of every kind have in common: members under safe names, and limits on what reading one may cost."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

LARGEST = 2**30  # bytes of one member: more than any image that is decoded

Where = TypeVar("Where")  # how an archive of some kind finds a member's content


class BadArchive(ValueError):
    """An archive that cannot be relied on; the message says why and what to do, without naming it."""


@dataclass(frozen=True)
class Member(Generic[Where]):
    """A file within an archive: its size in bytes, and where its content is found."""

    size: int
    where: Where


@dataclass(frozen=True)
class Index(Generic[Where]):
    """The files of an archive by their names, its folders, and what is neither: links, pipes, devices."""

    files: dict[str, Member[Where]]
    folders: frozenset[str]
    others: tuple[str, ...]


class Archive(Protocol):
    """An opened archive, safe to read from several threads."""

    @property
    def index(self) -> Index:
        """What it holds."""
        ...

    def read(self, name: str) -> bytes:
        """Give a file's content. Raises OSError where it cannot be read; `name` is one of the index."""
        ...


def index_of(found: Iterable[tuple[str, str, Member[Where] | None]]) -> Index[Where]:
    """Gather (name, kind, member) of a whole archive, where kind is file, folder or other.

    Raises BadArchive for names that lead out of the archive, although nothing is ever unpacked: they end up in
    predictions and pages as they are. So are names that occur twice: which of the two is meant is anyone's guess.
    """
    files: dict[str, Member[Where]] = {}
    folders, others = set[str](), list[str]()
    for raw, kind, member in found:
        name = _safe(raw)
        if kind == "folder":
            folders.add(name)
        elif member is None:
            others.append(name)
        elif name in files:
            raise BadArchive(f"holds {name!r} twice, and which of them is meant is unknown. Pack it again.")
        else:
            files[name] = member
    return Index(files, frozenset(folders), tuple(others))


def _safe(raw: str) -> str:
    name = posixpath.normpath(raw)
    if name.startswith("/") or name == ".." or name.startswith("../"):
        raise BadArchive(f"holds {raw!r}, a name that leads out of it. Pack it again from within the images' folder.")
    return name
