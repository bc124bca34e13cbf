import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from timm.loss import BinaryCrossEntropy
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from thawlab.errors import UserError
from thawlab.losses import MOST, NAMES, Loss, LossSpec, evaluation_loss

CLASSES, IMAGES = 4, 6
LABELS = np.array([0] * 6 + [1] * 3 + [2] * 2 + [3])
SEVERAL = np.array([[1, 0, 1, 0]] * 6 + [[1, 1, 0, 0]] * 2)


def drawn(kind, dtype=torch.float64):
    """Logits, and targets of one of the kinds that a batch has."""
    logits = 3 * torch.randn(IMAGES, CLASSES, dtype=dtype)
    if kind == "classes":
        return logits, torch.tensor([0, 3, 1, 1, 2, 0])
    if kind == "shares":
        return logits, torch.rand(IMAGES, CLASSES, dtype=dtype).softmax(dim=1)
    return logits, torch.randint(2, (IMAGES, CLASSES)).to(dtype)


def loss_of(task="multiclass", labels=None, dtype=torch.float64, **values):
    if values.get("name") != "focal":
        values.pop("gamma", None)
    return Loss(LossSpec(**values), task, CLASSES, labels).to(dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["classes", "shares"])
def test_standard_is_torchs_cross_entropy(kind, smoothing):
    logits, targets = drawn(kind)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, targets)
    assert torch.equal(loss_of(label_smoothing=smoothing)(logits, targets), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_is_timms(smoothing):
    logits, targets = drawn("classes")
    expected = BinaryCrossEntropy(smoothing)(logits, targets)
    assert loss_of(name="binary", label_smoothing=smoothing)(logits, targets).item() == pytest.approx(expected.item())
    shares = functional.one_hot(targets, CLASSES).double()
    assert loss_of(name="binary", label_smoothing=smoothing)(logits, shares).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", ["standard", "binary"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_several_labels_are_timms_binary_cross_entropy(name, smoothing):
    logits, targets = drawn("labels")
    expected = BinaryCrossEntropy(smoothing, smooth_dense=True)(logits, targets).item()
    found = loss_of("multilabel", name=name, label_smoothing=smoothing)(logits, targets)
    assert found.item() == pytest.approx(expected)
    as_bytes = loss_of("multilabel", name=name, label_smoothing=smoothing)(logits, targets.to(torch.uint8))
    assert torch.equal(as_bytes, found)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_by_the_papers_formula(gamma):
    logits, targets = drawn("classes")
    p = logits.softmax(dim=1)[torch.arange(IMAGES), targets]
    expected = (-((1 - p) ** gamma) * p.log()).mean().item()
    assert loss_of(name="focal", gamma=gamma)(logits, targets).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
def test_focal_of_several_labels_is_torchvisions(gamma):
    logits, targets = drawn("labels")
    expected = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=gamma, reduction="mean").item()
    assert loss_of("multilabel", name="focal", gamma=gamma)(logits, targets).item() == pytest.approx(expected)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("kind", ["shares", "labels"])
def test_focal_without_focus_is_standard(task, kind):
    logits, targets = drawn("labels" if task == "multilabel" else kind.replace("labels", "classes"))
    for smoothing in (0.0, 0.3):
        plain = loss_of(task, label_smoothing=smoothing)(logits, targets).item()
        assert loss_of(task, name="focal", gamma=0.0, label_smoothing=smoothing)(
            logits, targets
        ).item() == pytest.approx(plain)


CASES = [("multiclass", "classes"), ("multiclass", "shares"), ("multilabel", "labels")]


@pytest.mark.parametrize(("task", "kind"), CASES)
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name, weights, task, kind):
    logits, targets = drawn(kind)
    labels = SEVERAL if task == "multilabel" else LABELS
    loss = loss_of(task, labels, name=name, gamma=1.5, label_smoothing=0.1, class_weights=weights)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), logits.requires_grad_())


@given(st.sampled_from(NAMES), st.sampled_from(CASES), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.floats(-300, 300))
@settings(max_examples=60, deadline=None)
def test_extreme_logits_give_finite_losses_and_gradients(name, case, gamma, value):
    task, kind = case
    logits, targets = drawn(kind, torch.float32)
    logits = (logits + 0).fill_(-value)
    logits[:, 0] = value
    loss = loss_of(task, dtype=torch.float32, name=name, gamma=gamma)(logits.requires_grad_(), targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_balanced_weights_are_scikit_learns():
    loss = loss_of(labels=LABELS, class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.arange(CLASSES), y=LABELS)
    np.testing.assert_allclose(loss.weights, expected, rtol=1e-6)
    assert loss.weights[LABELS].mean() == pytest.approx(1)
    assert not loss.state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_a_balanced_loss_is_the_plain_one_of_a_training_set_in_which_all_classes_are_as_many(name):
    """Each class as often as the others, by repeating its images, is what its weight stands for."""
    logits = torch.randn(len(LABELS), CLASSES, dtype=torch.float64)
    targets = torch.tensor(LABELS)
    repeats = torch.tensor([6 // np.sum(label == LABELS) for label in LABELS])
    expected = loss_of(name=name)(logits.repeat_interleave(repeats, 0), targets.repeat_interleave(repeats)).item()
    found = loss_of(labels=LABELS, name=name, class_weights="balanced")
    assert found(logits, targets).item() == pytest.approx(expected)
    assert found(logits, functional.one_hot(targets, CLASSES).double()).item() == pytest.approx(expected)


def test_a_batch_of_one_image_keeps_its_classes_weight():
    loss = loss_of(labels=LABELS, class_weights="balanced")
    logits = torch.zeros(1, CLASSES, dtype=torch.float64)
    common, rare = (loss(logits, torch.tensor([label])).item() for label in (0, 3))
    assert rare == pytest.approx(6 * common)


@pytest.mark.parametrize("name", NAMES)
def test_balanced_labels_are_torchs_pos_weight(name):
    loss = loss_of("multilabel", SEVERAL, name=name, gamma=0.0, class_weights="balanced")
    # All have the first, 2 of 8 the second, 6 of 8 the third, none the last.
    assert loss.weights.tolist() == pytest.approx([1 / MOST, 3, 1 / 3, 1])
    logits, targets = drawn("labels")
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=loss.weights)(logits, targets).item()
    assert loss(logits, targets).item() == pytest.approx(expected)


def test_no_label_outweighs_all_others():
    rare = np.zeros((100_000, CLASSES), np.uint8)
    rare[0] = 1
    assert loss_of("multilabel", rare, class_weights="balanced").weights.tolist() == [MOST] * CLASSES


def test_what_is_reported_is_never_weighted_or_smoothed():
    for kind in ("classes", "labels"):
        logits, targets = drawn(kind)
        plain = functional.cross_entropy if kind == "classes" else functional.binary_cross_entropy_with_logits
        assert torch.equal(evaluation_loss(logits, targets), plain(logits, targets))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({"name": "focall"}, r"loss\.name is 'focall'. Did you mean 'focal'", id="name"),
        pytest.param({"class_weights": "balance"}, r"loss\.class_weights is 'balance'. Did you", id="weights"),
        pytest.param({"label_smoothing": 1.0}, r"loss\.label_smoothing is 1\.0", id="smoothing"),
        pytest.param({"gamma": 1.0}, r"loss\.gamma is 1\.0, but loss=standard has no use", id="gamma of another loss"),
        pytest.param({"gamma": -1.0}, r"loss\.gamma is -1\.0", id="gamma"),
    ],
)
def test_what_cannot_work_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        LossSpec(**values)
