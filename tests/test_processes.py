"""Runs over two processes on the CPU. Each costs the start of two Pythons, so all but one are slow tests."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import NETS, Left, carried_out, config_of, from_weights, replaced, same_bits, with_several_labels

from thawlab import prepare, processes, run
from thawlab.audit import digests
from thawlab.errors import UserError
from thawlab.freezing import set_trainable
from thawlab.module import TransferModule
from thawlab.processes import launched_here, spread
from thawlab.record import Record
from thawlab.saving import Saving
from thawlab.stopping import Stopped

ROOT = Path(__file__).parents[1]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.workers=0", "trainer.precision=fp32",
       "trainer.deterministic=true"]  # fmt: skip
SGD = ["optimizer=sgd", "optimizer.lr=0.05", "schedule=constant"]
GRADUAL = [
    "strategy=gradual",
    "strategy.thaw.epochs=1",
    "strategy.layer_decay=1",
    "strategy.source_rate=1",
    "trainer.epochs=4",
]


def test_one_process_needs_no_launch(monkeypatch):
    for name in processes._LAUNCHED_BY:
        monkeypatch.delenv(name, raising=False)
    assert not launched_here({"devices": 1, "nodes": 1})
    assert launched_here({"devices": 2, "nodes": 1})
    with pytest.raises(UserError, match=r"trainer\.nodes is 2.*torchrun or srun"):
        launched_here({"devices": 1, "nodes": 2})
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not launched_here({"devices": 2, "nodes": 1})


def watched_run(config, folder):
    """A run that writes down, in each process, a digest of every parameter after each epoch."""
    end = TransferModule.on_train_epoch_end

    def watched(self):
        end(self)
        names = dict(self.network.named_parameters())
        found = {name: digest for name, digest in digests(self.network).items() if name in names}
        (folder / f"epoch{self.current_epoch}-rank{self.global_rank}.json").write_text(json.dumps(found))

    with replaced(TransferModule, "on_train_epoch_end", watched):
        return run.run(config, folder)


def frozen_before_wrapping(config, folder):
    """The sabotage: what does not train at first is frozen before DDP wraps the model."""

    def setup(self, stage):
        set_trainable(self.network, self.stages, self.plan.training(0))

    with replaced(TransferModule, "setup", setup):
        return watched_run(config, folder)


def ranks_agree(folder, epoch):
    first, second = (json.loads((folder / f"epoch{epoch}-rank{rank}.json").read_text()) for rank in (0, 1))
    return first == second


def spread_run(how, folder, *words):
    folder.mkdir(parents=True, exist_ok=True)
    return Left(spread(how, config_of(*words), folder), folder)


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_stay_together_through_every_thaw(tmp_path):
    words = [*from_weights(tmp_path, "vit"), *SGD, *GRADUAL]
    one = carried_out(tmp_path / "one", *words)
    two = spread_run(watched_run, tmp_path / "two", *words, *TWO)
    assert two.record.status == "finished", two.record.reason
    assert [sum(row[c] for c in row if c.startswith("trains/")) for row in two.curves] == [1, 2, 3, 4]
    assert all(ranks_agree(two.folder, epoch) for epoch in range(4))
    assert two.record.best_epoch == one.record.best_epoch
    for name, tensor in one.weights.items():
        torch.testing.assert_close(two.weights[name], tensor, rtol=1e-4, atol=1e-5)
    for mine, other in zip(one.curves, two.curves, strict=True):
        assert mine == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert [row["name"] for row in two.predictions] == [row["name"] for row in one.predictions]
    confidences = ([row["confidence"] for row in left.predictions] for left in (one, two))
    assert next(confidences) == pytest.approx(next(confidences), abs=1e-4)
    assert two.record.confusion == one.record.confusion
    assert two.record.costs["images"] == one.record.costs["images"]
    assert two.record.costs["flops"] == one.record.costs["flops"]


@pytest.mark.slow
def test_two_processes_read_what_one_of_them_kept(tmp_path):
    words = [*from_weights(tmp_path, "vit"), *SGD, *GRADUAL, "dataset=digits"]  # made images would be kept as well
    one = carried_out(tmp_path / "one", *words, "cache=off")
    two = spread_run(watched_run, tmp_path / "two", *words, *TWO, "cache=on", f"cache.folder={tmp_path / 'store'}")
    assert two.record.status == "finished", two.record.reason
    assert all(ranks_agree(two.folder, epoch) for epoch in range(4))
    for name, tensor in one.weights.items():
        torch.testing.assert_close(two.weights[name], tensor, rtol=1e-4, atol=1e-5)
    used = [choice for choice in two.record.costs["cache"] if choice["split"] == "train"]
    assert [choice["reason"] for choice in used] == [None] * len(used)
    read = [choice for choice in two.record.costs["cache"] if choice["reason"] is None]
    assert [choice["built"] for choice in read] == [choice["images"] for choice in read], "whichever process built them"
    # Each row was computed by one process, once: a segment for each of the stretches, and for each of the splits.
    segments = [path for path in (tmp_path / "store").glob("*/*") if path.is_dir()]
    assert len(segments) == len(read)


@pytest.mark.slow
def test_freezing_before_wrapping_would_be_noticed(tmp_path):
    words = [*from_weights(tmp_path, "vit"), *SGD, *GRADUAL]
    left = spread_run(frozen_before_wrapping, tmp_path / "run", *words, *TWO)
    assert ranks_agree(left.folder, 0)
    assert not ranks_agree(left.folder, 2)


@pytest.mark.slow
def test_batch_norms_and_an_odd_number_of_images(tmp_path):
    """49 training images in batches of 16 or 17, 497 test images: neither is even."""
    words = [*from_weights(tmp_path, "resnet"), "strategy=full"]
    words += ["dataset=digits", "dataset.per_class=null", "dataset.share=0.042"]
    left = spread_run(watched_run, tmp_path / "run", *words, *TWO)
    assert left.record.status == "finished", left.record.reason
    assert left.record.data["train"] % 2 == 1
    assert left.record.costs["images"] <= 2 * left.record.data["train"]
    assert ranks_agree(left.folder, 1)
    assert len({row["name"] for row in left.predictions}) == len(left.predictions) == 497


def of_several_labels(config, folder):
    load = prepare.load_splits
    with replaced(prepare, "load_splits", lambda spec, seed: with_several_labels(load(spec, seed))):
        return watched_run(config, folder)


@pytest.mark.slow
def test_several_labels_and_a_moving_average_are_the_same_over_two_processes(tmp_path):
    words = [*from_weights(tmp_path, "vit"), *SGD, "strategy=full", "trainer.ema_decay=0.8"]
    one = Left(of_several_labels(config_of(*words), tmp_path / "one"), tmp_path / "one")
    two = spread_run(of_several_labels, tmp_path / "two", *words, *TWO)
    assert two.record.status == "finished", two.record.reason
    assert ranks_agree(two.folder, 1)
    for name, tensor in one.weights.items():
        torch.testing.assert_close(two.weights[name], tensor, rtol=1e-4, atol=1e-5)
    assert [row["label"] for row in two.predictions] == [row["label"] for row in one.predictions]
    for name, found in one.record.metrics.items():
        assert two.record.metrics[name] == {"value": pytest.approx(found["value"], abs=2e-3), "n": found["n"]}
    assert two.record.audit == one.record.audit


def fails_on_the_second(config, folder):
    def fail(self, *_):
        if self.global_rank == 1 and self.current_epoch == 1:
            raise RuntimeError("planted on the second process")

    with replaced(TransferModule, "on_train_batch_start", fail):
        return run.run(config, folder)


def dies_on_the_first(config, folder):
    def die(self, *_):
        if self.global_rank == 0:
            os._exit(7)

    with replaced(TransferModule, "on_train_batch_start", die):
        return run.run(config, folder)


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("how", "says"),
    [
        pytest.param(fails_on_the_second, "process 1 of the run failed: RuntimeError: planted", id="raised"),
        pytest.param(dies_on_the_first, "process 0 of the run failed: ", id="died without a word"),
    ],
)
def test_a_failing_process_ends_the_run_with_a_recorded_failure(tmp_path, how, says):
    left = spread_run(how, tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=full", *TWO)
    assert left.record.status == "failed"
    assert says in left.record.reason
    assert left.record.ended


def refused(*_):
    raise UserError("the images are gone.")


def refuses(config, folder):
    with replaced(run, "prepared_for", refused):
        return run.run(config, folder)


FINISHED = Record("run", "finished", {}, reason=None, best_epoch=3)


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [None, FINISHED], ids=["the first time", "again, finished earlier"])
def test_a_refusal_is_raised_and_costs_no_earlier_result(tmp_path, earlier):
    if earlier is not None:
        earlier.write(tmp_path / "run")
    with pytest.raises(UserError, match="the images are gone"):
        spread_run(refuses, tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=full", *TWO)
    found = Record.read(tmp_path / "run")
    if earlier is None:
        assert (found.status, found.reason) == ("refused", "the images are gone.")
    else:
        assert found == earlier


@pytest.mark.parametrize("earlier", [None, FINISHED], ids=["the first time", "again, finished earlier"])
def test_a_refusal_before_any_process_starts_costs_no_earlier_result(tmp_path, monkeypatch, earlier):
    monkeypatch.setattr(run, "prepare", refused)
    for name in processes._LAUNCHED_BY:
        monkeypatch.delenv(name, raising=False)
    if earlier is not None:
        earlier.write(tmp_path / "run")
    config = config_of("backbone.name=thawlab_demo", *TWO, "trainer.batch_size=auto")
    with pytest.raises(UserError, match="the images are gone"):
        run.run(config, tmp_path / "run")
    found = Record.read(tmp_path / "run")
    assert found.status == "refused" if earlier is None else found == earlier


def test_a_process_that_dies_at_once_leaves_nothing_of_an_earlier_result(tmp_path):
    class Died:
        message = "killed"

    FINISHED.write(tmp_path)
    failed = processes._failed(tmp_path, {"seed": 1}, FINISHED, 0, Died)
    assert Record.read(tmp_path) == failed
    assert (failed.status, failed.reason) == ("failed", "process 0 of the run failed: killed")
    assert (failed.config, failed.best_epoch) == ({"seed": 1}, None)


def test_fewer_images_than_processes_are_found_before_training():
    class Some:
        def __init__(self, **values):
            self.__dict__.update(values)

    trainer, splits = Some(devices=3, nodes=2), Some(val=range(6), test=range(5))
    with pytest.raises(UserError, match=r"trainer\.devices x trainer\.nodes is 6, but there are only 5 test images"):
        prepare._check_evaluation(trainer, splits)


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [False, True], ids=["one run", "a sweep"])
def test_the_command_line_starts_the_processes(tmp_path, sweep):
    small = ["backbone=timm", "backbone.size=32", "dataset.per_class=4", "trainer.epochs=2", "trainer.batch_size=20"]
    words = [*from_weights(tmp_path, "demo"), *small, "logger.progress=off", *TWO]
    what = ["-m", "strategy=freeze,full", "sweep=two"] if sweep else ["strategy=full", "sweep=two"]
    command = [sys.executable, str(ROOT / "train.py"), *what[:sweep], *words, *what[sweep:]]
    environment = {k: v for k, v in os.environ.items() if k not in processes._LAUNCHED_BY} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    records = sorted((tmp_path / "outputs" / "two").glob("*/result.json"))
    assert len(records) == (2 if sweep else 1)
    for path in records:
        record = json.loads(path.read_text())
        assert record["status"] == "finished"
        assert record["config"]["trainer"]["devices"] == 2
        assert sum(map(sum, record["confusion"])) == record["data"]["test"] == 497
        assert list(path.parent.glob("events.out.tfevents.*"))
    assert NETS["demo"] in done.stdout or "demo" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [False, True], ids=["one run", "a sweep"])
def test_torchrun_starts_the_processes(tmp_path, sweep):
    small = ["backbone=timm", "backbone.size=32", "dataset.per_class=4", "trainer.epochs=2", "trainer.batch_size=20"]
    what = ["-m", "strategy=freeze,full"] if sweep else ["strategy=full"]
    words = [*what, "sweep=two", *from_weights(tmp_path, "demo"), *small, "logger.progress=off", *TWO]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command = [sys.executable, *launch, "--master-port", "29653", str(ROOT / "train.py"), *words]
    environment = {k: v for k, v in os.environ.items() if k not in processes._LAUNCHED_BY} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    records = sorted((tmp_path / "outputs" / "two").glob("*/result.json"))
    assert [json.loads(path.read_text())["status"] for path in records] == ["finished"] * (2 if sweep else 1)
    assert done.stdout.count("audit passed") == len(records), "one process speaks"
    assert done.stdout.count("Records:") == sweep


def killed_after_saving(config, folder):
    """Die without a word in mid-epoch, all processes at once."""
    save = Saving._save

    def saving(self, trainer, module):
        save(self, trainer, module)
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    with replaced(Saving, "_save", saving):
        return run.run(config, folder)


@pytest.mark.slow
def test_two_processes_that_were_killed_go_on_to_the_same_bits(tmp_path):
    words = [*from_weights(tmp_path, "resnet"), *TWO, *GRADUAL, "checkpoint.steps=1", "cache=off"]
    reference = spread_run(run.run, tmp_path / "reference", *words)
    assert reference.record.status == "finished", reference.record.reason
    dead = spread_run(killed_after_saving, tmp_path / "run", *words)
    assert dead.record.status == "failed"
    left = spread_run(run.run, tmp_path / "run", *words)
    assert left.record.status == "finished", left.record.reason
    assert left.record.costs["resumed"] == [{"epoch": 1, "step": 3}]
    assert same_bits(left.weights, reference.weights)
    assert left.curves == reference.curves
    assert left.predictions == reference.predictions


def asked_to_end(config, folder):
    """One process alone is asked to end: both save in the same step."""
    loss = TransferModule.training_step

    def step(self, batch, index):
        if self.global_step == 3 and self.global_rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, batch, index)

    with replaced(TransferModule, "training_step", step):
        return run.run(config, folder)


@pytest.mark.slow
def test_one_process_that_is_asked_to_end_ends_both_after_saving(tmp_path):
    words = [*from_weights(tmp_path, "resnet"), *TWO, "strategy=full", "trainer.epochs=4", "cache=off"]
    reference = spread_run(run.run, tmp_path / "reference", *words)
    with pytest.raises(Stopped):
        spread_run(asked_to_end, tmp_path / "run", *words)
    assert Record.read(tmp_path / "run").status == "interrupted"
    left = spread_run(run.run, tmp_path / "run", *words)
    assert left.record.costs["resumed"] == [{"epoch": 2, "step": 4}]
    assert same_bits(left.weights, reference.weights)
