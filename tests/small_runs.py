"""Runs small enough for a test: configs as the command line makes them, few images, tiny networks of timm's."""

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from thawlab import compose, schema
from thawlab.backbones.source import build_random
from thawlab.backbones.spec import BackboneSpec
from thawlab.data.images import ArrayImages, Splits
from thawlab.record import Record
from thawlab.run import run
from thawlab.run_files import read_curves, read_predictions

# With four per class 40 to train, 21 to validate and 62 to test on: evaluating takes no longer than training.
IMAGES = ("dataset=shapes", "dataset.images=205", "dataset.test_share=0.3")
SMALL = (
    *IMAGES,
    "dataset.per_class=4",
    "trainer.epochs=2",
    "trainer.batch_size=20",
    "logger=none",
    "logger.progress=off",
    "backbone=timm",
    "backbone.size=32",
)
NETS = {"resnet": "test_resnet", "vit": "test_vit", "convnext": "test_convnext", "demo": "thawlab_demo"}


def config_of(*overrides, small=SMALL):
    """The resolved config of one run; one of the overrides may name another dataset."""
    other = any(word.startswith("dataset=") for word in overrides)
    return deepcopy(_composed((*(word for word in small if not (other and word in IMAGES)), *overrides), Path.cwd()))


@lru_cache(maxsize=64)  # composing takes a fifth of a small run's time, and most tests make theirs several times
def _composed(overrides, _folder):
    schema.register()
    compose.register_resolvers()
    (job,) = compose.jobs(list(overrides), multirun=False)
    return job.config


def random_weights(path: Path, name: str, seed: int = 7, size: int | None = 32) -> Path:
    """A safetensors file for a timm architecture, with weights that nobody trained."""
    model = build_random(BackboneSpec(name, size=size), seed)
    # Not the identity that fresh norms are: statistics that differ from channel to channel, and from none.
    generator = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    for key, value in state.items():
        if key.endswith(("running_mean", "running_var")):
            value += 0.1 * torch.rand(value.shape, generator=generator)
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def from_weights(folder: Path, net: str) -> list[str]:
    """Overrides for a tiny network that starts from a file of weights."""
    name = NETS[net]
    return [f"backbone.name={name}", f"backbone.weights={random_weights(folder / f'{name}.safetensors', name)}"]


@dataclass(frozen=True)
class Left:
    """What a run left."""

    record: Record
    folder: Path

    @property
    def weights(self):
        return load_file(self.folder / "model.safetensors")

    @property
    def curves(self):
        return read_curves(self.folder)

    @property
    def predictions(self):
        return read_predictions(self.folder)


def carried_out(folder: Path, *overrides, small=SMALL) -> Left:
    """Do a small run."""
    return Left(run(config_of(*overrides, small=small), folder), folder)


def same_bits(first, second) -> bool:
    """Whether two dictionaries of tensors agree to the last bit."""
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


LABELS = {"even": (0, 2, 4, 6, 8), "round": (0, 6, 8, 9), "large": (7, 8, 9)}


def with_several_labels(splits: Splits) -> Splits:
    """The digits as a multilabel task: what is said of each (`LABELS`) in place of which it is."""
    parts = {}
    for name in ("train", "val", "test"):
        images = getattr(splits, name)
        labels = np.stack([np.isin(images.labels, digits) for digits in LABELS.values()], axis=1).astype(np.uint8)
        pixels = np.stack([images.load(i).numpy().transpose(1, 2, 0) for i in range(len(images))])
        parts[name] = ArrayImages(pixels, labels, images.names)
    return replace(splits, classes=tuple(LABELS), task="multilabel", **parts)


@contextmanager
def replaced(owner, name, value):
    """Put something else in an attribute's place for a while, in a process that pytest does not reach."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield before
    finally:
        setattr(owner, name, before)
