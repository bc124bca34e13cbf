"""A run that is cut short and started again ends as if nothing had happened."""

import math
import os
import re
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import IMAGES, Left, carried_out, config_of, from_weights, random_weights, same_bits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from thawlab import beforehand, checkpoints, prepare, saving
from thawlab.batch_finder import Found
from thawlab.data.order import EvenBatches
from thawlab.errors import UserError
from thawlab.module import TransferModule
from thawlab.prepare import CheckpointSpec
from thawlab.record import Record
from thawlab.run import run
from thawlab.saving import Journey, Saving, differences
from thawlab.stopping import Stopped
from thawlab.trainer import TrainerSpec

SMALL = (
    *IMAGES,
    "dataset.per_class=4",
    "trainer.epochs=3",
    "trainer.batch_size=10",
    "logger=none",
    "logger.progress=off",
    "checkpoint.steps=1",
    "backbone=timm",
    "backbone.size=32",
)
SAVED = 4 * 3  # times: after each optimizer step


class Killed(BaseException):
    """What ends a run without a word, as SIGKILL does."""


@pytest.fixture
def kill_after(monkeypatch):
    """Let runs die right after their n-th save from now on; None: let them live."""
    save, count = Saving._save, {"left": None}

    def saving(self, trainer, module):
        save(self, trainer, module)
        if count["left"] is not None:
            count["left"] -= 1
            if count["left"] == 0:
                raise Killed

    def after(n):
        count["left"] = n

    monkeypatch.setattr(Saving, "_save", saving)
    return after


def what_came_out(left):
    """Everything that must not depend on whether a run was cut short."""
    record = left.record
    costs = {name: record.costs[name] for name in ("images", "parameters")}
    parts = (record.metrics, record.plan, record.data, record.per_class, record.confusion, record.best_epoch)
    return [*parts, record.audit, costs, record.config, left.curves, left.predictions]


def assert_the_same(left, reference):
    assert left.record.status == "finished", left.record.reason
    assert same_bits(left.weights, reference.weights)
    assert what_came_out(left) == what_came_out(reference)


CASES = {
    "freeze": ("resnet", ["strategy=freeze", "cache=off"]),
    "freeze, cached": ("resnet", ["strategy=freeze", "cache=on"]),
    "gradual": ("resnet", ["strategy=gradual", "strategy.thaw.epochs=1", "cache=off"]),
    "gradual, cached, ema": ("resnet", ["strategy=gradual", "cache=on", "trainer.ema_decay=0.9"]),
    "plateau thaw and plateau schedule": (
        "resnet",
        ["strategy=gradual", "strategy.thaw.when=plateau", "strategy.thaw.patience=1", "schedule=plateau",
         "schedule.patience=0", "cache=off"],
    ),
    "one_cycle, mixup, dropout": (
        "vit", ["strategy=full", "schedule=one_cycle", "augment=mixup", "head.dropout=0.5", "trainer.clip_norm=0.5"]
    ),
    "augmented, accumulated, balanced": (
        "convnext",
        ["strategy=partial", "augment=light", "trainer.accumulate=2", "trainer.batch_size=20", "trainer.epochs=4",
         "trainer.sampling=balanced", "optimizer=sgd"],
    ),
    "early stopping, adapting norms": (
        "resnet", ["strategy=partial", "strategy.norm=adapt", "trainer.early_stopping=1", "trainer.epochs=8"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_cut_short_ends_as_if_it_had_not_been(case, tmp_path, kill_after):
    net, words = CASES[case]
    words = [*from_weights(tmp_path, net), *words, f"cache.folder={tmp_path / 'cache'}"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    assert not checkpoints.exist(reference.folder)
    for n in (3, 4):  # in mid-epoch and between two; chaos/ kills at any moment, and every case at that
        folder = tmp_path / str(n)
        kill_after(n)
        with pytest.raises(Killed):
            carried_out(folder, *words, small=SMALL)
        assert Record.read(folder).status == "running"
        kill_after(None)
        left = carried_out(folder, *words, small=SMALL)
        assert left.record.costs["resumed"], "it began anew"
        assert_the_same(left, reference)


def test_a_run_that_is_cut_short_at_every_save_still_ends(tmp_path, kill_after):
    words = [*from_weights(tmp_path, "demo"), "strategy=gradual", "cache=off", "trainer.ema_decay=0.8"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    record, deaths = None, 0
    while record is None:
        kill_after(1)
        try:
            record = run(config_of(*words, small=SMALL), tmp_path / "run")
        except Killed:
            deaths += 1
    assert deaths == SAVED
    left = Left(record, tmp_path / "run")
    assert_the_same(left, reference)
    steps = [position["step"] for position in record.costs["resumed"]]
    assert steps == list(range(1, SAVED + 1))


def test_what_was_decided_of_the_cache_outlasts_two_cuts_before_a_split_begins_again(tmp_path, kill_after):
    words = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "cache=on", f"cache.folder={tmp_path / 'cache'}"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    cut_at_step(4, tmp_path / "run", words, kill_after)  # between two epochs
    cut_at_step(1, tmp_path / "run", words, kill_after)  # one step on: nothing was validated in between
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert [position["step"] for position in left.record.costs["resumed"]] == [4, 5]
    assert decisions(left) == decisions(reference)
    assert_the_same(left, reference)


def decisions(left):
    return [(choice["split"], choice["epoch"], choice["reason"]) for choice in left.record.costs["cache"]]


def test_workers_read_on_where_they_were(tmp_path, kill_after):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "augment=light", "trainer.epochs=2", "cache=off"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    kill_after(2)
    with pytest.raises(Killed):
        carried_out(tmp_path / "run", *words, "trainer.workers=2", small=SMALL)
    kill_after(None)
    left = carried_out(tmp_path / "run", *words, "trainer.workers=2", small=SMALL)
    assert left.record.costs["resumed"] == [{"epoch": 0, "step": 2}]
    assert same_bits(left.weights, reference.weights)
    assert left.curves == reference.curves


def test_after_damage_the_checkpoint_before_is_gone_on_from(tmp_path, kill_after, capsys):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    kill_after(6)
    with pytest.raises(Killed):
        carried_out(tmp_path / "run", *words, small=SMALL)
    kill_after(None)
    newest = tmp_path / "run" / "checkpoints" / "step-000000006.ckpt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert capsys.readouterr().out.count("is damaged") == 1
    assert left.record.costs["resumed"] == [{"epoch": 1, "step": 5}]
    assert_the_same(left, reference)


def cut_at_step(n, folder, words, kill_after):
    kill_after(n)
    with pytest.raises(Killed):
        carried_out(folder, *words, small=SMALL)
    kill_after(None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": {"lr": 0.01}}, "optimizer.lr was 0.003, and is 0.01"),
        ({"dataset": {"per_class": 5}}, "the images were others: 50 train (40 then), 21 val (21 then)"),
        ({"backbone": {"weights": "other.safetensors"}}, "the source's weights were others"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_with_the_difference(change, said, tmp_path, kill_after):
    words = [*from_weights(tmp_path, "resnet"), "strategy=partial", "cache=off"]
    cut_at_step(3, tmp_path / "run", words, kill_after)
    random_weights(tmp_path / "other.safetensors", "test_resnet", seed=8)
    config = config_of(*words, small=SMALL)
    for group, values in change.items():
        values = {key: str(tmp_path / value) if key == "weights" else value for key, value in values.items()}
        config = {**config, group: {**config[group], **values}}
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        run(config, tmp_path / "run")
    assert "rerun=true" in str(refused.value)
    assert Record.read(tmp_path / "run").status == "refused"
    assert checkpoints.exist(tmp_path / "run")
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert left.record.costs["resumed"] == [{"epoch": 0, "step": 3}]


def test_other_classes_are_named():
    about = {"config": {}, "classes": ["cat", "dog"], "fingerprint": "1", "constant": ""}
    now = {**about, "classes": ["dog", "emu", "fox"]}
    assert differences(about, now) == ["the classes were others (cat are gone, emu, fox are new)"]


def test_to_run_again_is_to_begin_anew(tmp_path, kill_after):
    words = [*from_weights(tmp_path, "demo"), "strategy=freeze", "cache=off"]
    cut_at_step(3, tmp_path / "run", words, kill_after)
    left = carried_out(tmp_path / "run", *words, "rerun=true", small=SMALL)
    assert left.record.status == "finished"
    assert left.record.costs["resumed"] == []


def test_what_no_epoch_changes_is_not_saved(tmp_path, kill_after):
    words = [*from_weights(tmp_path, "resnet"), "strategy=freeze", "trainer.ema_decay=0.9", "cache=off"]
    cut_at_step(5, tmp_path / "run", words, kill_after)
    state = checkpoints.newest(tmp_path / "run").state
    assert set(state["state_dict"]) == {"network.fc.weight", "network.fc.bias"}
    whole = (tmp_path / "test_resnet.safetensors").stat().st_size
    (_, newest) = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert newest.stat().st_size < whole / 10


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


def of_the_source_in(folder, source):
    """Names of the source's weights whose bits stand anywhere in the newest checkpoint."""
    saved = {(tuple(t.shape), t.contiguous().numpy().tobytes()) for t in tensors_in(checkpoints.newest(folder).state)}
    weights = {name: t for name, t in load_file(source).items() if t.ndim > 1}
    return {name for name, t in weights.items() if (tuple(t.shape), t.numpy().tobytes()) in saved}


GRADUAL = ["strategy=gradual", "strategy.thaw.epochs=1", "cache=off"]
PLATEAU = ["strategy=gradual", "strategy.thaw.when=plateau", "strategy.thaw.patience=1", "optimizer.lr=1e-9",
           "strategy.source_rate=1", "cache=off"]  # fmt: skip
WRITTEN = ["strategy=full", "strategy.thaw.when=schedule", "+strategy.thaw.schedule={stem: 2, layer1: 2, layer2: 1}"]


@pytest.mark.parametrize(
    ("saves", "words", "frozen"),
    [
        pytest.param(3, GRADUAL, ("conv1", "layer"), id="gradual, in the first epoch"),
        pytest.param(4, GRADUAL, ("conv1", "layer"), id="gradual, before the thaw takes effect"),
        pytest.param(5, [*GRADUAL, "trainer.ema_decay=0.9"], ("conv1", "layer1", "layer2", "layer3"), id="averaged"),
        pytest.param(5, WRITTEN, ("conv1", "layer1"), id="a written schedule"),
        pytest.param(5, [*GRADUAL, "strategy.norm=adapt"], ("conv1", "layer1", "layer2", "layer3"), id="adapting"),
        pytest.param(3, PLATEAU, ("conv1", "layer"), id="plateaus to come"),
    ],
)
def test_what_has_not_thawed_yet_is_not_saved(saves, words, frozen, tmp_path, kill_after):
    words = [*from_weights(tmp_path, "resnet"), *words]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    cut_at_step(saves, tmp_path / "run", words, kill_after)
    found = of_the_source_in(tmp_path / "run", tmp_path / "test_resnet.safetensors")
    assert not [name for name in found if name.startswith(frozen)]
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert left.record.costs["resumed"]
    assert_the_same(left, reference)


def test_what_was_drawn_at_random_is_saved_before_it_thaws(tmp_path, kill_after):
    """Another machine may draw it otherwise in the last bit."""
    words = [*from_weights(tmp_path, "resnet"), *GRADUAL, "strategy.fresh=1"]
    cut_at_step(3, tmp_path / "run", words, kill_after)
    saved = checkpoints.newest(tmp_path / "run").state["state_dict"]
    assert any(name.startswith("network.layer4.") and saved[name].ndim > 1 for name in saved)
    assert not any(name.startswith("network.layer3.") and saved[name].ndim > 1 for name in saved)


@pytest.mark.parametrize(("stage", "goes_on"), [("layer1", False), ("layer4", True)])
def test_what_was_not_saved_must_still_be_the_source_s(stage, goes_on, tmp_path, kill_after):
    words = [*from_weights(tmp_path, "resnet"), *GRADUAL]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL) if goes_on else None
    cut_at_step(5, tmp_path / "run", words, kill_after)
    source = tmp_path / "test_resnet.safetensors"
    weights = load_file(source)
    name = next(name for name in weights if name.startswith(f"{stage}.") and weights[name].ndim > 1)
    weights[name].view(-1)[0] += 1
    save_file(weights, source)
    if not goes_on:
        with pytest.raises(UserError, match="the source's weights were others"):
            carried_out(tmp_path / "run", *words, small=SMALL)
        return
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert same_bits(left.weights, reference.weights)


def test_the_batch_size_that_was_found_stays(tmp_path, kill_after, monkeypatch):
    tried = []

    def found(config, images):
        tried.append(images)
        return Found(10, "so it is")

    monkeypatch.setattr(prepare, "batch_size", found)
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "trainer.batch_size=auto", "cache=off"]
    cut_at_step(3, tmp_path / "run", words, kill_after)
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert tried == [40]
    assert left.record.data["batch_size"] == 10
    assert "batch size 10: so it is" in left.record.data["notes"]


def memory_for(images, monkeypatch):
    """Let no more images into a forward pass of training."""
    forward = TransferModule._logits_in_training

    def limited(self, batch):
        if len(batch) > images:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, batch)

    monkeypatch.setattr(TransferModule, "_logits_in_training", limited)


def test_a_batch_that_memory_does_not_hold_is_halved_and_accumulated(tmp_path, monkeypatch):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off", "trainer.batch_size=20"]
    reference = carried_out(tmp_path / "reference", *words, "trainer.accumulate=4", small=SMALL)
    memory_for(5, monkeypatch)
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert left.record.status == "finished", left.record.reason
    assert same_bits(left.weights, reference.weights)
    assert left.curves == reference.curves
    assert "memory held no more than 5 images: 4 batches of 5 for each optimizer step" in left.record.data["notes"]


def test_halved_batches_go_on_from_the_last_step(tmp_path, monkeypatch, kill_after):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off"]
    cut_at_step(2, tmp_path / "run", words, kill_after)
    memory_for(5, monkeypatch)
    seen = []
    step = TransferModule.training_step

    def watched(self, batch, index):
        seen.append((self.current_epoch, index, batch[2].tolist()))
        return step(self, batch, index)

    monkeypatch.setattr(TransferModule, "training_step", watched)
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert left.record.status == "finished", left.record.reason
    order = EvenBatches(40, 5, 0, lambda: 0, accumulate=2)
    wanted = [(e, i, batch.tolist()) for e in range(3) for i, batch in enumerate(order.global_batches(e))]
    assert seen[0][:2] == (0, 2), "the batch of ten"
    assert seen[1:] == wanted[4:]
    assert left.record.costs["images"] == 3 * 40
    monkeypatch.undo()
    assert [row["step"] for row in left.curves] == [4, 8, 12]


def test_where_halving_does_not_help_the_record_says_so(tmp_path, monkeypatch):
    memory_for(1, monkeypatch)
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off"]
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert left.record.status == "out_of_memory"
    assert "out of memory. Take a smaller trainer.batch_size" in left.record.reason


def test_a_loss_that_is_no_number_ends_the_run_in_its_step(tmp_path, monkeypatch):
    steps = []
    loss = TransferModule.training_step

    def broken(self, batch, index):
        steps.append(self.global_step)
        if self.global_step == 5:
            with torch.no_grad():
                next(self.network.parameters()).fill_(math.nan)
        return loss(self, batch, index)

    monkeypatch.setattr(TransferModule, "training_step", broken)
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=full", "cache=off", small=SMALL)
    assert left.record.status == "diverged"
    assert left.record.reason.startswith("training diverged: the loss is nan in epoch 2.")
    assert steps[-1] == 5
    good = checkpoints.newest(left.folder).state
    assert good["global_step"] == 5
    assert all(torch.isfinite(t).all() for t in good["state_dict"].values() if t.is_floating_point())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch):
    """A step may lead to them from a finite loss: the next one would tell."""

    def broken(self, _):
        if self.global_step == 5:
            next(self.network.parameters()).grad.fill_(math.inf)

    monkeypatch.setattr(TransferModule, "on_before_optimizer_step", broken)
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=full", "cache=off", small=SMALL)
    assert left.record.status == "diverged"
    assert "holds numbers that are not finite in epoch 2" in left.record.reason
    newest = checkpoints.newest(left.folder).state
    assert all(torch.isfinite(t).all() for t in newest["state_dict"].values() if t.is_floating_point())


def test_a_run_that_is_asked_to_end_saves_first(tmp_path, monkeypatch):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off", "checkpoint.steps=null"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    loss = TransferModule.training_step

    def asked(self, batch, index):
        if self.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TransferModule, "training_step", asked)
        with pytest.raises(Stopped) as stopped:
            carried_out(tmp_path / "run", *words, small=SMALL)
    assert stopped.value.exit_status == 143
    record = Record.read(tmp_path / "run")
    assert (record.status, record.reason) == ("interrupted", "asked to end (SIGTERM)")
    assert record.ended
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert left.record.costs["resumed"] == [{"epoch": 1, "step": 6}]
    assert_the_same(left, reference)


def test_a_run_that_takes_too_long_is_saved_and_ended(tmp_path):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off", "checkpoint.steps=null"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    left = carried_out(tmp_path / "run", *words, "launch.timeout_minutes=1e-6", small=SMALL)
    assert left.record.status == "timeout"
    assert "launch.timeout_minutes=1e-06" in left.record.reason
    assert_the_same(carried_out(tmp_path / "run", *words, small=SMALL), reference)


def test_by_the_clock_saving_takes_a_twentieth_of_the_time_at_most():
    now = [0.0]
    saving = Saving(Journey(None, CheckpointSpec(minutes=1), clock=lambda: now[0]))
    trainer, module = SimpleNamespace(global_step=7), SimpleNamespace(shortcut=None)
    for passed, took, wanted in [(59, 0, False), (61, 0, True), (61, 10, False), (199, 10, False), (201, 10, True)]:
        now[0], saving._took = passed, took
        assert bool(saving._wanted(trainer, module)) == wanted
    never = Saving(Journey(None, CheckpointSpec(minutes=0), clock=lambda: now[0]))
    assert not never._wanted(trainer, module)


def scalars(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("steps", [3, 4, 6])
def test_tensorboard_shows_one_run(steps, tmp_path, kill_after):
    """What was drawn after the checkpoint is taken back."""
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off", "logger=tensorboard", "logger.images=0"]
    words += [f"checkpoint.steps={steps}"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    kill_after(1)
    with pytest.raises(Killed):
        carried_out(tmp_path / "run", *words, small=SMALL)
    kill_after(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", lambda *_: None)
        patch.setattr(TransferModule, "on_test_start", die)
        with pytest.raises(Killed):
            carried_out(tmp_path / "run", *words, small=SMALL)
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert left.record.costs["resumed"][0]["step"] == steps
    seen, wanted = scalars(left.folder), scalars(reference.folder)
    assert seen == wanted


def die(*_):
    raise Killed


@pytest.mark.parametrize("words", [["strategy=full"], ["strategy=gradual", "trainer.ema_decay=0.9"],
                                   ["strategy=full", "trainer.early_stopping=1", "trainer.epochs=9"],
                                   ["strategy=freeze", "cache=on"]])  # fmt: skip
def test_a_run_that_is_asked_to_end_after_its_last_step_has_trained_for_good(words, tmp_path, monkeypatch):
    words = [*from_weights(tmp_path, "resnet"), "checkpoint.steps=null", *words, f"cache.folder={tmp_path / 'cache'}"]
    reference = carried_out(tmp_path / "reference", *words, small=SMALL)
    last = reference.curves[-1]
    for hook in ("on_validation_start", "on_test_start"):
        ended_by_request_in(hook, last["epoch"], tmp_path / hook, words, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(TransferModule, "on_train_batch_start", die)
            left = carried_out(tmp_path / hook, *words, small=SMALL)
        assert left.record.costs["resumed"] == [{"epoch": last["epoch"] + 1, "step": last["step"]}], hook
        assert_the_same(left, reference)


def ended_by_request_in(hook, last, folder, words, monkeypatch):
    begin = getattr(TransferModule, hook)

    def asked(self):
        if hook == "on_test_start" or self.current_epoch == last:
            os.kill(os.getpid(), signal.SIGTERM)
        begin(self)

    with monkeypatch.context() as patch:
        patch.setattr(TransferModule, hook, asked)
        patch.setattr(saving, "LAST", 0.0)
        with pytest.raises(Stopped) as stopped:
            carried_out(folder, *words, small=SMALL)
    assert stopped.value.exit_status == 143


def test_a_run_goes_on_in_the_precision_that_it_began_in(tmp_path, kill_after, monkeypatch):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off", "trainer.precision=auto"]
    with monkeypatch.context() as patch:
        patch.setattr(TrainerSpec, "resolved", lambda self, _: replace(self, precision="bf16"))
        cut_at_step(3, tmp_path / "run", words, kill_after)
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    assert left.record.data["precision"] == "bf16"
    assert left.record.config["trainer"]["precision"] == "auto"


def test_other_versions_are_noted(tmp_path, kill_after, monkeypatch):
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off"]
    with monkeypatch.context() as patch:
        real = beforehand.versions_of
        patch.setattr(beforehand, "versions_of", lambda config: real(config) | {"torch": "1.0", "device": "abacus"})
        cut_at_step(3, tmp_path / "run", words, kill_after)
    left = carried_out(tmp_path / "run", *words, small=SMALL)
    (note,) = [note for note in left.record.data["notes"] if "other versions" in note]
    assert "torch 1.0, now" in note
    assert "device abacus, now cpu" in note
