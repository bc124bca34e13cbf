"""Images with several labels each, from the command line to the table: the digits, said to be even, round, large."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score
from small_runs import LABELS, carried_out, from_weights, with_several_labels
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from thawlab import prepare
from thawlab.errors import UserError
from thawlab.record import PlannedRun, add_to_manifest
from thawlab.report.compare import compare
from thawlab.scores import MAIN, SCORES
from thawlab.tensorboard import HPARAM_METRICS

WORDS = ["dataset=digits", "strategy=full", "trainer.epochs=6", "dataset.per_class=10", "optimizer.lr=0.01"]


@pytest.fixture
def demo(tmp_path, monkeypatch):
    load = prepare.load_splits
    monkeypatch.setattr(prepare, "load_splits", lambda spec, seed: with_several_labels(load(spec, seed)))
    return [*from_weights(tmp_path, "demo"), *WORDS]


def matrix(names):
    return np.array([[label in row.split("|") for label in LABELS] for row in names])


def test_a_run_is_recorded_and_shown_by_the_scores_of_its_task(tmp_path, demo, capsys):
    words = [*demo, "logger=tensorboard", "logger.progress=lines"]
    left = carried_out(tmp_path / "sweep" / "run", *words)
    record, rows = left.record, left.predictions
    assert record.status == "finished", record.reason
    assert set(record.metrics) == {f"{split}/{name}" for split in ("val", "test") for name in SCORES["multilabel"]}
    true, predicted = (matrix([row[key] for row in rows]) for key in ("label", "predicted"))
    assert len(rows) == 497
    value = {name: record.metrics[f"test/{name}"]["value"] for name in SCORES["multilabel"]}
    assert value["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert value["micro_f1"] == pytest.approx(f1_score(true, predicted, average="micro"))
    assert value["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert value["mean_average_precision"] > 0.8  # chance: the labels' shares, 0.3 to 0.5
    assert record.confusion == []
    assert {name: found["n"] for name, found in record.per_class.items()} == dict(
        zip(LABELS, true.sum(axis=0).tolist(), strict=True)
    )
    precisions = [found["average_precision"] for found in record.per_class.values()]
    assert np.mean(precisions) == pytest.approx(value["mean_average_precision"])
    curve = [row["val/mean_average_precision"] for row in left.curves]
    assert record.best_epoch == int(np.argmax(curve))
    assert "val mean average precision" in capsys.readouterr().out
    events = EventAccumulator(str(left.folder), size_guidance={"images": 0}).Reload()
    assert {"test/labels", "test/examples"} == set(events.Tags()["images"])
    for column, name in HPARAM_METRICS["multilabel"].items():
        assert events.Scalars(column)[-1].value == pytest.approx(record.metrics[name]["value"], rel=1e-6)
    add_to_manifest(tmp_path / "sweep", ["train.py"], [PlannedRun("run", ())])
    assert "test mAP %" in compare(tmp_path / "sweep")
    assert f"{100 * value['mean_average_precision']:.1f}" in compare(tmp_path / "sweep")


@pytest.mark.parametrize("words", [["loss=focal"], ["loss=binary", "loss.class_weights=balanced"]])
def test_every_loss_learns(tmp_path, demo, words):
    left = carried_out(tmp_path / "run", *demo, *words, "loss.label_smoothing=0.1", "trainer.monitor=val/micro_f1")
    assert left.record.status == "finished", left.record.reason
    assert left.record.metrics["test/mean_average_precision"]["value"] > 0.75


def test_a_monitor_of_another_task_is_refused_before_any_training(tmp_path, demo):
    with pytest.raises(UserError, match=r"trainer\.monitor is 'val/balanced_accuracy', but the images are multilabel"):
        carried_out(tmp_path / "run", *demo, "trainer.monitor=val/balanced_accuracy")


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_class_without_validation_and_test_images_has_no_score_and_the_others_have(tmp_path, task):
    lines = ["path,label,split"]
    for split, labels in (("train", "abc"), ("val", "ab"), ("test", "bc")):
        for i in range(12):
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8)).save(
                tmp_path / f"{split}{i}.png"
            )
            lines.append(f"{split}{i}.png,{labels[i % len(labels)]},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    words = ["dataset=table", f"dataset.table={tmp_path / 'labels.csv'}", f"dataset.task={task}", "trainer.epochs=2"]
    small = ["backbone=demo", "strategy=scratch", "trainer.batch_size=6", "logger.progress=off"]
    left = carried_out(tmp_path / "sweep" / "run", *words, small=small)
    record = left.record
    assert record.status == "finished", record.reason
    assert [found["n"] for found in record.per_class.values()] == [0, 6, 6]
    assert all(
        record.metrics[f"{split}/{name}"]["value"] is not None for split in ("val", "test") for name in SCORES[task]
    )
    kept = json.loads((left.folder / "result.json").read_text())
    assert kept["per_class"]["a"]["average_precision" if task == "multilabel" else "accuracy"] is None
    assert any("1 of 3 classes have no test image" in note for note in kept["data"]["notes"])
    if task == "multiclass":
        true, predicted = ([row[key] for row in left.predictions] for key in ("label", "predicted"))
        recalls = [np.mean([p == t for t, p in zip(true, predicted, strict=True) if t == name]) for name in "bc"]
        assert record.metrics["test/balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
        assert record.confusion[0] == [0, 0, 0]
    add_to_manifest(tmp_path / "sweep", ["train.py"], [PlannedRun("run", ())])
    score = record.metrics[f"test/{MAIN[task]}"]["value"]
    assert f"{100 * score:.1f}" in compare(tmp_path / "sweep")
