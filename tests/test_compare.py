import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from thawlab.record import PlannedRun, Record, add_to_manifest, read_sweep
from thawlab.report.compare import WIDTH, compare, main, notes, show
from thawlab.report.rows import rows

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare.py"


def plant(
    folder,
    name,
    strategy,
    seed,
    accuracy=None,
    reason=None,
    n=500,
    test_set="f",
    seconds=12.34,
    precision=None,
    val=195,
    trained=0.0314,
    **config,
):
    status = "finished" if accuracy is not None else "failed" if reason else "running"
    metrics = {"test/accuracy": {"value": accuracy, "n": n}} if accuracy is not None else {}
    if precision is not None:
        metrics["test/mean_average_precision"] = {"value": precision, "n": n}
    costs = {"seconds": {"total": seconds}, "parameters": {"trained_share": trained}}
    config = {"strategy": {"name": strategy}, "seed": seed, **config}
    record = Record(
        name, status, config, reason, metrics=metrics, costs=costs, data={"test_fingerprint": test_set, "val": val}
    )
    record.write(folder / name)


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "digits"
    planned = [f"{s}-{i}" for s in ("freeze", "full") for i in range(3)] + ["scratch-0", "scratch-1"]
    add_to_manifest(folder, ["train.py"], [PlannedRun(name, ()) for name in planned])
    for seed, accuracy in enumerate([0.80, 0.82, 0.87]):
        plant(folder, f"freeze-{seed}", "freeze", seed, accuracy)
    plant(folder, "full-0", "full", 0, 0.915)
    plant(folder, "full-1", "full", 1, reason="OutOfMemoryError: tried to allocate [2 GiB]\nTraceback ...")
    plant(folder, "full-2", "full", 2)
    return folder


EXPECTED = """\
digits: 4 runs measured, 4 not

strategy | n | test accuracy % | seconds | trained %
---------+---+-----------------+---------+----------
full     | 1 |  91.5           |    12.3 |       3.1
freeze   | 3 |  83.0 ± 9.0     |    12.3 |       3.1

Test accuracy: mean over n seeds, ± half the width of its 95% t-interval.
No interval where n is 1 (full): one run says nothing about the spread. Run more seeds: seed=0,1,2.
500 test images, one of them 0.2 points.

Not counted:
  full-1: failed: OutOfMemoryError: tried to allocate [2 GiB]
  full-2: killed: begun, but no end is recorded
  scratch-0: missing: planned, but it left no record
  scratch-1: missing: planned, but it left no record
"""


def test_a_sweep_with_known_answers(sweep):
    assert compare(sweep) == EXPECTED


def test_several_labels_have_a_table_of_their_own(sweep):
    for seed, precision in enumerate([0.7, 0.8]):
        plant(sweep, f"scratch-{seed}", "scratch", seed, 0.5, test_set="g", precision=precision)
    found = compare(sweep)
    one, several = found.split("strategy | n | test mAP %")
    assert "test accuracy %" in one
    assert "scratch" not in one
    assert several.splitlines()[2].split("|")[2].strip() == "75.0 [11.5, 100.0]"
    assert "Test mAP (mean over the labels of the average precision): mean over n seeds" in several
    assert "NOT COMPARABLE" in several


@pytest.mark.parametrize(
    ("accuracies", "shown"),
    [
        pytest.param((0.7, 0.8), "75.0 [11.5, 100.0]", id="beyond 100%: bounds, cut"),
        pytest.param((0.01, 0.02, 0.09), "4.0 [0.0, 14.8]", id="below 0%"),
        pytest.param((0.0, 1.0), "50.0 [0.0, 100.0]", id="beyond both"),
        pytest.param((1.0, 1.0), "100.0 ± 0.0", id="up to 100% and no further"),
        pytest.param((0.80, 0.82, 0.87), "83.0 ± 9.0", id="within"),
    ],
)
def test_no_interval_is_shown_beyond_what_a_score_can_be(tmp_path, accuracies, shown):
    for seed, accuracy in enumerate(accuracies):
        plant(tmp_path, f"s{seed}", "freeze", seed, accuracy)
    text = compare(tmp_path)
    assert text.splitlines()[4].split("|")[2].strip() == shown
    assert ("± 0.0 where the seeds agree to the image" in text) == ("± 0.0" in shown)
    assert ("Where that would pass 0 or 100%: [its bounds, cut there]" in text) == ("[" in shown)


def test_long_labels_and_reasons_fit(tmp_path):
    for i, backbone in enumerate(["vit_base_patch16_224.augreg2_in21k_ft_in1k" * 3, "resnet50"]):
        plant(tmp_path, f"run{i}", "freeze", 0, 0.1, backbone={"name": backbone})
    plant(tmp_path, "bad", "full", 0, reason="word " * 60)
    lines = compare(tmp_path).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert sum(line.startswith("  ") and "word" in line for line in lines) > 1
    narrow = io.StringIO()
    show(read_sweep(tmp_path), Console(file=narrow, width=80), plain=True)
    assert max(map(len, narrow.getvalue().splitlines())) <= 80


CHANCE = " So few leave much to chance."


@pytest.mark.parametrize(
    ("test", "val", "said"),
    [
        pytest.param(
            9,
            5,
            [
                "FEW IMAGES: 9 test images, one of them 11.1 points; 5 validation images, which choose the epoch, "
                "one of them 20.0 points." + CHANCE
            ],
            id="both few",
        ),
        pytest.param(99, 100, ["FEW IMAGES: 99 test images, one of them 1.0 points." + CHANCE], id="few to test"),
        pytest.param(
            153,
            37,
            [
                "153 test images, one of them 0.7 points.",
                "FEW IMAGES: 37 validation images, which choose the epoch, one of them 2.7 points." + CHANCE,
            ],
            id="few to validate",
        ),
        pytest.param(100, 100, ["100 test images, one of them 1.0 points."], id="enough"),
    ],
)
def test_what_few_images_leave_to_chance_is_said(tmp_path, test, val, said):
    for name in ("freeze", "full"):
        plant(tmp_path, name, name, 0, 0.8, n=test, val=val)
    assert [note for note in notes(rows(read_sweep(tmp_path))) if "images" in note] == said


def test_an_image_is_worth_no_points_of_a_mean_average_precision(tmp_path):
    plant(tmp_path, "a", "freeze", 0, 0.8, precision=0.7, n=9)
    assert "FEW IMAGES: 9 test images. So few" in compare(tmp_path)


def test_rows_of_other_test_sets_are_flagged(tmp_path):
    plant(tmp_path, "a", "freeze", 0, 0.8)
    plant(tmp_path, "b", "full", 0, 0.9, test_set="g", n=300)
    text = " ".join(compare(tmp_path).split())
    assert "NOT COMPARABLE: the rows were tested on different images." in text
    assert "Test set 1 (300 images): 'full'. Test set 2 (500 images): 'freeze'." in text


def test_another_number_of_test_images_is_flagged(tmp_path):
    plant(tmp_path, "a", "freeze", 0, 0.8, n=499)
    plant(tmp_path, "b", "full", 0, 0.9, n=500)
    assert "NOT COMPARABLE" in compare(tmp_path)


def test_equal_means_are_a_tie_whatever_comes_first_in_the_table(tmp_path):
    for name, accuracies in (("freeze", (0.9, 0.7, 0.8)), ("full", (0.8, 0.9, 0.7)), ("scratch", (0.5, 0.6, 0.7))):
        for seed, accuracy in enumerate(accuracies):
            plant(tmp_path, f"{name}{seed}", name, seed, accuracy)
    assert "\nA tie for the first place: freeze; full.\n" in compare(tmp_path)
    plant(tmp_path, "full3", "full", 3, 0.9)
    assert "A tie" not in compare(tmp_path)


def test_a_seed_that_counts_twice_is_flagged(tmp_path):
    for name in "ab":
        plant(tmp_path, name, "freeze", 7, 0.8)
    assert "freeze: a seed was run twice (7, 7)" in compare(tmp_path)


def test_a_small_share_that_trains_is_not_told_as_none(tmp_path):
    plant(tmp_path, "a", "freeze", 0, 0.8, trained=0.00009)
    assert compare(tmp_path).splitlines()[4].split("|")[-1].strip() == "0.009"


def test_a_sweep_without_a_finished_run_has_no_table(tmp_path):
    plant(tmp_path, "a", "freeze", 0, reason="boom")
    assert compare(tmp_path) == f"{tmp_path.name}: 0 runs measured, 1 not\n\nNot counted:\n  a: failed: boom\n"


def test_the_command_ends_with_the_message_alone(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"{tmp_path} is no sweep: it holds no sweep.json and no run with a result.json. "
        "Give a sweep's folder, such as outputs/<sweep>.\n"
    )


@pytest.mark.parametrize(("encoding", "sign"), [("utf-8", "± "), ("ascii", "+-"), ("latin-1", "± ")])
def test_the_script_writes_what_the_output_can_show(sweep, encoding, sign):
    plant(sweep, "scratch-0", "从零", 0, 0.5)
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, SCRIPT, sweep], capture_output=True, env=environment, check=True)
    text = done.stdout.decode(encoding)
    assert f"83.0 {sign}9.0" in text
    assert ("从零" if encoding == "utf-8" else r"\u4ece\u96f6") in text


def test_in_a_terminal_the_script_draws_a_table(sweep):
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, SCRIPT, sweep], stdout=slave, env=environment, check=True)
    os.close(slave)
    text = os.read(master, 1 << 16).decode()
    os.close(master)
    assert done.returncode == 0
    assert "\x1b[1mstrategy" in text
    assert "83.0 ± 9.0" in text
    assert "─" in text
