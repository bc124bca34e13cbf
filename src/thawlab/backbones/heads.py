"""What is trained new on top of a backbone: features in, one logit per class out."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from thawlab.errors import UserError, nearest

KINDS = ("linear", "mlp", "cosine")


@dataclass(frozen=True)
class HeadSpec:
    """What is trained new on top; see `schema.HeadConfig`."""

    kind: str = "linear"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    scale: float = 16.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if self.kind not in KINDS:
            raise UserError(f"head.kind is {self.kind!r}. {nearest(self.kind, KINDS)}")
        if (self.kind == "mlp") != bool(self.hidden):
            raise UserError(
                f"head.kind is {self.kind!r} and head.hidden is {list(self.hidden)}: hidden layers and kind=mlp go "
                "together. Give both, as in head.kind=mlp 'head.hidden=[256]'."
            )
        for i, width in enumerate(self.hidden):
            if width < 1:
                raise UserError(f"head.hidden[{i}] is {width}, but it is the width of a layer: give 1 or more.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"head.dropout is {self.dropout}, but it is the share of features dropped: 0 <= x < 1.")
        if self.scale <= 0:
            raise UserError(f"head.scale is {self.scale}, but it multiplies a similarity: give more than 0.")


class CosineHead(nn.Module):
    """Logits are scale * cos(feature, class weight): their size tells nothing, only their direction.

    Gidaris & Komodakis 2018, Chen et al. 2019, with a fixed scale. A feature of all zeros has similarity 0 to all.
    """

    def __init__(self, in_features: int, num_classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        # Length about 1 to begin with: the gradient shrinks with it, so this is what makes the rate comparable.
        self.weight = nn.Parameter(torch.randn(num_classes, in_features) * in_features**-0.5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(..., in_features) -> (..., num_classes), within -scale to scale."""
        directions = functional.normalize(self.weight, dim=-1)
        return self.scale * functional.linear(functional.normalize(features, dim=-1), directions)


def build_head(spec: HeadSpec, in_features: int, num_classes: int) -> nn.Module:
    """Make a head: (batch, in_features) -> logits (batch, num_classes), with torch's default initialisation.

    Dropout stands before every layer. Without any, a linear head is a plain `nn.Linear`, as timm's classifiers are.
    """
    widths = (in_features, *spec.hidden)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (width, wider) in enumerate(pairwise(widths)):
        if spec.dropout:
            layers[f"drop{i}"] = nn.Dropout(spec.dropout)
        layers[f"fc{i}"] = nn.Linear(width, wider)
        layers[f"act{i}"] = nn.ReLU()
    if spec.dropout:
        layers["drop"] = nn.Dropout(spec.dropout)
    if spec.kind == "cosine":
        layers["fc"] = CosineHead(widths[-1], num_classes, spec.scale)
    else:
        layers["fc"] = nn.Linear(widths[-1], num_classes)
    return layers["fc"] if len(layers) == 1 else nn.Sequential(layers)
