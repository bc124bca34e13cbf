"""Whose code is run: what the user typed, and what lies below a name that is trusted. docs/security.md lists both."""

import os
from collections.abc import Sequence
from pathlib import Path

from thawlab.errors import UserError

VARIABLE = "THAWLAB_TRUST"
# Of these libraries only the parts that build networks: elsewhere they have functions that read pickles.
NETWORKS = ("timm.models", "torchvision.models", "thawlab.backbones")


def trusted(more: Sequence[str] = ()) -> tuple[str, ...]:
    """What the user trusts: `more`, and the entries of THAWLAB_TRUST, which stand apart by commas."""
    given = [*more, *os.environ.get(VARIABLE, "").split(",")]
    return tuple(entry.strip() for entry in given if entry.strip())


def covers(entry: str, place: str) -> bool:
    """Whether a trusted entry covers a place that code would come from.

    A package covers itself and what is in it; a .py file itself; a folder, which is written with a slash, the files
    in it. Links are followed: what counts is where the file lies.

    >>> covers("timm.models", "timm.models.resnet"), covers("timm", "timm_of_another")
    (True, False)
    >>> covers("nets/", "nets/small.py"), covers("nets/", "nets/../other.py")
    (True, False)
    """
    if not _is_path(place):
        package = entry.rstrip(".")
        return not _is_path(entry) and (place == package or place.startswith(f"{package}."))
    return _is_path(entry) and Path(place).resolve().is_relative_to(Path(entry).expanduser().resolve())


def _is_path(text: str) -> bool:
    return text.endswith(".py") or os.sep in text or text.startswith(("~", ".."))


def check_function(reference: str, source: str, trust: Sequence[str] = (), remedy: str = "") -> None:
    """Refuse `file.py:function` or `package.module:function` that comes from a file, unless it is trusted.

    `source` says where it stands; `remedy` what else helps. Raises UserError.
    """
    place = reference.rpartition(":")[0]
    if not place:  # no reference at all: whoever would call it says so
        return
    if any(covers(entry, place) for entry in (*NETWORKS, *trusted(trust))):
        return
    raise UserError(
        f"backbone.function is {reference!r} in {source}: that is code which would be run, and nobody here has asked "
        f"for it by name. Look at it; if you trust it, {remedy}set {VARIABLE}={place}."
    )
