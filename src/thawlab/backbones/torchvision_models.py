"""torchvision's classification models: built without auxiliary classifiers, with their published weights."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from thawlab.backbones.hub import fetched, out_of_reach
from thawlab.errors import UserError

# Their pretrained weights come with a layer that takes ImageNet's normalisation back and puts this one in its place.
_NORMALISED_INSIDE = ("googlenet", "inception_v3")
_HALF = (0.5, 0.5, 0.5)


class SqueezeNet(models.SqueezeNet):
    """torchvision's, whose classifier is a convolution; told as timm's models tell theirs."""

    def get_classifier(self) -> nn.Module:
        """The convolution that gives a map for each class."""
        return self.classifier[1]


def check_name(name: str) -> None:
    """Raise UserError for an architecture that torchvision has not, or weights that an architecture has not."""
    known = models.list_models(module=models)
    arch, _, tag = name.partition(".")
    if arch not in known:
        close = get_close_matches(arch, known, n=5, cutoff=0.5)
        hint = f"Nearest: {', '.join(close)}." if close else "torchvision.models.list_models() lists them."
        raise UserError(
            f"backbone.name is {name!r}, but torchvision has no such classification model. {hint} "
            "timm's are under backbone.library=timm."
        )
    tags = [weights.name for weights in models.get_model_weights(arch)]
    if tag and tag not in (*tags, "DEFAULT"):
        raise UserError(
            f"backbone.name is {name!r}, but torchvision has no pretrained weights {tag!r} of {arch}. "
            f"It has: {', '.join(tags)}. Give one of them, or backbone.name={arch} alone."
        )


def takes_size(name: str) -> bool:
    """Whether a model is built for one size of images."""
    return name.startswith(("vit_", "maxvit"))


def build(name: str, size: int | None) -> nn.Module:
    """A model with random weights, a transformer for the size asked for (null: its weights').

    Auxiliary classifiers (GoogLeNet, Inception v3) are left out: they only train, and torchvision's weights for
    GoogLeNet's are random. The normalisation inside these two is left out as well; `data_of` gives what it amounts to.
    """
    arch = name.partition(".")[0]
    if arch.startswith("squeezenet"):
        return SqueezeNet(arch.removeprefix("squeezenet"))
    arguments: dict[str, Any] = {}
    size = size or data_of(name)["size"]
    if arch in _NORMALISED_INSIDE:
        arguments = {"aux_logits": False, "init_weights": True, "transform_input": False}
    elif arch.startswith("vit_"):
        arguments = {"image_size": size}
    elif arch.startswith("maxvit"):
        arguments = {"input_size": (size, size)}
    return models.get_model(arch, weights=None, **arguments)


def published_weights(name: str) -> dict[str, Tensor]:
    """torchvision's pretrained weights, through torch hub: cached, or fetched.

    Raises UserError where the hub is out of reach or what it gave is broken.
    """
    try:
        return dict(fetched(_weights(name).url))
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise out_of_reach(name, "torchvision", _weights(name).url, error) from error


def data_of(name: str) -> dict[str, Any]:
    """What the weights' own transforms do: size, channels, mean, std, interpolation, crop."""
    transforms = _weights(name).transforms()
    (size,), (resized,) = transforms.crop_size, transforms.resize_size
    inside = name.partition(".")[0] in _NORMALISED_INSIDE
    return {
        "size": size,
        "channels": len(transforms.mean),
        "mean": _HALF if inside else tuple(transforms.mean),
        "std": _HALF if inside else tuple(transforms.std),
        "interpolation": transforms.interpolation.value,
        "crop": size / resized,
    }


def _weights(name: str) -> models.WeightsEnum:
    arch, _, tag = name.partition(".")
    return models.get_model_weights(arch)[tag or "DEFAULT"]


# Names in older files (their models rename them on loading) -> names of today.
_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp\.)linear_1\."), r"\g<1>0."),
    (re.compile(r"(encoder_layer_\d+\.mlp\.)linear_2\."), r"\g<1>3."),
)


def converted(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A file's tensors under the names of today, position embeddings resampled to the model's input size."""
    found = {_name_of_today(name): tensor for name, tensor in state.items()}
    if isinstance(model, models.VisionTransformer) and "encoder.pos_embedding" in found:
        return dict(interpolate_embeddings(model.image_size, model.patch_size, OrderedDict(found)))
    return found


def _name_of_today(name: str) -> str:
    for old, new in _OLD_NAMES:
        name = old.sub(new, name)
    return name
