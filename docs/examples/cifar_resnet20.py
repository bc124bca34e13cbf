"""A network of your own for `backbone.function=docs/examples/cifar_resnet20.py:build`.

The CIFAR-10 ResNet-20 of He et al. 2015, put together from timm's blocks; timm has no name for it.
"""

from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import nn


def build() -> nn.Module:
    """Images (n, 3, 32, 32) → logits (n, 10)."""
    blocks = tuple(
        ByoBlockCfg(type="basic", d=3, c=width, s=stride, gs=0, br=1.0) for width, stride in ((16, 1), (32, 2), (64, 2))
    )
    config = ByoModelCfg(blocks=blocks, stem_chs=16, stem_type="3x3", stem_pool="", act_layer="relu")
    model = ByobNet(config, num_classes=10)
    model.stem.conv.stride = (1, 1)
    return model
