import pytest
from planted_records import SOURCE, Planted, curves_of, plant

from thawlab.record import read_sweep
from thawlab.report.evidence import gather
from thawlab.report.findings import SourceCost
from thawlab.report.ledger import pays_off, reached, sources, thresholds

TOLD = {"name": SOURCE, "seconds": 600.0, "flops": 6e10, "images": 20000, "told_by": "its record"}


def books(folder, runs, told=TOLD):
    for run in runs:
        plant(folder, run)
    evidence = gather(read_sweep(folder))
    curves = {run.folder: curves_of(run) for run in runs}
    found = reached(evidence, curves)
    costs = sources(evidence, told)
    return evidence, found, costs, {one.strategy: one for one in pays_off(evidence, found, costs)}


def test_thresholds_are_what_every_seed_of_scratch_came_to_and_0_9_of_the_best(tmp_path):
    runs = [Planted("scratch", 0.6 + 0.02 * seed, seed) for seed in range(3)] + [Planted("full", 0.8)]
    evidence, *_ = books(tmp_path, runs)
    assert thresholds(evidence.groups) == pytest.approx([0.6, 0.72])


def test_cost_to_reach_is_the_share_of_the_epochs_until_then(tmp_path):
    # Curves are at 0.4, 0.7, 0.9, 1.0 of the end. A run takes 4 x 100 images and, all stages training, 1.2 GFLOPs.
    _, found, _, _ = books(tmp_path, [Planted("scratch", 0.6), Planted("full", 0.8), Planted("freeze", 0.5)])
    by_key = {(one.strategy, round(one.score, 6)): (one.images, one.flops, one.seconds) for one in found}
    assert by_key["scratch", 0.6] == pytest.approx((400, 1.2e9, 1.2))
    assert by_key["full", 0.6] == pytest.approx((300, 0.9e9, 0.9))  # 0.7 x 0.8 is not there yet
    assert by_key["full", 0.72] == pytest.approx((300, 0.9e9, 0.9))
    assert by_key["scratch", 0.72] == by_key["freeze", 0.6] == (None, None, None)


def test_one_seed_that_never_comes_there_leaves_no_cost(tmp_path):
    runs = [Planted("scratch", 0.6), Planted("full", 0.8), Planted("full", 0.5, seed=1)]
    _, found, _, _ = books(tmp_path, runs)
    assert next(one.flops for one in found if one.strategy == "full") is None


def test_after_how_many_targets_the_source_is_paid(tmp_path):
    _, _, _, pays = books(tmp_path, [Planted("scratch", 0.6), Planted("full", 0.8), Planted("freeze", 0.5)])
    assert pays["full"].saved_flops == pytest.approx(0.3e9)
    assert pays["full"].targets == pytest.approx(6e10 / 0.3e9)
    assert pays["full"].note == "it comes to 72.0% on validation images, which scratch does not"
    assert (pays["freeze"].targets, pays["freeze"].note) == (None, "the strategy never comes to scratch's score")


def test_what_costs_no_less_than_scratch_never_pays(tmp_path):
    _, _, _, pays = books(tmp_path, [Planted("scratch", 0.6), Planted("full", 0.6)])
    assert (pays["full"].saved_flops, pays["full"].targets) == (0, None)
    assert pays["full"].note == "it costs no less than scratch: it never pays"


def test_a_source_of_which_nobody_told_the_cost(tmp_path):
    _, _, costs, pays = books(tmp_path, [Planted("scratch", 0.6), Planted("full", 0.8)], told=None)
    assert costs == (SourceCost(SOURCE, None, None, None, "nobody told what it cost"),)
    assert pays["full"].saved_flops == pytest.approx(0.3e9)
    assert (pays["full"].targets, pays["full"].note[:38]) == (None, "nobody told what the source cost; it c")


def test_each_setting_pays_against_its_own_scratch(tmp_path):
    runs = {
        kind: [Planted("scratch", low, name=f"scratch-{kind}"), Planted("full", 0.8, name=f"full-{kind}")]
        for kind, low in (("linear", 0.3), ("mlp", 0.6))
    }
    for kind, both in runs.items():
        for run in both:
            plant(tmp_path, run, **{"head.kind": kind})
    evidence = gather(read_sweep(tmp_path))
    curves = {run.folder: curves_of(run) for both in runs.values() for run in both}
    pays = pays_off(evidence, reached(evidence, curves), sources(evidence, TOLD))
    # Curves are at 0.4, 0.7, 0.9, 1.0 of the end: full has 0.32 after one epoch of four, and 0.6 after three.
    saved = {one.strategy: one.saved_flops for one in pays}
    assert saved == pytest.approx({"full, linear": 0.9e9, "full, mlp": 0.3e9})
