"""Images in WebDataset shards: tar files of key.jpg and key.cls, key.txt or key.json."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thawlab.data.checking import ImageFile
from thawlab.data.decode import extensions
from thawlab.data.encoded import Entry, pools_of
from thawlab.data.images import Pools
from thawlab.data.labels import Label, labelled, without_unlabelled
from thawlab.data.shard_files import Place, Sample, Shard, ShardStore, content, index
from thawlab.data.shard_paths import list_shards
from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError

LABEL_ENDINGS = ("cls", "json", "txt")  # the first of them that a sample has
JSON_KEYS = ("label", "labels", "cls", "class", "class_name", "category")


def read_shards(spec: DatasetSpec) -> Pools:
    """Read the shards of `root`: a folder, a glob, or a brace pattern such as `train-{000000..000003}.tar`.

    A shard belongs to the split that its name begins with, or that its folder is called; where no name says any, all
    are split by us. Class names: one a line in `classes.txt` beside the shards, else the labels' own. Raises UserError
    for whatever is missing, double or cut off.
    """
    parts, root = list_shards(spec.root or "")
    shards = tuple(shard for several in parts.values() for shard in several)
    places: dict[str, tuple[int, Place]] = {}
    files: dict[str, list[ImageFile]] = {part: [] for part in parts}
    raw: dict[str, list[Any]] = {part: [] for part in parts}
    for number, (part, shard) in enumerate((part, shard) for part, several in parts.items() for shard in several):
        for key, sample in index(shard).items():
            ending = image_ending(spec, shard, key, sample)
            name = f"{shard.path.relative_to(root).as_posix()}/{key}.{ending}"
            places[name] = (number, sample[ending])
            files[part].append(ImageFile(name, sample[ending].size, shard.changed))
            raw[part].append(label_of(spec, shard, key, sample))
    kept, notes = without_unlabelled(str(root), raw, "Give each sample a label, or train without it.")
    labels = labelled(str(root), kept, _names(root))
    entries = [
        Entry(part, place, file) for part in kept for place, file in zip(labels.places[part], files[part], strict=True)
    ]
    return pools_of(spec, ShardStore(root, shards, places), labels.classes, entries, (*notes, *labels.notes))


def image_ending(spec: DatasetSpec, shard: Shard, key: str, sample: Sample) -> str:
    """The ending of a sample's image. Raises UserError where there is none, or several and none is asked for."""
    asked = spec.image_column
    known = extensions(spec.channels)
    images = [ending for ending in sample if f".{ending.rpartition('.')[2]}" in known]
    if asked in sample:
        return asked
    if asked is None and len(images) == 1:
        return images[0]
    where = f"Sample {key!r} of {shard.path} has {', '.join(f'.{ending}' for ending in sample)}"
    if asked is not None:
        raise UserError(f"dataset.image_column is {asked!r}. {where}. Give the ending of the image, without its dot.")
    if images:
        raise UserError(f"{where}: several images. Say which: dataset.image_column={images[0]}")
    raise UserError(f"{where}, but no image. Images end in {', '.join(sorted(known))}. Write the shard again.")


def label_of(spec: DatasetSpec, shard: Shard, key: str, sample: Sample) -> Label | None:
    """A sample's label: a number, a name, or of a multilabel task several; None where it is said to have none."""
    asked = spec.label_column
    ending = asked if asked in sample else next((end for end in LABEL_ENDINGS if end in sample), None)
    if ending is None or (asked and asked not in sample and ending != "json"):
        wanted = f".{asked} nor a .json" if asked else "of .cls, .json and .txt"
        raise UserError(
            f"Sample {key!r} of {shard.path} has {', '.join(f'.{end}' for end in sample)}, but neither {wanted} for "
            "its label. Write it into the shard, or name the ending that holds it: dataset.label_column=ENDING"
        )
    where = f"{key}.{ending} of {shard.path}"
    try:
        text = content(shard, sample[ending]).decode()
        value = _in_json(where, json.loads(text), asked) if ending == "json" else _plain(text.strip())
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where} holds no label that can be read: {error}. Write the shard again.") from error
    return _checked(spec, where, value)


def _plain(text: str) -> int | str | None:
    return int(text) if re.fullmatch(r"-?\d+", text) else text or None


def _in_json(where: str, record: Any, asked: str | None) -> Any:
    if not isinstance(record, Mapping):
        return record
    keys = [asked] if asked and asked != "json" else [key for key in JSON_KEYS if key in record]
    if not keys or keys[0] not in record:
        raise UserError(
            f"{where} has the keys {', '.join(map(str, record))}, of which none is {asked or 'a usual one'}. "
            f"Name the one that holds the label: dataset.label_column={next(iter(record), 'KEY')}"
        )
    return record[keys[0]]


def _checked(spec: DatasetSpec, where: str, value: Any) -> Label | None:
    if spec.task == "multilabel" and not isinstance(value, list):
        raise UserError(f"{where} holds {value!r}, but dataset.task=multilabel takes a list of labels from a .json.")
    several = value if isinstance(value, list) else [value]
    if (spec.task != "multilabel" and isinstance(value, list)) or not all(
        isinstance(one, int | str | None) for one in several
    ):
        hint = " Give dataset.task=multilabel for several labels." if isinstance(value, list) else ""
        raise UserError(f"{where} holds {value!r} as label, but a label is a number or a name.{hint}")
    return tuple(several) if isinstance(value, list) else value


def _names(root: Path) -> tuple[str, ...] | None:
    listed = root / "classes.txt"
    if not listed.is_file():
        return None
    return tuple(line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip())
