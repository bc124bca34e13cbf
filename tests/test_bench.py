"""`make bench`: each row of its table comes out of what was measured, and everyone does the same work."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import images, measuring, plan, report, rows  # noqa: E402 - bench/ is no part of the package

TARGETS = [20, 1.15, 5, 1.1, 1.03, 1.8, 1.8, 1.1, 1.1]


def figures(wall, peak=100, accuracy=0.5, **phases):
    return {
        "wall": wall, "cpu": wall, "peak": peak, "device_peak": None, "accuracy": accuracy, "phases": phases,
        "steps": 10, "epochs": 2, "contender": "thawlab", "way": "", "precision": "fp32",
        "network": "n", "size": 1, "images": 1,
    }  # fmt: skip


MEASURED = {
    "freeze ours": [figures(10), figures(20), figures(12)],
    "freeze again": [figures(1), figures(4), figures(3)],
    "freeze cached": [figures(10), figures(10), figures(10)],
    "freeze lightning": [figures(240), figures(360)],
    "partial again": [figures(50, 120, data=1, train=7, validate=2, test=9)],
    "partial suffix": [figures(50, 100, build=99, train=8, validate=2)],
    "step ours": [figures(1, 90, train=2, data=2, validate=5)],
    "step hand": [figures(1, 100, train=4, validate=50)],
    "full ours": [figures(10)] * 3,
    "full lightning": [figures(20)] * 3,
    "accuracy ours": [figures(1, accuracy=a) for a in (0.8, 0.82, 0.84, 0.8, 0.8)],
    "accuracy by_lightning": [figures(1, accuracy=a) for a in (0.9, 0.92, 0.95, 0.7, 0.8)],
    "freeze x1": [figures(1, 100)],
    "freeze x16": [figures(1, 105)],
    "full x1": [figures(1, 100)],
    "full x16": [figures(1, 120)],
}


def test_rows_are_the_ratios_of_what_was_measured():
    found = rows.rows(MEASURED)
    # By hand: medians where rounds differ (300 / 12), else the median of the rounds' ratios (1, 2, 1.2; 10, 5, 4).
    assert [row.ratio for row in found] == [25, 1.2, 5, 1.0, 1.0, 2, None, 1.2, 1.2]
    assert [row.target for row in found] == TARGETS
    assert [row.reached for row in found] == [True, False, True, True, True, False, None, False, False]


def test_a_row_says_by_how_much_it_falls_short_and_why():
    sentences = [row.sentence for row in rows.rows(MEASURED)]
    assert "reached (25.00, asked at least 20 times faster). 300 s over 12 s." in sentences[0]
    assert "not reached, over by 4%" in sentences[1]
    assert "not reached, less accurate" in sentences[5]
    assert sentences[6].endswith("not run.")


def test_no_worse_is_judged_by_the_mean_over_five_seeds():
    # t(0.975, 4) = 2.776; differences -1, 0, 0.5, 0, 1 points: mean 0.1, deviation 0.7416, half width 0.92.
    ours, theirs = [0.80, 0.80, 0.80, 0.80, 0.80], [0.81, 0.80, 0.795, 0.80, 0.79]
    no_worse, said = rows.accuracies(ours, theirs)
    assert no_worse is True
    assert "by +0.1 ± 0.9 points" in said
    assert rows.accuracies(theirs, ours)[0] is False
    assert rows.accuracies(ours[:4], theirs[:4])[0] is None


def test_accuracy_that_was_not_tried_often_enough_is_not_called_reached():
    row = rows.rows({"full ours": [figures(10)], "full lightning": [figures(20)]})[5]
    assert row.reached is None
    assert "fast enough, accuracy not judged" in row.sentence


def test_accuracy_is_compared_on_given_images_from_given_weights(tmp_path):
    for split, each in (("train", 3), ("val", 2), ("test", 1)):
        for name in "abc":
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(each):
                (tmp_path / split / name / f"{i}.jpg").touch()
    told = {"arch": "mobilenetv2_100", "mean": "[0.5, 0.5, 0.5]", "std": "0.1, 0.2, 0.3"}
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata=told)
    found = plan.accuracy(tmp_path, tmp_path / "w.safetensors", 96, 5, "cpu")
    assert [one.name for one in found] == ["accuracy ours", "accuracy by_lightning", "accuracy by_fastai"]
    for one in found:
        assert (one.train, one.val, one.request.classes, one.request.defaults) == (9, 6, 3, True)
        assert (one.request.mean, one.request.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))


def test_nothing_measured_is_said_of_each_row():
    assert [row.reached for row in rows.rows({})] == [None] * len(TARGETS)


def test_images_are_the_same_each_time_and_of_every_class(tmp_path):
    first, second = (images.make(tmp_path / name, 16, 8) for name in "ab")
    files = sorted(path.relative_to(first) for path in first.rglob("*.jpg"))
    assert len(files) == 16 + 8 + 8
    assert {path.parts[1] for path in files} == set(images.CLASSES)
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)
    assert len({(first / path).read_bytes() for path in files}) == len(files)


def test_every_target_is_measured_as_often_as_asked():
    named = {one.name for one in plan.measures(plan.REAL, "cpu", "auto")}
    assert {name for row in rows.SIMPLE for name in row[4]} <= named
    assert {name for name in MEASURED if not name.startswith("accuracy")} <= named
    assert len(named) == len(plan.measures(plan.REAL, "cpu", "auto"))


def test_the_page_shows_every_row_and_every_measure(tmp_path):
    raw = {
        "date": "2020-01-01", "machine": "m", "load": "0.1", "versions": {"torch": "1"}, "rounds": 3, "quick": False,
        "cache": "auto", "accuracy": "images from weights", "failed": ["vit full ours"],
        "not_run": ["fastai"], "results": MEASURED,
    }  # fmt: skip
    found = report.write(raw, tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert all(f"| {row.work} | {row.against} |" in page and f"- {row.sentence}" in page for row in found)
    assert all(f"| {name} |" in page for name in MEASURED)
    assert "Not run: fastai" in page
    assert "Failed: vit full ours." in page
    assert "images from weights" in page
    assert json.loads((tmp_path / "data" / "performance.json").read_text()) == raw
    assert (tmp_path / "img" / "performance.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_quick_run_measures_every_row_of_the_same_work(tmp_path):
    command = [sys.executable, "-m", "bench", "--quick", "--work", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "docs" / "data" / "performance.json").read_text())["results"]
    for row in rows.rows(results):
        if "fastai" in row.against:
            assert row.ratio is None
        else:
            assert row.ratio is not None
            assert math.isfinite(row.ratio)
            assert row.ratio > 0
    for group in (
        ("freeze ours", "freeze cached", "freeze lightning"),
        ("partial ours", "partial again", "partial suffix"),
        ("step ours", "step hand"),
        ("full ours", "full lightning"),
    ):
        same = [
            {(one["steps"], one["trained"], one["epochs"], one["images"]) for one in results[name]} for name in group
        ]
        assert same == same[:1] * len(group), group
    for both in (("freeze ours", "freeze cached"), ("partial ours", "partial suffix"), ("step ours", "step hand")):
        ours, hand = (results[name][0]["accuracy"] for name in both)
        assert ours == pytest.approx(hand, abs=0.25), both


def test_a_contender_that_fails_costs_the_others_nothing(tmp_path, monkeypatch):
    def measured(self, one, number, caches):
        assert caches.is_dir()
        if one.name == "freeze again":
            raise measuring.Failed("broken")
        return figures(number)

    monkeypatch.setattr(measuring.Bench, "measure", measured)
    measures = plan.measures(plan.QUICK, "cpu", "auto")[:4]
    bench, seen = measuring.Bench(tmp_path, None), []
    found = bench.rounds(measures, 3, lambda found: seen.append(sum(map(len, found.values()))))
    assert {name: len(done) for name, done in found.items()} == {
        "freeze ours": 3, "freeze cached": 3, "freeze again": 0, "freeze lightning": 2,
    }  # fmt: skip
    assert bench.failed == {"freeze again": "broken"}
    assert seen == list(range(1, 9))
    assert not list(tmp_path.iterdir())


def test_the_peak_is_what_a_process_held_even_if_it_let_go(tmp_path):
    # Resets the system's own peak half-way, as a run of ours does.
    code = "import time; x = b'1' * 300_000_000; time.sleep(0.5); del x; open('/proc/self/clear_refs', 'w').write('5')"
    peak = measuring._watched([sys.executable, "-c", code + "; time.sleep(0.3)"], tmp_path)["peak"]
    assert 300e6 < peak < 400e6


def test_a_process_that_fails_is_quoted(tmp_path):
    with pytest.raises(measuring.Failed, match=r"ended with 1:(?s:.*)no such thing"):
        measuring._watched([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path)
