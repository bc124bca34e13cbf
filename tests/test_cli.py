"""The command line from end to end, on two strategies that take a second each."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import random_weights

from thawlab.errors import UserError
from thawlab.record import Record, read_sweep

ROOT = Path(__file__).parents[1]
QUICK = "strategy=scratch trainer.epochs=1 logger=none"


def results(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}


def test_a_run_leaves_its_record_and_is_not_done_twice(command, tmp_path):
    first = command(QUICK)
    assert first.status == 0, first
    assert first.err == ""
    (run,) = (path for path in (tmp_path / "outputs" / "runs").iterdir() if path.is_dir())
    assert run.name in first.out
    assert Record.read(run).status == "finished"

    again = command(QUICK)
    assert again.status == 0
    assert all(said in again.out for said in ("finished already", run.name, "rerun=true", "seed=1"))

    before = results(run.parent)
    assert command(f"{QUICK} rerun=true").status == 0
    assert set(results(run.parent)) == set(before), "the same run, in the same place"
    assert results(run.parent) != before


def photos(root, seed):
    draw = np.random.default_rng(seed)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(20):
            Image.fromarray(draw.integers(0, 255, (9, 9, 3), np.uint8)).save(root / name / f"{i}.png")


OF_PHOTOS = "dataset=folder dataset.root=photos"
OF_A_FILE = "strategy=full backbone=timm backbone.name=thawlab_demo backbone.size=32 backbone.weights=w.safetensors"


@pytest.mark.parametrize(
    ("words", "make", "why"),
    [
        pytest.param(OF_PHOTOS, lambda folder, n: photos(folder / "photos", n), "other images", id="images"),
        pytest.param(
            OF_A_FILE,
            lambda folder, n: random_weights(folder / "w.safetensors", "thawlab_demo", seed=n),
            "other source weights",
            id="weights",
        ),
    ],
)
def test_a_finished_run_is_kept_only_while_what_it_was_made_from_is_the_same(command, tmp_path, words, make, why):
    one = f"{QUICK} {words}"
    make(tmp_path, 1)
    assert command(f"-m {one} sweep=s").status == 0
    assert "finished already, kept" in command(f"-m {one} sweep=s").out
    kept = command(f"{one} sweep=s")
    assert (kept.status, kept.err) == (0, "")
    assert why not in kept.out
    before = results(tmp_path / "outputs" / "s")

    make(tmp_path, 2)
    refused = command(f"{one} sweep=s")
    assert refused.status == 2
    assert all(said in refused.err for said in (why, "rerun=true"))
    assert results(tmp_path / "outputs" / "s") == before
    again = command(f"-m {one} sweep=s")
    assert again.status == 0
    assert again.out.count(f"finished, but made from {why} than there are now: run again") == 1
    assert results(tmp_path / "outputs" / "s") != before
    assert "finished already, kept" in command(f"-m {one} sweep=s").out


@pytest.fixture
def training(monkeypatch):
    """Stand in for the training of chosen runs: `fail[strategy or lr] = error` raises it."""
    from thawlab import run

    fail, done, real = {}, [], run.train

    def train(prepared, folder):
        for key in (prepared.specs.seed, prepared.specs.strategy.name):
            if key in fail:
                raise fail[key]
        done.append(prepared.specs.seed)
        return real(prepared, folder)

    monkeypatch.setattr(run, "train", train)
    train.fail, train.done = fail, done
    return train


def test_a_run_that_diverges_costs_only_itself_and_is_done_again(command, tmp_path, training):
    line = f"-m {QUICK} optimizer.lr=1e30,0.01"
    ended = command(line)
    assert ended.status == 1
    (sweep,) = (tmp_path / "outputs").iterdir()
    statuses = {record.config["optimizer"]["lr"]: record.status for record in read_sweep(sweep).records}
    assert statuses == {1e30: "diverged", 0.01: "finished"}
    table = ended.out[ended.out.rindex("Not counted") :]
    assert "lr1e-30" in table
    assert "diverged" in table

    before = results(sweep)
    assert command(line).status == 1
    after = results(sweep)
    assert [name for name in after if after[name] != before[name]] == [n for n in before if "lr1e-30" in n]


def test_a_sweep_goes_on_with_what_is_missing_and_can_be_extended(command, tmp_path, training):
    training.fail[1] = RuntimeError("a worker died")
    assert command(f"-m {QUICK} seed=0,1 sweep=mine_own").status == 1
    training.fail.clear()
    assert command(f"-m {QUICK} seed=0,1 sweep=mine_own").status == 0
    assert training.done == [0, 1], "what failed alone was done again"
    ended = command(f"-m seed=0,1,2 {QUICK} sweep=mine_own")
    assert ended.status == 0
    assert training.done == [0, 1, 2]
    assert ended.out.count("finished already, kept") == 2
    (folder,) = (tmp_path / "outputs").iterdir()
    manifest = json.loads((folder / "sweep.json").read_text())
    assert len(manifest["planned"]) == 3
    assert "3 runs measured, 0 not" in ended.out


def test_a_job_refused_at_its_start_is_shown_and_the_others_go_on(command, training, monkeypatch):
    from thawlab import run

    real = run.prepared_for

    def prepared_for(config, *rest):
        if config["seed"] == 0:
            raise UserError("photos/cat.png is gone. Start it again.")
        return real(config, *rest)

    monkeypatch.setattr(run, "prepared_for", prepared_for)
    ended = command(f"-m {QUICK} seed=0,1")
    assert ended.status == 1
    assert ended.out.count("refused: photos/cat.png is gone. Start it again.") == 2, "when it happens, and in the table"
    assert training.done == [1]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(1)], ids=["by us", "as Lightning has it"])
def test_an_interrupted_sweep_says_so_and_goes_on_later(interrupt, command, tmp_path, training):
    training.fail[0] = interrupt
    ended = command(f"-m {QUICK} seed=0,1 sweep=cut")
    assert ended.status == 130
    assert ended.err == "\nInterrupted. The same command goes on where it stopped.\n"
    (record,) = read_sweep(tmp_path / "outputs" / "cut").records
    assert (record.status, record.reason) == ("interrupted", "Ctrl-C (SIGINT)")
    assert len(read_sweep(tmp_path / "outputs" / "cut").missing) == 1
    begun_anew = command(f"-m {QUICK} seed=0,1 sweep=cut rerun=true").err
    assert begun_anew == "\nInterrupted. The same command without rerun=true goes on where it stopped.\n"
    training.fail.clear()
    assert command(f"-m {QUICK} seed=0,1 sweep=cut").status == 0


def test_a_sweep_with_nothing_to_do_builds_nothing(command, training, monkeypatch):
    assert command(f"-m {QUICK} seed=0").status == 0
    monkeypatch.setattr("thawlab.prepare.prepare", lambda *_: pytest.fail("prepared"))
    assert command(f"-m {QUICK} seed=0").status == 0


@pytest.mark.parametrize("line", ["audit=only", "-m audit=only strategy=scratch,full", "-m audit=on,only"])
def test_the_audit_alone_prints_the_table_and_leaves_nothing(line, command, tmp_path):
    ended = command(line)
    assert ended.status == 0
    assert all(column in ended.out for column in ("stage", "parameters", "frozen", "rate", "conv1", "head"))
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_is_never_wider_than_a_hundred_columns_but_for_names(command):
    ended = command(f"-m {QUICK} trainer.epochs=2 seed=0 sweep=s")
    assert [line for line in ended.out.splitlines() if len(line) > 120] == []
    assert "epoch 2/2" in ended.out, "lines, where there is no terminal"
    assert "\r" not in ended.out


def without_torch(*words, status=0):
    code = (
        "import sys; from thawlab.cli import main\n"
        "try: main()\n"
        "finally: print('HEAVY', [m for m in ('torch', 'timm', 'pytorch_lightning', 'scipy', 'matplotlib', 'sklearn') "
        "if m in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert ended.returncode == status, ended
    return ended


def test_help_lists_groups_choices_and_examples_without_importing_torch():
    ended = without_torch("--help")
    assert ended.stderr.strip() == "HEAVY []"
    for group in (ROOT / "conf").iterdir():
        if group.is_dir():
            words = ended.stdout.replace(",", " ").split()
            assert f"{group.name}:" in words
            assert {choice.stem for choice in group.glob("*.yaml")} <= set(words)
    assert ended.stdout.count("\n  python train.py") == 6
    assert max(map(len, ended.stdout.splitlines())) <= 120


def test_the_version_is_thawlabs(command):
    shown = command("--version")
    assert (shown.status, shown.out) == (0, f"thawlab {version('thawlab')}\n")


def test_the_whole_config_is_shown_without_importing_torch():
    ended = without_torch("--cfg", "job", "strategy=partial")
    assert ended.stderr.strip() == "HEAVY []"
    assert "strategy:\n  name: partial" in ended.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("dataset=folder dataset.root=gone", "no such folder", id="a run"),
        pytest.param("-m strategy=freeze,full dataset=folder dataset.root=gone", "no such folder", id="a sweep"),
        pytest.param(
            "experiment=four_cases study.similar=[dataset=folder,dataset.root=gone] study.different=[dataset=shapes]",
            "no such folder",
            id="a study",
        ),
        pytest.param("dataset=idx dataset.root=gone", "no such folder", id="idx"),
        pytest.param("dataset=shards dataset.root=gone", "no such folder", id="shards"),
        pytest.param("dataset=table dataset.table=gone.csv", "no such file", id="a table"),
    ],
)
def test_what_the_images_are_read_from_is_missed_before_torch_is_imported(line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = without_torch(*line.split(), status=2)
    message, heavy = ended.stderr.splitlines()
    assert said in message
    assert heavy == "HEAVY []"
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_the_entry_is_short():
    assert len((ROOT / "train.py").read_text().splitlines()) < 20


@pytest.mark.parametrize("flag", ["", "-m"])
def test_a_file_where_the_sweeps_folder_should_be_is_told(flag, command, tmp_path):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "s").write_text("mine")
    refused = command(f"{flag} {QUICK} sweep=s")
    assert refused.status == 2
    assert "outputs/s is no folder, but runs are to land there" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert (tmp_path / "outputs" / "s").read_text() == "mine"
