import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score
from torchmetrics.classification import MulticlassCalibrationError, MulticlassConfusionMatrix

from thawlab.scores import SCORES, MeanLoss, per_class, scores_of


def metrics(classes):
    confusion = MulticlassConfusionMatrix(classes, validate_args=False)
    return confusion, MulticlassCalibrationError(classes, n_bins=15, validate_args=False), MeanLoss()


def scored(logits, labels, classes, batch=7):
    confusion, calibration, loss = metrics(classes)
    for some, of in zip(logits.split(batch), labels.split(batch), strict=True):
        confusion.update(some, of)
        calibration.update(some, of)
        loss.update(torch.nn.functional.cross_entropy(some, of), len(of))
    return scores_of("test", confusion.compute(), calibration, loss), confusion.compute()


def calibration_by_hand(logits, labels, bins=15):
    """Guo et al. 2017, equation 3: bins (a, b] of equal width, weighted by their share of the images."""
    probabilities = logits.softmax(dim=1).tolist()
    total = 0.0
    for k in range(bins):
        inside = [(max(p), int(np.argmax(p)) == y) for p, y in zip(probabilities, labels.tolist(), strict=True)
                  if k / bins < max(p) <= (k + 1) / bins]  # fmt: skip
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(c for c, _ in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


CASES = {
    "every class occurs": (5, [0, 1, 2, 3, 4], 101),
    "classes absent from the test set": (6, [0, 2, 5], 60),
    "one class alone": (4, [3], 20),
    "a single image": (3, [1], 1),
    "two classes": (2, [0, 1], 33),
}


@pytest.mark.parametrize(("classes", "present", "n"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("skill", [0.0, 3.0], ids=["guessing", "skilled"])
def test_scores_are_scikit_learns(classes, present, n, skill):
    generator = torch.Generator().manual_seed(n)
    labels = torch.tensor(present)[torch.randint(len(present), (n,), generator=generator)]
    logits = torch.randn(n, classes, generator=generator)
    logits[torch.arange(n), labels] += skill
    found, confusion = scored(logits, labels, classes)
    predicted = logits.argmax(dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of predicted classes that never occur
        expected = {
            "test/accuracy": accuracy_score(labels, predicted),
            "test/balanced_accuracy": balanced_accuracy_score(labels, predicted),
            "test/macro_f1": f1_score(labels, predicted, average="macro"),
        }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert np.array_equal(confusion, confusion_matrix(labels, predicted, labels=range(classes)))
    assert found["test/calibration_error"] == pytest.approx(calibration_by_hand(logits, labels), abs=1e-6)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert found["test/loss"] == pytest.approx(loss, rel=1e-5)
    assert list(found) == [f"test/{name}" for name in SCORES]


def test_accuracy_by_class():
    counts = torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
    found = per_class(counts, ("a", "b", "c"))
    assert found["a"] == {"accuracy": 0.75, "n": 4}
    assert found["b"]["n"] == 0
    assert np.isnan(found["b"]["accuracy"])
    assert found["c"] == {"accuracy": 0.75, "n": 8}


def test_a_loss_that_is_nan_in_one_batch_is_nan():
    loss = MeanLoss()
    loss.update(torch.tensor(1.0), 5)
    loss.update(torch.tensor(torch.nan), 5)
    assert torch.isnan(loss.compute())
