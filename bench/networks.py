"""The network that all contenders but thawlab train, cut where thawlab's plans cut it."""

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.request import Request

FROZEN_BLOCKS = 5  # of vit_tiny's 12, with the stem: half of 13 stages, the odd one trained


def parts(request: Request) -> tuple[nn.Module, nn.Module]:
    """What is frozen and what is trained under a task, one after the other; the head is drawn from the seed."""
    torch.manual_seed(request.seed)
    network = timm.create_model(request.network, num_classes=request.classes)
    head = network.pretrained_cfg["classifier"]
    state = {name: tensor for name, tensor in load_file(request.weights).items() if not name.startswith(f"{head}.")}
    lacking = network.load_state_dict(state, strict=False).missing_keys
    assert all(name.startswith(f"{head}.") for name in lacking), lacking
    if request.task == "full":
        return nn.Identity(), network
    cut = _cut_resnet if hasattr(network, "layer1") else _cut_vit
    return cut(network, request.task == "freeze")


def _cut_resnet(network: nn.Module, before_head: bool) -> tuple[nn.Module, nn.Module]:
    first = [network.conv1, network.bn1, network.act1, network.maxpool, network.layer1]
    rest = [network.layer2, network.layer3, network.layer4, network.global_pool]
    if before_head:
        return nn.Sequential(*first, *rest), network.fc
    return nn.Sequential(*first), nn.Sequential(*rest, network.fc)


def _cut_vit(network: nn.Module, before_head: bool) -> tuple[nn.Module, nn.Module]:
    end = _VitEnd(network, before_head)
    start = _VitStart(network)
    return (nn.Sequential(start, end), network.head) if before_head else (start, end)


class _VitStart(nn.Module):
    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.patch_embed, self.cls_token, self.pos_embed = vit.patch_embed, vit.cls_token, vit.pos_embed
        self.blocks = vit.blocks[:FROZEN_BLOCKS]

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        return self.blocks(tokens)


class _VitEnd(nn.Module):
    def __init__(self, vit: nn.Module, before_head: bool) -> None:
        super().__init__()
        self.blocks, self.norm = vit.blocks[FROZEN_BLOCKS:], vit.norm
        self.head = nn.Identity() if before_head else vit.head

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(tokens))[:, 0])
