import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_records import Planted, plant, predictions_of

from thawlab.record import read_sweep
from thawlab.report.evidence import Group, gather
from thawlab.report.findings import Task
from thawlab.report.pairing import Reader, compare


def compared(folder, one="full", two="scratch"):
    notes = []
    groups = {group.strategy: group for group in gather(read_sweep(folder)).groups}
    return compare(groups[one], groups[two], Reader(folder, notes)), notes


def test_images_are_paired_by_seed(tmp_path):
    runs = [Planted(s, score, seed) for s, score in (("full", 0.8), ("scratch", 0.77)) for seed in range(3)]
    for run in runs:
        plant(tmp_path, run)
    paired, notes = compared(tmp_path)
    assert notes == []
    assert paired.images == 500
    assert (paired.tested.points.value, paired.tested.points.n) == (pytest.approx(0.03), 3)
    right = [[row["label"] == row["predicted"] for row in predictions_of(run)] for run in runs]
    assert paired.tested.points.value == pytest.approx(np.mean(right[:3]) - np.mean(right[3:]))


def test_only_seeds_that_both_have_are_compared(tmp_path):
    for strategy, seeds in (("full", (0, 1, 2)), ("scratch", (1, 2, 3))):
        for seed in seeds:
            plant(tmp_path, Planted(strategy, 0.5 + 0.1 * seed, seed))
    paired, notes = compared(tmp_path)
    assert (paired.tested.points.value, paired.tested.points.n) == (0, 2)
    assert notes == ["full and scratch, digits, 100 images: compared over the seeds that both have (1, 2)."]


def test_runs_without_a_shared_seed_are_not_compared(tmp_path):
    plant(tmp_path, Planted("full"))
    plant(tmp_path, Planted("scratch", seed=1))
    paired, notes = compared(tmp_path)
    assert paired is None
    assert notes == ["full and scratch, digits, 100 images: not compared, for they share no seed."]


def test_other_test_images_are_never_paired(tmp_path):
    plant(tmp_path, Planted("full"))
    record = plant(tmp_path, Planted("scratch"))
    record.data["test_fingerprint"] = "another"
    record.write(tmp_path / record.name)
    paired, notes = compared(tmp_path)
    assert paired is None
    assert notes == [
        "full and scratch, digits, 100 images: not compared, for their runs were tested on different images."
    ]


def test_changed_predictions_are_not_believed(tmp_path):
    for strategy in ("full", "scratch"):
        for seed in range(2):
            plant(tmp_path, Planted(strategy, 0.8 + 0.01 * seed * (strategy == "full"), seed))
    with (tmp_path / "full-s0-digits-100" / "predictions.csv").open("a") as file:
        file.write('"digits/0500","1","1",0.9\n')
    paired, notes = compared(tmp_path)
    assert paired.tested.points.n == 2  # of the scores in the records
    assert "was changed after it was written" in notes[0]
    assert notes[1].endswith("its interval is over seeds alone, for predictions are missing or differ in images.")


def test_several_labels_are_compared_by_the_score_of_each_seed(tmp_path):
    for strategy, lead in (("full", 0.03), ("scratch", 0)):
        for seed, score in enumerate((0.6, 0.63, 0.61)):
            plant(tmp_path, Planted(strategy, score + lead * (1 + seed), seed, task="multilabel"))
    paired, notes = compared(tmp_path)
    assert (paired.tested.points.value, paired.tested.points.n, notes) == (pytest.approx(0.06), 3, [])


def test_each_file_is_read_once(tmp_path, monkeypatch):
    from thawlab import run_files

    for strategy in ("full", "scratch"):
        plant(tmp_path, Planted(strategy))
    read = []
    monkeypatch.setattr(
        run_files, "read_csv", lambda path, remedy, inner=run_files.read_csv: read.append(path) or inner(path, remedy)
    )
    groups = gather(read_sweep(tmp_path)).groups
    reader = Reader(tmp_path, [])
    for _ in range(3):
        compare(*groups, reader)
    assert len(read) == 2


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for strategy in ("full", "scratch"):
        for seed in range(4):
            plant(folder, Planted(strategy, 0.5 + 0.05 * seed, seed, images=40))
    return folder, {(run.name, run.seed): run for run in gather(read_sweep(folder)).runs}


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 3), min_size=1), st.sets(st.integers(0, 3), min_size=1))
def test_pairs_are_the_shared_seeds_and_turning_round_negates(runs, one, two):
    folder, known = runs
    task = Task("digits", "thawlab_demo", 100)
    groups = [
        Group(task, name, "", 0.01, {}, tuple(known[name, seed] for seed in sorted(seeds)), ())
        for name, seeds in (("full", one), ("scratch", two))
    ]
    reader = Reader(folder, [])
    there, back = compare(*groups, reader), compare(*groups[::-1], reader)
    if not one & two:
        assert there is back is None
        return
    assert there.tested.points.n == len(one & two)
    assert there.tested.points.value == pytest.approx(-back.tested.points.value)
    assert there.tested.p == pytest.approx(back.tested.p)


def test_runs_that_trained_on_other_images_are_not_paired(tmp_path):
    """Of a seed: a folder that grew between two runs of it."""
    for strategy, score in (("full", 0.8), ("scratch", 0.7)):
        for seed in range(3):
            plant(tmp_path, Planted(strategy, score, seed))
    record = plant(tmp_path, Planted("full", 0.9, 1))
    record.data["fingerprint"] = "another"
    record.write(tmp_path / record.name)
    paired, notes = compared(tmp_path)
    assert (paired.tested.points.value, paired.tested.points.n) == (pytest.approx(0.1), 2)
    assert notes == [
        "full and scratch, digits, 100 images: not paired where they trained on different images (seeds 1).",
        "full and scratch, digits, 100 images: compared over the seeds that both have (0, 2).",
    ]
