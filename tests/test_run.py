import csv
import errno
import hashlib
import json
import os
import signal
import threading
from collections import Counter
from dataclasses import replace

import pytest
from photos import laid_out, named_pngs
from small_runs import carried_out, config_of, from_weights, replaced
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.data import get_worker_info

from thawlab import checkpoints
from thawlab import run as run_module
from thawlab.beforehand import source_digest
from thawlab.data.images import ArrayImages
from thawlab.errors import UserError
from thawlab.quiet import quieten
from thawlab.record import Record
from thawlab.run import audit_only, run


def test_a_finished_run_leaves_a_whole_record(tmp_path):
    words = [*from_weights(tmp_path, "demo"), "strategy=freeze"]
    left = carried_out(tmp_path / "run", *words)
    record = Record.read(left.folder)
    assert (record.status, record.reason) == ("finished", None)
    assert record.config == config_of(*words)
    assert [row["stage"] for row in record.plan] == ["conv1", "conv2", "conv3", "fc1", "fc2", "head"]
    assert record.started <= record.ended
    assert any("tensors loaded from the source" in line for line in record.data["source_notes"])
    assert record.audit["passed"]
    assert len(record.audit["checks"]) == 6
    assert {path.name for path in left.folder.iterdir()} == {
        "result.json",
        "curves.csv",
        "predictions.csv",
        "mistakes",
        "model.safetensors",
    }


def test_the_images_of_a_run_are_listed_with_their_digests(tmp_path):
    laid_out(tmp_path / "photos", named_pngs(10))
    words = ["dataset=folder", f"dataset.root={tmp_path / 'photos'}", "strategy=scratch", "trainer.batch_size=4"]
    quick = ["logger=none", "logger.progress=off", "trainer.epochs=1"]
    left = carried_out(tmp_path / "sweep" / "run", *words, small=quick)
    assert left.record.status == "finished", left.record.reason
    place = tmp_path / "sweep" / f"images-{left.record.data['fingerprint'][:12]}.csv"
    with place.open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert {row["name"] for row in listed} == set(named_pngs(10))
    for row in listed:
        assert row["sha256"] == hashlib.sha256((tmp_path / "photos" / row["name"]).read_bytes()).hexdigest()
        assert row["label"] == row["name"].partition("/")[0]
    counts = Counter(row["split"] for row in listed)
    assert counts == {split: left.record.data[split] for split in ("train", "val", "test")}


def test_what_the_user_can_mend_is_recorded_and_raised(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        carried_out(tmp_path / "run", "backbone.name=thawlab_demo", "backbone.weights=nowhere.pt", "strategy=freeze")
    record = Record.read(tmp_path / "run")
    assert record.status == "refused"
    assert "nowhere.pt" in record.reason


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_says_so(tmp_path, monkeypatch, error):
    def interrupted(*_):
        raise error

    monkeypatch.setattr(run_module, "train", interrupted)
    with pytest.raises(error):
        carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=freeze")
    record = Record.read(tmp_path / "run")
    assert (record.status, record.reason) == ("interrupted", "Ctrl-C (SIGINT)")
    assert record.ended


@pytest.mark.parametrize("error", [UserError("gone"), KeyboardInterrupt(), RuntimeError("no GPU")], ids=repr)
def test_a_run_again_that_never_trains_leaves_the_earlier_result(tmp_path, monkeypatch, error):
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=freeze", "trainer.epochs=1")
    before = {path.name: path.read_bytes() for path in left.folder.iterdir() if path.is_file()}
    assert Record.read(left.folder).status == "finished"

    def gone(*_):
        raise error

    monkeypatch.setattr(run_module, "prepared_for", gone)
    config = {**left.record.config, "rerun": True}
    if isinstance(error, RuntimeError):
        assert run(config, left.folder).reason == "RuntimeError: no GPU"
    else:
        with pytest.raises(type(error)):
            run(config, left.folder)
    assert {path.name: path.read_bytes() for path in left.folder.iterdir() if path.is_file()} == before


def test_any_other_error_is_recorded_with_its_traceback_in_the_log(tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(run_module, "train", broken)
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=freeze")
    assert (left.record.status, left.record.reason) == ("failed", "RuntimeError: planted")
    assert "Traceback" in caplog.text
    assert left.record.plan
    assert left.record.data["test"] == 62


def test_an_image_that_breaks_in_mid_training_is_a_failure_and_no_refusal(tmp_path, monkeypatch):
    def broken(*_):
        raise UserError("photos/cat.png cannot be decoded.")

    monkeypatch.setattr(run_module, "train", broken)
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=freeze")
    assert (left.record.status, left.record.reason) == ("failed", "photos/cat.png cannot be decoded.")
    assert left.record.plan
    assert Record.read(left.folder) == left.record


def test_the_record_says_how_many_threads_and_which_source(tmp_path, monkeypatch):
    def stop(*_):
        raise RuntimeError

    monkeypatch.setattr(run_module, "train", stop)
    words = from_weights(tmp_path, "demo")
    left = carried_out(tmp_path / "run", *words, "strategy=freeze", "trainer.threads=3")
    assert left.record.versions["device"] == "cpu, 3 threads"
    (file,) = tmp_path.glob("*.safetensors")
    inner = hashlib.sha256(file.read_bytes()).digest()
    assert left.record.data["source_digest"] == hashlib.sha256(inner).hexdigest()


def test_the_source_is_every_file_that_the_network_comes_from(tmp_path):
    def digest(**backbone):
        return source_digest({"backbone": {"weights": None, "function": None} | backbone})

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    net = tmp_path / "net.py"
    net.write_text("one")
    assert digest() is None
    assert digest(weights=str(tmp_path)) == digest(weights=str(tmp_path / "model.safetensors"))
    before = digest(weights=str(tmp_path), function=f"{net}:build")
    assert before != digest(weights=str(tmp_path))
    net.write_text("two")
    assert digest(weights=str(tmp_path), function=f"{net}:build") != before


def test_a_run_reads_running_while_it_runs(tmp_path, monkeypatch):
    seen = []

    def look(prepared, journey):
        seen.append(json.loads((journey.folder / "result.json").read_text())["status"])
        raise RuntimeError

    monkeypatch.setattr(run_module, "train", look)
    carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=freeze")
    assert seen == ["running"]


def test_what_an_earlier_attempt_left_is_taken_away(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("curves.csv", "predictions.csv", "model.safetensors", "events.out.tfevents.1.x"):
        (folder / name).write_text("old")
    (folder / "notes.txt").write_text("the user's own")
    with pytest.raises(UserError):
        run(config_of("backbone.name=thawlab_demo", "backbone.weights=nowhere.pt", "strategy=freeze"), folder)
    assert {path.name for path in folder.iterdir()} == {"result.json", "notes.txt"}


def test_the_audit_alone_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "train", None)
    config = config_of(*from_weights(tmp_path, "demo"), "strategy=partial")
    text = audit_only(config)
    splits = run_module.load_splits(run_module.specs_anywhere(config).dataset, config["seed"])
    assert f"{len(splits.train)} training, {len(splits.val)} validation, {len(splits.test)} test images, " in text
    for said in ("tensors loaded from the source", "trains from epoch", "never", "head"):
        assert said in text


def test_the_audit_alone_tells_what_is_to_be_known_of_the_images(tmp_path, monkeypatch):
    real = run_module.prepare
    monkeypatch.setattr(run_module, "prepare", lambda config: _noted(real(config)))
    assert "3 files are doubtful" in audit_only(config_of(*from_weights(tmp_path, "demo"), "strategy=partial"))


def _noted(prepared):
    return replace(prepared, splits=replace(prepared.splits, notes=("3 files are doubtful",)))


def test_a_full_disk_is_told_with_its_folder(tmp_path, monkeypatch):
    def full(folder, step, state):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "checkpoints"))

    monkeypatch.setattr(checkpoints, "save", full)
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=freeze", "checkpoint.steps=1")
    assert left.record.status == "failed"
    assert "cannot be written: No space left on device" in left.record.reason
    assert "start it again" in left.record.reason
    monkeypatch.undo()
    assert carried_out(left.folder, *from_weights(tmp_path, "demo"), "strategy=freeze").record.status == "finished"


@pytest.mark.parametrize("fits", [pytest.param(5, id="curves"), pytest.param(None, id="all but the last")])
def test_a_disk_that_fills_while_tensorboard_writes_is_told_in_one_message(fits, tmp_path, monkeypatch, capfd):
    """Its thread hands the error on; a traceback of its own would make pytest fail this test, too."""
    write, written = RecordWriter.write, []

    def full(self, data):
        written.append(data)
        if fits is not None and len(written) > fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data)

    monkeypatch.setattr(RecordWriter, "write", full)
    words = [*from_weights(tmp_path, "demo"), "strategy=freeze", "logger=tensorboard"]
    carried_out(tmp_path / "whole", *words)
    fits = len(written) - 1 if fits is None else fits
    written.clear()
    left = carried_out(tmp_path / "run", *words)
    assert left.record.status == "failed"
    assert "cannot be written: No space left on device" in left.record.reason
    assert "Traceback" not in "".join(capfd.readouterr())
    assert not (tmp_path / "run" / "model.safetensors").exists()
    monkeypatch.undo()
    assert carried_out(left.folder, *words).record.status == "finished"


def test_another_thread_s_error_is_still_told(capfd):
    with replaced(threading, "excepthook", threading.__excepthook__):
        quieten()
        thread = threading.Thread(target=lambda: os.listdir("/nowhere/at/all"))
        thread.start()
        thread.join()
    assert "FileNotFoundError" in capfd.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGBUS])
def test_a_worker_that_is_killed_for_memory_is_told_with_its_remedy(how, tmp_path, monkeypatch):
    load = ArrayImages.load

    def killed(self, index):
        if get_worker_info() is not None:
            os.kill(os.getpid(), how)
        return load(self, index)

    monkeypatch.setattr(ArrayImages, "load", killed)
    words = [*from_weights(tmp_path, "demo"), "strategy=full", "cache=off", "trainer.workers=1"]
    left = carried_out(tmp_path / "run", *words)
    assert left.record.status == "out_of_memory", left.record.reason
    assert "fewer trainer.workers" in left.record.reason
    assert "smaller trainer.batch_size" in left.record.reason


def test_what_cannot_be_read_elsewhere_is_not_the_runs_folder(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere/cat.png")

    monkeypatch.setattr(run_module, "train", denied)
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=freeze")
    assert "cannot be written" not in left.record.reason
    assert "/elsewhere/cat.png" in left.record.reason
