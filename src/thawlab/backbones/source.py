"""The source network: built from a library's name or the user's own function, and what its images are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn

from thawlab.backbones import timm_models, torchvision_models, torchvision_stages
from thawlab.backbones.channels import RGB, spread, with_channels
from thawlab.backbones.function import built_by_user
from thawlab.backbones.spec import SMALLEST, BackboneSpec
from thawlab.data.preprocessing import INTERPOLATIONS, Preprocessing
from thawlab.errors import UserError


def build_random(spec: BackboneSpec, seed: int, channels: int = RGB) -> nn.Module:
    """The source architecture with its own classifier and random weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec.function is not None:
            return with_channels(built_by_user(spec.function), channels)
        if spec.library == "torchvision":
            return with_channels(torchvision_models.build(spec.name, spec.size), channels)
        return timm_models.build(spec.name, spec.size, channels)


def takes_size(spec: BackboneSpec) -> bool:
    """Whether the network is built for one size of images."""
    if spec.function is not None:
        return False
    return (torchvision_models if spec.library == "torchvision" else timm_models).takes_size(spec.name)


def published_weights(spec: BackboneSpec) -> dict[str, Tensor]:
    """The library's own pretrained weights, for their own size and channels. Raises UserError where there are none."""
    if spec.function is not None:
        raise UserError(
            f"backbone.function is {spec.function!r} and this strategy starts from pretrained weights, but "
            "backbone.weights is not set. Give a file, or train from random weights: strategy=scratch."
        )
    if spec.library == "torchvision":
        return torchvision_models.published_weights(spec.name)
    return timm_models.published_weights(spec.name)


def parts_of(spec: BackboneSpec, model: nn.Module) -> Mapping[str, Sequence[str]] | None:
    """Stage -> its modules or parameters, as the user or torchvision's structure tells; None: the model itself does."""
    return spec.parts or torchvision_stages.parts_of(model, spec.stages) or None


@dataclass(frozen=True)
class SourceImages:
    """What the source's weights saw: as their file tells, else the library; None where neither does."""

    size: int | None
    size_told: bool  # by the weights' file
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    interpolation: str
    crop: float
    architecture: str | None = None  # by the weights' file

    @property
    def channels(self) -> int:
        """How many its first layer reads; 3 where nothing is told."""
        return len(self.mean) if self.mean is not None else RGB


def source_images(spec: BackboneSpec, model: nn.Module, metadata: Mapping[str, str]) -> SourceImages:
    """Gather it: each of five from the weights' file, else from the library; the architecture from the file alone."""
    if spec.function is None and spec.library == "torchvision":
        known = torchvision_models.data_of(spec.name)
    else:
        known = timm_models.data_of(model)
    return SourceImages(
        size=size_told(metadata) or known.get("size"),
        size_told=size_told(metadata) is not None,
        mean=_numbers(metadata.get("mean")) or known.get("mean"),
        std=_numbers(metadata.get("std")) or known.get("std"),
        interpolation=_interpolation(metadata) or known.get("interpolation", "bilinear"),
        crop=_crop(metadata) or known.get("crop", 1.0),
        architecture=metadata.get("arch") or metadata.get("architecture"),
    )


def preprocessing_of(spec: BackboneSpec, source: SourceImages, channels: int = RGB) -> Preprocessing:
    """How the network is given its images: each of five from the spec, else as the source saw them.

    Raises UserError where neither tells the size, mean or deviation.
    """
    mean, std = (_statistics(spec, source, key, channels) for key in ("mean", "std"))
    return Preprocessing(
        size=spec.size or source.size or _unknown(spec, "size", "32"),
        mean=mean,
        std=std,
        interpolation=spec.interpolation or source.interpolation,
        crop=spec.crop or source.crop,
    )


def _statistics(spec: BackboneSpec, source: SourceImages, key: str, channels: int) -> tuple[float, ...]:
    given, told = getattr(spec, key), getattr(source, key)
    if given is not None and len(given) != channels:
        raise UserError(
            f"backbone.{key} is {list(given)}, but dataset.channels is {channels}. Give {channels} numbers, one for "
            f"each channel, or leave it out."
        )
    if given is None and told is None:
        return _unknown(spec, key, "[0.485,0.456,0.406]")
    return tuple(float(x) for x in given or spread(told, channels))


def _unknown(spec: BackboneSpec, key: str, example: str) -> NoReturn:
    raise UserError(
        f"backbone.{key} is not set, and neither {spec.name} nor its weights' file says it. "
        f"Give it: backbone.{key}={example}."
    )


def size_told(metadata: Mapping[str, str]) -> int | None:
    """The image size that a weights' file tells, in pixels; None where it tells none."""
    text = metadata.get("size", "")
    return int(text) if text.isdecimal() and int(text) >= SMALLEST else None


def _interpolation(metadata: Mapping[str, str]) -> str | None:
    mode = metadata.get("interpolation")
    return mode if mode in INTERPOLATIONS else None


def _crop(metadata: Mapping[str, str]) -> float | None:
    try:
        crop = float(metadata.get("crop", ""))
    except ValueError:
        return None
    return crop if 0 < crop <= 1 else None


def _numbers(text: str | None) -> tuple[float, ...] | None:
    """Numbers of a metadata entry such as "(0.5, 0.5, 0.5)"; None where it is none."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.strip("()[] ").split(","))
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None
