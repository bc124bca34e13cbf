"""A network in two parts: what is a fixed function of the image, and the rest, run from what passes between them.

Both run the network's own forward pass. The first stops where the boundary's tensors are there (`boundary`). The second
starts from placeholders without values: a module that lies before the boundary gives placeholders without running, what
is computed from a placeholder is one as well, and the boundary's tensors take the places that they have in the whole
network. Whatever else is asked of a placeholder ends the attempt: nothing is computed from a wrong value.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from thawlab.boundary import Boundary, OutOfReach, captured, passing
from thawlab.dataflow import CannotRun, Dataflow, Passage, trace
from thawlab.stages import Stage

Call = tuple[str, int]  # a module, and how often it was called before


class CannotSplit(Exception):
    """The network cannot run in two parts; the message says why, in a few words."""


@dataclass(frozen=True)
class Cut:
    """Where a network is cut, in one mode of its modules, and what its second part does at each call of a module.

    `before` tells of each step of `flow` whether it lies before the boundary.
    """

    flow: Dataflow
    before: tuple[bool, ...]
    boundary: Boundary
    skipped: Mapping[Call, tuple[str, ...]]  # calls that need not run -> modules called inside, once for each call
    given: Mapping[tuple[str, int, bool], tuple[tuple[int, int], ...]]  # call, enters -> (leaf, which boundary tensor)
    alone: str | None = None  # a module that takes the boundary's one tensor, and whose result is the network's


def cut(model: nn.Module, stages: Sequence[Stage], training: Collection[str], shape: tuple[int, int, int]) -> Cut:
    """Find where the part of `model` ends that is the same function of the image as long as `training` stages train.

    The modules are in the mode that they run in. The first part ends before the first stage of `training` in the order
    of the stages, and before the first random number that is drawn and the first norm that looks at the whole batch or
    moves its statistics. `shape` is an image's (channels, height, width). Raises CannotSplit.
    """
    kept = next((i for i, stage in enumerate(stages) if stage.name in training), len(stages))
    try:
        flow = trace(model, shape[1], shape[0], evaluated=False)
    except CannotRun as error:
        raise CannotSplit(f"it does not run without values ({error})") from error
    before = _before(model, stages, kept, flow)
    if not any(b and step.reads for b, step in zip(before, flow.steps, strict=True)):
        raise CannotSplit("no stage is frozen from the first on")
    if all(before):
        raise CannotSplit("nothing of it trains")
    try:
        found = passing(flow, before, _last_before(flow, before))
    except OutOfReach as error:
        raise CannotSplit(str(error)) from error
    return Cut(flow, before, found, _skipped(flow, before), _given(flow, found), _alone(flow, found))


def _before(model: nn.Module, stages: Sequence[Stage], kept: int, flow: Dataflow) -> tuple[bool, ...]:
    stage_of = {name: i for i, stage in enumerate(stages) for name in stage.parameters}
    levels = flow.levels(stage_of, {path: i for i, stage in enumerate(stages) for path in stage.modules})
    modules = dict(model.named_modules())
    unsteady = [p.at for p in flow.passages if p.enters and _unsteady(modules[p.module])]
    end = min([*unsteady, len(flow.steps) if flow.random is None else flow.random])
    return tuple(level < kept and i < end for i, level in enumerate(levels))


def _unsteady(module: nn.Module) -> bool:
    """Whether what a norm gives for an image depends on other images, now or before."""
    if not isinstance(module, _NormBase):
        return False
    moves = module.training and module.track_running_stats
    return moves or (isinstance(module, _BatchNorm) and (module.training or module.running_mean is None))


def _last_before(flow: Dataflow, before: Sequence[bool]) -> int:
    """The last passage before the first step that lies behind the boundary."""
    first = before.index(False)
    return max((i for i, passage in enumerate(flow.passages) if passage.at <= first), default=0)


def _skipped(flow: Dataflow, before: Sequence[bool]) -> dict[Call, tuple[str, ...]]:
    """The outermost calls of which every step lies before the boundary.

    One that gives a tensor made of no image (positions of patches, say) does run: behind the boundary it may be needed.
    """
    found: dict[Call, tuple[str, ...]] = {}
    opened: dict[Call, int] = {}
    for i, passage in enumerate(flow.passages):
        call = (passage.module, passage.call)
        if passage.enters:
            opened[call] = i
        elif (start := opened.pop(call, None)) is not None and _skippable(flow, before, start, i):
            inside = [p for p in flow.passages[start + 1 : i] if p.enters]
            for inner in inside:
                found.pop((inner.module, inner.call), None)
            found[call] = tuple(p.module for p in inside)
    return found


def _skippable(flow: Dataflow, before: Sequence[bool], start: int, end: int) -> bool:
    steps = before[flow.passages[start].at : flow.passages[end].at]
    return bool(steps) and all(steps) and None not in flow.passages[end].results


def _given(flow: Dataflow, found: Boundary) -> dict[tuple[str, int, bool], tuple[tuple[int, int], ...]]:
    numbers = {result: i for i, result in enumerate(found.results)}

    def leaves(passage: Passage) -> tuple[tuple[int, int], ...]:
        return tuple((leaf, numbers[result]) for leaf, result in enumerate(passage.results) if result in numbers)

    return {(p.module, p.call, p.enters): here for p in flow.passages if (here := leaves(p))}


def _alone(flow: Dataflow, found: Boundary) -> str | None:
    """The module that is the whole second part, such as the head of a frozen backbone; None: it is more than one."""
    entered = {(p.module, p.call) for p in flow.passages if p.enters and p.values == 1 and p.results == found.results}
    left = (p for p in flow.passages if not p.enters and p.values == 1 and p.results == flow.outputs)
    return next((p.module for p in left if (p.module, p.call) in entered), None)


@torch.no_grad()
def prefix(network: nn.Module, cut: Cut, images: Tensor) -> list[Tensor]:
    """The boundary's tensors for images (n, channels, height, width)."""
    return captured(network, cut.boundary.captures, images)


@dataclass
class Suffix:
    """Runs a network from the tensors at its boundary on; it shares the network's own parameters and buffers.

    `shape` is an image's (channels, height, width); `device` is where the network is.
    """

    network: nn.Module
    cut: Cut
    shape: tuple[int, int, int]
    device: torch.device
    _templates: dict[tuple[Call, int, bool], Any] = field(default_factory=dict, repr=False)

    def __call__(self, tensors: Sequence[Tensor], n: int) -> Any:
        """What the network gives for the n images that the boundary's tensors are of. Raises CannotSplit."""
        if self.cut.alone is not None:
            return self.network.get_submodule(self.cut.alone)(tensors[0])
        run = _Replay(self, tensors, n)
        try:
            with _Placeholders(self.device):
                output = run(torch.empty(n, *self.shape, device="meta"))
        except (_Asked, NotImplementedError) as error:
            raise CannotSplit(f"it asks for a value before the boundary ({error})") from error
        leaves = [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]
        if any(leaf.is_meta for leaf in leaves):
            raise CannotSplit("its result depends on more than passes the boundary")
        return output


class _Replay:
    """One run of the second part."""

    def __init__(self, suffix: Suffix, tensors: Sequence[Tensor], n: int) -> None:
        self.suffix, self.cut, self.tensors, self.n = suffix, suffix.cut, tensors, n
        self.calls: dict[str, int] = {}
        self.skips = {path for path, _ in self.cut.skipped}
        self.watched = self.skips | {path for path, _, _ in self.cut.given}

    def __call__(self, images: Tensor) -> Any:
        network = self.suffix.network
        modules = {path: network.get_submodule(path) for path in self.watched}
        handles, replaced = [], []
        try:
            for path, module in modules.items():
                # Before and after whatever hooks there are: a cut network takes its own tensors by hooks.
                handles.append(module.register_forward_pre_hook(self._entering(path), with_kwargs=True, prepend=True))
                handles.append(module.register_forward_hook(self._leaving(path), prepend=True))
                if path in self.skips:
                    replaced.append((module, module.__dict__.get("forward")))
                    module.forward = self._skipping(path, module.forward)
            return network(images)
        finally:
            for handle in handles:
                handle.remove()
            for module, own in replaced:
                if own is None:
                    del module.__dict__["forward"]
                else:
                    module.forward = own

    def _entering(self, path: str) -> Callable[..., Any]:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> Any:
            self.calls[path] = self.calls.get(path, -1) + 1
            here = self.cut.given.get((path, self.calls[path], True))
            return self._with_given((args, kwargs), here) if here else None

        return hook

    def _leaving(self, path: str) -> Callable[..., Any]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            here = self.cut.given.get((path, self.calls[path], False))
            return self._with_given(output, here) if here else None

        return hook

    def _with_given(self, value: Any, here: Sequence[tuple[int, int]]) -> Any:
        leaves, spec = tree_flatten(value)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        for leaf, number in here:
            leaves[places[leaf]] = self.tensors[number]
        return tree_unflatten(leaves, spec)

    def _skipping(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*args: Any, **kwargs: Any) -> Any:
            call = (path, self.calls[path])
            if call not in self.cut.skipped:
                return forward(*args, **kwargs)
            known = self.suffix._templates
            key = (call, self.n, torch.is_autocast_enabled(self.suffix.device.type))
            if key not in known:
                before = dict(self.calls)
                known[key] = tree_map_only(Tensor, _placeholder, forward(*args, **kwargs))
                self.calls = before
            for inner in self.cut.skipped[call]:
                if inner in self.watched:
                    self.calls[inner] = self.calls.get(inner, -1) + 1
            return known[key]

        return instead


def _placeholder(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta", requires_grad=False)


class _Asked(RuntimeError):
    """A placeholder was asked for what it lacks."""


_DEVICE = Tensor.device.__get__  # pyright: ignore[reportAttributeAccessIssue]
_MADE_LIKE = (Tensor.new_zeros, Tensor.new_ones, Tensor.new_full, Tensor.new_empty, Tensor.new_tensor)


class _Placeholders(TorchFunctionMode):
    """Lets what is computed from a placeholder (a tensor on the meta device) be one, whatever else it is made of."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _any_meta(args) and not (kwargs and _any_meta(kwargs.values())):
            return func(*args, **kwargs)
        if func == _DEVICE:
            return self.device
        if func in _MADE_LIKE:  # of its kind, not of its values
            return func(torch.empty(0, dtype=args[0].dtype, device=self.device), *args[1:], **kwargs)
        name = getattr(func, "__name__", "")
        in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if in_place and isinstance(args[0], Tensor) and not args[0].is_meta:
            raise _Asked(f"{name} on what is behind it")
        args, kwargs = tree_map_only(Tensor, _as_placeholder, (args, kwargs))
        if "device" in kwargs:
            kwargs = {**kwargs, "device": "meta"}
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            raise _Asked(f"{name}: {' '.join(str(error).split())[:120]}") from error


def _any_meta(values: Any) -> bool:
    for value in values:
        if isinstance(value, Tensor):
            if value.is_meta:
                return True
        elif isinstance(value, list | tuple) and _any_meta(value):
            return True
    return False


def _as_placeholder(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else _placeholder(tensor)
