"""Any image set of Hugging Face's hub, or a local one in its formats, read by their library `datasets`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thawlab.data.checking import ImageFile
from thawlab.data.encoded import Entry, pools_of
from thawlab.data.hub_columns import image_column, label_column, label_names
from thawlab.data.images import Pools
from thawlab.data.labels import labelled, without_unlabelled
from thawlab.data.listing import SPLIT_NAMES
from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError, in_words
from thawlab.offline import impatient_hub


@dataclass(frozen=True)
class TableStore:
    """Images in Arrow tables on disk, still encoded; an image's name is its split and its row: `train/000017`.

    `fingerprints` are those that `datasets` gives to a table's content.
    """

    place: str
    column: str
    fingerprints: tuple[tuple[str, str], ...]
    tables: Mapping[str, Any] = field(compare=False, repr=False)

    def read(self, name: str) -> bytes:
        """As in Store."""
        part, _, row = name.rpartition("/")
        image = self.tables[part][int(row)][self.column]
        if image is None:
            raise OSError("its row holds no image")
        return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()


def read_hub(spec: DatasetSpec) -> Pools:
    """Read a data set by its name on the hub, or a folder: of `save_to_disk`, parquet, or images.

    Its splits train, validation and test are taken as given; what is not given is drawn. Images stay encoded and go
    through our decoder. Raises UserError where the set cannot be had, and for columns that cannot be told.
    """
    splits, notes = _splits(spec, _loaded(spec))
    features = splits["train"].features
    image, label = image_column(features, spec.image_column), label_column(features, spec.label_column, spec.task)
    place = f"the data set {spec.id}"
    raw = {part: [_plain(value) for value in table[label]] for part, table in splits.items()}
    raw, unlabelled = without_unlabelled(
        place, raw, "Name another column by dataset.label_column, or mend the data set."
    )
    labels = labelled(place, raw, label_names(features[label]))
    store = _store(place, image, {part: splits[part] for part in raw})
    entries = [
        Entry(part, label_place, ImageFile(f"{part}/{row:06d}", 0, 0))
        for part, places in labels.places.items()
        for row, label_place in enumerate(places)
    ]
    return pools_of(spec, store, labels.classes, entries, (*notes, *unlabelled, *labels.notes))


def _store(place: str, column: str, splits: Mapping[str, Any]) -> TableStore:
    from datasets import Image

    tables = {
        part: table.select_columns([column]).cast_column(column, Image(decode=False)) for part, table in splits.items()
    }
    return TableStore(place, column, tuple((part, table._fingerprint) for part, table in tables.items()), tables)


def _loaded(spec: DatasetSpec) -> Mapping[str, Any]:
    """Every split by the name that the data set gives it."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            "dataset.source is 'hub', which takes Hugging Face's library datasets. Install it: pip install "
            '"thawlab[data]"'
        ) from error
    folder = Path(spec.id or "").expanduser()
    if not folder.is_dir() and (str(spec.id).startswith(("/", ".", "~")) or str(spec.id).count("/") > 1):
        raise UserError(f"dataset.id is {spec.id!r}, but there is no such folder. Give one, or owner/name on the hub.")
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = datasets.load_from_disk(str(folder))
        elif folder.is_dir():
            with _no_bars():
                found = datasets.load_dataset(str(folder), name=spec.subset)
        else:
            with _no_bars(), impatient_hub():
                found = datasets.load_dataset(spec.id or "", name=spec.subset)
    except Exception as error:  # as many kinds as there are formats and ways to fail
        raise _not_had(spec, error) from error
    return {"train": found} if isinstance(found, datasets.Dataset) else dict(found)  # pyright: ignore


@contextmanager
def _no_bars() -> Iterator[None]:
    """Leave out the progress bars of `datasets`, which would stand among the errors."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _not_had(spec: DatasetSpec, error: Exception) -> UserError:
    if isinstance(error, ValueError) and "config" in str(error).lower():
        remedy = "Name one of its configurations: dataset.subset=NAME"
    elif isinstance(error, ConnectionError):
        remedy = (
            "Nothing of it is cached here. Run this once where there is network (HF_HOME says where it is kept), or "
            "give dataset.id a local folder: one of datasets.save_to_disk, of parquet files, or of images"
        )
    else:
        remedy = (
            "Give the owner/name that the hub shows on its page, or a local folder; for a private or gated one log in "
            "first: hf auth login"
        )
    return UserError(f"dataset.id is {spec.id!r}, but the data set cannot be had ({in_words(error)}). {remedy}.")


def _splits(spec: DatasetSpec, found: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The splits by our names, train first, and a note on those that are left alone."""
    if len(found) == 1:
        return {"train": next(iter(found.values()))}, ()
    named: dict[str, str] = {}
    for name in found:
        part = SPLIT_NAMES.get(name.lower())
        if part in named:
            raise UserError(
                f"dataset.id {spec.id!r} has both splits {named[part]} and {name}, which mean the same. Keep one."
            )
        if part:
            named[part] = name
    if "train" not in named:
        raise UserError(
            f"dataset.id {spec.id!r} has the splits {', '.join(found)}, but none called train. Save it with a split of "
            "that name (datasets.DatasetDict.save_to_disk), and give dataset.id that folder."
        )
    others = [name for name in found if name not in named.values()]
    note = f"splits other than train, validation and test are left alone: {', '.join(others)}"
    return {part: found[named[part]] for part in ("train", "val", "test") if part in named}, (note,) * bool(others)


def _plain(value: Any) -> Any:
    """Several labels as a tuple, true and false as their names."""
    if isinstance(value, list | tuple):
        return tuple(_plain(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else value
