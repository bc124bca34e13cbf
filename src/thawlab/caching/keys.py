"""What the frozen part's results depend on besides the image, as a key of the store."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType

import timm
import torch
import torchvision
from torch import nn

from thawlab.audit import digests
from thawlab.splitting import Cut
from thawlab.store.key import Key
from thawlab.store.layout import Layout

FORMAT = "1"  # raised when the same inputs would give other rows
KNOWN = ("torch", "torchvision", "timm")  # whose code is told by a version


def key_of(network: nn.Module, cut: Cut, layout: Layout, told: Mapping[str, str]) -> Key:
    """A key of the first part: its weights, buffers, graph and code; `told` is what only the caller knows."""
    return Key(
        {
            "kind": "boundary",
            "format": FORMAT,
            "weights": _weights(network, cut),
            "graph": _graph(network, cut),
            "code": _code(type(module) for _, module in _modules(network, cut)),
            "layout": repr(layout),
            "versions": f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}",
            **told,
        }
    )


def _weights(network: nn.Module, cut: Cut) -> str:
    """Over every parameter that its steps read, and every buffer of a module that they run in."""
    read = {name for before, step in zip(cut.before, cut.flow.steps, strict=True) if before for name in step.reads}
    paths = {path for path, _ in _modules(network, cut)}
    found = digests(network, lambda name: name in read or name.rpartition(".")[0] in paths)
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in found.items()).encode()).hexdigest()


def _graph(network: nn.Module, cut: Cut) -> str:
    total = hashlib.sha256()
    for before, step in zip(cut.before, cut.flow.steps, strict=True):
        if before:
            total.update(f"{step.kind} {step.inputs} {step.reads}\n".encode())
    for path, module in _modules(network, cut):
        # `extra_repr` tells strides, epsilons and the like, which the steps do not.
        total.update(f"{path} {type(module).__qualname__} {module.extra_repr()}\n".encode())
    total.update(repr(cut.boundary.results).encode())
    return total.hexdigest()


def _modules(network: nn.Module, cut: Cut) -> list[tuple[str, nn.Module]]:
    """The modules that the first part's steps run in, outer ones included."""
    around = cut.flow.around()
    paths = {path for before, inside in zip(cut.before, around, strict=True) if before for path in inside}
    return [(path, module) for path, module in network.named_modules() if path in paths]


def _code(kinds: Iterable[type]) -> str:
    """Over the source files of a user's own modules: there a constant can change that no graph shows."""
    own = {kind for kind in kinds if kind.__module__.partition(".")[0] not in KNOWN}
    methods = [value for kind in own for value in vars(kind).values() if isinstance(value, FunctionType)]
    total = hashlib.sha256()
    for file in sorted({method.__code__.co_filename for method in methods}):
        total.update(Path(file).read_bytes() if Path(file).is_file() else b"typed in")
    return total.hexdigest()
