"""Training batches whose images are mixed with each other, and their targets in the same shares."""

import torch
from torchvision.transforms import v2

from thawlab.data.augment import AugmentSpec, drawn_from


class Mixing:
    """mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019) of each image with its neighbour in the batch.

    Where both are asked for, each batch draws one of them at equal odds, as in timm. What is drawn follows from (seed,
    epoch, batch, rank) alone, on the CPU wherever the images are.
    """

    def __init__(self, spec: AugmentSpec, classes: int, seed: int) -> None:
        assert spec.mixes
        self.seed = seed
        asked = ((v2.MixUp, spec.mixup), (v2.CutMix, spec.cutmix))
        self._ways = [way(alpha=float(alpha), num_classes=classes) for way, alpha in asked if alpha]

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, epoch: int, batch: int, rank: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix images (n, c, height, width); targets int64 (n,) or float (n, classes) become float (n, classes).

        These are each class's share in the image; for several labels, how much of each label is in it.
        """
        with drawn_from(self.seed, epoch, batch, rank):
            way = self._ways[int(torch.randint(len(self._ways), ()))]
            return way(images, targets)
