import random

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from small_runs import carried_out, config_of, from_weights, same_bits
from torch.optim.optimizer import register_optimizer_step_pre_hook

from thawlab.errors import UserError
from thawlab.lr_curve import Curve, recommended
from thawlab.lr_finder import RangeSpec, RangeTest, range_test
from thawlab.prepare import prepare

TESTED = RangeSpec(1e-5, 1e-1, 20)


def watched(prepared, spec):
    """A range test's curve, and the rate of each group at each optimizer step, as the optimizer sees them."""
    seen = []

    def note(optimizer, *_):
        seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})

    handle = register_optimizer_step_pre_hook(note)
    try:
        return range_test(prepared, spec), seen
    finally:
        handle.remove()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["strategy.layer_decay=0.5"], id="layer decay"),
        pytest.param(
            ["strategy.rates.conv1=0.0007", "optimizer=sgd", "schedule=one_cycle"], id="written out, one cycle"
        ),
        pytest.param(
            ["schedule=plateau", "trainer.accumulate=2", "trainer.early_stopping=3"], id="plateau, accumulated"
        ),
    ],
)
def test_every_group_keeps_its_plans_share_of_every_rate(tmp_path, words):
    prepared = prepare(config_of(*from_weights(tmp_path, "demo"), "strategy=full", *words))
    plan, lr = prepared.built.plan, prepared.specs.optimizer.lr
    curve, seen = watched(prepared, TESTED)
    assert curve.rates == pytest.approx([1e-5 * 10 ** (4 * i / 19) for i in range(20)])
    assert len(seen) == len(curve.losses) == 20
    for rate, groups in zip(curve.rates, seen, strict=True):
        for name, found in groups.items():
            assert found == pytest.approx(plan.row(name.partition("/")[0]).rate * rate / lr)


def test_nothing_is_left_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared = prepare(config_of(*from_weights(tmp_path, "resnet"), "strategy=full"))
    network = prepared.built.network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trains = [parameter.requires_grad for parameter in network.parameters()]
    files = sorted(tmp_path.rglob("*"))
    torch.use_deterministic_algorithms(False)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    range_test(prepared, TESTED)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert not torch.are_deterministic_algorithms_enabled()
    assert same_bits(network.state_dict(), before)
    assert [parameter.requires_grad for parameter in network.parameters()] == trains
    assert network.training
    assert sorted(tmp_path.rglob("*")) == files


def test_the_same_test_again_sees_the_same(tmp_path):
    prepared = prepare(config_of(*from_weights(tmp_path, "vit"), "strategy=full", "augment=light", "head.dropout=0.2"))
    assert range_test(prepared, TESTED) == range_test(prepared, TESTED)


@pytest.mark.parametrize(("epoch", "trained"), [(0, {"head"}), (1, {"head", "fc2"}), (2, {"head", "fc2", "fc1"})])
def test_the_stages_of_the_asked_epoch_train(tmp_path, monkeypatch, epoch, trained):
    words = ["strategy=gradual", "strategy.thaw.epochs=1", "trainer.epochs=9"]
    prepared = prepare(config_of(*from_weights(tmp_path, "demo"), *words))
    trains = set()

    def note(self, trainer, module, *_):
        trains.update(n.split(".")[0] for n, p in module.network.named_parameters() if p.requires_grad)

    monkeypatch.setattr(RangeTest, "on_train_start", lambda self, trainer, module: None)
    monkeypatch.setattr(RangeTest, "on_train_batch_start", note)
    range_test(prepared, RangeSpec(1e-5, 1e-1, 20, epoch))
    heads = {name.split(".")[0] for name in prepared.built.stages[-1].modules}
    assert {"head" if name in heads else name for name in trains} == trained


def test_what_trains_after_a_plateau_is_unknown(tmp_path):
    prepared = prepare(config_of(*from_weights(tmp_path, "demo"), "strategy=gradual", "strategy.thaw.when=plateau"))
    with pytest.raises(UserError, match=r"--epoch is 2.*plateau"):
        range_test(prepared, RangeSpec(epoch=2))


@pytest.mark.parametrize(
    ("values", "says"),
    [({"start": 1, "end": 0.1}, "--end is 0.1"), ({"steps": 5}, "--steps is 5"), ({"epoch": -1}, "--epoch is -1")],
)
def test_what_makes_no_test_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        RangeSpec(**values)


class Quadratic(pl.LightningModule):
    """Curvature x w^2 / 2: gradient descent converges below 2 / curvature and diverges above, whatever the start.

    The loss is seen with noise, as that of drawn batches is; its gradient is exact.
    """

    def __init__(self, curvature):
        super().__init__()
        self.curvature = curvature
        self.w = torch.nn.Parameter(torch.ones(1))
        self.generator = torch.Generator().manual_seed(0)

    def training_step(self, batch, _):
        noise = 0.05 * torch.randn((), generator=self.generator)
        return self.curvature * ((self.w**2).sum() + noise) / 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(100, 1))


def curve_of(curvature) -> Curve:
    test = RangeTest(RangeSpec().rates, lr=1.0)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[test], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Quadratic(curvature))
    return test.curve


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*treespec, LeafSpec")
def test_a_parabola_is_given_a_rate_that_converges():
    found = {}
    for curvature in (10.0, 1000.0):
        curve = curve_of(curvature)
        assert curve.exploded
        assert len(curve.losses) < 100
        # One step at a rate of 1 / curvature is the best there is.
        assert all(suggestion.rate < 2 / curvature for suggestion in curve.suggestions())
        found[curvature] = recommended(curve.suggestions()).rate
        assert found[curvature] > 0.01 / curvature
    assert 30 < found[10.0] / found[1000.0] < 300


def test_a_loss_that_is_no_number_ends_the_test(tmp_path, monkeypatch):
    from thawlab.losses import Loss

    real, calls = Loss.forward, []

    def broken(self, logits, targets):
        calls.append(1)
        return real(self, logits, targets) * (float("nan") if len(calls) == 7 else 1)

    monkeypatch.setattr(Loss, "forward", broken)
    prepared = prepare(config_of(*from_weights(tmp_path, "demo"), "strategy=freeze"))
    curve = range_test(prepared, TESTED)
    assert len(curve.losses) == 7
    assert curve.exploded


@pytest.mark.slow
def test_the_rate_suggested_for_the_digits_trains_no_worse_than_ten_times_off(tmp_path):
    """The embedded default with its own schedule: mean validation loss over three seeds at the rate, and around it."""
    default = ["strategy=full", "strategy.source_rate=1", "trainer.epochs=15", "logger=none", "logger.progress=off"]
    rate = recommended(range_test(prepare(config_of(*default, small=())), RangeSpec()).suggestions()).rate
    assert 0.0005 <= rate <= 0.05
    accuracy = {}
    for factor in (0.1, 1, 10):
        words = [*default, f"optimizer.lr={rate * factor}"]
        runs = [carried_out(tmp_path / f"{factor}-{seed}", *words, f"seed={seed}", small=()) for seed in range(3)]
        accuracy[factor] = np.mean(
            [
                left.record.metrics["test/accuracy"]["value"] if left.record.status == "finished" else 0.0
                for left in runs
            ]
        )
    assert accuracy[1] >= max(accuracy.values()) - 0.01, accuracy
