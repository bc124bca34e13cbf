import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from small_runs import carried_out, config_of, from_weights, same_bits

from thawlab import costs, module
from thawlab.module import TransferModule
from thawlab.prepare import prepare
from thawlab.schedule import ScheduleSpec, factor
from thawlab.training import cpu_threads

PRESETS = ("freeze", "truncate", "partial", "fresh_top", "full", "scratch", "gradual", "lp_ft")


@pytest.fixture
def demo(tmp_path):
    return from_weights(tmp_path, "demo")


@pytest.fixture
def rates_seen(monkeypatch):
    """The rate of each parameter group at each training step, as the optimizer has it."""
    seen = []
    step = TransferModule.training_step

    def watched(self, batch, index):
        groups = self.trainer.optimizers[0].param_groups
        seen.append((self.trainer.global_step, {group["name"]: group["lr"] for group in groups}))
        return step(self, batch, index)

    monkeypatch.setattr(TransferModule, "training_step", watched)
    return seen


def factor_by_hand(name, step, total, val_losses, steps_per_epoch):
    if name == "constant":
        return 1.0
    if name == "cosine":
        return (1 + math.cos(math.pi * step / total)) / 2
    if name != "plateau":
        return factor(ScheduleSpec(name), step, total)
    share, best, waited = 1.0, math.inf, 0
    for loss in val_losses[: step // steps_per_epoch]:
        # ReduceLROnPlateau's threshold: better by one part in ten thousand.
        best, waited = (loss, 0) if loss < best * (1 - 1e-4) else (best, waited + 1)
        if waited > 1:
            share, waited = share * 0.5, 0
    return share


FULL = ["strategy=full", "strategy.layer_decay=0.5", "strategy.source_rate=0.25"]
GRADUAL = ["strategy=gradual", "strategy.thaw.epochs=1", "strategy.layer_decay=0.5", "strategy.source_rate=0.25"]


@pytest.mark.parametrize("strategy", [FULL, GRADUAL], ids=["full", "gradual"])
@pytest.mark.parametrize(
    "schedule", ["constant", "cosine", "warmup_cosine", "one_cycle", "slanted_triangular", "plateau"]
)
def test_every_group_has_its_stages_rate_at_every_step(tmp_path, demo, rates_seen, strategy, schedule):
    epochs, steps = 6, 2
    lr = 0.8 if schedule == "plateau" else 0.01
    extra = ["schedule.patience=1", "schedule.factor=0.5"] if schedule == "plateau" else []
    warmup = [] if schedule in ("constant", "cosine", "plateau") else ["schedule.warmup=0.1"]
    left = carried_out(
        tmp_path / "run",
        *demo,
        *strategy,
        f"schedule={schedule}",
        *extra,
        *warmup,
        f"optimizer.lr={lr}",
        f"trainer.epochs={epochs}",
    )
    below = ["fc2", "fc1", "conv3", "conv2", "conv1"]
    peaks = {"head": lr} | {name: lr * 0.25 * 0.5**depth for depth, name in enumerate(below, 1)}
    losses = [row["val/loss"] for row in left.curves]
    assert [step for step, _ in rates_seen] == list(range(epochs * steps))
    for step, groups in rates_seen:
        share = factor_by_hand(schedule, step, epochs * steps, losses, steps)
        assert {name.partition("/")[0] for name in groups} == set(peaks)
        for name, rate in groups.items():
            assert rate == pytest.approx(peaks[name.partition("/")[0]] * share, rel=1e-6, abs=1e-12)
    if schedule == "plateau":
        assert rates_seen[-1][1]["head"] < lr, "the loss never stalled: the test shows nothing"
    shown = [row["rate/head"] for row in left.curves]
    assert all(rate >= 0 for rate in shown)


def test_rates_written_out_per_stage_hold(tmp_path, demo, rates_seen):
    carried_out(
        tmp_path / "run", *demo, "strategy=full", "schedule=constant", "+strategy.rates={conv1: 0.007, fc2: 0.001}"
    )
    for _, groups in rates_seen:
        assert groups["conv1"] == 0.007
        assert groups["conv1/no_decay"] == 0.007
        assert groups["fc2"] == 0.001


def assert_same(first, second):
    assert same_bits(first.weights, second.weights)
    assert first.predictions == second.predictions
    assert first.curves == second.curves


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_is_the_same_to_the_last_bit_whatever_went_before(tmp_path, demo, preset):
    words = [*demo, f"strategy={preset}", "augment=light", "head=mlp", "head.dropout=0.3", "trainer.epochs=4"]
    first = carried_out(tmp_path / "1", *words)
    carried_out(tmp_path / "other", *demo, "strategy=full", "seed=5", "trainer.deterministic=false")
    torch.rand(1234)
    np.random.rand(99)
    torch.manual_seed(99)
    assert_same(first, carried_out(tmp_path / "2", *words))


def test_threads_are_a_runs_own():
    with cpu_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1
    with pytest.raises(ZeroDivisionError), cpu_threads(2):
        _ = 1 / 0
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("net", ["vit", "resnet"])
def test_larger_networks_are_the_same_to_the_last_bit(tmp_path, net):
    words = [
        *from_weights(tmp_path, net),
        "strategy=gradual",
        "strategy.thaw.epochs=1",
        "augment=light",
        "trainer.epochs=3",
    ]
    first = carried_out(tmp_path / "1", *words)
    torch.rand(7)
    assert_same(first, carried_out(tmp_path / "2", *words))


def test_another_seed_is_another_run(tmp_path, demo):
    one, two = (carried_out(tmp_path / s, *demo, "strategy=full", f"seed={s}") for s in "01")
    assert not same_bits(one.weights, two.weights)


@pytest.mark.slow
def test_workers_change_nothing(tmp_path, demo):
    words = [*demo, "strategy=full", "augment=standard", "trainer.epochs=2"]
    assert_same(carried_out(tmp_path / "0", *words), carried_out(tmp_path / "2", *words, "trainer.workers=2"))


@pytest.mark.parametrize("net", ["resnet", "demo"])
@pytest.mark.parametrize(("norm", "drifts"), [("source", False), ("adapt", True)])
def test_frozen_stages_keep_their_bits_and_norms_adapt_only_if_told(tmp_path, net, norm, drifts):
    words = from_weights(tmp_path, net)
    source = prepare(config_of(*words, "strategy=freeze")).built.network.state_dict()
    left = carried_out(tmp_path / "run", *words, "strategy=freeze", f"strategy.norm={norm}", "optimizer.lr=0.1")
    body = [name for name in source if not name.startswith(("fc.", "head."))]
    moved = {name for name in body if not torch.equal(source[name], left.weights[name])}
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in moved)
    assert bool(moved) == drifts
    assert left.record.status == "finished"


@pytest.mark.parametrize("part", ["set_modes", "set_trainable"])
def test_the_audit_fails_a_run_whose_freezing_was_sabotaged(tmp_path, monkeypatch, part):
    monkeypatch.setattr(module, part, lambda *_: None)
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "resnet"), "strategy=freeze")
    assert left.record.status == "failed"
    assert "the audit found a broken promise: " in left.record.reason
    assert "layer1: frozen, but" in left.record.reason
    assert not left.record.audit["passed"]


def test_the_best_epochs_weights_are_tested_not_the_last(tmp_path, demo, monkeypatch):
    """Validation is made to worsen after the second epoch: the network forgets all, and is tested as it was before."""
    states = []
    end = TransferModule.on_validation_epoch_end

    def planted(self):
        states.append({n: t.clone() for n, t in self.network.state_dict().items()})
        if self.current_epoch == 2:
            with torch.no_grad():
                self.network.head.weight.zero_()
                self.network.head.bias.copy_(torch.eye(10)[3])
        end(self)
        if self.current_epoch >= 2:
            self.trainer.callback_metrics["val/accuracy"].zero_()

    monkeypatch.setattr(TransferModule, "on_validation_epoch_end", planted)
    left = carried_out(tmp_path / "run", *demo, "strategy=full", "trainer.epochs=5", "schedule=constant")
    accuracies = [row["val/accuracy"] for row in left.curves]
    best = int(np.argmax(accuracies))
    assert left.record.best_epoch == best < 4
    assert same_bits(left.weights, states[best])
    assert left.record.metrics["val/accuracy"]["value"] == accuracies[best]
    network = prepare(config_of(*demo, "strategy=full")).built.network
    network.load_state_dict(left.weights)
    assert not list(left.folder.glob("*.ckpt"))


def test_the_test_set_is_seen_once_and_after_training(tmp_path, demo, monkeypatch):
    seen = []
    for name in ("training_step", "test_step"):
        step = getattr(TransferModule, name)

        def watched(self, batch, index, step=step, name=name):
            seen.extend((name, int(i)) for i in batch[2])
            return step(self, batch, index)

        monkeypatch.setattr(TransferModule, name, watched)
    carried_out(tmp_path / "run", *demo, "strategy=freeze")
    tested = [index for name, index in seen if name == "test_step"]
    assert sorted(tested) == list(range(62))
    assert [name for name, _ in seen].index("test_step") == sum(name == "training_step" for name, _ in seen)


def test_what_a_run_leaves_agrees_with_itself(tmp_path, demo):
    left = carried_out(tmp_path / "run", *demo, "strategy=full", "trainer.epochs=3")
    record, rows = left.record, left.predictions
    true, predicted = ([row[key] for row in rows] for key in ("label", "predicted"))
    assert len({row["name"] for row in rows}) == len(rows) == record.data["test"] == 62
    assert confusion_matrix(true, predicted, labels=record.data["classes"]).tolist() == record.confusion
    share = np.mean([t == p for t, p in zip(true, predicted, strict=True)])
    assert record.metrics["test/accuracy"] == {"value": pytest.approx(share), "n": 62}
    for name, found in record.per_class.items():
        own = [p == name for t, p in zip(true, predicted, strict=True) if t == name]
        assert found == {"accuracy": pytest.approx(np.mean(own)), "n": len(own)}
    splits = prepare(config_of(*demo, "strategy=full")).splits
    assert [row["name"] for row in rows] == list(splits.test.names)
    assert [row["label"] for row in rows] == [splits.classes[label] for label in splits.test.labels]
    assert record.costs["images"] == 3 * record.data["train"] == 3 * 40
    seconds = record.costs["seconds"]
    assert sum(seconds[phase] for phase in ("data", "train", "validate", "test")) <= seconds["total"]
    assert all(seconds[phase] > 0 for phase in ("train", "validate", "test", "total"))
    assert [row["epoch"] for row in left.curves] == [0, 1, 2]
    assert [row["step"] for row in left.curves] == [2, 4, 6]


def test_predictions_and_losses_are_those_of_the_weights_that_are_left(tmp_path, demo):
    left = carried_out(tmp_path / "run", *demo, "strategy=full", "trainer.channels_last=false")
    prepared = prepare(config_of(*demo, "strategy=full"))
    network, pre = prepared.built.network, prepared.built.preprocessing
    network.load_state_dict(left.weights)
    for name, images in (("val", prepared.splits.val), ("test", prepared.splits.test)):
        shown = pre.normalise(torch.stack([pre.fit(images.load(i)) for i in range(len(images))]))
        with torch.no_grad():
            logits = network.eval()(shown)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(images.labels)).item()
        assert left.record.metrics[f"{name}/loss"]["value"] == pytest.approx(loss, rel=1e-5)
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    for row, c, p in zip(left.predictions, confidence.tolist(), predicted.tolist(), strict=True):
        assert row["predicted"] == prepared.splits.classes[p]
        assert row["confidence"] == pytest.approx(c, abs=1e-5)


def test_a_gradual_runs_arithmetic_is_the_sum_over_its_epochs(tmp_path, demo):
    left = carried_out(tmp_path / "run", *demo, "strategy=gradual", "strategy.thaw.epochs=2", "trainer.epochs=5")
    network = prepare(config_of(*demo, "strategy=full")).built.network
    names = [name for name, _ in network.named_parameters()]
    by_hand, forward = 0, 0
    for stages in (["head"], ["head"], ["head", "fc2"], ["head", "fc2"], ["head", "fc2", "fc1"]):
        trained = {name for name in names if name.split(".")[0] in stages}
        count = costs.count_flops(network, (3, 32, 32), trained)
        by_hand += 40 * (count.forward + count.backward)
        forward = count.forward
    assert left.record.costs["flops"] == {"forward_per_image": forward, "train": by_hand, "train_uncached": by_hand}
    trained = sum(p.numel() for n, p in network.named_parameters() if n.split(".")[0] in ("head", "fc2", "fc1"))
    assert left.record.costs["parameters"]["trained"] == trained
    assert [(row["trains/fc2"], row["trains/fc1"]) for row in left.curves] == [(0, 0), (0, 0), (1, 0), (1, 0), (1, 1)]


def last_weights(monkeypatch):
    """The weights after the last step, which a run does not keep where an earlier epoch was better."""
    found = {}
    end = TransferModule.on_train_end

    def watched(self):
        found.clear()
        found.update({n: t.clone() for n, t in self.network.state_dict().items()})
        end(self)

    monkeypatch.setattr(TransferModule, "on_train_end", watched)
    return found


SGD = ["optimizer=sgd", "optimizer.lr=0.05", "schedule=constant", "strategy=full", "strategy.source_rate=1"]


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path, monkeypatch):
    words = [*from_weights(tmp_path, "vit"), *SGD, "dataset.images=300", "dataset.per_class=16"]
    words += ["trainer.batch_size=32", "trainer.epochs=2"]
    found, ends = last_weights(monkeypatch), []
    for accumulate in (1, 2):
        left = carried_out(tmp_path / str(accumulate), *words, f"trainer.accumulate={accumulate}")
        assert left.curves[-1]["step"] == 10
        ends.append(dict(found))
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, rtol=1e-4, atol=1e-5)


def test_gradients_are_clipped_to_their_norm(tmp_path, demo, monkeypatch):
    norms = []

    def watched(self, optimizer):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(torch.cat([g.flatten() for g in grads]).norm().item())

    monkeypatch.setattr(TransferModule, "on_before_optimizer_step", watched)
    carried_out(tmp_path / "free", *demo, *SGD)
    free, norms[:] = list(norms), []
    step = torch.optim.SGD.step

    def clipped(self, closure=None):
        def watched_closure():
            loss = closure()
            grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
            norms.append(torch.cat([g.flatten() for g in grads]).norm().item())
            return loss

        return step(self, watched_closure)

    monkeypatch.undo()
    monkeypatch.setattr(torch.optim.SGD, "step", clipped)
    left = carried_out(tmp_path / "clipped", *demo, *SGD, "trainer.clip_norm=0.05")
    assert left.record.status == "finished"
    assert max(free) > 0.06
    assert all(norm == pytest.approx(0.05, rel=1e-3) for norm in norms)


def test_label_smoothing_is_torchs(tmp_path, demo, monkeypatch):
    losses = []
    step = TransferModule.training_step

    def watched(self, batch, index):
        loss = step(self, batch, index)
        logits = self(batch[0]).detach()
        losses.append((loss.item(), torch.nn.CrossEntropyLoss(label_smoothing=0.3)(logits, batch[1]).item()))
        return loss

    monkeypatch.setattr(TransferModule, "training_step", watched)
    left = carried_out(tmp_path / "run", *demo, "strategy=freeze", "loss.label_smoothing=0.3")
    assert losses
    for found, expected in losses:
        assert found == pytest.approx(expected, rel=1e-5)
    mean = np.mean([found for found, _ in losses[-2:]])
    assert left.curves[-1]["train/loss"] == pytest.approx(mean, rel=1e-5)


def test_early_stopping_ends_a_run_that_gains_nothing(tmp_path, demo):
    # A rate of next to nothing: validation never changes.
    words = [*demo, "strategy=freeze", "optimizer.lr=1e-7", "trainer.epochs=9", "trainer.early_stopping=2"]
    left = carried_out(tmp_path / "run", *words)
    assert len(left.curves) == 3
    assert left.record.status == "finished"
    assert left.record.best_epoch == 0
    assert left.record.costs["images"] == 3 * 40


@pytest.mark.parametrize("net", ["resnet", "vit", "convnext", "demo"])
@pytest.mark.parametrize(
    "words", [["trainer.precision=bf16"], ["trainer.channels_last=false"]], ids=["bf16", "contiguous"]
)
def test_precision_and_memory_format_leave_the_promises_kept(tmp_path, net, words):
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, net), "strategy=partial", *words)
    assert left.record.status == "finished", left.record.reason
    assert left.record.audit["passed"]


def test_the_memory_format_changes_nothing_but_rounding(tmp_path, demo):
    one, two = (
        carried_out(tmp_path / word, *demo, *SGD, "trainer.epochs=1", f"trainer.channels_last={word}")
        for word in ("true", "false")
    )
    for name, tensor in one.weights.items():
        torch.testing.assert_close(two.weights[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_plateau_schedule_thaws_what_the_record_says_it_did(tmp_path, demo):
    words = ["strategy=gradual", "strategy.thaw={when: plateau, patience: 1}", "trainer.epochs=6", "optimizer.lr=1e-9"]
    left = carried_out(tmp_path / "run", *demo, *words)
    assert left.record.status == "finished", left.record.reason
    # Nothing is gained: from the third epoch on, a stage thaws with each.
    assert [row["trains/fc2"] for row in left.curves] == [0, 0, 1, 1, 1, 1]
    assert [row["trains/fc1"] for row in left.curves] == [0, 0, 0, 1, 1, 1]


def test_a_diverging_run_fails_with_its_reason(tmp_path, demo):
    left = carried_out(tmp_path / "run", *demo, *SGD[:1], "optimizer.lr=1e30", "schedule=constant", "strategy=full")
    assert left.record.status == "diverged"
    assert "training diverged: the loss is nan in epoch" in left.record.reason
    assert "Lower optimizer.lr" in left.record.reason
