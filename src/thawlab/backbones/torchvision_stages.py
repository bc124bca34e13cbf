"""Where the stages of torchvision's classification models begin: their modules have no `group_matcher` to tell."""

import re

from torch import nn
from torchvision import models

# Class -> names of the modules at which a stage begins. What stands before the first is the stem; what has no entry
# of its own (a final norm, a DenseNet's transition) belongs to the stage before it. Fully connected layers below the
# classifier are stages of their own.
_BEGINS: dict[type[nn.Module], str] = {
    models.AlexNet: r"features\.(3|6|8|10)|classifier\.[14]",
    models.ConvNeXt: r"features\.[1246]",
    models.DenseNet: r"features\.denseblock\d",
    models.EfficientNet: r"features\.[1-9]",
    models.GoogLeNet: r"conv2|inception[345]a",
    models.Inception3: r"Conv2d_3b_1x1|Mixed_(5b|6a|7a)",
    models.MaxVit: r"blocks\.\d|classifier\.2",
    models.MNASNet: r"layers\.(8|9|10|11|12|13|14)",
    models.MobileNetV3: r"classifier\.0",
    models.RegNet: r"trunk_output\.block\d",
    models.ResNet: r"layer\d",
    models.ShuffleNetV2: r"stage\d|conv5",
    models.SwinTransformer: r"features\.[1246]",
    models.VGG: r"classifier\.[03]",
    models.VisionTransformer: r"encoder\.layers\.encoder_layer_\d+",
}
# Those whose `features` are one row of layers or blocks: there a stage begins where the feature maps become smaller.
_ROWS = (models.MobileNetV2, models.MobileNetV3, models.SqueezeNet, models.VGG)
# What is one block, by its class's name: a stage of its own when the grain is fine.
_BLOCKS = re.compile(
    "BasicBlock|Bottleneck|CNBlock|EncoderBlock|Fire|FusedMBConv|Inception[A-E]?|_?InvertedResidual|MBConv|MaxVitLayer"
    "|ResBottleneckBlock|SwinTransformerBlock(V2)?|_DenseLayer"
)


def parts_of(model: nn.Module, grain: str) -> dict[str, list[str]]:
    """Stage -> its parameters, in the order of the forward pass, the classifier's left out; {} for another module."""
    kind = next((kind for kind in (*_BEGINS, *_ROWS) if isinstance(model, kind)), None)
    if kind is None:
        return {}
    begins = _begins(model, grain)
    parts: dict[str, list[str]] = {"stem": []}
    stage = "stem"
    for path, module in model.named_modules():
        if path in begins:
            stage = path
        own = [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
        parts.setdefault(stage, []).extend(own)
    head = classifier_of(model)
    kept = {stage: [n for n in names if not n.startswith(f"{head}.")] for stage, names in parts.items()}
    return {stage: names for stage, names in kept.items() if names}


def classifier_of(model: nn.Module) -> str:
    """The classifier's name: the last linear layer, or SqueezeNet's last convolution."""
    kind = nn.Conv2d if isinstance(model, models.SqueezeNet) else nn.Linear
    return [name for name, module in model.named_modules() if isinstance(module, kind)][-1]


def _begins(model: nn.Module, grain: str) -> set[str]:
    pattern = "|".join(pattern for kind, pattern in _BEGINS.items() if isinstance(model, kind))
    found = {path for path, _ in model.named_modules() if pattern and re.fullmatch(pattern, path)}
    if isinstance(model, _ROWS):
        found |= _smaller(model.features)  # pyright: ignore[reportArgumentType]
    if grain == "fine":
        found |= {path for path, module in model.named_modules() if _BLOCKS.fullmatch(type(module).__name__)}
        if isinstance(model, models.VGG):
            found |= {path for path, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    return found


def _smaller(row: nn.Sequential) -> set[str]:
    """The modules of a row that follow a pooling layer, or that move over their input by more than one place."""
    found, pooled = set(), False
    for name, module in row.named_children():
        strides = [m.stride for m in module.modules() if isinstance(m, nn.Conv2d)]
        if name != "0" and (pooled or any(stride != (1, 1) for stride in strides)):
            found.add(f"features.{name}")
        pooled = isinstance(module, nn.MaxPool2d)
    return found
