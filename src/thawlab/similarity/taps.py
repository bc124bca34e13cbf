"""What a head would get from each stage of a network, and what enters its norms: taken from one forward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from thawlab.boundary import Capture
from thawlab.dataflow import above
from thawlab.errors import UserError
from thawlab.grouping import lies_in
from thawlab.similarity.scores import norm_distance
from thawlab.similarity.source import Source
from thawlab.stages import Stage, classifier_names
from thawlab.tracing import truncate

LOGITS = Capture("", 0, False, 0)  # the network's own result


@dataclass(frozen=True)
class Tap:
    """Where a stage's features are taken, and which axes of each tensor are averaged over."""

    stage: str
    captures: tuple[Capture, ...]
    places: tuple[tuple[int, ...], ...]

    def pooled(self, found: dict[Capture, Tensor]) -> Tensor:
        """Features float32 (n, width)."""
        tensors = [found[capture].float() for capture in self.captures]
        return torch.cat([t.mean(dim=a) if a else t for t, a in zip(tensors, self.places, strict=True)], dim=1)


def taps_of(source: Source) -> tuple[tuple[Tap, ...], tuple[str, ...]]:
    """A tap behind each stage below the head, and a line for each stage that has none.

    Of all but the last they are `tracing.truncate`'s, so that they give what a head on the network cut there is given;
    of the last it is what enters the classifier, or, of a network without one, the head in its place.
    """
    found, notes = [], []
    for kept, stage in enumerate(source.stages[:-1], 1):
        try:
            last = kept == len(source.stages) - 1
            found.append(_at_head(source, stage) if last and classifier_names(source.network) else _cut(source, kept))
        except UserError as error:
            notes.append(f"stage {stage.name} is left out, for no head can be put on it alone: {error}")
    return tuple(found), tuple(notes)


def _cut(source: Source, kept: int) -> Tap:
    images = source.preprocessing
    network, _, _ = truncate(source.network, source.stages, kept, images.size, images.channels)
    return Tap(source.stages[kept - 1].name, network.captures, network.places)


def _at_head(source: Source, stage: Stage) -> Tap:
    """What enters each classifier, averaged over places where it reads places one by one."""
    images = source.preprocessing
    entered = _entered(source.network, classifier_names(source.network), (images.channels, *2 * (images.size,)))
    if not entered:
        raise UserError(f"the classifier of {type(source.network).__name__} is never called")
    captures = tuple(Capture(path, 0, True, 0) for path in entered)
    return Tap(stage.name, captures, tuple(_places(source.network, *one) for one in entered.items()))


def _places(network: nn.Module, path: str, ndim: int) -> tuple[int, ...]:
    """Channels come last but for convolutions; what passes a pooling on its way in has two axes."""
    first = ndim == 4 and not isinstance(network.get_submodule(path), nn.Linear)
    return tuple(range(2, ndim) if first else range(1, ndim - 1))


def _entered(network: nn.Module, heads: Sequence[str], shape: tuple[int, ...]) -> dict[str, int]:
    """The outermost modules among the classifier's that are called, and the axes of what enters them."""
    seen: dict[str, int] = {}

    def noting(path: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen.setdefault(path, args[0].ndim)

        return hook

    _pass(
        network,
        shape,
        [m.register_forward_pre_hook(noting(p)) for p, m in network.named_modules() if p and lies_in(p, heads)],
    )
    return {path: ndim for path, ndim in seen.items() if seen.keys().isdisjoint(above(path))}


def values_written(network: nn.Module, shape: tuple[int, ...]) -> int:
    """How many values the modules that hold parameters write for one image of `shape` (channels, height, width)."""
    written = 0

    def adding(_module: nn.Module, _args: object, result: object) -> None:
        nonlocal written
        written += result.numel() if isinstance(result, Tensor) else 0

    own = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
    _pass(network, shape, [module.register_forward_hook(adding) for module in own])
    return written


def _pass(network: nn.Module, shape: tuple[int, ...], hooks: Sequence[RemovableHandle]) -> None:
    """Let the hooks see one image of zeros pass, and remove them."""
    with _removing(hooks), torch.inference_mode():
        network(torch.zeros(1, *shape, device=next(network.parameters()).device))


@contextmanager
def _removing(hooks: Sequence[RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class Moments:
    """Mean and variance of a layer's channels over all that was added: float64 (channels,)."""

    count: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    variance: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, count: int, mean: np.ndarray, variance: np.ndarray) -> None:
        """Join another part's (Chan, Golub and LeVeque 1979)."""
        if not self.count:
            self.count, self.mean, self.variance = count, mean, variance
            return
        total = self.count + count
        share, apart = count / total, mean - self.mean
        self.variance = (1 - share) * self.variance + share * variance + share * (1 - share) * apart**2
        self.mean = self.mean + share * apart
        self.count = total


def norms_of(network: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorm layers that keep statistics of what they saw, by path."""
    found = {path: module for path, module in network.named_modules() if isinstance(module, _BatchNorm)}
    return {path: module for path, module in found.items() if module.running_mean is not None}


@contextmanager
def watching(network: nn.Module) -> Iterator[dict[str, Moments]]:
    """Moments of what enters each such layer, over the images that pass meanwhile."""
    moments = {path: Moments() for path in norms_of(network)}
    hooks = [m.register_forward_pre_hook(_adding(moments[path])) for path, m in norms_of(network).items()]
    with _removing(hooks):
        yield moments


def _adding(moments: Moments) -> Any:
    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        entering = args[0]
        # What training's batches are normalised with, without normalising.
        mean, variance = torch.batch_norm_update_stats(entering, None, None, 0.0)  # pyright: ignore[reportAttributeAccessIssue]
        count = entering.numel() // entering.shape[1]
        moments.add(count, mean.double().cpu().numpy(), variance.double().cpu().numpy())

    return hook


def stage_distance(network: nn.Module, stage: Stage, moments: dict[str, Moments]) -> float | None:
    """The mean of the norm distances of a stage's layers; None where it has none that images pass."""
    distances = []
    for path, module in norms_of(network).items():
        seen = moments[path]
        if stage.owns(f"{path}.running_mean") and seen.count:
            mean, variance = (
                t.double().cpu().numpy() for t in (module.running_mean, module.running_var) if t is not None
            )
            distances.append(norm_distance(mean, variance, seen.mean, seen.variance, module.eps))
    return float(np.mean(distances)) if distances else None
