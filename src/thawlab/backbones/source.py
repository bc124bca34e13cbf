"""The source network: built from a timm name or the user's own function, and its weights read."""

import importlib
import importlib.util
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import timm
import torch
from huggingface_hub import constants as hub
from timm.data.config import resolve_data_config
from torch import nn

import thawlab.backbones.demo  # noqa: F401 - registers the demonstration network with timm
from thawlab.data.preprocessing import INTERPOLATIONS, Preprocessing
from thawlab.errors import UserError
from thawlab.stages import GRAINS

SMALLEST = 8  # pixels


@dataclass(frozen=True)
class BackboneSpec:
    """Which source network; see `schema.BackboneConfig`."""

    name: str
    function: str | None = None
    weights: str | None = None
    allow_partial: bool = False
    stages: str = "coarse"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    interpolation: str | None = None
    crop: float | None = None

    def __post_init__(self) -> None:
        if self.stages not in GRAINS:
            raise UserError(f"backbone.stages is {self.stages!r}, but it is one of: {', '.join(GRAINS)}.")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != 3:
                raise UserError(f"backbone.{key} is {list(values)}, but images have 3 channels. Give 3 numbers.")
        if self.size is not None and self.size < SMALLEST:
            raise UserError(f"backbone.size is {self.size} pixels. Give {SMALLEST} or more.")
        if self.function is None and not timm.is_model(self.name.split(".")[0]):
            close = get_close_matches(self.name, timm.list_models(), n=5, cutoff=0.5)
            hint = f"Nearest: {', '.join(close)}." if close else "timm.list_models() lists them."
            raise UserError(
                f"backbone.name is {self.name!r}, but timm has no such architecture. {hint} "
                "A network of your own goes in backbone.function=file.py:function."
            )
        if self.function is None:
            _check_tag(self.name)


def _check_tag(name: str) -> None:
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        arch, _, tag = name.partition(".")
        tags = timm.list_pretrained(f"{arch}.*")
        hint = f"It has: {', '.join(tags)}." if tags else "It has none."
        raise UserError(
            f"backbone.name is {name!r}, but timm has no pretrained weights {tag!r} of {arch}. {hint} "
            f"Give one of them, or backbone.name={arch} alone."
        ) from error


def build_random(spec: BackboneSpec, seed: int) -> nn.Module:
    """The source architecture with its own classifier and random weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec.function is not None:
            return _built_by_user(spec.function)
        return timm.create_model(spec.name, pretrained=False, **_size_argument(spec))


def build_pretrained(spec: BackboneSpec) -> nn.Module:
    """The timm model with timm's own pretrained weights: shipped, cached, or fetched from its hub.

    Raises UserError where there are none or the hub is out of reach.
    """
    try:
        with _impatient_hub():
            return timm.create_model(spec.name, pretrained=True, **_size_argument(spec))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"backbone.name is {spec.name!r}: timm's pretrained weights could not be had "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Without network, give a local file: "
            "backbone.weights=model.safetensors (downloaded elsewhere from the model's page on the hub), "
            "or train from random weights: strategy=scratch."
        ) from error


@contextmanager
def _impatient_hub() -> Iterator[None]:
    """Take the hub for offline where it cannot be reached: cached files are used, and a missing one is told at once.

    Left to itself, huggingface_hub tries each of two files five times with growing pauses: 48 seconds.
    """
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _reachable(hub.ENDPOINT)  # pyright: ignore[reportConstantRedefinition]
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before  # pyright: ignore[reportConstantRedefinition]


def _reachable(address: str, patience: float = 5.0) -> bool:
    """Whether anything answers there, through the proxies that the environment names."""
    try:
        urlopen(Request(address, method="HEAD"), timeout=patience).close()
    except HTTPError:
        return True  # it answered, if only to refuse
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the hub's own client may know other certificates
    except OSError:
        return False
    return True


def _size_argument(spec: BackboneSpec) -> dict[str, Any]:
    """Architectures with a fixed input size (position embeddings) are built for the size asked for."""
    config = timm.get_pretrained_cfg(spec.name)
    return {"img_size": spec.size} if spec.size and config is not None and config.fixed_input_size else {}


def _built_by_user(reference: str) -> nn.Module:
    function = _user_function(reference)
    try:
        model = function()
    except Exception as error:  # a user's code raises anything
        raise UserError(
            f"backbone.function is {reference!r}, but calling it without arguments raised {_told(error)}. "
            "It must build the network by itself: mend it, or give its arguments defaults."
        ) from error
    if not isinstance(model, nn.Module):
        raise UserError(
            f"backbone.function is {reference!r}, but it returned a {type(model).__name__}: return an nn.Module."
        )
    return model


def _user_function(reference: str) -> Callable[[], Any]:
    place, _, name = reference.rpartition(":")
    if not place:
        raise UserError(f"backbone.function is {reference!r}. Give file.py:function or package.module:function.")
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:  # a user's code raises anything
        raise UserError(
            f"backbone.function is {reference!r}, but {place} cannot be imported: {_told(error)}. "
            "Mend the file, or give another."
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"backbone.function is {reference!r}, but {place} has no function {name!r}.")
    return function


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(".")


def _module_of_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}")
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def preprocessing_of(model: nn.Module, spec: BackboneSpec, metadata: dict[str, str]) -> Preprocessing:
    """How the source network wants its images: each of five from the spec, else the weights' file, else timm's config.

    Raises UserError where none of them tells the size, mean or deviation.
    """
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    known = resolve_data_config({}, pretrained_cfg=config) if config else {}
    mean = spec.mean or _numbers(metadata.get("mean")) or known.get("mean")
    std = spec.std or _numbers(metadata.get("std")) or known.get("std")
    size = spec.size or size_told(metadata) or (known["input_size"][-1] if "input_size" in known else None)
    for key, value in (("mean", mean), ("std", std), ("size", size)):
        if value is None:
            raise UserError(
                f"backbone.{key} is not set, and neither {spec.name} nor its weights' file says it. "
                f"Give it: backbone.{key}={'32' if key == 'size' else '[0.485,0.456,0.406]'}."
            )
    assert mean is not None
    assert std is not None
    assert size is not None
    return Preprocessing(
        size=int(size),
        mean=tuple(float(x) for x in mean),  # pyright: ignore[reportArgumentType]
        std=tuple(float(x) for x in std),  # pyright: ignore[reportArgumentType]
        interpolation=spec.interpolation or _interpolation(metadata) or known.get("interpolation", "bilinear"),
        crop=spec.crop or _crop(metadata) or known.get("crop_pct", 1.0),
    )


def size_told(metadata: dict[str, str]) -> int | None:
    """The image size that a weights' file tells, in pixels; None where it tells none."""
    text = metadata.get("size", "")
    return int(text) if text.isdecimal() and int(text) >= SMALLEST else None


def _interpolation(metadata: dict[str, str]) -> str | None:
    mode = metadata.get("interpolation")
    return mode if mode in INTERPOLATIONS else None


def _crop(metadata: dict[str, str]) -> float | None:
    try:
        crop = float(metadata.get("crop", ""))
    except ValueError:
        return None
    return crop if 0 < crop <= 1 else None


def _numbers(text: str | None) -> tuple[float, ...] | None:
    """Numbers of a metadata entry such as "(0.5, 0.5, 0.5)"; None where it is no list of three."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.strip("()[] ").split(","))
    except ValueError:
        return None
    return values if len(values) == 3 else None
