"""timm's models: their names, built for a size and a number of channels, and their published weights."""

from difflib import get_close_matches
from typing import Any

import timm
from timm.data.config import resolve_data_config
from torch import Tensor, nn

import thawlab.backbones.demo  # noqa: F401 - registers the demonstration network with timm
from thawlab.backbones.hub import out_of_reach
from thawlab.errors import UserError
from thawlab.offline import impatient_hub


def check_name(name: str) -> None:
    """Raise UserError for an architecture that timm has not, or weights that an architecture has not."""
    if not timm.is_model(name.split(".")[0]):
        close = get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"Nearest: {', '.join(close)}." if close else "timm.list_models() lists them."
        raise UserError(
            f"backbone.name is {name!r}, but timm has no such architecture. {hint} torchvision's are under "
            "backbone.library=torchvision; a network of your own goes in backbone.function=file.py:function."
        )
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


def takes_size(name: str) -> bool:
    """Whether a model is built for one size of images, as by position embeddings."""
    config = timm.get_pretrained_cfg(name)
    return config is not None and bool(config.fixed_input_size)


def build(name: str, size: int | None, channels: int) -> nn.Module:
    """A model with random weights, for the size asked for where it takes one alone."""
    sized: dict[str, Any] = {"img_size": size} if size and takes_size(name) else {}
    return timm.create_model(name, pretrained=False, in_chans=channels, **sized)


def published_weights(name: str) -> dict[str, Tensor]:
    """timm's own pretrained weights as published, for their own size and channels: shipped, cached, or fetched.

    Raises UserError where there are none or the hub is out of reach.
    """
    try:
        with impatient_hub():
            return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise out_of_reach(name, "timm", f"https://huggingface.co/timm, the page of {name}", error) from error


def data_of(model: nn.Module) -> dict[str, Any]:
    """What timm's data config says of a model's images: size, mean, std, interpolation, crop; {} if it has none."""
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if not config:
        return {}
    known = resolve_data_config({}, pretrained_cfg=config)
    return {
        "size": known["input_size"][-1],
        "mean": known["mean"],
        "std": known["std"],
        "interpolation": known["interpolation"],
        "crop": known["crop_pct"],
    }
