import pytest
from small_runs import carried_out, from_weights

from thawlab.callbacks import Bar, Lines, progress
from thawlab.scores import SCORES


@pytest.mark.parametrize(
    ("kind", "terminal", "expected"),
    [
        ("off", True, []),
        ("bar", False, [Bar]),
        ("lines", True, [Lines]),
        ("auto", True, [Bar]),
        ("auto", False, [Lines]),
    ],
)
def test_progress(kind, terminal, expected, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    assert [type(callback) for callback in progress(kind)] == expected


def test_lines_tell_the_last_epoch_and_are_few(tmp_path, capsys):
    left = carried_out(
        tmp_path / "run",
        *from_weights(tmp_path, "demo"),
        "strategy=freeze",
        "logger.progress=lines",
        "trainer.epochs=8",
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  epoch ")]
    last = left.curves[-1]
    assert lines[-1].startswith("  epoch 8/8 ")
    assert f"val accuracy {last['val/accuracy']:.1%}" in lines[-1]
    assert len(lines) < 8


def test_a_bar_disturbs_nothing(tmp_path):
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=freeze", "logger.progress=bar")
    assert left.record.status == "finished", left.record.reason


def test_curves_have_a_row_per_epoch_and_a_column_per_stage(tmp_path):
    left = carried_out(tmp_path / "run", *from_weights(tmp_path, "demo"), "strategy=partial", "trainer.epochs=3")
    stages = ["conv1", "conv2", "conv3", "fc1", "fc2", "head"]
    scores = [f"val/{name}" for name in SCORES["multiclass"]]
    expected = [
        "epoch",
        "step",
        "train/loss",
        *scores,
        *(f"rate/{s}" for s in stages),
        *(f"trains/{s}" for s in stages),
    ]
    for epoch, row in enumerate(left.curves):
        assert sorted(row) == sorted(expected)
        assert row["epoch"] == epoch
        assert all((row[f"rate/{s}"] > 0) == bool(row[f"trains/{s}"]) or epoch == 2 for s in stages)
    assert [bool(left.curves[0][f"trains/{s}"]) for s in stages][:2] == [False, False]
