"""What JSON files hold, held against the shape that it must have."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thawlab.errors import UserError
from thawlab.files import SEAL

AGAIN = "Delete it, and run the command that made it again."


def current(
    path: Path,
    content: Mapping[str, Any],
    wanted: Sequence[str],
    version: int,
    new: Mapping[int, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The content without its seal; UserError where it is of another version, lacks a field or has a strange one.

    `new`: the fields that came with a version; one from before is read with these values of them. Version 1 was not
    sealed.
    """
    found = content.get("record_version")  # first: another version explains whatever else differs
    if type(found) is not int or not 1 <= found <= version:
        raise UserError(
            f"{path} has record_version {found!r}, but this thawlab reads versions 1 to {version}. "
            "Read it with the thawlab that wrote it, or run it again in another folder."
        )
    if found == 1:
        content = {SEAL: None, **content}
    for came_with, values in (new or {}).items():
        if found < came_with:
            content = {**values, **content}
    if missing := [name for name in (*wanted, SEAL) if name not in content]:
        raise defect(path, f"it lacks {', '.join(missing)}")
    if unknown := [name for name in content if name not in (*wanted, SEAL)]:
        raise defect(path, f"it has fields that version {version} lacks: {', '.join(unknown)}")
    return {name: content[name] for name in wanted} | {"record_version": version}


def check(path: Path, name: str, value: Any, shape: Any) -> None:
    """Hold a JSON value against a shape; UserError with the place of the first mismatch.

    A type or a tuple of types (None for null) stands for itself, [shape] for a list, {str: shape} for a mapping,
    {"key": shape, ...} for an object that has these keys at least.
    """
    if isinstance(shape, list):
        check(path, name, value, list)
        for i, item in enumerate(value):
            check(path, f"{name}[{i}]", item, shape[0])
    elif isinstance(shape, dict):
        check(path, name, value, dict)
        for key, inner in shape.items() if str not in shape else ((key, shape[str]) for key in value):
            if key not in value:
                raise defect(path, f"{name} lacks {key!r}")
            check(path, f"{name}.{key}", value[key], inner)
    elif not _is_a(value, shape if isinstance(shape, tuple) else (shape,)):
        raise defect(path, f"{name} is {value!r:.60}, of the wrong type")


def _is_a(value: Any, types: Sequence[type | None]) -> bool:
    # A bool is an int to Python, and must not pass for one.
    return type(value) in [type(None) if t is None else t for t in types]


def defect(path: Path, fact: str) -> UserError:
    """The error that a record with such a defect is refused with."""
    return UserError(f"{path} is no sound record: {fact}. {AGAIN}")
