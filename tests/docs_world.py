"""A folder in which the commands of a page run as they stand: small stand-ins for whatever they name.

A new source of images gets its stand-in in `IMAGES`; a setting that costs time is made small in `shrunk`.
"""

import csv
import gzip
import importlib
import re
import runpy
import shutil
import struct
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import timm
import torch
from docs_commands import ROOT
from huggingface_hub import constants as hub
from PIL import Image
from safetensors.torch import save_file
from small_runs import replaced

from thawlab import compose
from thawlab.backbones.source import BackboneSpec, build_random
from thawlab.schema import register

CLASSES, EACH = ("ant", "bee", "cat"), 40
SIZES = {"swin": 56, "inception": 80, "thawlab_demo": 32}  # pixels; the least that an architecture takes
OWN_NETWORK = """
from torch import nn


def build():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


def make_world(folder: Path, monkeypatch) -> None:
    """Make `folder` look like a checkout with no network: timm's pretrained weights are random ones."""
    for name in ("docs", "scripts", "bench"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "train.py", folder)
    real = timm.create_model

    def create_model(name, pretrained=False, **options):
        return real(name, pretrained=pretrained and name.startswith("thawlab"), **options)

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(folder / ".torch"))
    monkeypatch.syspath_prepend(folder)
    register()
    compose.register_resolvers()


def prepared(words: list[str]) -> list[str]:
    """Words of a training command, made small; what they name is made where it is not there."""
    multirun = compose.is_multirun(words)
    config = compose.jobs(words, multirun)[0].config
    for job in compose.jobs(words, multirun):
        _make_images(job.config["dataset"])
        _make_network(job.config["backbone"])
    again = [] if multirun or "audit=only" in words else ["rerun=true"]
    return [*map(_fewer_seeds, words), *shrunk(config, words), *again]


def _fewer_seeds(word: str) -> str:
    return re.sub(r"^seed=(\d+),.*", r"seed=\1", word)


def shrunk(config, words: list[str]) -> list[str]:
    """Settings that make a run small; of the same key twice, the later counts."""
    small = ["trainer.epochs=1", "trainer.workers=0", "logger.progress=off", "logger.images=0"]
    if isinstance(config["trainer"]["batch_size"], int) and config["trainer"]["batch_size"] > 8:
        small.append("trainer.batch_size=8")
    if config["trainer"]["accelerator"] == "gpu":
        small += ["trainer.accelerator=cpu", "trainer.precision=fp32"]
    if not _swept("backbone", words) and config["backbone"]["size"] is None:
        small.append(f"backbone.size={_size(config['backbone']['name'])}")
    if (config["dataset"]["images"] or 0) > 800:
        small.append("dataset.images=800")
    return small


def _swept(key: str, words: list[str]) -> bool:
    return any(word.startswith(f"{key}=") and "," in word for word in words)


def _size(name: str) -> int:
    return next((size for start, size in SIZES.items() if name.startswith(start)), 32)


def _make_images(dataset) -> None:
    make = IMAGES.get(dataset["source"])
    assert make, f"no stand-in for dataset.source={dataset['source']}: add one to IMAGES in {Path(__file__).name}"
    make(dataset)


def _nothing(dataset) -> None:
    """The package brings these images along."""


def _class_folders(dataset) -> None:
    root = Path(dataset["root"])
    if root.exists():
        return
    packed = {".zip": "zip", ".tar": "tar"}.get(root.suffix)
    place = root.with_suffix("") if packed else root
    for label in CLASSES:
        for name in (f"{i:02}.png" for i in range(EACH)):
            _picture(place / label / name, CLASSES.index(label))
    if packed:
        shutil.make_archive(str(place), packed, place)
        shutil.rmtree(place)


def _picture(path: Path, label: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng([label, len(list(path.parent.iterdir()))])
    Image.fromarray(draw.integers(60 * label, 60 * label + 90, (24, 32, 3), np.uint8)).save(path)


def _idx(dataset) -> None:
    root = Path(dataset["root"])
    draw = np.random.default_rng(0)
    for part, count in (("train", 1000), ("t10k", 100)) if not root.exists() else ():
        root.mkdir(parents=True, exist_ok=True)
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, values in (("labels", labels), ("images", draw.integers(0, 255, (count, 28, 28), np.uint8))):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (root / f"{part}-{kind}-idx{values.ndim}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))


def _table(dataset) -> None:
    """A row per image: where it is, its label or labels, and, where the command names a column for it, its split."""
    place = Path(dataset["table"])
    if place.exists():
        return
    root = Path(dataset["root"] or place.parent)
    image, label = dataset["image_column"] or "image", dataset["label_column"] or "label"
    rows = []
    for i in range(EACH * len(CLASSES)):
        number = i % len(CLASSES)
        _picture(root / f"{i:03}.png", number)
        several = dataset["separator"].join(CLASSES[: number + 1])
        rows.append({image: f"{i:03}.png", label: several if dataset["task"] == "multilabel" else CLASSES[number]})
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
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", root)
    numbers = range(int(braces[1]), int(braces[2]) + 1) if braces else [0]
    names = [root.replace(braces[0], f"{i:0{len(braces[1])}}") if braces else root for i in numbers]
    places = [Path(name.replace("*", "0") if name.endswith(".tar") else f"{name}/0.tar") for name in names]
    for place in places:
        if place.exists():
            continue
        picture = place.with_suffix(".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(place, "w") as tar:
            for i in range(EACH * len(CLASSES)):
                _picture(picture, i % len(CLASSES))
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


def _make_network(backbone) -> None:
    file = Path((backbone["function"] or "").rpartition(":")[0])
    if file.suffix == ".py" and not file.exists():
        file.write_text(OWN_NETWORK)
    weights = Path(backbone["weights"] or "")
    if backbone["weights"] and not weights.exists() and weights.suffix:
        size = None if backbone["function"] else _size(backbone["name"])
        model = build_random(BackboneSpec(backbone["name"], function=backbone["function"], size=size), seed=7)
        weights.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"mean": "0.5, 0.5, 0.5", "std": "0.5, 0.5, 0.5", "size": str(size or 32)}
        save_file({name: t.contiguous() for name, t in model.state_dict().items()}, weights, metadata)


def run_script(words: list[str], monkeypatch) -> int:
    """Run `python SCRIPT ARGUMENTS` in this process."""
    return _ended(lambda: runpy.run_path(words[1], run_name="__main__"), words[1:], monkeypatch)


def run_entry(entry: str, words: list[str], monkeypatch) -> int:
    """Run an installed command in this process; `entry` is its function, as module:name."""
    module, _, name = entry.partition(":")
    return _ended(getattr(importlib.import_module(module), name), words, monkeypatch)


def _ended(run, words: list[str], monkeypatch) -> int:
    """The exit status; settings of a run among the arguments are made small."""
    settings = [word for word in words[1:] if "=" in word and not word.startswith("--")]
    if settings:
        small = [word for word in prepared(settings) if word != "rerun=true"]
        words = [*(word for word in words if word not in settings), *small]
    monkeypatch.setattr(sys, "argv", words)
    try:
        status = run()
    except SystemExit as ended:
        status = ended.code
    return 1 if isinstance(status, str) else status if isinstance(status, int) else 0


def look_with_tensorboard(words: list[str]) -> int:
    """Let TensorBoard take its arguments as it would at its start, and find something to show."""
    from tensorboard import program

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        board = program.TensorBoard()
        board.configure(argv=words)
    assert list(Path(board.flags.logdir).rglob("events.out.tfevents.*")), f"{board.flags.logdir} holds no events"
    return 0
