"""Which sizes of images a network takes: others are refused before any training."""

from collections.abc import Callable
from dataclasses import replace

import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from thawlab.backbones import timm_models
from thawlab.backbones.source import build_random, takes_size
from thawlab.backbones.spec import SMALLEST, BackboneSpec
from thawlab.errors import UserError, in_words

# Patches are of 14 or of a power of two pixels, and their number often has to divide by two several times.
_STEPS = (8, 14)
_TRIES = 12


def built_for(spec: BackboneSpec, seed: int, channels: int) -> nn.Module:
    """The source architecture with random weights, for its size and channels; UserError where it takes no such size."""
    try:
        return build_random(spec, seed, channels)
    except UserError:
        raise
    except Exception as error:  # constructors raise many kinds for a size that they cannot take
        if spec.size is None:
            raise
        raise _refusal(spec, spec.name, spec.size, channels, error) from error


def check_runs(model: nn.Module, spec: BackboneSpec, size: int, channels: int) -> None:
    """Run the network once: some shrink a small image to nothing, or take certain sizes or channels only.

    Raises UserError naming the sizes near it that work.
    """
    try:
        _forward(model, size, channels)
    except Exception as error:  # networks raise many kinds
        raise _refusal(spec, type(model).__name__, size, channels, error) from error


def _forward(model: nn.Module, size: int, channels: int) -> None:
    was_training = model.training
    device = next((p.device for p in model.parameters()), None)
    try:
        with torch.no_grad():
            found = model.eval()(torch.zeros(1, channels, size, size, device=device))
    finally:
        model.train(was_training)
    if not isinstance(found, Tensor):
        raise TypeError(f"it gives a {type(found).__name__} in place of a tensor of logits")
    _check_patches(model, size)


def _check_patches(model: nn.Module, size: int) -> None:
    """Raise ValueError where patches of a fixed number leave a margin unseen, but for a size that is published so."""
    patches = getattr(model, "patch_embed", None)
    if isinstance(patches, PatchEmbed) and patches.img_size is not None and not patches.dynamic_img_pad:
        side = int(patches.patch_size[0])
        if size % side and size != _published_size(model):
            raise ValueError(f"its patches are of {side} pixels: the last {size % side} would go unseen")


def _published_size(model: nn.Module) -> int | None:
    return timm_models.data_of(model).get("size")


def _refusal(spec: BackboneSpec, what: str, size: int, channels: int, error: Exception) -> UserError:
    fact = (
        f"{what} does not run on images of {size} pixels with {channels} channel{'s' * (channels > 1)} "
        f"({in_words(error)})"
    )
    works = sizes_near(size, _Trial(spec, channels)) if spec.size is not None else []
    if works:
        return UserError(f"backbone.size is {size}, but {fact}. Sizes near it that work: {', '.join(map(str, works))}.")
    return UserError(
        f"backbone.size is {size} and dataset.channels is {channels}, but {fact}. "
        "Give the size and the channels that it was made for."
    )


class _Trial:
    """Whether the architecture runs on images of a size; tried on shapes alone."""

    def __init__(self, spec: BackboneSpec, channels: int) -> None:
        self.spec, self.channels = spec, channels
        self.model = None if takes_size(spec) else self._built(spec.size)

    def _built(self, size: int | None) -> nn.Module:
        return shapes_of(replace(self.spec, size=size), self.channels)

    def __call__(self, size: int) -> bool:
        try:
            _forward(self.model or self._built(size), size, self.channels)
        except Exception:  # networks raise many kinds
            return False
        return True


def sizes_near(size: int, runs: Callable[[int], bool]) -> list[int]:
    """The next smaller and the next larger size that `runs` accepts, among the multiples of common patch sizes.

    >>> sizes_near(100, lambda size: size % 32 == 0)
    [96, 128]
    """
    multiples = sorted({step * i for step in _STEPS for i in range(1, 2 * size // step + _TRIES)} - {size})
    below = [s for s in reversed(multiples) if SMALLEST <= s < size][:_TRIES]
    above = [s for s in multiples if s > size][:_TRIES]
    return [found for side in (below, above) if (found := next(filter(runs, side), None)) is not None]


def shapes_of(spec: BackboneSpec, channels: int) -> nn.Module:
    """The network without memory for its weights, where it can be built so."""
    try:
        with torch.device("meta"):
            return build_random(spec, 0, channels)
    except (NotImplementedError, RuntimeError, UserError):
        return build_random(spec, 0, channels)
