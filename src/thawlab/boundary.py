"""The tensors that pass between two stages: where a forward pass has them, and having it stop there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from thawlab.dataflow import CannotRun, Dataflow, Result, above, trace
from thawlab.errors import UserError
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
    results: tuple[Result, ...] = ()  # what each of them is in the dataflow


def boundary(
    model: nn.Module, stages: Sequence[Stage], kept: int, size: int | None = None, channels: int | None = None
) -> Boundary:
    """Find what the stages after the first `kept` read of the image: results that depend on kept stages alone.

    A network ends at its outputs: with all stages kept, these pass. A step inside a later stage's module is that
    stage's. Raises UserError where what passes cannot be had; see `passing`.
    """
    try:
        flow = trace(model, size, channels)
    except CannotRun as error:
        raise uncuttable(model, stages, kept, f"it does not run ({error})") from error
    stage_of = {name: i for i, stage in enumerate(stages) for name in stage.parameters}
    levels = flow.levels(stage_of, {path: i for i, stage in enumerate(stages) for path in stage.modules})
    held = {path for name, _ in model.named_parameters() for path in above(name)}
    end = _first_cut(flow, {path for stage in stages[kept:] for path in stage.modules} & held)
    try:
        return passing(flow, [0 <= level < kept for level in levels], end)
    except OutOfReach as error:
        raise uncuttable(model, stages, kept, str(error)) from error


class OutOfReach(Exception):
    """What crosses a boundary cannot be had; the message says what it is."""


def passing(flow: Dataflow, before: Sequence[bool], end: int) -> Boundary:
    """Find the results of the steps `before` a boundary that the others take, or that the network gives.

    Each is taken where it enters or leaves a module, at one of the first `end` + 1 passages. A result that is made
    too late (a pooling between feature maps and several heads) is taken where what it is made of can be had, if it
    reads no parameters, or (CoaT's shared position encodings) again those read before. Raises OutOfReach.
    """
    order: dict[Result, tuple[int, Capture]] = {}
    for i, passage in enumerate(flow.passages[: end + 1]):
        for leaf, result in enumerate(passage.results):
            if result is not None:
                order[result] = (i, Capture(passage.module, passage.call, passage.enters, leaf))
    read = {name for step in flow.steps[: flow.passages[end].at] for name in step.reads}
    found: dict[Result, None] = {}
    waiting = _crossing(flow, before)
    while waiting:
        result = waiting.pop()
        step = flow.steps[result[0]]
        if result in order:
            found[result] = None
        elif not step.inputs or not read.issuperset(step.reads):
            raise OutOfReach(f"what it computes from {', '.join(step.reads[:1])} enters and leaves no module")
        else:
            waiting += step.inputs
    ordered = sorted(((*order[result], result) for result in found), key=lambda three: three[0])
    return Boundary(tuple(capture for _, capture, _ in ordered), tuple(result for _, _, result in ordered))


def _crossing(flow: Dataflow, before: Sequence[bool]) -> list[Result]:
    taken = [result for i, step in enumerate(flow.steps) if not before[i] for result in step.inputs]
    return [result for result in dict.fromkeys([*taken, *flow.outputs]) if before[result[0]]]


def _first_cut(flow: Dataflow, cut: set[str]) -> int:
    """The first passage into a module of a later stage, or the last of all."""
    entered = (i for i, p in enumerate(flow.passages) if p.enters and not cut.isdisjoint((p.module, *above(p.module))))
    return next(entered, len(flow.passages) - 1)


def cuts(stages: Sequence[Stage], kept: int) -> bool:
    """Whether keeping the first `kept` stages leaves anything out; of an encoder without a classifier it may not."""
    return any(stage.parameters for stage in stages[kept:])


def uncuttable(model: nn.Module, stages: Sequence[Stage], kept: int, fact: str) -> UserError:
    """The error that tells a user why a network cannot end after `kept` of its stages."""
    name = type(model).__name__
    if not cuts(stages, kept):
        return UserError(
            f"{name} has no classifier, so that the head goes on its pooled features, but {fact}. "
            "Take another backbone."
        )
    return UserError(
        f"strategy.keep cuts {name}, but {fact}. Keep all of it (strategy.keep=1.0), or take another backbone."
    )


class _Reached(Exception):
    """Every tensor of the boundary is there: the rest of the network need not run."""


def captured(network: nn.Module, captures: Sequence[Capture], images: Tensor) -> list[Tensor]:
    """Run a network until the tensors of a boundary are there."""
    found: dict[Capture, Tensor] = {}
    handles, end = [], _Reached()
    for path in dict.fromkeys(capture.module for capture in captures):
        module, taker = network.get_submodule(path), _Taker(path, captures, found, end)
        handles.append(module.register_forward_pre_hook(taker.enter, with_kwargs=True))
        handles.append(module.register_forward_hook(taker.leave))
    try:
        network(images)
    except _Reached as reached:
        if reached is not end:  # a cut network takes its own boundary's tensors in the same way
            raise
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
    end: _Reached
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
        stops = len(self.found) + len(here) == len(self.captures)
        for capture in here:
            # A network that goes on may overwrite it in place.
            self.found[capture] = tensors[capture.leaf] if stops else tensors[capture.leaf].clone()
        if stops:
            raise self.end
