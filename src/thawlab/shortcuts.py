"""A prepared run's way past its frozen stages, and what it saved."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import pytorch_lightning as pl
import torch

from thawlab.caching.code import code_of_function
from thawlab.caching.pictures import Pictures, changes
from thawlab.caching.reading import Work
from thawlab.caching.shortcut import Choice, Shortcut
from thawlab.data import pixels
from thawlab.data.batches import Views
from thawlab.data.datamodule import ImageData
from thawlab.data.framing import Framing
from thawlab.data.order import Key
from thawlab.module import TransferModule
from thawlab.prepare import Prepared
from thawlab.store.rowstore import RowStore

Timed = Callable[[], AbstractContextManager[Any]]


def shortcut_of(
    prepared: Prepared, store: RowStore, module: TransferModule, data: ImageData, trainer: pl.Trainer, timed: Timed
) -> Shortcut:
    """The run's shortcut, known to its module and its loaders."""
    specs, preprocessing = prepared.specs, prepared.built.preprocessing
    device = trainer.strategy.root_device
    told = {
        "backbone": specs.backbone.name,
        "function": code_of_function(specs.backbone.function),
        "pixels": f"{preprocessing!r}, {pixels.key_of(Framing(preprocessing)).text}",
        "precision": specs.trainer.precision,
        "memory": str(module.memory_format),
        "device": device.type,
    }
    shape = (preprocessing.channels, preprocessing.size, preprocessing.size)
    work = Work(
        module.network, module.stages, shape, device, trainer.precision_plugin.forward_context,
        module.memory_format, specs.trainer.batch, told,
    )  # fmt: skip
    shortcut = Shortcut(work, specs.cache, store, _pictures(prepared, data), *_together(trainer), timed)
    module.shortcut, data.shortcut = shortcut, shortcut.reading
    return shortcut


def _together(trainer: pl.Trainer) -> tuple[Callable[[bool], bool], Callable[[int], int]]:
    """Whether every process says yes, and the sum over the processes."""
    strategy = trainer.strategy

    def total(mine: int) -> int:
        return int(strategy.reduce(torch.tensor(mine, device=strategy.root_device), reduce_op="sum"))

    return lambda mine: strategy.reduce_boolean_decision(mine, all=True), total


def _pictures(prepared: Prepared, data: ImageData) -> dict[str, Pictures]:
    specs, digests = prepared.specs, prepared.splits.digests
    made = {split: Pictures(digests[split], _loading(data, split)) for split in ("val", "test")}
    views = specs.cache.views
    drawn = {"augment": f"{specs.augment!r} drawn from seed {specs.seed}"} if views else {}
    changing = changes(specs.augment, views)
    made["train"] = Pictures(digests["train"], _loading(data, "train"), views, changing, drawn)
    if specs.augment.tta:
        made["test"] = Pictures(digests["test"], made["test"].load, changing="augment.tta shows several views of each")
    return made


def _loading(data: ImageData, split: str) -> Callable[[Sequence[Key]], torch.Tensor]:
    @cache
    def opened() -> Views:
        views = data.seen(split)
        data.open(views)
        return views

    return lambda keys: opened().__getitems__(keys)[0]


def spared(choices: Sequence[Choice], images: Sequence[int]) -> int:
    """Forward FLOPs of training that were not done, those of making ready for it counted against them.

    `images` is how many were trained on in each epoch. Evaluation counts neither way, as in a run that keeps nothing.
    """
    total = 0
    of_training = [choice for choice in choices if choice.split == "train"]
    ends = [*(choice.epoch for choice in of_training), len(images)][1:]
    for choice, end in zip(of_training, ends, strict=True):
        used = sum(images[choice.epoch : end]) if choice.reason is None else 0
        total += choice.flops * (used - choice.built)
    return total
