"""What a network's forward pass reads, and in which order: found by running it, as a rule on shapes alone."""

import copy
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import _get_sequence_nr  # pyright: ignore[reportPrivateImportUsage]
from torch.autograd.graph import Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from thawlab.errors import in_words

COMMON_SIZES = (224, 32, 64, 28, 96, 128, 256, 299, 384, 512)  # pixels; tried where nobody tells the size
Result = tuple[int, int]  # a step, and which of its outputs
Origin = tuple[Node, int] | None  # the same in autograd's terms; None: made by no operation that autograd knows


@dataclass(frozen=True)
class Step:
    """One operation on something that depends on the image."""

    inputs: tuple[Result, ...]  # of earlier steps
    reads: tuple[str, ...]  # parameters, by name; also through operations on parameters alone (a resized embedding)
    kind: str = ""  # autograd's name of the operation


@dataclass(frozen=True)
class Passage:
    """What enters or leaves a module at one call: a result for each tensor, None for one that no step made."""

    module: str
    call: int  # calls of this module before this one
    enters: bool
    at: int  # steps that had run
    results: tuple[Result | None, ...]
    values: int = 0  # tensors, numbers, flags and whatever else enters or leaves


@dataclass(frozen=True)
class Dataflow:
    """A forward pass: its steps and its modules' calls, each in the order in which they ran."""

    steps: tuple[Step, ...]
    passages: tuple[Passage, ...]
    outputs: tuple[Result, ...]
    random: int | None = None  # steps that had run when a random number was first drawn

    def around(self) -> list[tuple[str, ...]]:
        """The modules that each step runs in, the outermost first."""
        found: list[tuple[str, ...]] = []
        inside: tuple[str, ...] = ()
        for passage in self.passages:
            found += [inside] * (passage.at - len(found))
            if passage.enters:
                inside = (*inside, passage.module)
            elif passage.module in inside:  # what an exception ended never left
                inside = inside[: max(i for i, path in enumerate(inside) if path == passage.module)]
        return found + [inside] * (len(self.steps) - len(found))

    def levels(self, stage_of: Mapping[str, int], home: Mapping[str, int] | None = None) -> list[int]:
        """The deepest stage that each step depends on; -1 for what depends on the image alone.

        `stage_of` tells the stage of every parameter; with `home`, the stage of some modules, a step inside one
        counts to its stage at least, also where the module itself was not called but those in it, one by one.
        """
        found: list[int] = []
        arounds = self.around() if home else [()] * len(self.steps)
        for step, around in zip(self.steps, arounds, strict=True):
            behind = (found[i] for i, _ in step.inputs)
            held = {outer for path in around for outer in (*above(path), path)} if home else ()
            at_home = (home[path] for path in held if home and path in home)
            found.append(max((*behind, *at_home, *(stage_of[name] for name in step.reads)), default=-1))
        return found


def above(name: str) -> list[str]:
    """The modules that a parameter or module lies in, the topmost first."""
    path = name.split(".")
    return [".".join(path[:depth]) for depth in range(1, len(path))]


class CannotRun(Exception):
    """The network ran on no image that was tried; the message says what the first try raised."""


def trace(
    model: nn.Module,
    size: int | None = None,
    channels: int | None = None,
    *,
    evaluated: bool = True,
    spend: bool = False,
) -> Dataflow:
    """Run a copy of `model` and read from autograd's graph what each operation takes.

    The copy is on the meta device: nothing is computed, so that a large network takes well under a second. A network
    that asks for values there (which meta tensors lack) is run on the CPU. `model`, its buffers and the random state
    stay as they are. It runs in evaluation mode, with `evaluated=False` in the mode of each module, on two images of
    `size` pixels and `channels` channels; where these are None, of the size that the model itself tells, else of a
    common one. `spend`: no copy is made of a model that is on the meta device already; it is left in evaluation mode,
    its buffers as the run left them. Raises CannotRun.
    """
    first: Exception | None = None
    for device in ("meta", "cpu"):
        copied = model if spend and device == "meta" else copied_to(device, model)
        copied = copied.eval() if evaluated else copied
        for parameter in copied.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        for shape in image_shapes(model, size, channels):
            try:
                with torch.random.fork_rng(devices=[]):
                    images = torch.zeros(2, *shape, device=device, requires_grad=True)
                    return _traced(copied, images, nullcontext() if evaluated else _Draws())
            except Exception as error:  # networks raise many kinds
                first = first or error
    raise CannotRun(in_words(first)) from first


def copied_to(device: str, model: nn.Module) -> nn.Module:
    """A copy of a network on a device; on "meta" it has shapes alone and takes no memory."""
    if device != "meta":
        return copy.deepcopy(model).to(device)
    known: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module.parameters(recurse=False), *_plain_tensors(module)):
            empty = torch.empty_like(tensor, device="meta", requires_grad=False)
            known[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, known)


def sharing(model: nn.Module, buffers: bool = True) -> nn.Module:
    """A network's modules anew, with its own parameters and either its own buffers or copies of them."""
    shared = (*model.parameters(), *(model.buffers() if buffers else ()))
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def _plain_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Its buffers, and tensors that it keeps as plain attributes."""
    yield from module.buffers(recurse=False)
    yield from (value for value in vars(module).values() if isinstance(value, Tensor))


def image_shapes(model: nn.Module, size: int | None, channels: int | None) -> list[tuple[int, int, int]]:
    """Shapes of images to try, the likeliest first."""
    if size and channels:
        return [(channels, size, size)]
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    told = tuple(config.get("input_size") or ())
    depths = [channels] if channels else _channels_read(model)
    sides = [told[1:], *(getattr(module, "img_size", ()) for module in model.modules())]
    pairs = [tuple(side) for side in sides if isinstance(side, tuple | list) and len(side) == 2]
    common = [(size, size)] if size else [*pairs, *((side, side) for side in COMMON_SIZES)]
    return [(depth, height, width) for depth in depths for height, width in dict.fromkeys(common)]


def _channels_read(model: nn.Module) -> list[int]:
    """Channels that an image may have: colour or grey where a convolution takes so many, else what the first takes."""
    told = getattr(model, "in_chans", None)
    taken = [module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    return [told] if isinstance(told, int) else [n for n in (3, 1) if n in taken] or taken[:1] or [3]


@dataclass
class _Recorder:
    """Hooks that note what enters and leaves each module."""

    seen: list[tuple[str, int, bool, int, list[Origin], int]] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)

    def entering(self, path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            self.calls[path] = self.calls.get(path, -1) + 1
            self.seen.append((path, self.calls[path], True, _get_sequence_nr(), *_origins((args, kwargs))))

        return hook

    def leaving(self, path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            self.seen.append((path, self.calls[path], False, _get_sequence_nr(), *_origins(output)))

        return hook


def _origins(value: Any) -> tuple[list[Origin], int]:
    """Where each tensor in `value` comes from, as it is now (later it may be overwritten in place); all its leaves."""
    leaves = tree_leaves(value)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return [(t.grad_fn, t.output_nr) if t.grad_fn is not None else None for t in tensors], len(leaves)


class _Draws(TorchDispatchMode):
    """Notes when a random number is first drawn."""

    first: int | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.first is None and torch.Tag.nondeterministic_seeded in func.tags:
            self.first = _get_sequence_nr()
        return func(*args, **(kwargs or {}))


def _traced(model: nn.Module, images: Tensor, draws: "_Draws | nullcontext[None]") -> Dataflow:
    recorder, handles = _Recorder(), []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(recorder.entering(path), with_kwargs=True))
        handles.append(module.register_forward_hook(recorder.leaving(path)))
    try:
        with torch.enable_grad(), draws:
            outputs = [origin for origin in _origins(model(images))[0] if origin is not None]
    finally:
        for handle in handles:
            handle.remove()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    steps, numbers = _steps([node for node, _ in outputs], images, names)

    def result(origin: Origin) -> Result | None:
        return (numbers[origin[0]], origin[1]) if origin is not None and origin[0] in numbers else None

    begun = sorted(node._sequence_nr() for node in numbers)
    passages = tuple(
        Passage(path, call, enters, bisect_left(begun, moment), tuple(map(result, found)), values)
        for path, call, enters, moment, found, values in recorder.seen
    )
    first = draws.first if isinstance(draws, _Draws) else None
    random = None if first is None else bisect_left(begun, first)
    return Dataflow(steps, passages, tuple(r for r in map(result, outputs) if r is not None), random)


def _steps(ends: Sequence[Node], images: Tensor, names: dict[int, str]) -> tuple[tuple[Step, ...], dict[Node, int]]:
    """The operations behind `ends` that depend on the image, in the order in which they ran, and their numbers."""
    reads: dict[Node, set[str]] = {}
    numbers: dict[Node, int] = {}  # -1: the image
    steps: list[Step] = []
    for node in _behind(ends):
        if not node.next_functions:
            leaf = getattr(node, "variable", None)
            reads[node] = {names[id(leaf)]} if id(leaf) in names else set()
            if leaf is images:
                numbers[node] = -1
            continue
        behind = [(inner, nr) for inner, nr in node.next_functions if inner is not None]
        alone = [inner for inner, _ in behind if inner not in numbers]
        reads[node] = set().union(*(reads[inner] for inner in alone))
        if len(alone) < len(behind):
            inputs = dict.fromkeys((numbers[inner], nr) for inner, nr in behind if inner in numbers)
            numbers[node] = len(steps)
            steps.append(Step(tuple(i for i in inputs if i[0] >= 0), tuple(sorted(reads[node])), node.name()))
    return tuple(steps), {node: number for node, number in numbers.items() if number >= 0}


def _behind(ends: Iterable[Node]) -> list[Node]:
    """Every node that `ends` depend on, and themselves; each after those that it depends on."""
    found: set[Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [inner for inner, _ in node.next_functions if inner is not None]
    return sorted(found, key=lambda node: (bool(node.next_functions), node._sequence_nr()))
