"""Paths in a table → the files that they mean, below a folder or within an archive."""

import os
import posixpath
from collections.abc import Sequence

from thawlab.data.checking import ImageFile
from thawlab.data.columns import Table, refuse_rows
from thawlab.data.listing import nested
from thawlab.data.spec import DatasetSpec
from thawlab.data.trees import FolderTree, Tree, tree_of


def find_files(spec: DatasetSpec, table: Table, paths: Sequence[str], column: str) -> tuple[Tree, list[ImageFile]]:
    """Find the file of each row, whose path stands in `column`, and where they all are.

    A path begins at `spec.root`, or at the table's folder; an absolute one must lead into it. Raises UserError for
    paths that are empty, lead elsewhere or occur twice, and, unless unreadable files are left out, for absent files.
    """
    empty = [(row, path) for row, path in enumerate(paths) if not path]
    refuse_rows(table, empty, f"column {column!r} holds no path", "Fill it in, or take the row out.")
    tree = tree_of(spec.root) if spec.root else FolderTree(table.path.parent)
    names = _names(table, paths, column, tree)
    _refuse_twice(table, names, column)
    tree = _where_they_are(tree, names)
    files = [tree.find(name) for name in names]
    absent = [(row, paths[row]) for row, file in enumerate(files) if file is None]
    if spec.bad_images == "error":
        fact = f"{len(absent)} of the {len(paths)} paths in column {column!r} are no files in {tree.store.place}"
        remedy = "Give dataset.root the folder, zip or tar where they begin, or mend them"
        refuse_rows(table, absent, fact, f"{remedy}, or leave them out with dataset.bad_images=quarantine.")
    return tree, [file or ImageFile(name, 0, 0) for name, file in zip(names, files, strict=True)]


def _names(table: Table, paths: Sequence[str], column: str, tree: Tree) -> list[str]:
    top = os.path.abspath(tree.root) if isinstance(tree, FolderTree) else None
    names = [_name(path, top) for path in paths]
    outside = [(row, paths[row]) for row, name in enumerate(names) if name is None]
    refuse_rows(
        table, outside, f"column {column!r} leads out of {tree.store.place}",
        "Paths begin there: give dataset.root a folder that holds all images.",
    )  # fmt: skip
    return [name for name in names if name is not None]


def _name(path: str, top: str | None) -> str | None:
    """Give a path from the root on, with forward slashes, or None where it leads out of there."""
    name = posixpath.normpath(path.replace("\\", "/"))
    if top is not None and name.startswith(f"{top.rstrip('/')}/"):
        name = name.removeprefix(top).lstrip("/")
    leads_out = name.startswith(("/", "../")) or name in ("..", ".") or "\0" in name
    return None if leads_out else name


def _refuse_twice(table: Table, names: Sequence[str], column: str) -> None:
    first: dict[str, int] = {}
    again = [(row, name) for row, name in enumerate(names) if first.setdefault(name, row) != row]
    shown = [(row, name) for known, name in again for row in (first[name], known)]
    refuse_rows(table, shown, f"column {column!r} names images twice", "Keep one row for each image.")


def _where_they_are(tree: Tree, names: Sequence[str]) -> Tree:
    """Give an archive from where most of the names are found: its top, or the folders that it was packed in."""
    first, *inner = nested(tree)
    return max((first, *inner), key=lambda one: sum(one.find(name) is not None for name in names)) if inner else first
