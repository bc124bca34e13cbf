import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    hamming_loss,
    log_loss,
)

from thawlab.evaluation import Predictions, evaluation, named
from thawlab.scores import SCORES

NAMES = ("a", "b", "c", "d", "e", "f")


def scored(logits, targets, task="multiclass", batch=7):
    found = evaluation(task, logits.shape[1])
    for some, of in zip(logits.split(batch), targets.split(batch), strict=True):
        found.update(some, of)
    return found


def calibration_by_hand(logits, labels, bins=15):
    """Guo et al. 2017, equation 3: bins (a, b] of equal width, weighted by their share of the images."""
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    return of_decisions_by_hand(confidence.tolist(), (predicted == labels).tolist(), bins)


def of_decisions_by_hand(confidences, right, bins=15):
    total = 0.0
    for k in range(bins):
        inside = [(c, r) for c, r in zip(confidences, right, strict=True) if k / bins < c <= (k + 1) / bins]
        if inside:
            accuracy = sum(r for _, r in inside) / len(inside)
            confidence = sum(c for c, _ in inside) / len(inside)
            total += len(inside) / len(right) * abs(accuracy - confidence)
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
    found = scored(logits, labels)
    scores, confusion = found.scores(), found.confusion()
    predicted = logits.argmax(dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of predicted classes that never occur
        expected = {
            "accuracy": accuracy_score(labels, predicted),
            "balanced_accuracy": balanced_accuracy_score(labels, predicted),
            "macro_f1": f1_score(labels, predicted, average="macro"),
        }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert np.array_equal(confusion, confusion_matrix(labels, predicted, labels=range(classes)))
    assert scores["calibration_error"] == pytest.approx(calibration_by_hand(logits, labels), abs=1e-6)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert scores["loss"] == pytest.approx(loss, rel=1e-5)
    assert tuple(scores) == SCORES["multiclass"]


LABEL_CASES = {
    "every label occurs": ([0.5, 0.2, 0.8, 0.4], 101),
    "a label that no image has": ([0.5, 0.0, 0.3, 0.4], 60),
    "a label that all have": ([0.5, 1.0, 0.3, 0.4], 60),
    "a single image": ([1.0, 0.0, 1.0, 1.0], 1),
}


def drawn_labels(shares, n, skill, ties=False):
    generator = torch.Generator().manual_seed(n)
    targets = (torch.rand(n, len(shares), generator=generator) < torch.tensor(shares)).float()
    logits = torch.randn(n, len(shares), generator=generator) + skill * (targets - 0.5)
    return (logits.round() + 0.25 if ties else logits), targets


@pytest.mark.parametrize(("shares", "n"), LABEL_CASES.values(), ids=LABEL_CASES)
@pytest.mark.parametrize(("skill", "ties"), [(0.0, False), (3.0, False), (1.0, True)], ids=["guess", "skill", "ties"])
def test_scores_of_several_labels_are_scikit_learns(shares, n, skill, ties):
    logits, targets = drawn_labels(shares, n, skill, ties)
    scores = scored(logits, targets, "multilabel").scores()
    truth, p = targets.numpy().astype(int), logits.sigmoid().numpy()
    predicted = (p > 0.5).astype(int)
    occurring = truth.any(axis=0)
    named_at_all = occurring | predicted.any(axis=0)
    expected = {
        "mean_average_precision": average_precision_score(truth[:, occurring], logits[:, occurring], average="macro"),
        "macro_f1": f1_score(truth[:, named_at_all], predicted[:, named_at_all], average="macro", zero_division=0),
        "micro_f1": f1_score(truth, predicted, average="micro", zero_division=0),
        "accuracy": accuracy_score(truth, predicted),
        "label_accuracy": 1 - hamming_loss(truth, predicted),
        "calibration_error": of_decisions_by_hand(p.ravel().tolist(), truth.ravel().tolist()),
        "loss": np.mean([log_loss(truth[:, i], p[:, i].astype(float), labels=[0, 1]) for i in range(len(shares))]),
    }
    assert scores == pytest.approx(expected, abs=1e-6, rel=1e-5)
    assert tuple(scores) == SCORES["multilabel"]


def test_each_label_has_its_own_scores():
    logits, targets = drawn_labels([0.5, 0.0, 0.3], 50, 1.0)
    logits[:, 1] = -1  # never predicted
    found = scored(logits, targets, "multilabel").of_classes(NAMES[:3])
    for i, name in enumerate("abc"):
        truth, predicted = targets[:, i], logits[:, i] > 0
        assert found[name]["n"] == truth.sum()
        assert found[name]["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
        if name == "b":
            assert np.isnan(found[name]["average_precision"])
            assert np.isnan(found[name]["f1"])
        else:
            assert found[name]["average_precision"] == pytest.approx(average_precision_score(truth, logits[:, i]))
            assert found[name]["f1"] == pytest.approx(f1_score(truth, predicted))


@pytest.mark.parametrize("task", SCORES)
def test_after_a_reset_nothing_is_remembered(task):
    logits = torch.randn(20, 3)
    targets = torch.randint(2, (20, 3)).float() if task == "multilabel" else torch.arange(20) % 3
    found = scored(logits, targets, task)
    found.reset()
    found.update(logits[:5], targets[:5])
    assert found.scores() == scored(logits[:5], targets[:5], task).scores()


def test_predictions_come_in_the_order_of_the_images():
    predictions, logits = Predictions(), torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
    labels = torch.zeros(3, dtype=torch.int64)
    predictions.update(logits[:2], labels[:2], torch.tensor([2, 0]))
    predictions.update(logits[2:], labels[2:], torch.tensor([1]))
    rows = predictions.rows(("a", "b"))
    assert [row[:2] for row in rows] == [(0, "b"), (1, "a"), (2, "a")]
    assert [row[2] for row in rows] == pytest.approx([1 / (1 + np.exp(-x)) for x in (1, 5, 2)])


def test_of_several_labels_the_confidence_is_that_just_these_hold():
    predictions, logits = Predictions(), torch.tensor([[1.0, 2.0, -3.0], [-1.0, -1.0, -1.0], [0.0, 4.0, -1.0]])
    predictions.update(logits, torch.zeros(3, 3), torch.arange(3))
    p = logits.sigmoid().tolist()
    expected = [
        (0, "a|b", p[0][0] * p[0][1] * (1 - p[0][2])),
        (1, "", (1 - p[1][0]) ** 3),
        (2, "b", 0.5 * p[2][1] * (1 - p[2][2])),  # one half is not more than one half
    ]
    for found, wanted in zip(predictions.rows(NAMES[:3]), expected, strict=True):
        assert found[:2] == wanted[:2]
        assert found[2] == pytest.approx(wanted[2])


@pytest.mark.parametrize(
    ("target", "expected"),
    [(np.int64(2), "c"), (np.array([1, 0, 1], np.uint8), "a|c"), (np.array([0, 0, 0], np.uint8), "")],
)
def test_targets_are_named(target, expected):
    assert named(target, NAMES[:3]) == expected
