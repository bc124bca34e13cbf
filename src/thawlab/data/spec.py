"""Which images a run learns from, checked before anything is read."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from thawlab.errors import UserError, nearest

MADE_SOURCES = ("characters", "characters_near", "shapes")
FILE_SOURCES = ("folder", "idx")
SOURCES = ("digits", *MADE_SOURCES, *FILE_SOURCES)
BAD_IMAGES = ("error", "quarantine")
DEFAULT_TEST_SHARE = 0.2


@dataclass(frozen=True)
class DatasetSpec:
    """The `dataset` group as a checked value; the fields are those of `schema.DatasetConfig`.

    Hashable, so that what was read for it can be remembered. Raises UserError for a value out of range and for a
    field that its source would ignore: a setting that does nothing would be believed.
    """

    name: str
    source: str
    root: str | None = None
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
        self._check_amounts()

    def _check_names(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise UserError(f"dataset.name is {self.name!r}, but it labels runs and tables. Give it a word.")
        _check_choice("source", self.source, SOURCES)
        _check_choice("bad_images", self.bad_images, BAD_IMAGES)

    def _check_where_fields_apply(self) -> None:
        if self.source in FILE_SOURCES and not self.root:
            raise UserError(
                f"dataset.root is {self.root!r}, but dataset.source={self.source} reads files. "
                "Give the folder that holds them: dataset.root=FOLDER"
            )
        if self.source not in FILE_SOURCES:
            self._refuse_unless("root", self.root is None, FILE_SOURCES)
        if self.source not in MADE_SOURCES:
            self._refuse_unless("images", self.images is None, MADE_SOURCES)
        if self.source != "folder":
            self._refuse_unless("bad_images", self.bad_images == "error", ("folder",))
        if self.source in ("digits", "idx"):
            self._refuse_unless("test_share", self.test_share == DEFAULT_TEST_SHARE, (*MADE_SOURCES, "folder"))

    def _refuse_unless(self, field: str, unset: bool, sources: Collection[str]) -> None:
        if not unset:
            raise UserError(
                f"dataset.{field} is {getattr(self, field)!r}, but dataset.source={self.source} has no use for it "
                f"(only {', '.join(sources)}). Leave it out."
            )

    def _check_amounts(self) -> None:
        for field, least in (("images", 1), ("per_class", 1), ("split_seed", 0)):
            _check_count(field, getattr(self, field), least)
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


def _check_count(field: str, value: int | None, least: int) -> None:
    optional = value is None and field != "split_seed"
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not (optional or whole):
        raise UserError(f"dataset.{field} is {value!r}, but it is a whole number. Give {least} or more.")


def _check_share(field: str, value: float, *, whole: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < value <= 1 or (value == 1 and not whole):
        most = "up to and including 1" if whole else "and below 1"
        raise UserError(f"dataset.{field} is {value!r}, but it is a share of the images. Give more than 0 {most}.")
