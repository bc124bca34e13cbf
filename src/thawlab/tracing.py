"""Cutting a network between two stages: what passes there, and the stages before it with a head on that."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from thawlab.dataflow import CannotRun, Dataflow, Result, copied_to, trace
from thawlab.errors import UserError
from thawlab.grouping import lies_in
from thawlab.places import Unknown, places
from thawlab.stages import Stage


@dataclass(frozen=True)
class Capture:
    """Where a tensor can be had: the `leaf`-th of those that enter or leave a module at one call."""

    module: str
    call: int
    enters: bool
    leaf: int


@dataclass(frozen=True)
class Boundary:
    """The tensors that pass from the first stages to the later ones, in the order in which they are made."""

    captures: tuple[Capture, ...]


def boundary(
    model: nn.Module, stages: Sequence[Stage], kept: int, size: int | None = None, channels: int | None = None
) -> Boundary:
    """Find what the stages after the first `kept` read of the image: results that depend on kept stages alone.

    A network ends at its outputs: with all stages kept, these pass. Each result is taken where it enters or leaves
    a module, before the first module of a later stage runs. A step inside a later stage's module is that stage's.
    A result that is made too late (a pooling between feature maps and several heads) is taken where what it is made
    of can be had, if it reads no parameters, or (CoaT's shared position encodings) again those read before. Raises
    UserError.
    """
    try:
        flow = trace(model, size, channels)
    except CannotRun as error:
        raise _uncuttable(model, f"it does not run ({error})") from error
    held = {path for name, _ in model.named_parameters() for path in _above(name)}
    end = _first_cut(flow, {path for stage in stages[kept:] for path in stage.modules} & held)
    order: dict[Result, tuple[int, Capture]] = {}
    for i, passage in enumerate(flow.passages[: end + 1]):
        for leaf, result in enumerate(passage.results):
            if result is not None:
                order[result] = (i, Capture(passage.module, passage.call, passage.enters, leaf))
    read = {name for step in flow.steps[: flow.passages[end].at] for name in step.reads}
    found: dict[Result, None] = {}
    waiting = _crossing(flow, stages, kept)
    while waiting:
        result = waiting.pop()
        step = flow.steps[result[0]]
        if result in order:
            found[result] = None
        elif not step.inputs or not read.issuperset(step.reads):
            raise _uncuttable(model, f"what it computes from {', '.join(step.reads[:1])} enters and leaves no module")
        else:
            waiting += step.inputs
    return Boundary(tuple(capture for _, capture in sorted((order[r] for r in found), key=lambda pair: pair[0])))


def _crossing(flow: Dataflow, stages: Sequence[Stage], kept: int) -> list[Result]:
    """Results of kept stages that later ones take, or that the network gives."""
    stage_of = {name: i for i, stage in enumerate(stages) for name in stage.parameters}
    levels = flow.levels(stage_of, {path: i for i, stage in enumerate(stages) for path in stage.modules})
    taken = [result for i, step in enumerate(flow.steps) if levels[i] >= kept for result in step.inputs]
    return [result for result in dict.fromkeys([*taken, *flow.outputs]) if 0 <= levels[result[0]] < kept]


def _first_cut(flow: Dataflow, cut: set[str]) -> int:
    """The first passage into a module of a later stage, or the last of all."""
    entered = (i for i, p in enumerate(flow.passages) if p.enters and not cut.isdisjoint((p.module, *_above(p.module))))
    return next(entered, len(flow.passages) - 1)


def _above(name: str) -> list[str]:
    """The modules that a parameter or module lies in."""
    path = name.split(".")
    return [".".join(path[:depth]) for depth in range(1, len(path))]


def _uncuttable(model: nn.Module, fact: str) -> UserError:
    return UserError(
        f"strategy.keep cuts {type(model).__name__}, but {fact}. "
        "Keep all of it (strategy.keep=1.0), or take another backbone."
    )


class _Reached(Exception):
    """Every tensor of the boundary is there: the rest of the network need not run."""


def _captured(network: nn.Module, captures: Sequence[Capture], images: Tensor, to_end: bool = False) -> list[Tensor]:
    """Run a network until the tensors of a boundary are there, or to its end."""
    found: dict[Capture, Tensor] = {}
    handles = []
    for path in dict.fromkeys(capture.module for capture in captures):
        module, taker = network.get_submodule(path), _Taker(path, captures, found, to_end)
        handles.append(module.register_forward_pre_hook(taker.enter, with_kwargs=True))
        handles.append(module.register_forward_hook(taker.leave))
    try:
        network(images)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return [found[capture] for capture in captures]


@dataclass
class _Taker:
    """Hooks on one module that take a boundary's tensors into `found`, and stop the run when all are there."""

    path: str
    captures: Sequence[Capture]
    found: dict[Capture, Tensor]
    to_end: bool
    call: int = -1

    def enter(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        self.call += 1
        self._take(True, (args, kwargs))

    def leave(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._take(False, output)

    def _take(self, enters: bool, value: Any) -> None:
        here = [c for c in self.captures if (c.module, c.call, c.enters) == (self.path, self.call, enters)]
        if not here:
            return
        tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        stops = len(self.found) + len(here) == len(self.captures) and not self.to_end
        for capture in here:
            # A network that goes on may overwrite it in place.
            self.found[capture] = tensors[capture.leaf] if stops else tensors[capture.leaf].clone()
        if stops:
            raise _Reached


class Truncated(nn.Module):
    """The first stages of a network with a head on what they give.

    `forward`: images (n, channels, height, width) → logits (n, classes). Feature maps are averaged over their
    places, tokens over the sequence; where several tensors cross the cut, their averages are joined. `captures` says
    where in `body` they are taken, `places` the axes of each to average over.
    """

    def __init__(self, body: nn.Module, captures: Sequence[Capture], places: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.body = body
        self.captures, self.places = tuple(captures), tuple(places)
        self.head: nn.Module = nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (n, width)."""
        found = _captured(self.body, self.captures, images)
        return torch.cat([_pooled(tensor, axes) for tensor, axes in zip(found, self.places, strict=True)], dim=1)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.features(images))

    def get_classifier(self) -> nn.Module:
        """The head, as timm's models name it."""
        return self.head


def _pooled(features: Tensor, axes: tuple[int, ...]) -> Tensor:
    return features.mean(dim=axes) if axes else features  # torch takes no axes for all of them


class _Cut(nn.Module):
    """Stands where a module of a later stage was."""

    def forward(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("a module of a later stage is asked for")


def truncate(
    model: nn.Module, stages: Sequence[Stage], kept: int, size: int, channels: int = 3
) -> tuple[Truncated, tuple[Stage, ...], int]:
    """Cut `model` after its first `kept` stages.

    Returns the cut network without its head, its stages (input to last kept), and the width of its features for
    images of `size` pixels and `channels` channels. Its parameters and buffers are the model's own, not copies. It
    runs the model's own forward pass and stops at the boundary; on a batch of noise it is held to give the very
    tensors that pass there in the whole model. Raises UserError where the model cannot be cut: it does not run, what
    passes is out of reach, or it cannot be told which axes of its features are places.
    """
    captures = boundary(model, stages, kept, size, channels).captures
    body = _without(model, stages[kept:])
    shape = (2, channels, size, size)
    try:
        shapes = _checked(model, body, captures, shape)
        trained = _dry(body, captures, shape, training=True)
    except Exception as error:  # networks raise many kinds
        fact = f"the kept stages do not run on images of {size} pixels by themselves ({type(error).__name__}: {error})"
        raise _uncuttable(model, fact) from error
    if shapes != trained:
        raise _uncuttable(model, "its features have other shapes in training than in evaluation")
    features = {i: shape for i, shape in shapes.items() if shape[0] == 2 and len(shape) > 1}
    if not features:
        raise _uncuttable(model, "no features pass from the kept stages to the others")

    def at(pixels: int) -> dict[int, tuple[int, ...]]:
        return _dry(body, captures, (2, channels, pixels, pixels), training=False)

    try:
        axes = places(features, size, at, getattr(model, "output_fmt", None))
    except Unknown as error:
        fact = f"of its features ({error}) it cannot be told which axes are places in the image"
        raise _uncuttable(model, fact) from error
    width = sum(
        shape[({*range(1, len(shape))} - {*own}).pop()] for shape, own in zip(features.values(), axes, strict=True)
    )
    network = Truncated(body, [captures[i] for i in features], axes)
    return network, tuple(_renamed(stage, network) for stage in stages[:kept]), width


def _without(model: nn.Module, cut: Sequence[Stage]) -> nn.Module:
    """The model's modules anew, with its own parameters and buffers, and none of the `cut` stages."""
    body = _shallow(model)
    for stage in cut:
        for path in stage.modules:
            parent, _, name = path.rpartition(".")
            body.get_submodule(parent)._modules[name] = _Cut()
        for path in stage.parameters:
            parent, _, name = path.rpartition(".")
            if not lies_in(path, stage.modules):
                body.get_submodule(parent)._parameters[name] = None
    return body


def _shallow(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def _checked(
    model: nn.Module, body: nn.Module, captures: Sequence[Capture], shape: tuple[int, ...]
) -> dict[int, tuple[int, ...]]:
    """The shapes of the tensors at the boundary; RuntimeError where they differ from those in the whole model."""
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()).device)
    with torch.no_grad():
        whole = _captured(_shallow(model).eval(), captures, images, to_end=True)
        alone = _captured(_shallow(body).eval(), captures, images)
    if not all(torch.equal(a, b) for a, b in zip(whole, alone, strict=True)):
        raise RuntimeError("they give other features than in the whole network")
    return {i: tuple(tensor.shape) for i, tensor in enumerate(alone) if tensor.is_floating_point()}


def _dry(
    body: nn.Module, captures: Sequence[Capture], shape: tuple[int, ...], training: bool
) -> dict[int, tuple[int, ...]]:
    """The shapes at the boundary for images of a shape, by a run without values where the network allows it."""
    for device in ("meta", "cpu"):
        network = copied_to(device, body).train(training)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = _captured(network, captures, torch.zeros(shape, device=device))
        except Exception:
            if device == "cpu":
                raise
        else:
            return {i: tuple(tensor.shape) for i, tensor in enumerate(found) if tensor.is_floating_point()}
    raise AssertionError


def _renamed(stage: Stage, network: nn.Module) -> Stage:
    """The stage as it lies in the cut network: under `body`."""
    modules = {name for name, _ in network.named_modules()}
    return Stage(
        stage.name,
        tuple(f"body.{name}" for name in stage.parameters),
        tuple(f"body.{name}" for name in stage.modules if f"body.{name}" in modules),
        stage.size,
    )
