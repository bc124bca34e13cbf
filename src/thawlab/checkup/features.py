"""What a network knows of an image before it is trained on these: its features below the head."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from thawlab.backbones.build import Built, build
from thawlab.backbones.heads import HeadSpec
from thawlab.errors import UserError
from thawlab.offline import without_network
from thawlab.prepare import specs_of
from thawlab.strategy import Strategy

AT_ONCE = 64  # images


def frozen(config: Mapping[str, Any], classes: int) -> Built:
    """The configured backbone with its source weights, from files here alone; UserError where they are not here."""
    specs = specs_of(config)
    strategy = Strategy("freeze", train=0)
    with without_network():
        return build(
            specs.backbone, HeadSpec(), strategy, classes, specs.optimizer.lr, specs.seed, specs.dataset.channels
        )


class Extractor:
    """Gathers images until they make a batch, and keeps what enters the head: float32 (n, d) at the end."""

    def __init__(self, built: Built) -> None:
        self.preprocessing = built.preprocessing
        self._network = built.network.eval()
        self._seen: list[torch.Tensor] = []
        self._waiting: list[torch.Tensor] = []
        self._done: list[torch.Tensor] = []
        places = built.stages[-1].modules
        if not places:
            raise UserError(f"the head of {type(built.network).__name__} is no module of its own")
        for place in places:
            built.network.get_submodule(place).register_forward_pre_hook(self._keep)

    def add(self, image: torch.Tensor) -> None:
        """Take one fitted image."""
        self._waiting.append(image)
        if len(self._waiting) == AT_ONCE:
            self._compute()

    def features(self) -> torch.Tensor:
        """Give what was computed of all images that were added, in their order."""
        if self._waiting:
            self._compute()
        return torch.cat(self._done)

    @torch.inference_mode()
    def _compute(self) -> None:
        images = self.preprocessing.normalise(torch.stack(self._waiting))
        self._seen = []
        self._network(images)
        self._done.append(torch.cat([_flat(entering, len(images)) for entering in self._seen], dim=1))
        self._waiting = []

    def _keep(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._seen.append(arguments[0])


def _flat(entering: torch.Tensor, images: int) -> torch.Tensor:
    """Of a classifier that is a convolution or sees tokens, the mean over places: float32 (images, d)."""
    features = entering.float().reshape(images, *entering.shape[1:])
    if features.ndim == 4:
        return features.mean(dim=(2, 3))
    return features.flatten(1) if features.ndim == 2 else features.mean(dim=tuple(range(1, features.ndim - 1)))
