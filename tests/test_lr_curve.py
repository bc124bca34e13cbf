import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thawlab.lr_curve import Curve, figure, leave_files, recommended, smooth, valley

RATES = tuple(np.geomspace(1e-7, 10, 100))
LOSSES = st.lists(st.floats(-100, 100), min_size=6, max_size=40)


def by_hand(losses):
    """The smoothed losses, written as a loop."""
    value, found = 0.0, []
    for count, loss in enumerate(losses, start=1):
        value = 0.98 * value + 0.02 * loss
        found.append(value / (1 - 0.98**count))
    return found


@given(LOSSES)
def test_smoothing(losses):
    assert smooth(losses) == pytest.approx(by_hand(losses), abs=1e-9)


def test_a_constant_stays_what_it_is():
    assert smooth([3.0] * 50) == pytest.approx([3.0] * 50)


def longest_fall(losses):
    """(length, index of the last point) of the longest falling subsequence that ends first, by trying every chain."""
    chains = [1] * len(losses)
    for i in range(len(losses)):
        for j in range(i):
            if losses[j] > losses[i]:
                chains[i] = max(chains[i], chains[j] + 1)
    length = max(chains)
    return length, chains.index(length)


@given(LOSSES)
def test_the_valley_is_the_longest_fall(losses):
    length, end = longest_fall(losses)
    found = valley(np.array(losses))
    assert end - length <= found <= end
    assert found == end - length + int(length / 3) + int(length / 6)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        pytest.param([9, 9, 8, 7, 6, 5, 4, 3, 9, 9], 3, id="one descent: its middle"),
        pytest.param([5, 6, 7, 6, 7, 9, 8, 7, 6, 5, 4, 3, 2, 1, 9, 9], 8, id="the later descent is longer"),
    ],
)
def test_the_valley_by_hand(losses, expected):
    assert valley(np.array(losses, dtype=float)) == expected


def logistic(centre, width=1.0, noise=0.0):
    """Losses that fall from 3 to 1 around a rate, over so many decades, as raw losses of a test."""
    rng = np.random.default_rng(0)
    fall = 2 / (1 + np.exp((np.log10(RATES) - np.log10(centre)) / (width / 4)))
    return tuple(1 + fall + noise * rng.standard_normal(len(RATES)))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("centre", [1e-4, 1e-2])
def test_suggestions_lie_where_the_loss_falls(centre, noise):
    found = {s.rule: s.rate for s in Curve(RATES, logistic(centre, noise=noise), 100).suggestions()}
    # The mean lags behind: it falls on long after the losses do.
    assert centre / 10 <= found["steepest"] <= centre * 10
    assert centre / 10 <= found["valley"] <= centre * 100
    assert found["minimum/10"] > found["steepest"] / 10


def test_suggestions_move_with_the_curve():
    """A loss that falls at rates ten times as high: every rule moves by ten as well."""
    low, high = (Curve(RATES, logistic(centre), 100).suggestions() for centre in (RATES[40], RATES[50]))
    step = RATES[50] / RATES[40]
    for before, after in zip(low[:1], high[:1], strict=True):
        assert after.rate / before.rate == pytest.approx(step, rel=0.5)


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param((2.0,) * 100, id="flat"),
        pytest.param(tuple(np.linspace(1, 5, 100)), id="rising"),
        pytest.param((2.0, 1.9, 1.8, 1.7, 1.6, 99.0), id="exploded at once"),
    ],
)
def test_no_descent_no_suggestion(losses):
    assert Curve(RATES[: len(losses)], losses, 100).suggestions() == ()


@pytest.mark.parametrize(
    ("last", "exploded"),
    [
        pytest.param(1.0, False, id="no"),
        pytest.param(float("nan"), True, id="nan"),
        pytest.param(float("inf"), True, id="inf"),
        pytest.param(120.0, False, id="a mean of 3.7 times the best"),
        pytest.param(140.0, True, id="a mean of 4.2 times the best"),
    ],
)
def test_an_explosion_is_four_times_the_best(last, exploded):
    losses = (*[1.0] * 99, last)
    assert Curve(RATES, losses, 100).exploded == exploded


def test_the_files_hold_the_curve(tmp_path):
    curve = Curve(RATES, logistic(1e-3), 100)
    leave_files(curve, {"body": 0.1, "head": 1.0}, tmp_path)
    rows = list(csv.DictReader((tmp_path / "lr.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == pytest.approx(curve.losses)
    assert [float(row["smoothed"]) for row in rows] == pytest.approx(by_hand(curve.losses))
    assert all(float(row["rate/body"]) == pytest.approx(0.1 * float(row["rate/head"])) for row in rows)
    best = json.loads((tmp_path / "lr.json").read_text())
    assert best["valley"] == recommended(curve.suggestions()).rate
    assert best["recommended"] == "valley"
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_tells_suggestions_apart_without_colour():
    curve = Curve(RATES, (*logistic(1e-3)[:-1], float("nan")), 100)
    (axes,) = figure(curve).axes
    marked = [
        line for line in axes.get_lines() if str(line.get_label()).split(":")[0] in ("steepest", "valley", "minimum/10")
    ]
    assert len({line.get_marker() for line in marked}) == len(marked) == 3
    assert sum("recommended" in str(line.get_label()) for line in marked) == 1
    assert axes.get_xscale() == "log"
