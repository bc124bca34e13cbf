"""Small stand-ins for the images and networks that commands of the documentation name.

A new source of images gets its stand-in in `IMAGES`.
"""

import csv
import gzip
import importlib
import shutil
import struct
import tarfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from small_runs import replaced

from thawlab.backbones.source import BackboneSpec, build_random
from thawlab.data.shard_paths import braced

CLASSES, EACH = ("ant", "bee", "cat"), 40
SIZES = {"swin": 56, "inception": 80, "thawlab_demo": 32}  # pixels; the least that an architecture takes
OWN_NETWORK = """
from torch import nn


def build():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


def least_size(name: str) -> int:
    return next((size for start, size in SIZES.items() if name.startswith(start)), 32)


def make_images(dataset) -> None:
    make = IMAGES.get(dataset["source"])
    assert make, f"no stand-in for dataset.source={dataset['source']}: add one to IMAGES in {Path(__file__).name}"
    make(dataset)


def _nothing(dataset) -> None:
    """The package brings these images along."""


def _class_folders(dataset) -> None:
    root = Path(dataset["root"])
    if root.exists():
        return
    with _laid(root) as place:
        for label in CLASSES:
            for i in range(EACH):
                _picture(place / label / f"{i:02}.png", CLASSES.index(label), i)


@contextmanager
def _laid(root: Path):
    """Where files for `root` are written: there, or in a folder that becomes the archive that it is."""
    packed = {".zip": "zip", ".tar": "tar"}.get(root.suffix)
    place = root.with_name(f"{root.name}.d") if packed else root
    yield place
    if packed:
        shutil.move(shutil.make_archive(str(place), packed, place), root)
        shutil.rmtree(place)


def _picture(path: Path, label: int, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng([label, number])
    Image.fromarray(draw.integers(60 * label, 60 * label + 90, (24, 32, 3), np.uint8)).save(path)


def _idx(dataset) -> None:
    root = Path(dataset["root"])
    draw = np.random.default_rng(0)
    for part, count in (("train", 3000), ("t10k", 100)) if not root.exists() else ():
        root.mkdir(parents=True, exist_ok=True)
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, values in (("labels", labels), ("images", draw.integers(0, 255, (count, 28, 28), np.uint8))):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (root / f"{part}-{kind}-idx{values.ndim}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))


def _table(dataset) -> None:
    """A row per image: where it is, its label or labels, and, where the command names a column for it, its split.

    Written anew each time: commands of a page name other columns and other places.
    """
    place = Path(dataset["table"])
    image, label = dataset["image_column"] or "image", dataset["label_column"] or "label"
    rows = []
    with _laid(Path(dataset["root"] or place.parent)) as root:
        for i in range(EACH * len(CLASSES)):
            number = i % len(CLASSES)
            _picture(root / f"{i:03}.png", number, i)
            several = dataset["separator"].join(CLASSES[: number + 1])
            rows.append({image: f"{i:03}.png", label: several if dataset["task"] == "multilabel" else CLASSES[number]})
            if "," in label:  # a column of marks for each label
                rows[-1] = {image: f"{i:03}.png", **{name: (i + k) % 2 for k, name in enumerate(label.split(","))}}
            if dataset["split_column"]:
                rows[-1][dataset["split_column"]] = ("train", "train", "val", "test")[i // len(CLASSES) % 4]
    _write_table(place, rows)


def _write_table(place: Path, rows: list[dict[str, str]]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), place)
        return
    with place.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _shards(dataset) -> None:
    """Tar files of key.png and key.cls; a pattern is written out."""
    root = dataset["root"]
    names = braced(root) if "{" in root else [root.replace("*", "0")]
    places = [Path(name if name.endswith(".tar") else f"{name}/0.tar") for name in names]
    for before in places[0].parent.glob("*.tar"):
        before.unlink()  # of another command, which called them otherwise
    for place in places:
        picture = place.with_suffix(".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(place, "w") as tar:
            for i in range(EACH * len(CLASSES)):
                _picture(picture, i % len(CLASSES), i)
                picture.with_suffix(".cls").write_text(str(i % len(CLASSES)))
                for file in (picture, picture.with_suffix(".cls")):
                    tar.add(file, f"{place.stem}{i:05}{file.suffix}")
                    file.unlink()


def _hub(dataset) -> None:
    """A folder of images under the name that the hub would know: a local folder comes first."""
    _class_folders({"root": dataset["id"]})


def _torchvision(dataset) -> None:
    """Files as torchvision fetches them; tests/torchvision_files.py knows each data set's."""
    files = importlib.import_module("torchvision_files")
    root = Path(dataset["root"] or Path(torch.hub.get_dir()).parent / "datasets")
    made = root / f"made-{dataset['id']}"
    if made.exists():
        return
    root.mkdir(parents=True, exist_ok=True)
    (make,) = [value for name, value in vars(files).items() if name.replace("_", "") == dataset["id"].lower()]
    with replaced(files, "TRAIN", 120), replaced(files, "TEST", 20):
        make(root)
    made.touch()


IMAGES = {
    **dict.fromkeys(("digits", "characters", "characters_near", "shapes"), _nothing),
    "folder": _class_folders,
    "idx": _idx,
    "table": _table,
    "shards": _shards,
    "hub": _hub,
    "torchvision": _torchvision,
}


def make_network(backbone) -> None:
    file = Path((backbone["function"] or "").rpartition(":")[0])
    if file.suffix == ".py" and not file.exists():
        file.write_text(OWN_NETWORK)
    weights = Path(backbone["weights"] or "")
    if backbone["weights"] and not weights.exists() and weights.suffix:
        size = None if backbone["function"] else least_size(backbone["name"])
        model = build_random(BackboneSpec(backbone["name"], function=backbone["function"], size=size), seed=7)
        weights.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"mean": "0.5, 0.5, 0.5", "std": "0.5, 0.5, 0.5", "size": str(size or 32)}
        save_file({name: t.contiguous() for name, t in model.state_dict().items()}, weights, metadata)
