import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from thawlab import show
from thawlab.record import Record, Sweep

HEADER = ("stage", "parameters", "share", "weights from", "trains from epoch", "rate", "frozen norms", "in optimizer")
FINISHED = Record(
    name="digits-s0",
    status="finished",
    config={"trainer": {"epochs": 20}},
    data={"train": 1200, "val": 195, "test": 497, "classes": ["a", "b"]},
    metrics={"test/accuracy": {"value": 0.9326, "n": 497}, "val/accuracy": {"value": 0.9385, "n": 195}},
    best_epoch=9,
    costs={"seconds": {"total": 12.34}, "parameters": {"trained_share": 0.0256}},
)


def test_the_end_of_a_run_says_how_well_on_how_many_and_at_what_cost():
    said = show.run_end(FINISHED, "outputs/runs/digits-s0")
    assert all(
        part in said
        for part in (
            "93.3%",
            "497 images",
            "epoch 10/20 was best on validation: 93.8%",
            "12.3 s",
            "2.6%",
            "outputs/runs/digits-s0",
        )
    )


def test_a_small_share_that_trains_is_not_told_as_none():
    frozen = replace(FINISHED, costs={"seconds": {"total": 1.0}, "parameters": {"trained_share": 0.00009}})
    assert "0.009% of the parameters trained" in show.run_end(frozen, "x")


def test_of_several_labels_the_mean_average_precision_is_told():
    values = {
        "test/accuracy": 0.5,
        "val/accuracy": 0.25,
        "test/mean_average_precision": 0.8125,
        "val/mean_average_precision": 0.75,
    }
    metrics = {name: {"value": value, "n": 90} for name, value in values.items()}
    said = show.run_end(replace(FINISHED, metrics=metrics), "outputs/x")
    assert "test mean average precision 81.2% on 90 images (epoch 10/20 was best on validation: 75.0%)" in said


def test_the_end_of_a_run_says_that_views_were_averaged():
    assert "views" not in show.run_end(FINISHED, "x")
    averaged = replace(FINISHED, config={"trainer": {"epochs": 20}, "augment": {"tta": 4}})
    assert "on 497 images, mean of 5 views each (epoch 10/20" in show.run_end(averaged, "x")


def test_a_failed_run_says_why_and_where_its_log_is():
    said = show.run_end(Record(name="x", status="failed", config={}, reason="diverged"), "outputs/x")
    assert "failed: diverged" in said
    assert "outputs/x/train.log" in said


def test_the_title_counts_images_and_carries_the_notes():
    said = show.run_title(FINISHED, ["left out 3 files"])
    assert "1,200 training, 195 validation, 497 test images, 2 classes" in said
    assert "left out 3 files" in said


def test_the_audit_table_keeps_to_a_hundred_columns_whatever_the_names():
    row = ("a_stage_with_a_rather_long_name", "1,234,567,890", "100.0%", "source", "never", "3.00e-03", "source", "yes")
    said = show.plan([HEADER, row, row], ["22 tensors loaded"])
    assert max(map(len, said.splitlines())) <= 100
    assert said.startswith("  22 tensors loaded")
    assert "1,234,567,890" in said.replace("\n", "")


@pytest.mark.parametrize(
    ("run", "firmer"),
    [
        pytest.param(
            {"freeze": (0,)},
            "seed=1,2 adds intervals; strategy=truncate,full,scratch completes the four cases",
            id="one run",
        ),
        pytest.param(
            {"freeze": (0, 1), "partial": (0, 1)},
            "seed=2 narrows the intervals; strategy=truncate,full,scratch completes the four cases",
            id="two seeds",
        ),
        pytest.param(
            {"freeze": (7, 8, 9), "truncate": (7,), "full": (7,), "scratch": (7,)},
            "seed=8,9 adds intervals",
            id="the seeds that another strategy has",
        ),
        pytest.param({"freeze": (3, 4, 5)}, "strategy=truncate,full,scratch completes the four cases", id="own seeds"),
        pytest.param(dict.fromkeys(("freeze", "truncate", "full", "scratch"), (0, 1, 2)), None, id="all is there"),
        pytest.param({}, None, id="no run left a record"),
    ],
)
def test_after_a_sweep_only_what_is_missing_is_proposed(run, firmer):
    records = tuple(
        Record(name=f"{name}-{seed}", status="finished", config={"strategy": {"name": name}, "seed": seed})
        for name, seeds in run.items()
        for seed in seeds
    )
    said = show.next_steps(Sweep(Path("outputs/x"), (), (), records, {}))
    assert "tensorboard --logdir outputs/x" in said
    assert [line for line in said.splitlines() if "Firmer" in line] == ([f"Firmer:      {firmer}"] if firmer else [])


def test_what_is_said_is_also_logged(capsys, caplog):
    with caplog.at_level(logging.INFO, "thawlab"):
        show.say("hello")
    assert capsys.readouterr().out == "hello\n"
    assert caplog.messages == ["hello"]


def test_programs_are_told_as_one_types_them_here(tmp_path, monkeypatch):
    """An environment in this folder that nothing has activated: by its place. One that the shell finds: by name."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "tensorboard"):
        (programs / name).touch(mode=0o755)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "compare.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    said = show.next_steps(Sweep(Path("outputs/x"), (), (), (), {}))
    assert "Curves:      .venv/bin/tensorboard --logdir outputs/x" in said
    assert "This table:  .venv/bin/python scripts/compare.py outputs/x" in said
    monkeypatch.setenv("PATH", str(programs))
    said = show.next_steps(Sweep(Path("outputs/x"), (), (), (), {}))
    assert "Curves:      tensorboard --logdir outputs/x" in said
    assert "This table:  python scripts/compare.py outputs/x" in said
    monkeypatch.chdir(programs)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "This table:  thawlab-compare outputs/x" in show.next_steps(Sweep(Path("outputs/x"), (), (), (), {}))
