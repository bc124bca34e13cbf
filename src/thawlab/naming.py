"""Names of runs and sweeps: readable parts, and a digest of what decides the result."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_SHORT = 48  # characters before each line of a run, where several share the terminal
_LONGEST = 100  # of the readable part: folder names end at 255 bytes, and people read them

# What a run is called or shown by, not what it computes: neither its name nor a comparison depends on these.
NOT_RESULT = (
    *("hydra", "sweep", "study", "audit", "rerun", "logger", "trainer.workers"),
    *("cache.mode", "cache.folder", "cache.max_gb", "checkpoint", "launch"),
)


def run_name(config: Mapping[str, Any]) -> str:
    """Name a run after its resolved config: the same config gives the same name, any other another.

    >>> run_name({"dataset": {"name": "digits"}, "seed": 0})
    's0-digits-a44e54d3'
    """
    digest = hashlib.sha256(json.dumps(deciding(config), sort_keys=True).encode()).hexdigest()[:8]
    return f"{slug('-'.join(_readable(config)))[:_LONGEST].rstrip('-.')}-{digest}"


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what a run computes."""
    return {key: _without(value, key) for key, value in config.items() if key not in NOT_RESULT}


def _without(value: Any, group: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: inner for key, inner in value.items() if f"{group}.{key}" not in NOT_RESULT}


def _readable(config: Mapping[str, Any]) -> list[str]:
    """The settings that people compare, short; strategy and seed first, since lists cut names off at the end."""
    dataset, head = config.get("dataset", {}), config.get("head", {})
    parts = [str(config.get("strategy", {}).get("name", "")), f"s{config.get('seed', 0)}", str(dataset.get("name", ""))]
    if dataset.get("per_class"):
        parts.append(f"{dataset['per_class']}pc")
    if dataset.get("share"):
        parts.append(f"{dataset['share']:.2%}".replace(".00%", "%").replace("%", "pct"))
    parts.append(str(config.get("backbone", {}).get("name", "")).removeprefix("thawlab_"))
    if head.get("kind", "linear") != "linear":
        parts.append(head["kind"])
    if "optimizer" in config:
        parts.append(f"lr{config['optimizer']['lr']:g}")
    return [part for part in parts if part]


def sweep_name(overrides: Sequence[str]) -> str:
    """Name a sweep after its command line, whatever the order of its words: the same command finds its own runs."""
    words = sorted(override for override in overrides if not override.startswith(("hydra", "rerun=", "audit=")))
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:6]
    readable = slug("-".join(words) or "default")[:40].rstrip("-.")
    return f"{readable}-{digest}"


def slug(text: str) -> str:
    """A file name of it: letters, digits, dot and hyphen.

    >>> slug("strategy=freeze,full seed=0")
    'strategy-freeze-full-seed-0'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def short_names(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Name the runs of a sweep by what tells them apart, as they were typed.

    >>> short_names([["strategy=freeze", "seed=0"], ["strategy=full", "seed=0"]])
    ['strategy=freeze', 'strategy=full']
    """
    same = set(overrides[0]).intersection(*overrides[1:]) if overrides else set()
    return [" ".join(word for word in words if word not in same)[:_SHORT] or "run" for words in overrides]
