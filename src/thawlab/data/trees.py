"""Folders and archives seen alike: what lies where below a root."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from thawlab.data.archives import ENDINGS, ArchiveStore, store_of
from thawlab.data.checking import ImageFile
from thawlab.data.roots import root_of
from thawlab.data.stores import FolderStore, Store
from thawlab.errors import UserError


class Level(NamedTuple):
    """What lies directly in a folder, by name: folders, folders that are links, and all else. Sorted."""

    folders: tuple[str, ...]
    links: tuple[str, ...]
    files: tuple[str, ...]


class Tree(Protocol):
    """Paths have forward slashes and begin below the root, which is the empty one."""

    @property
    def store(self) -> Store:
        """What its files are read from, by their paths."""
        ...

    def level(self, path: str) -> Level:
        """Say what lies directly in a folder. Raises UserError where it cannot be read."""
        ...

    def find(self, path: str) -> ImageFile | None:
        """Describe a file; None where there is none."""
        ...


@dataclass(frozen=True)
class FolderTree:
    """A folder of the file system."""

    root: Path

    @property
    def store(self) -> FolderStore:
        """As in Tree."""
        return FolderStore(self.root)

    def level(self, path: str) -> Level:
        """As in Tree."""
        folders, links, files = list[str](), list[str](), list[str]()
        try:
            with os.scandir(self.root / path) as entries:
                for entry in entries:
                    kind = files if not entry.is_dir() else links if entry.is_symlink() else folders
                    kind.append(entry.name)
        except OSError as error:
            raise UserError(
                f"{self.root / path} cannot be read: {error.strerror}. Mend that, or take the folder out."
            ) from error
        return Level(*(tuple(sorted(names)) for names in (folders, links, files)))

    def find(self, path: str) -> ImageFile | None:
        """As in Tree."""
        try:
            found = (self.root / path).stat()
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return None
        return ImageFile(path, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


@dataclass(frozen=True)
class ArchiveTree:
    """What lies in an archive below its store's prefix. Links within it are not followed."""

    store: ArchiveStore

    def level(self, path: str) -> Level:
        """As in Tree."""
        return self._levels.get(path, Level((), (), ()))

    def find(self, path: str) -> ImageFile | None:
        """As in Tree. No time of change: the archive's own is the store's."""
        member = self.store.opened().index.files.get(self.store.prefix + path)
        return None if member is None else ImageFile(path, member.size, 0)

    def below(self, folder: str) -> "ArchiveTree":
        """Give the same archive from one of the root's folders on."""
        store = self.store
        return ArchiveTree(ArchiveStore(store.path, store.size, store.changed, f"{store.prefix}{folder}/"))

    @cached_property
    def _levels(self) -> dict[str, Level]:
        index = self.store.opened().index
        folders: dict[str, set[str]] = {"": set()}
        files: dict[str, set[str]] = {}
        for name in self._below_prefix(index.folders):
            _enter(name, folders)
        for name in self._below_prefix((*index.files, *index.others)):
            folder, _, last = name.rpartition("/")
            _enter(folder, folders)
            files.setdefault(folder, set()).add(last)
        return {
            path: Level(tuple(sorted(inner)), (), tuple(sorted(files.get(path, ())))) for path, inner in folders.items()
        }

    def _below_prefix(self, names: Iterable[str]) -> Iterator[str]:
        prefix = self.store.prefix
        return (name.removeprefix(prefix) for name in names if name.startswith(prefix) and name != ".")


def _enter(folder: str, folders: dict[str, set[str]]) -> None:
    """Make a folder known, and those that it lies in: archives need not name them."""
    new = list[tuple[str, str]]()
    while folder not in folders:
        folders[folder] = set()
        parent, _, last = folder.rpartition("/")
        new.append((parent, last))
        folder = parent
    for parent, last in new:
        folders[parent].add(last)


def tree_of(root: str) -> Tree:
    """Give what `dataset.root` names: a folder, or a zip or tar. Raises UserError where it is neither."""
    path = root_of("folder", root)
    if path.is_dir():
        return FolderTree(path)
    if path.is_file() and path.name.lower().endswith(ENDINGS):
        return ArchiveTree(store_of(path))
    raise UserError(
        f"dataset.root is {root!r}, but that is a file of none of these: {', '.join(ENDINGS)}. "
        "Give the folder that holds the images, or a zip or tar of it."
    )
