"""The demonstration network: small enough for two CPU cores, and with weights that ship with the package.

Importing this registers it with timm as `thawlab_demo`.
"""

from collections import OrderedDict
from importlib.resources import files
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from thawlab.data.made import SOURCE

WEIGHTS = "demo.safetensors"
WIDTHS = (16, 32, 64)
HIDDEN = (128, 64)
PLACES = 2  # the last feature map is pooled to so many places each way, whatever the image's size


class DemoNet(nn.Module):
    """Three convolutional layers and three fully connected ones; images (n, 3, any, any) → logits (n, classes).

    66 thousand parameters with ten classes. Follows timm's conventions, so that whatever takes a timm model takes it.
    """

    def __init__(
        self,
        num_classes: int = len(SOURCE),
        in_chans: int = 3,
        global_pool: str = "",
        drop_rate: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.num_classes, self.in_chans = num_classes, in_chans
        self.num_features, self.head_hidden_size = WIDTHS[-1], HIDDEN[-1]
        self.conv1 = _convolution(in_chans, WIDTHS[0], factory)
        self.conv2 = _convolution(WIDTHS[0], WIDTHS[1], factory)
        self.conv3 = _convolution(WIDTHS[1], WIDTHS[2], factory)
        # `global_pool` is taken for timm's sake: the layers above read the places one by one, so it changes nothing.
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(PLACES), nn.Flatten())
        self.fc1 = nn.Sequential(nn.Linear(WIDTHS[-1] * PLACES**2, HIDDEN[0], **factory), nn.ReLU())
        self.fc2 = nn.Sequential(nn.Linear(*HIDDEN, **factory), nn.ReLU())
        self.drop = nn.Dropout(drop_rate)
        self.head = self._classifier(num_classes, factory)
        self.feature_info = [
            {"num_chs": width, "reduction": 2 ** (i + 1), "module": f"conv{i + 1}"} for i, width in enumerate(WIDTHS)
        ]
        self.grad_checkpointing = False

    def _classifier(self, num_classes: int, factory: dict[str, Any]) -> nn.Module:
        return nn.Linear(HIDDEN[-1], num_classes, **factory) if num_classes > 0 else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Each layer is a group of its own, coarse or fine; the classifier is the last."""
        return {"stem": r"^conv1", "blocks": [(r"^conv2", (0,)), (r"^conv3", (1,)), (r"^fc1", (2,)), (r"^fc2", (3,))]}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the convolutions again in the backward pass, to spare memory."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new last layer in place, with random weights; none where `num_classes` is 0."""
        self.num_classes = num_classes
        like = next(self.parameters())
        self.head = self._classifier(num_classes, {"device": like.device, "dtype": like.dtype})

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps after each convolutional layer, as timm's models give them."""
        assert output_fmt == "NCHW", f"output_fmt is {output_fmt!r}, but this network has feature maps: NCHW"
        wanted, last = feature_take_indices(len(WIDTHS), indices)
        layers = (self.conv1, self.conv2, self.conv3)
        found = []
        for index, layer in enumerate(layers[: last + 1] if stop_early else layers):
            x = layer(x)
            if index in wanted:
                found.append(x)
        return found if intermediates_only else (x, found)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (n, channels, height, width) → feature maps (n, 64, height / 8, width / 8)."""
        for layer in (self.conv1, self.conv2, self.conv3):
            again = self.grad_checkpointing and torch.is_grad_enabled()
            x = checkpoint(layer, x, use_reentrant=False) if again else layer(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps → logits (n, classes), or with `pre_logits` what the classifier reads (n, 64)."""
        x = self.drop(self.fc2(self.fc1(self.pool(x))))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.forward_head(self.forward_features(x))


def _convolution(read: int, width: int, factory: dict[str, Any]) -> nn.Sequential:
    layers = {
        "conv": nn.Conv2d(read, width, 3, padding=1, bias=False, **factory),
        "norm": nn.BatchNorm2d(width, **factory),
        "act": nn.ReLU(),
        "pool": nn.MaxPool2d(2),
    }
    return nn.Sequential(OrderedDict(layers))


default_cfgs = generate_default_cfgs(
    {
        "thawlab_demo.characters": {
            # Truthy, so that timm knows of pretrained weights; where they lie is found when a model is built.
            "file": WEIGHTS,
            "input_size": (3, 32, 32),
            "min_input_size": (3, 8, 8),
            "num_classes": len(SOURCE),
            "label_names": tuple(SOURCE),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "first_conv": "conv1.conv",
            "classifier": "head",
            "license": "mit",
        }
    }
)


@register_model
def thawlab_demo(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The demonstration network, with `pretrained` trained on `thawlab.data.made.characters`."""
    # create_model hands on an overlay of its own, None as a rule.
    given = kwargs.pop("pretrained_cfg_overlay", None) or {}
    overlay = {"file": str(files("thawlab").joinpath("weights", WEIGHTS)), **given}
    kwargs = {"pretrained_cfg_overlay": overlay, "feature_cfg": {"out_indices": (0, 1, 2)}, **kwargs}
    return build_model_with_cfg(DemoNet, "thawlab_demo", pretrained, **kwargs)
