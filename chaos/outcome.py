"""What a run came to, in parts that must not depend on whether it was cut short."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from thawlab.record import Record
from thawlab.run_files import CURVES, PREDICTIONS, WEIGHTS

STATE = "state.json"
# Of `costs`: what depends on the clock, on the machine, or on who computed a row first.
_MEASURED = ("seconds", "peak_memory_bytes", "resumed", "cache", "cache_notes", "flops")
_DECIDED = ("split", "epoch", "frozen", "reason", "images", "rows", "refused_by")


def of(folder: Path, state: Path) -> dict[str, Any]:
    """Part → something that can be compared bit for bit; `state` holds what `digest_of_state` gave."""
    record = Record.read(folder)
    cached = record.config["cache"]["mode"] != "off"
    parts: dict[str, Any] = {
        "weights": {name: digest(tensor) for name, tensor in load_file(folder / WEIGHTS).items()},
        "curves": (folder / CURVES).read_bytes(),
        "predictions": (folder / PREDICTIONS).read_bytes(),
        **{f"record.{name}": getattr(record, name) for name in _FIELDS},
        **{f"record.costs.{name}": value for name, value in record.costs.items() if name not in _MEASURED},
        # What was computed for the disk is in `train`: not again the rows that a killed attempt left there.
        "record.costs.flops": {
            name: n for name, n in record.costs["flops"].items() if not (name == "train" and cached)
        },
        "record.costs.cache": [{key: choice[key] for key in _DECIDED} for choice in record.costs["cache"]],
    }
    return parts | json.loads(state.read_text())


_FIELDS = (
    "name", "status", "reason", "config", "plan", "data", "metrics", "per_class", "confusion", "best_epoch", "audit"
)  # fmt: skip


def differences(found: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    """Parts in which two outcomes are not the same."""
    return [name for name in {**reference, **found} if found.get(name) != reference.get(name)]


def digest_of_state(trainer: Any) -> dict[str, str]:
    """The optimizer's and the scheduler's state at the end of training."""
    return {
        "optimizer": digest([optimizer.state_dict() for optimizer in trainer.optimizers]),
        **{
            f"scheduler.{key}": digest(value)
            for one in trainer.lr_scheduler_configs
            for key, value in one.scheduler.state_dict().items()
        },
        "steps": str(trainer.global_step),
    }


def digest(value: Any) -> str:
    """sha256 of plain values and tensors, of these shape, dtype and every bit."""
    total = hashlib.sha256()
    _feed(total, value)
    return total.hexdigest()


def _feed(total: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        memory = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        total.update(f"{value.dtype}{tuple(value.shape)}".encode() + memory.tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            total.update(f"{key!r}:".encode())
            _feed(total, value[key])
    elif isinstance(value, list | tuple):
        total.update(f"[{len(value)}".encode())
        for item in value:
            _feed(total, item)
    else:
        total.update((type(value).__name__ if callable(value) else repr(value)).encode())
