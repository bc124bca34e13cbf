import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from thawlab.record import PlannedRun, Record, Sweep
from thawlab.report.rows import mean_and_half_width, rows, unmeasured


def make_record(name="run", accuracy=0.5, status="finished", seconds=10.0, share=0.1, precision=None, **settings):
    config = {"seed": 0, "rerun": False, "strategy": {"name": "freeze", "keep": 1.0}, "optimizer": {"lr": 0.1}}
    for key, value in settings.items():
        group, _, field = key.partition("__")
        config[group] = {**config.get(group, {}), field: value} if field else value
    metrics = {"test/accuracy": {"value": accuracy, "n": 100}} if status == "finished" else {}
    if precision is not None:
        metrics["test/mean_average_precision"] = {"value": precision, "n": 100}
    costs = {"seconds": {"total": seconds}, "parameters": {"trained_share": share}}
    return Record(name, status, config, metrics=metrics, costs=costs, data={"test_fingerprint": "f"})


def make_sweep(tmp_path, *records, planned=(), unreadable=()):
    return Sweep(tmp_path, (), tuple(PlannedRun(name, ()) for name in planned), records, dict(unreadable))


def test_mean_and_t_interval_by_hand():
    # 0.80, 0.82, 0.87: mean 0.83, deviations -0.03, -0.01, 0.04, s^2 = 0.0026 / 2; t(0.975, 2) = 4.302653 in tables.
    mean, half_width = mean_and_half_width([0.80, 0.82, 0.87])
    assert mean == pytest.approx(0.83)
    assert half_width == pytest.approx(4.302653 * math.sqrt(0.0013 / 3), rel=1e-6)


def test_the_interval_covers_the_true_mean_in_95_of_100_cases():
    draws = np.random.default_rng(0).normal(0.7, 0.05, (4000, 3))
    found = [mean_and_half_width(list(draw)) for draw in draws]
    covered = sum(abs(mean - 0.7) <= half_width for mean, half_width in found)
    low, high = stats.binom.interval(0.9999, 4000, 0.95)
    assert low <= covered <= high


def test_one_run_has_no_interval():
    assert mean_and_half_width([0.5]) == (0.5, None)


def test_seeds_are_averaged_and_rows_sorted_by_accuracy(tmp_path):
    measured = [(0.80, 10), (0.82, 20), (0.87, 60)]
    records = [make_record(accuracy=a, seconds=s, seed=i) for i, (a, s) in enumerate(measured)]
    best = make_record(accuracy=0.9, strategy__name="full", seed=0, share=1.0)
    first, second = rows(make_sweep(tmp_path, *records, best))
    assert (first.label, first.n, first.score, first.half_width, first.trained_share) == ("full", 1, 0.9, None, 1.0)
    assert (second.label, second.n, second.seeds) == ("freeze", 3, (0, 1, 2))
    assert (second.score, second.seconds) == (pytest.approx(0.83), pytest.approx(30))


def test_several_labels_are_compared_by_mean_average_precision_and_in_rows_of_their_own(tmp_path):
    records = [make_record(accuracy=0.2, precision=p, seed=i) for i, p in enumerate([0.6, 0.8])]
    one, several = rows(make_sweep(tmp_path, make_record(accuracy=0.1, seed=0), *records))
    assert (one.metric, one.score, one.n) == ("test/accuracy", 0.1, 1)
    assert (several.metric, several.score, several.n) == ("test/mean_average_precision", pytest.approx(0.7), 2)
    assert one.label == several.label == "freeze"


def test_what_is_unfinished_is_named_and_never_averaged(tmp_path):
    sweep = make_sweep(
        tmp_path,
        make_record("a", 0.8, seed=0),
        make_record("b", status="failed", seed=1),
        make_record("c", status="running", seed=2),
        make_record("d", None, seed=3),
        Record("e", "refused", {"seed": 4}, reason="dataset.root is 'x'\nsecond line"),
        planned=("a", "b", "f"),
        unreadable={"g": "g/result.json is no sound record"},
    )
    (row,) = rows(sweep)
    assert (row.n, row.score) == (1, 0.8)
    assert unmeasured(sweep) == [
        ("b", "failed: no reason recorded"),
        ("c", "killed: begun, but no end is recorded"),
        ("d", "finished, but without a value for test/accuracy"),
        ("e", "refused: dataset.root is 'x'"),
        ("f", "missing: planned, but it left no record"),
        ("g", "unreadable: g/result.json is no sound record"),
    ]


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        pytest.param([{"seed": 0}, {"seed": 1, "rerun": True}], {"freeze"}, id="nothing varies but seed and rerun"),
        pytest.param(
            [{"strategy__name": "freeze", "strategy__keep": 1.0}, {"strategy__name": "cut", "strategy__keep": 0.5}],
            {"freeze", "cut"},
            id="what follows from the strategy's name is not repeated",
        ),
        pytest.param(
            [{"strategy__keep": 1.0}, {"strategy__keep": 0.5}],
            {"freeze, strategy.keep=1.0", "freeze, strategy.keep=0.5"},
            id="a setting of the strategy",
        ),
        pytest.param(
            [{"strategy__name": s, "backbone__name": b} for s in ("freeze", "full") for b in ("resnet50", "vit")],
            {"freeze, resnet50", "full, resnet50", "freeze, vit", "full, vit"},
            id="backbones go by their names",
        ),
        pytest.param(
            [{"head__kind": "linear", "head__hidden": []}, {"head__kind": "mlp", "head__hidden": [64]}],
            {"freeze, linear", "freeze, mlp"},
            id="heads go by their kinds",
        ),
        pytest.param(
            [{"dataset__per_class": None}, {"dataset__per_class": 5}],
            {"freeze, dataset.per_class=-", "freeze, dataset.per_class=5"},
            id="null is a dash",
        ),
    ],
)
def test_labels_name_what_varies(tmp_path, runs, labels):
    assert {row.label for row in rows(make_sweep(tmp_path, *(make_record(**run) for run in runs)))} == labels


def test_an_advised_run_is_not_named_by_the_rate_that_its_config_has(tmp_path):
    advised = replace(make_record(strategy__name="auto", optimizer__lr=0.003), advice={"rate": 0.016})
    sweep = make_sweep(tmp_path, make_record(optimizer__lr=0.003), make_record(optimizer__lr=0.01), advised)
    others = {"freeze, optimizer.lr=0.003", "freeze, optimizer.lr=0.01"}
    assert {row.label for row in rows(sweep)} == others | {"auto, optimizer.lr=advised"}


def test_a_cost_that_one_run_lacks_is_not_averaged(tmp_path):
    (row,) = rows(make_sweep(tmp_path, make_record(seed=0), make_record(seed=1, seconds=None)))
    assert row.seconds is None
    assert row.trained_share == pytest.approx(0.1)


def _cannot_say(_):
    raise PermissionError


@pytest.mark.parametrize(
    ("owner", "says"),
    [
        pytest.param(lambda _: "process 7 on host", "still running (process 7 on host)", id="somebody has it"),
        pytest.param(lambda _: None, "killed: begun, but no end is recorded", id="nobody has"),
        pytest.param(_cannot_say, "missing: begun, but no end is recorded (still running, or killed)", id="unknown"),
    ],
)
def test_a_run_without_an_end_is_running_or_was_killed(tmp_path, monkeypatch, owner, says):
    monkeypatch.setattr("thawlab.report.rows.owner_of", owner)
    sweep = make_sweep(tmp_path, make_record("a", status="running", seed=2))
    assert unmeasured(sweep) == [("a", says)]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("failed", "failed: why"),
        ("diverged", "diverged: why"),
        ("out_of_memory", "out of memory: why"),
        ("timeout", "ended by its time limit: why"),
        ("interrupted", "interrupted: why"),
        ("refused", "refused: why"),
    ],
)
def test_each_status_is_said_in_words(tmp_path, status, says):
    sweep = make_sweep(tmp_path, Record("a", status, {"seed": 0}, reason="why"))
    assert unmeasured(sweep) == [("a", says)]
