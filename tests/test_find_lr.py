import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import SMALL, from_weights

from thawlab.find_lr import main, words_for
from thawlab.lr_curve import Curve

SCRIPT = Path(__file__).parents[1] / "scripts" / "find_lr.py"


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [*SMALL, *from_weights(tmp_path, "demo"), "dataset.images=300", "dataset.per_class=16"]


def test_the_command_leaves_a_curve_and_says_what_to_type(small, capsys):
    assert (
        main(
            [
                "--steps=60",
                "--start=1e-5",
                *small,
                "strategy=full",
                "strategy.source_rate=0.1",
                "strategy.layer_decay=0.5",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    (folder,) = Path("outputs/find_lr").iterdir()
    assert {path.name for path in folder.iterdir()} == {"lr.csv", "lr.png", "lr.json"}
    assert str(folder / "lr.png") in out
    (line,) = [line.strip() for line in out.splitlines() if line.strip().startswith("optimizer.lr=")]
    assert 1e-5 < float(line.partition("=")[2]) < 10
    # The table: a tenth, for fc2 goes on from the source, of a half, for it lies one stage below the head.
    rates = {row.split()[0]: row.split()[2:] for row in out.splitlines() if row.startswith(("  fc2 ", "  head "))}
    assert [float(x) for x in rates["fc2"]] == pytest.approx([0.05 * float(x) for x in rates["head"]], rel=0.01)


def test_without_a_descent_nothing_is_suggested(small, capsys, monkeypatch):
    from thawlab import lr_finder

    monkeypatch.setattr(lr_finder, "range_test", lambda *_: Curve((1e-3,) * 100, (2.0,) * 100, 100))
    assert main(small) == 1
    out = capsys.readouterr().out
    assert "No rate is suggested" in out
    assert "optimizer.lr=" not in out


def test_rates_that_are_written_out_are_scaled_as_well():
    config = {"optimizer": {"lr": 0.001}, "strategy": {"rates": {"stem": 0.0002, "head": 0.004}}}
    assert words_for(0.005, config) == "optimizer.lr=0.005 strategy.rates.stem=0.001 strategy.rates.head=0.02"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["-m", "strategy=freeze,full"], "-m makes a run of each value", id="a sweep"),
        pytest.param(["strategy=frezee"], "Did you mean 'freeze'", id="a typo"),
        pytest.param(["--steps=3"], "--steps is 3, too few", id="too few steps"),
        pytest.param(["--start=1", "--end=0.1"], "Give 0 < start < end", id="bounds"),
    ],
)
def test_what_cannot_work_ends_with_one_message(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert "Traceback" not in out + err
    assert not list(tmp_path.iterdir())


def test_the_script_explains_itself():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "--epoch" in done.stdout
