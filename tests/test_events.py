import pytest
from small_runs import carried_out, from_weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from thawlab.tensorboard import HPARAM_METRICS

WORDS = ["strategy=gradual", "strategy.thaw.epochs=1", "logger=tensorboard", "trainer.epochs=3"]


@pytest.fixture
def shown(tmp_path):
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), *WORDS)
    events = EventAccumulator(str(left.folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return left, events


def test_tensorboard_shows_what_the_record_says(shown):
    left, events = shown
    assert left.record.status == "finished", left.record.reason
    tags = events.Tags()
    assert {"test/confusion", "test/examples"} <= set(tags["images"])
    for column in ("val/accuracy", "train/loss", "rate/head", "trains/fc1"):
        found = [event.value for event in events.Scalars(column)]
        assert found == pytest.approx([row[column] for row in left.curves], rel=1e-6)
    for column, name in HPARAM_METRICS["multiclass"].items():
        assert events.Scalars(column)[-1].value == pytest.approx(left.record.metrics[name]["value"], rel=1e-6)


def test_hyperparameters_are_there_without_a_false_metric(shown):
    left, events = shown
    assert "hp_metric" not in events.Tags()["scalars"]
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(events.summary_metadata)
    assert not (left.folder / "hparams.yaml").exists()


def test_a_run_again_in_the_same_folder_starts_its_curves_anew(tmp_path):
    words = [*from_weights(tmp_path, "demo"), *WORDS, "logger.images=0"]
    files = [set(carried_out(tmp_path / "run", *words).folder.glob("events.out.tfevents.*")) for _ in range(2)]
    assert files[0]
    assert files[1]
    assert not files[0] & files[1]
