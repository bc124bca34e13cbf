"""Cutting a network between two stages: the stages before the cut, with a head on what passes there."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thawlab.boundary import Capture, boundary, captured, cuts, uncuttable
from thawlab.dataflow import copied_to, sharing
from thawlab.errors import UserError
from thawlab.grouping import lies_in
from thawlab.places import Unknown, places
from thawlab.stages import Stage


class Truncated(nn.Module):
    """The first stages of a network with a head on what they give.

    `forward`: images (n, channels, height, width) → logits (n, classes). Feature maps are averaged over their
    places, tokens over the sequence; where several tensors cross the cut, their averages are joined. `captures` says
    where in `body` they are taken, `places` the axes of each to average over; `cut` is false for an encoder of which
    all is kept.
    """

    def __init__(
        self, body: nn.Module, captures: Sequence[Capture], places: Sequence[tuple[int, ...]], cut: bool
    ) -> None:
        super().__init__()
        self.body = body
        self.cut = cut
        self.captures, self.places = tuple(captures), tuple(places)
        self.head: nn.Module = nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (n, width)."""
        found = captured(self.body, self.captures, images)
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
    runs the model's own forward pass and stops at the boundary; on an image of noise it is held to give the very
    tensors that pass there in the whole model. Raises UserError where the model cannot be cut: it does not run, what
    passes is out of reach, or it cannot be told which axes of its features are places.
    """
    captures = boundary(model, stages, kept, size, channels).captures
    body = _without(model, stages[kept:])
    cut = cuts(stages, kept)

    def refusal(fact: str) -> UserError:
        return uncuttable(model, stages, kept, fact)

    def at(pixels: int, training: bool = False) -> dict[int, tuple[int, ...]]:
        return _dry(body, captures, (2, channels, pixels, pixels), training)

    try:
        shapes, trained = at(size), at(size, training=True)
        if cut:
            _check_alike(model, body, captures, (1, channels, size, size))
    except Exception as error:  # networks raise many kinds
        fact = f"the kept stages do not run on images of {size} pixels by themselves ({type(error).__name__}: {error})"
        raise refusal(fact) from error
    if shapes != trained:
        raise refusal("its features have other shapes in training than in evaluation")
    features = {i: shape for i, shape in shapes.items() if shape[0] == 2 and len(shape) > 1}
    if not features:
        raise refusal("no features pass from the kept stages to the others")
    try:
        axes = places(features, size, at, getattr(model, "output_fmt", None))
    except Unknown as error:
        fact = f"of its features ({error}) it cannot be told which axes are places in the image"
        raise refusal(fact) from error
    width = sum(
        shape[({*range(1, len(shape))} - {*own}).pop()] for shape, own in zip(features.values(), axes, strict=True)
    )
    network = Truncated(body, [captures[i] for i in features], axes, cut)
    return network, tuple(_renamed(stage, network) for stage in stages[:kept]), width


def _without(model: nn.Module, cut: Sequence[Stage]) -> nn.Module:
    """The model's modules anew, with its own parameters and buffers, and none of the `cut` stages."""
    body = sharing(model)
    for stage in cut:
        for path in stage.modules:
            parent, _, name = path.rpartition(".")
            body.get_submodule(parent)._modules[name] = _Cut()
        for path in stage.parameters:
            parent, _, name = path.rpartition(".")
            if not lies_in(path, stage.modules):
                body.get_submodule(parent)._parameters[name] = None
    return body


def _check_alike(model: nn.Module, body: nn.Module, captures: Sequence[Capture], shape: tuple[int, ...]) -> None:
    """RuntimeError where the tensors at the boundary differ from those in the whole model."""
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()).device)
    with torch.no_grad():
        whole, alone = (captured(sharing(network).eval(), captures, images) for network in (model, body))
    if not all(torch.equal(a, b) for a, b in zip(whole, alone, strict=True)):
        raise RuntimeError("they give other features than in the whole network")


def _dry(
    body: nn.Module, captures: Sequence[Capture], shape: tuple[int, ...], training: bool
) -> dict[int, tuple[int, ...]]:
    """The shapes at the boundary for images of a shape, by a run without values where the network allows it."""
    for device in ("meta", "cpu"):
        network = copied_to(device, body).train(training)
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = captured(network, captures, torch.zeros(shape, device=device))
        except Exception:
            if device == "cpu":
                raise
        else:
            return {i: tuple(tensor.shape) for i, tensor in enumerate(found) if tensor.is_floating_point()}
    raise AssertionError


def _renamed(stage: Stage, network: nn.Module) -> Stage:
    """The stage as it lies in the cut network: under `body`."""
    modules = {name for name, _ in network.named_modules()}
    buffers = {name for name, _ in network.named_buffers()}
    return Stage(
        stage.name,
        tuple(f"body.{name}" for name in stage.parameters),
        tuple(f"body.{name}" for name in stage.modules if f"body.{name}" in modules),
        stage.size,
        tuple(f"body.{name}" for name in stage.buffers if f"body.{name}" in buffers),
    )
