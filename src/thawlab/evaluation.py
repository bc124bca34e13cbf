"""What is measured on a split: logits and labels in, scores and predictions out, gathered over all processes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import CatMetric, Metric
from torchmetrics.classification import (
    BinaryCalibrationError,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MultilabelExactMatch,
    MultilabelStatScores,
)
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities.data import dim_zero_cat

from thawlab.losses import evaluation_loss
from thawlab.scores import SCORES, THRESHOLD, MeanLoss, of_confusion, of_decisions, per_class, per_label

BINS = 15  # of the expected calibration error (Guo et al. 2017)


def evaluation(task: str, classes: int) -> "OfClasses | OfLabels":
    """An empty evaluation for a task (`Splits.task`), an nn.Module so that its counts move to the network's device."""
    return OfLabels(classes) if task == "multilabel" else OfClasses(classes)


class _Metrics(nn.Module):
    """The metrics of one split. Every process must ask for what they say: they are gathered there."""

    def reset(self) -> None:
        """Forget everything."""
        for metric in self.children():
            assert isinstance(metric, Metric)
            metric.reset()


class OfClasses(_Metrics):
    """One class for each image; targets int64 (n,)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.loss = MeanLoss()
        self.counts = MulticlassConfusionMatrix(classes, validate_args=False)
        self.calibration = MulticlassCalibrationError(classes, n_bins=BINS, validate_args=False)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Take in a batch: logits (n, classes) float32, and its targets."""
        self.loss.update(evaluation_loss(logits, targets), len(targets))
        self.counts.update(logits, targets)
        self.calibration.update(logits.softmax(dim=1), targets)

    def scores(self) -> dict[str, float]:
        """The task's `SCORES` so far."""
        found = of_confusion(self.counts.compute())
        found |= {"calibration_error": float(self.calibration.compute()), "loss": float(self.loss.compute())}
        return {name: found[name] for name in SCORES["multiclass"]}

    def of_classes(self, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """What was achieved on each class: docs/record.md, `per_class`."""
        return per_class(self.counts.compute().cpu(), classes)

    def confusion(self) -> list[list[int]]:
        """Counts, a row per true class."""
        return self.counts.compute().cpu().tolist()


class AveragePrecisions(Metric):
    """The average precision (classes,) of each label, NaN for one that no image has.

    Torchmetrics' own for several labels warns of such a label, sets its recall to 1 and gives it a precision; and its
    probabilities tie where float32 has no more room, though their logits differ. So it is given the logits' ranks.
    """

    logits: list[Tensor]
    truth: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("logits", "truth"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Take in logits (n, classes) and 0/1 (n, classes)."""
        self.logits.append(logits)
        self.truth.append(truth)

    def compute(self) -> Tensor:
        """The average precisions so far."""
        of_labels = zip(dim_zero_cat(self.logits).T, dim_zero_cat(self.truth).T, strict=True)
        return torch.stack([_average_precision(logits, truth) for logits, truth in of_labels])


def _average_precision(logits: Tensor, truth: Tensor) -> Tensor:
    if not truth.any():
        return torch.tensor(torch.nan, device=logits.device)
    _, ranks = logits.unique(return_inverse=True)
    return binary_average_precision(ranks.double() / len(ranks), truth, validate_args=False).float()


class OfLabels(_Metrics):
    """Any number of labels for each image; targets 0/1 (n, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.loss = MeanLoss()
        self.counts = MultilabelStatScores(classes, THRESHOLD, average=None, validate_args=False)
        self.exact = MultilabelExactMatch(classes, THRESHOLD, validate_args=False)
        self.precisions = AveragePrecisions()
        self.calibration = BinaryCalibrationError(n_bins=BINS, validate_args=False)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """As in OfClasses."""
        self.loss.update(evaluation_loss(logits, targets), len(targets))
        probabilities, truth = logits.sigmoid(), targets.long()
        self.precisions.update(logits, truth)
        for metric in (self.counts, self.exact):
            metric.update(probabilities, truth)
        self.calibration.update(probabilities.flatten(), truth.flatten())

    def scores(self) -> dict[str, float]:
        """As in OfClasses."""
        found = of_decisions(self.counts.compute()[:, :4]) | {
            "mean_average_precision": float(self.precisions.compute().nanmean()),
            "accuracy": float(self.exact.compute()),
            "calibration_error": float(self.calibration.compute()),
            "loss": float(self.loss.compute()),
        }
        return {name: found[name] for name in SCORES["multilabel"]}

    def of_classes(self, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """As in OfClasses."""
        return per_label(self.counts.compute()[:, :4].cpu(), self.precisions.compute().cpu(), classes)

    def confusion(self) -> list[list[int]]:
        """Empty: an image with several labels has no place in a table of pairs."""
        return []


class Predictions(nn.Module):
    """What was predicted for each image of a split."""

    def __init__(self) -> None:
        super().__init__()
        self.index, self.chosen, self.confidence = CatMetric(), CatMetric(), CatMetric()

    def update(self, logits: Tensor, targets: Tensor, indices: Tensor) -> None:
        """Take in a batch: logits (n, classes), the places (n,) of its images in the split."""
        chosen, confidence = labels_chosen(logits) if targets.ndim == 2 else class_chosen(logits)
        self.index.update(indices)
        self.chosen.update(chosen)
        self.confidence.update(confidence)

    def gather(self) -> tuple[Tensor, Tensor, Tensor]:
        """Index, choice and confidence of every process's images: to be asked for while the processes still talk."""
        index, chosen, confidence = (m.compute().cpu() for m in (self.index, self.chosen, self.confidence))
        return index, chosen, confidence

    def rows(self, classes: tuple[str, ...]) -> list[tuple[int, str, float]]:
        """(place, names of what was predicted, confidence), by place."""
        index, chosen, confidence = self.gather()
        order = index.argsort()
        return [
            (int(i), named(row, classes), float(c))
            for i, row, c in zip(index[order], chosen[order], confidence[order], strict=True)
        ]


def named(target: Any, classes: tuple[str, ...]) -> str:
    """The class of a number, or the labels of a row of zeros and ones, joined by "|"."""
    if not getattr(target, "shape", ()):
        return classes[int(target)]
    return "|".join(name for name, has in zip(classes, target, strict=True) if has)


def class_chosen(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable class (n,) and its probability (n,)."""
    confidence, chosen = logits.softmax(dim=1).max(dim=1)
    return chosen, confidence


def labels_chosen(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The labels more probable than not, 0/1 (n, classes), and the probability (n,) that just these hold.

    The labels count as independent of each other, so that it is the product over all decisions.
    """
    chosen = logits.sigmoid() > THRESHOLD
    log_p = torch.where(chosen, functional.logsigmoid(logits), functional.logsigmoid(-logits))
    return chosen.float(), log_p.double().sum(dim=1).exp()
