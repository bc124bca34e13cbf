"""What training makes small, and by what every run is measured."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thawlab.errors import UserError, nearest

NAMES = ("standard", "focal", "binary")
CLASS_WEIGHTS = ("none", "balanced")
# A label that one image in thousands has would otherwise outweigh all others together.
MOST = 100.0


@dataclass(frozen=True)
class LossSpec:
    """What training makes small; see `schema.LossConfig`."""

    name: str = "standard"
    label_smoothing: float = 0.0
    gamma: float = 2.0
    class_weights: str = "none"

    def __post_init__(self) -> None:
        for key, value, choices in (("name", self.name, NAMES), ("class_weights", self.class_weights, CLASS_WEIGHTS)):
            if value not in choices:
                raise UserError(f"loss.{key} is {value!r}. {nearest(value, choices)}")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"loss.label_smoothing is {self.label_smoothing}. Give 0 (none) or more, below 1.")
        if self.gamma < 0:
            raise UserError(
                f"loss.gamma is {self.gamma}, which would make easy images count for more. Give 0 (plain) or more."
            )
        if self.name != "focal" and self.gamma != type(self).gamma:
            raise UserError(
                f"loss.gamma is {self.gamma}, but loss={self.name} has no use for it. Leave it out, or take loss=focal."
            )


class Loss(nn.Module):
    """The loss of a spec for a task, as the mean over a batch.

    `labels` are the training set's, int (n,) or, multilabel, 0/1 (n, classes): `class_weights="balanced"` counts them.
    """

    weights: Tensor | None

    def __init__(self, spec: LossSpec, task: str, classes: int, labels: np.ndarray | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.multilabel = task == "multilabel"
        self.classes = classes
        weights = None
        if spec.class_weights == "balanced":
            assert labels is not None
            weights = (positive_weights if self.multilabel else class_weights)(labels, classes)
        # No part of the weights that a run leaves.
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (n, classes); targets int64 (n,), or float (n, classes): shares of the classes, or each label's."""
        if self.multilabel:
            return self._of_labels(logits, self._smooth_labels(targets.to(logits.dtype)))
        if self.spec.name == "standard" and self.weights is None:
            return functional.cross_entropy(logits, targets, label_smoothing=self.spec.label_smoothing)
        shares = functional.one_hot(targets, self.classes) if targets.ndim == 1 else targets
        shares = shares.to(logits.dtype)
        of_images = self._of_images(logits, self._smooth_shares(shares))
        # Divided by the images, not as torch does by their weights, which would undo them in a batch of one image.
        return of_images.mean() if self.weights is None else (of_images * (shares @ self.weights)).mean()

    def _of_images(self, logits: Tensor, shares: Tensor) -> Tensor:
        """The loss (n,) of each image, for shares (n, classes) that add up to 1."""
        if self.spec.name == "binary":
            return functional.binary_cross_entropy_with_logits(logits, shares, reduction="none").mean(dim=1)
        log_p = logits.log_softmax(dim=1)
        if self.spec.name == "focal":
            return -(shares * _modulated(log_p, -torch.expm1(log_p), self.spec.gamma)).sum(dim=1)
        return -(shares * log_p).sum(dim=1)

    def _of_labels(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over images and labels, each label a decision of its own."""
        if self.spec.name != "focal":
            return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=self.weights)
        gamma, yes, no = self.spec.gamma, functional.logsigmoid(logits), functional.logsigmoid(-logits)
        positive = targets * _modulated(yes, no.exp(), gamma)
        negative = (1 - targets) * _modulated(no, yes.exp(), gamma)
        return -(positive * (1.0 if self.weights is None else self.weights) + negative).mean()

    def _smooth_shares(self, shares: Tensor) -> Tensor:
        """Szegedy et al. 2016, for binary losses as timm's BinaryCrossEntropy smooths class numbers."""
        share = self.spec.label_smoothing
        return shares * (1 - share) + share / self.classes

    def _smooth_labels(self, targets: Tensor) -> Tensor:
        """Towards one half, as timm's BinaryCrossEntropy(smooth_dense=True)."""
        share = self.spec.label_smoothing
        return targets * (1 - share) + share / 2


def _modulated(log_p: Tensor, rest: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma log p of Lin et al. 2017, equation 4; `rest` is 1 - p.

    Not torchvision's sigmoid_focal_loss, which means something else by a target between 0 and 1. Without the floor a
    gamma below 1 has no gradient where p is 1.
    """
    return rest.clamp(min=torch.finfo(rest.dtype).eps) ** gamma * log_p


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Images / (classes x images of the class), float32 (classes,): scikit-learn's "balanced", 1 on average."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * counts.clip(min=1)), dtype=torch.float32)


def positive_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Images without a label / images with it, float32 (classes,), at most `MOST`; 1 for a label that none has."""
    having = np.asarray(labels, dtype=np.int64).reshape(-1, classes).sum(axis=0)
    weights = np.where(having > 0, (len(labels) - having) / having.clip(min=1), 1.0)
    # A label that all have keeps a little of its weight.
    return torch.tensor(weights.clip(1 / MOST, MOST), dtype=torch.float32)


def evaluation_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, for several labels binary: never weighted, smoothed or focal, so that runs can be compared."""
    if targets.ndim == 1:
        return functional.cross_entropy(logits, targets)
    return functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))
