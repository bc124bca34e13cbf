"""What a network's first part is made of: its modules, their tensors, and whatever else they hold that is a value."""

import functools
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thawlab.audit import digest
from thawlab.dataflow import above
from thawlab.grouping import lies_in
from thawlab.splitting import Cut
from thawlab.stages import Stage

_PLAIN = (bool, int, float, complex, str, bytes, type(None), Enum, np.generic, torch.dtype, torch.memory_format)
# Where a library's weights come from, not what is computed with them; and what torch itself keeps in a module.
_UNTOLD = {"pretrained_cfg", "default_cfg", *vars(nn.Module())}


@dataclass(frozen=True)
class Inside:
    """The first part of a cut, as long as the stages `moving` change.

    A module of which every step lies behind the boundary is not in it, nor what that holds. One that nothing made of
    the image passes (a table of positions, a parametrization) is, unless a stage of `moving` has it: that may change
    with every step.
    """

    cut: Cut
    stages: Sequence[Stage]
    moving: Collection[str]

    def modules(self, network: nn.Module) -> dict[str, nn.Module]:
        """By path, in the network's order."""
        ahead, behind = self._paths(True), self._paths(False)
        outer = _closed(ahead)
        wholly = _closed(behind) - outer
        moving = self._moving(network)

        def counts(path: str) -> bool:
            if path in ahead:
                return True
            return wholly.isdisjoint((*above(path), path)) and (path in outer or not lies_in(path, moving))

        return {path: module for path, module in network.named_modules() if counts(path)}

    def parameters(self, network: nn.Module, modules: Collection[str]) -> dict[str, Tensor]:
        """What its steps read, and whatever else its modules have that no stage of `moving` trains."""
        trained = {name for stage in self.stages if stage.name in self.moving for name in stage.parameters}
        pairs = zip(self.cut.before, self.cut.flow.steps, strict=True)
        read = {name for before, step in pairs if before for name in step.reads}
        return {
            name: parameter
            for name, parameter in network.named_parameters()
            if name in read or (name not in trained and name.rpartition(".")[0] in modules)
        }

    def _paths(self, before: bool) -> set[str]:
        """The modules that steps on this side of the boundary run in."""
        around = zip(self.cut.before, self.cut.flow.around(), strict=True)
        return {path for here, inside in around if here == before for path in inside}

    def _moving(self, network: nn.Module) -> list[str]:
        """The modules of moving stages. Without parameters they hold nothing that training moves."""
        paths = [path for stage in self.stages if stage.name in self.moving for path in stage.modules]
        return [path for path in paths if next(network.get_submodule(path).parameters(), None) is not None]


def _closed(paths: Collection[str]) -> set[str]:
    return {outer for path in paths for outer in (*above(path), path)}


def buffers(modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """Every buffer of these modules, persistent or not, as `told`."""
    return {
        f"{path}.{name}".removeprefix("."): told(tensor)
        for path, module in modules.items()
        for name, tensor in module.named_buffers(recurse=False)
    }


def values(modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """What else is kept in these modules' attributes, as `told`; not what torch keeps there."""
    return {
        f"{path}.{name}".removeprefix("."): told(value)
        for path, module in modules.items()
        for name, value in vars(module).items()
        if name not in _UNTOLD
    }


def told(value: Any) -> str:
    """A value in words that are the same in every process, and other ones for any other value.

    Numbers, words, tensors, arrays, functions by their name, and containers and dataclasses of such. Of any other
    object only the type is told, and of a parameter, which the network lists itself.
    """
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray) and not isinstance(value, nn.Parameter):
        return f"{value.dtype} {tuple(value.shape)} {_bits(value)}"
    if isinstance(value, functools.partial):
        return f"partial {told([value.func, value.args, value.keywords])}"
    return f"{_name(value if callable(value) else type(value))} {' '.join(_parts(value))}"


def _bits(value: Tensor | np.ndarray) -> str:
    if isinstance(value, Tensor):
        return digest(value)
    return told(value.tolist()) if value.dtype == object else hashlib.sha256(value.tobytes()).hexdigest()


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from sorted(f"{told(key)}: {told(inner)}," for key, inner in value.items())
    elif isinstance(value, list | tuple):
        yield from (f"{told(inner)}," for inner in value)
    elif isinstance(value, set | frozenset):
        yield from sorted(f"{told(inner)}," for inner in value)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (f"{field.name}: {told(getattr(value, field.name, None))}," for field in fields(value))


def _name(value: Any) -> str:
    named = value if getattr(value, "__qualname__", None) else type(value)
    return f"{named.__module__}.{named.__qualname__}"
