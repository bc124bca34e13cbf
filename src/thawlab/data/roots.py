"""Whether what a data set is read from is there: asked of a config before torch is imported, which takes seconds."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thawlab.data.columns import check_table
from thawlab.errors import UserError

# Source -> what dataset.root is to be.
_ROOTS = {
    "folder": "the folder that holds the images, or a zip or tar of it",
    "table": "the folder, zip or tar where the table's paths begin",
    "idx": "the folder of the files",
    "shards": "a folder of shards, or a pattern of them",
}
_PATTERN = frozenset("*?[{")


def check_there(dataset: Mapping[str, Any]) -> None:
    """Refuse a data set whose root or table is not there. Raises UserError.

    A pattern of shards is left to who reads them, and what a library keeps or fetches to that.
    """
    source, root, table = (dataset[key] for key in ("source", "root", "table"))
    if root and source in _ROOTS and not (source == "shards" and _PATTERN & set(root)):
        root_of(source, root)
    if table and source == "table":
        check_table(Path(os.path.expanduser(table)))


def root_of(source: str, root: str) -> Path:
    """The path that `dataset.root` names. Raises UserError where there is none."""
    path = os.path.expanduser(root)
    if not os.path.exists(path):
        raise UserError(f"dataset.root is {root!r}, but there is no such folder. Give {_ROOTS[source]}.")
    return Path(path)
