"""Scores of a classifier, named by the terms of the field, from counts."""

import torch
from torch import Tensor
from torchmetrics import Metric

SCORES = {
    "multiclass": ("accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "loss"),
    "multilabel": (
        "mean_average_precision", "macro_f1", "micro_f1", "accuracy", "label_accuracy", "calibration_error", "loss",
    ),
}  # fmt: skip
# By which a run is first judged, of validation (which epoch was best) as of test images.
MAIN = {"multiclass": "accuracy", "multilabel": "mean_average_precision"}
LOWER_IS_BETTER = ("loss", "calibration_error")
THRESHOLD = 0.5  # a label is predicted above this probability


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


def of_confusion(confusion: Tensor) -> dict[str, float]:
    """Scores of counts (classes, classes), rows being the true class.

    Balanced accuracy is the mean recall over the classes that occur (scikit-learn's definition); macro F1 the mean F1
    over all classes that occur or were predicted.
    """
    counts = confusion.double()
    right, true, predicted = counts.diag(), counts.sum(dim=1), counts.sum(dim=0)
    seen = true > 0
    return {
        "accuracy": float(right.sum() / counts.sum().clamp(min=1)),
        "balanced_accuracy": float((right[seen] / true[seen]).mean()),
        "macro_f1": float(_f1(right, true + predicted)[(true + predicted) > 0].mean()),
    }


def of_decisions(counts: Tensor) -> dict[str, float]:
    """Scores of counts (labels, 4): true positives, false positives, true negatives, false negatives of each label.

    Macro F1 is the mean F1 over all labels that occur or were predicted, as `of_confusion` has it; micro F1 is that of
    all decisions together.
    """
    right, false, absent, missed = counts.double().unbind(dim=1)
    named = 2 * right + false + missed
    return {
        "macro_f1": float(_f1(right, named)[named > 0].mean()),
        "micro_f1": float(_f1(right.sum(), named.sum())),
        "label_accuracy": float((right + absent).sum() / counts.double().sum().clamp(min=1)),
    }


def _f1(right: Tensor, named: Tensor) -> Tensor:
    """F1 of true positives, and of true and predicted ones added up; 0 where there are none of either."""
    return 2 * right / named.clamp(min=1)


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


def per_label(counts: Tensor, precisions: Tensor, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """What was achieved on each label, and how many images have it; counts (labels, 4) as in `of_decisions`.

    A label that no image has is without an average precision, and without an F1 unless it was predicted.
    """
    right, false, absent, missed = counts.double().unbind(dim=1)
    named = 2 * right + false + missed
    f1 = torch.where(named > 0, _f1(right, named), torch.nan)
    accuracy = (right + absent) / counts.double().sum(dim=1)
    return {
        name: {
            "accuracy": float(accuracy[i]),
            "average_precision": float(precisions[i]),
            "f1": float(f1[i]),
            "n": int(right[i] + missed[i]),
        }
        for i, name in enumerate(classes)
    }
