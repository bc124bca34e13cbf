import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import carried_out, config_of, from_weights, same_bits
from torch.nn import functional

from thawlab.data.augment import Augmentation
from thawlab.prepare import prepare
from thawlab.tta import mean_of_views


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 6)),
    scale=st.sampled_from([0.1, 5.0, 60.0]),
    seed=st.integers(0, 99),
)
def test_probabilities_are_the_mean_of_the_views(shape, scale, seed):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, scale, shape)).float()
    for multilabel, probabilities in ((False, lambda z: z.softmax(-1)), (True, torch.sigmoid)):
        mean = mean_of_views(logits, multilabel)
        assert mean.isfinite().all()
        expected = probabilities(logits.double()).mean(dim=1).float()
        torch.testing.assert_close(probabilities(mean), expected, rtol=1e-4, atol=1e-6)


def test_losses_are_those_of_the_mean_probabilities():
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    labels, several = torch.tensor([0, 4, 2, 2]), torch.eye(5)[[0, 1, 2, 3]]
    likelihood = logits.softmax(-1).mean(1)[torch.arange(4), labels]
    found = functional.cross_entropy(mean_of_views(logits), labels)
    assert float(found) == pytest.approx(float(-likelihood.log().mean()), rel=1e-5)
    binary = functional.binary_cross_entropy(logits.sigmoid().mean(1), several)
    found = functional.binary_cross_entropy_with_logits(mean_of_views(logits, True), several)
    assert float(found) == pytest.approx(float(binary), rel=1e-5)


def test_a_run_is_tested_on_the_mean_of_its_views(tmp_path):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "augment=light", "trainer.channels_last=false"]
    plain = carried_out(tmp_path / "plain", *words)
    left = carried_out(tmp_path / "tta", *words, "augment.tta=3")
    assert same_bits(plain.weights, left.weights)
    assert plain.curves == left.curves, "training and validation know nothing of it"
    prepared = prepare(config_of(*words, "augment.tta=3"))
    network, pre, test = prepared.built.network.eval(), prepared.built.preprocessing, prepared.splits.test
    network.load_state_dict(left.weights)
    augment = Augmentation(prepared.specs.augment, pre, seed=0)
    probabilities = torch.zeros(len(test), 10)
    for view in range(4):
        fitted = [pre.fit(test.load(i)) for i in range(len(test))]
        seen = fitted if view == 0 else [augment(image, -view, i) for i, image in enumerate(fitted)]
        with torch.no_grad():
            probabilities += network(pre.normalise(torch.stack(seen))).softmax(dim=1) / 4
    for row, own in zip(left.predictions, probabilities, strict=True):
        assert row["predicted"] == prepared.splits.classes[int(own.argmax())]
        assert row["confidence"] == pytest.approx(float(own.max()), abs=1e-5)
    right = probabilities.argmax(dim=1) == torch.tensor(test.labels)
    metrics = left.record.metrics
    assert metrics["test/accuracy"]["value"] == pytest.approx(float(right.float().mean()))
    loss = functional.nll_loss(probabilities.log(), torch.tensor(test.labels))
    assert metrics["test/loss"]["value"] == pytest.approx(float(loss), rel=1e-5)
    assert metrics["test/loss"] != plain.record.metrics["test/loss"]
    assert left.record.costs["flops"] == plain.record.costs["flops"]
