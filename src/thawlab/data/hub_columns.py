"""Which column of a Hugging Face data set holds the image, and which the label."""

from collections.abc import Mapping
from typing import Any

from thawlab.errors import UserError

LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "y")


def image_column(features: Mapping[str, Any], asked: str | None) -> str:
    """The column of the feature type Image, or of encoded images without it.

    Raises UserError where none or several, and for paths of files: the library would seek them in the working folder.
    """
    declared = [name for name, feature in features.items() if _kind(feature) == "Image"]
    encoded = [name for name, feature in features.items() if _holds_files(feature)]
    found = declared or encoded
    chosen = _chosen(features, found, asked, "image") if found or asked is not None else None
    if chosen in (*declared, *encoded):
        return chosen
    fact = (
        "not given, and none of the data set's columns holds images"
        if chosen is None
        else f"{chosen!r}, but that column holds {describe(features[chosen])} and no images"
    )
    raise UserError(
        f"dataset.image_column is {fact}. The columns are: {_listed(features)}. Where one holds paths of files, read "
        "its table by dataset=table dataset.table=FILE.parquet; or save the data set with that column cast to "
        "datasets.Image."
    )


def label_column(features: Mapping[str, Any], asked: str | None, task: str) -> str:
    """The column of the feature type ClassLabel, or numbers or names under a usual name; of several labels, lists.

    Raises UserError where none or several fit, and where the column does not fit the task.
    """
    found = [name for name, feature in features.items() if _kind(_inner(feature)) == "ClassLabel"]
    usual = [name for name, feature in features.items() if name.lower() in LABEL_NAMES and _is_label(feature)]
    chosen = _chosen(features, found or usual, asked, "label")
    several = _inner(features[chosen]) is not features[chosen]
    if not _is_label(features[chosen]):
        raise UserError(
            f"dataset.label_column is {chosen!r}, but that column holds {describe(features[chosen])}, and a label is a "
            f"number or a name. The columns are: {_listed(features)}."
        )
    if several != (task == "multilabel"):
        needed, held = ("multilabel", "lists of labels") if several else ("multiclass", "one label")
        raise UserError(
            f"dataset.task is {task!r}, but column {chosen!r} holds {held} for each image. "
            f"Give dataset.task={needed}, or another dataset.label_column."
        )
    return chosen


def label_names(feature: Any) -> tuple[str, ...] | None:
    """The names of the classes by their number, where the data set knows them."""
    names = getattr(_inner(feature), "names", None)
    return tuple(names) if names else None


def describe(feature: Any) -> str:
    """A column's type in a few words."""
    inner = _inner(feature)
    kind = getattr(inner, "dtype", None) if _kind(inner) == "Value" else _kind(inner)
    return f"lists of {kind}" if inner is not feature else str(kind)


def _chosen(features: Mapping[str, Any], found: list[str], asked: str | None, what: str) -> str:
    key = f"dataset.{what}_column"
    if asked is not None and asked not in features:
        raise UserError(f"{key} is {asked!r}, but the data set has no such column. It has: {_listed(features)}.")
    if asked is not None or len(found) == 1:
        return asked or found[0]
    fact = f"several could hold the {what}: {', '.join(found)}" if found else f"none is known to hold the {what}"
    raise UserError(
        f"{key} is not given, and of the data set's columns ({_listed(features)}) {fact}. Give it: "
        f"{key}={(found or list(features))[0]}"
    )


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({describe(feature)})" for name, feature in features.items())


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _inner(feature: Any) -> Any:
    """What a list holds; anything else itself."""
    if _kind(feature) in ("List", "LargeList", "Sequence"):
        return feature.feature
    return feature[0] if isinstance(feature, list) and feature else feature


def _holds_files(feature: Any) -> bool:
    """Image files that nobody declared as such: bytes, or bytes beside a path."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return _kind(feature) == "Value" and feature.dtype in ("binary", "large_binary")


def _is_label(feature: Any) -> bool:
    inner = _inner(feature)
    if _kind(inner) == "ClassLabel":
        return True
    return _kind(inner) == "Value" and (inner.dtype in ("string", "large_string", "bool") or "int" in inner.dtype)
