"""Which images a run learns from, checked before anything is read."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from thawlab.errors import UserError, nearest

MADE_SOURCES = ("characters", "characters_near", "shapes")
FILE_SOURCES = ("folder", "idx", "shards")
LIBRARY_SOURCES = ("torchvision", "hub")
SOURCES = ("digits", *MADE_SOURCES, *FILE_SOURCES, "table", *LIBRARY_SOURCES)
BAD_IMAGES = ("error", "quarantine")
TASKS = ("multiclass", "multilabel")
DEFAULT_TEST_SHARE = 0.2

# Field -> the sources that read it. Every other source refuses it: a setting that does nothing would be believed.
USED_BY = {
    "root": (*FILE_SOURCES, "table", "torchvision"),
    "images": MADE_SOURCES,
    "bad_images": ("folder", "table", "shards", *LIBRARY_SOURCES),
    "test_share": (*MADE_SOURCES, "folder", "table", "shards", *LIBRARY_SOURCES),
    "channels": SOURCES,
    "task": ("table", "shards", *LIBRARY_SOURCES),
    "id": LIBRARY_SOURCES,
    "subset": LIBRARY_SOURCES,
    "table": ("table",),
    "image_column": ("table", "hub", "shards"),
    "label_column": ("table", "hub", "shards"),
    "split_column": ("table",),
    "separator": ("table",),
}
# Field -> the sources that cannot do without it, and an example of it.
NEEDED_BY: dict[str, tuple[tuple[str, ...], str]] = {
    "root": (FILE_SOURCES, "FOLDER"),
    "table": (("table",), "labels.csv"),
    "id": (LIBRARY_SOURCES, "NAME"),
}
# Field -> what it is, and the least that it can be.
COUNTS = {
    "images": ("how many images are made", 1),
    "per_class": ("how many images of each class to train on", 1),
    "split_seed": ("the seed by which images are dealt to train, val and test", 0),
    "channels": ("how many channels an image has", 1),
}


@dataclass(frozen=True)
class DatasetSpec:
    """The `dataset` group as a checked value; the fields are those of `schema.DatasetConfig`.

    Hashable, so that what was read for it can be remembered. Raises UserError for a value out of range and for a
    field that its source would ignore: a setting that does nothing would be believed.
    """

    name: str
    source: str
    root: str | None = None
    id: str | None = None
    subset: str | None = None
    table: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    task: str = "multiclass"
    separator: str = "|"
    channels: int = 3
    images: int | None = None
    per_class: int | None = None
    share: float | None = None
    val_share: float = 0.15
    test_share: float = DEFAULT_TEST_SHARE
    split_seed: int = 0
    bad_images: str = "error"

    def __post_init__(self) -> None:
        self._check_names()
        self._check_where_fields_apply()
        self._check_separator()
        self._check_amounts()

    def _check_names(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise UserError(f"dataset.name is {self.name!r}, but it labels runs and tables. Give it a word.")
        _check_choice("source", self.source, SOURCES)
        _check_choice("bad_images", self.bad_images, BAD_IMAGES)
        _check_choice("task", self.task, TASKS)

    def _check_where_fields_apply(self) -> None:
        for field, (sources, example) in NEEDED_BY.items():
            if self.source in sources and not getattr(self, field):
                raise UserError(
                    f"dataset.{field} is {getattr(self, field)!r}, but dataset.source={self.source} needs it. "
                    f"Give it: dataset.{field}={example}"
                )
        for field, sources in USED_BY.items():
            value = getattr(self, field)
            if self.source not in sources and value != type(self).__dataclass_fields__[field].default:
                use = f" (only {', '.join(sources)})" if sources else ""
                raise UserError(
                    f"dataset.{field} is {value!r}, but dataset.source={self.source} has no use for it{use}. "
                    f"{'For a folder of class folders give dataset=folder.' if field == 'root' else 'Leave it out.'}"
                )

    def _check_separator(self) -> None:
        if not self.separator:
            raise UserError("dataset.separator is '', but it stands between the labels of an image. Give a text.")
        if self.separator != "|" and self.task != "multilabel":
            raise UserError(
                f"dataset.separator is {self.separator!r}, but with dataset.task={self.task} an image has one label. "
                "Leave it out, or give dataset.task=multilabel."
            )

    def _check_amounts(self) -> None:
        for field, (meaning, least) in COUNTS.items():
            _check_count(field, getattr(self, field), meaning, least)
        for field in ("val_share", "test_share"):
            _check_share(field, getattr(self, field), whole=False)
        if self.share is not None:
            _check_share("share", self.share, whole=True)
        if self.share is not None and self.per_class is not None:
            raise UserError(
                f"dataset.per_class is {self.per_class} and dataset.share is {self.share}, but both say how many "
                "images to train on. Give one of them, and null for the other."
            )


def _check_choice(field: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise UserError(f"dataset.{field} is {value!r}, which is unknown. {nearest(str(value), choices)}")


def _check_count(field: str, value: int | None, meaning: str, least: int) -> None:
    optional = DatasetSpec.__dataclass_fields__[field].default is None
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not (whole or (optional and value is None)):
        without = ", or leave it out" * optional
        raise UserError(
            f"dataset.{field} is {value!r}, but it is {meaning}. Give a whole number, {least} or more{without}."
        )


def _check_share(field: str, value: float, *, whole: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < value <= 1 or (value == 1 and not whole):
        most = "up to and including 1" if whole else "and below 1"
        raise UserError(f"dataset.{field} is {value!r}, but it is a share of the images. Give more than 0 {most}.")
