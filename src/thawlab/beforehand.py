"""What is known of a run before it trains: for its record, and for who reads along."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from thawlab.audit import remarks, table
from thawlab.freezing import optimized, parameter_groups
from thawlab.prepare import Prepared
from thawlab.run_files import WEIGHTS

Config = Mapping[str, Any]


def plan_rows(prepared: Prepared) -> list[dict[str, Any]]:
    """The plan as plain values, a row per stage."""
    return [asdict(row) for row in prepared.built.plan.rows]


def audit_rows(prepared: Prepared) -> list[tuple[str, ...]]:
    """The audit's table: what each stage is to do, and which rate it has in the optimizer."""
    built = prepared.built
    groups = parameter_groups(built.network, built.stages, built.plan, weight_decay=0.0)
    return table(built.plan, optimized(built.network, built.stages, groups))


def lines(prepared: Prepared) -> list[str]:
    """What a person is told of the images, the source and, with strategy=auto, what was advised."""
    advice = prepared.advice.lines if prepared.advice is not None else []
    return [*prepared.splits.notes, *source_lines(prepared), *advice]


def source_lines(prepared: Prepared) -> list[str]:
    """What a person is told of the network: what of the source was loaded, and what another size did to it."""
    match = prepared.built.match
    loaded = match.lines() if match is not None else ["random weights, nothing loaded"]
    if match is not None:
        loaded += source_hint(prepared.config)
    return [*loaded, *prepared.built.notes, *remarks(prepared.built.plan, prepared.specs.trainer.epochs)]


def source_hint(config: Config) -> list[str]:
    """What a person with images of their own is told who has not chosen a source."""
    if config["backbone"]["name"] != "thawlab_demo" or not config["dataset"]["root"]:
        return []
    return ["its source was small pictures of characters; for photographs take, say, backbone=resnet18"]


def data_of(prepared: Prepared) -> dict[str, Any]:
    """The record's `data`."""
    splits = prepared.splits
    counts = {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}
    return {
        "classes": list(splits.classes),
        "task": splits.task,
        **counts,
        "fingerprint": splits.fingerprint,
        "test_fingerprint": splits.test_fingerprint,
        "batch_size": prepared.specs.trainer.batch_size,
        "precision": prepared.specs.trainer.precision,
        "source_digest": source_digest(prepared.config),
        "notes": list(splits.notes),
        "source_notes": source_lines(prepared),
    }


def source_digest(config: Config) -> str | None:
    """sha256 over the files that the source network comes from; None: it is a timm model as timm has it."""
    weights, function = config["backbone"]["weights"], config["backbone"]["function"]
    files = []
    if weights is not None:
        path = Path(weights).expanduser()
        files.append(path / WEIGHTS if path.is_dir() else path)
    if function is not None and (place := function.rpartition(":")[0]).endswith(".py"):
        files.append(Path(place))
    total = hashlib.sha256()
    for path in files:
        if not path.is_file():
            total.update(b"missing")
            continue
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest() if files else None


def versions_of(config: Config) -> dict[str, str]:
    """What computes: packages, platform, and the device with its threads."""
    packages = {"thawlab": "thawlab", "torch": "torch", "timm": "timm", "pytorch_lightning": "pytorch-lightning"}
    found = {key: version(package) for key, package in packages.items()}
    threads = config["trainer"]["threads"] or torch.get_num_threads()
    gpu = config["trainer"]["accelerator"] == "gpu" and torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else f"cpu, {threads} threads"
    return {"python": platform.python_version(), **found, "platform": platform.platform(), "device": device}
