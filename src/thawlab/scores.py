"""Scores of a classifier, from its confusion matrix."""

import torch
from torch import Tensor
from torchmetrics import Metric

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "loss")


class MeanLoss(Metric):
    """The mean over all images of all processes, NaN where a loss is NaN.

    Not torchmetrics' MeanMetric, which leaves NaN out or, told not to (`nan_strategy="disable"`), forgets the weights.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, mean: Tensor, images: int) -> None:
        """Take in the mean loss of a batch of `images`."""
        self.total += mean.detach().double() * images
        self.count += images

    def compute(self) -> Tensor:
        """The mean so far, float32."""
        return (self.total / self.count).float()


def scores_of(split: str, confusion: Tensor, calibration: Metric, loss: Metric) -> dict[str, float]:
    """The scores of a split by name ("val/accuracy", ...).

    `confusion` (classes, classes) counts images, rows being the true class. Balanced accuracy is the mean recall over
    the classes that occur (scikit-learn's definition); macro F1 the mean F1 over all classes that occur or were
    predicted; calibration error is the expected one over 15 bins (Guo et al. 2017).
    """
    counts = confusion.double()
    right, true, predicted = counts.diag(), counts.sum(dim=1), counts.sum(dim=0)
    seen = true > 0
    f1 = 2 * right / (true + predicted).clamp(min=1)
    values = (
        right.sum() / counts.sum().clamp(min=1),
        (right[seen] / true[seen]).mean() if seen.any() else torch.tensor(torch.nan),
        f1[(true + predicted) > 0].mean(),
        calibration.compute(),
        loss.compute(),
    )
    return {f"{split}/{name}": float(value) for name, value in zip(SCORES, values, strict=True)}


def per_class(confusion: Tensor, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Accuracy and number of images of each class; a class without images has none."""
    counts = confusion.double()
    return {
        name: {
            "accuracy": float(counts[i, i] / counts[i].sum()) if counts[i].sum() else float("nan"),
            "n": int(counts[i].sum()),
        }
        for i, name in enumerate(classes)
    }
