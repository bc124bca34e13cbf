"""A folder in which the commands of a page run as they stand; a setting that costs time is made small in `shrunk`."""

import importlib
import re
import runpy
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from docs_commands import ROOT
from docs_stand_ins import least_size, make_images, make_network
from huggingface_hub import constants as hub
from torchvision import models
from torchvision.datasets import utils as torchvision_files

from thawlab import compose
from thawlab.advise import for_images
from thawlab.backbones import torchvision_models
from thawlab.schema import register


def make_world(folder: Path, monkeypatch) -> None:
    """Make `folder` look like a checkout without network; timm's pretrained weights are random ones there."""
    for name in ("docs", "scripts", "bench"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "train.py", folder)
    real = timm.create_model

    def create_model(name, pretrained=False, **options):
        return real(name, pretrained=pretrained and name.startswith("thawlab"), **options)

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(folder / ".torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torchvision_files, "check_md5", lambda *_, **__: True)  # of stand-ins
    monkeypatch.setattr(torchvision_models, "fetched", _random_of_torchvision)
    monkeypatch.syspath_prepend(folder)
    register()
    compose.register_resolvers()


def _random_of_torchvision(address: str):
    """Random weights for the model whose published ones lie at an address."""
    names = models.list_models(module=models)
    name = next(name for name in names if any(one.url == address for one in models.get_model_weights(name)))
    return models.get_model(name, weights=None).state_dict()


def prepared(words: list[str], also: Sequence[str] = ()) -> list[str]:
    """Words of a training command made small, with settings `also`; what they name is made where it is not there."""
    multirun = compose.is_multirun(words)
    configs = [job.config for job in compose.jobs(words, multirun)]
    for config in configs:
        make_images(config["dataset"])
        make_network(config["backbone"])
    again = [] if multirun or "audit=only" in words else ["rerun=true"]
    return [*map(_fewer, words), *shrunk(configs), *also, *again]


def _fewer(word: str) -> str:
    """One seed of several, and at most 25 images per class."""
    if word.startswith("dataset.per_class="):
        return re.sub(r"\d+", lambda number: str(min(25, int(number[0]))), word)
    return re.sub(r"^seed=(\d+),.*", r"seed=\1", word)


def shrunk(configs) -> list[str]:
    """Settings that make runs small; of the same key twice, the later counts."""
    small = ["trainer.epochs=1", "trainer.workers=0", "logger.progress=off", "logger.images=0"]
    if all(isinstance(size := config["trainer"]["batch_size"], int) and size > 16 for config in configs):
        small.append("trainer.batch_size=16")
    if any(config["trainer"]["accelerator"] == "gpu" for config in configs):
        small += ["trainer.accelerator=cpu", "trainer.precision=fp32"]
    if all(config["backbone"]["size"] is None for config in configs):
        small.append(f"backbone.size={max(least_size(config['backbone']['name']) for config in configs)}")
    if any(config["dataset"]["source"] != "idx" and (config["dataset"]["share"] or 1) < 0.5 for config in configs):
        small.append("dataset.share=0.5")  # stand-ins are few
    if any(config["dataset"]["source"] == "torchvision" and config["dataset"]["per_class"] for config in configs):
        small.append("dataset.per_class=4")
    if any((config["dataset"]["images"] or 0) > 800 for config in configs):
        small.append("dataset.images=800")
    return small


def run_script(words: list[str], monkeypatch) -> int:
    """Run `python SCRIPT ARGUMENTS` in this process."""
    monkeypatch.syspath_prepend(str(Path(words[1]).parent.absolute()))  # where Python looks first for what it imports
    return _ended(lambda: runpy.run_path(words[1], run_name="__main__"), words[1:], monkeypatch)


def run_entry(entry: str, words: list[str], monkeypatch) -> int:
    """Run an installed command in this process; `entry` is its function, as module:name."""
    module, _, name = entry.partition(":")
    return _ended(getattr(importlib.import_module(module), name), words, monkeypatch)


def _ended(run, words: list[str], monkeypatch) -> int:
    """The exit status; settings of a run among the arguments are made small."""
    settings = [word for word in words[1:] if "=" in word and not word.startswith("--")]
    if settings:
        whole = for_images(settings) if "advise" in words[0] else settings  # there a dataset.root is enough
        small = [word for word in prepared(whole) if word != "rerun=true"]
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
