import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from thawlab.report.findings import Cell, Interval, Task
from thawlab.report.sizes import crossing, crossings, effective, needed, rising


def cell(strategy, size, score, n=3):
    interval = Interval(score, score - 0.01, score + 0.01, n)
    return Cell(Task("digits", "demo", size), strategy, 0.01, (), (), (), interval, 500, None, None, None)


@pytest.mark.parametrize(
    ("ahead", "size", "between", "note"),
    [
        pytest.param([0.2, 0.04, -0.04], 200.0, (100, 400), "", id="half-way on a logarithmic axis"),
        pytest.param([0.1, 0.0, -0.1], 100.0, (25, 100), "", id="level at a measured size"),
        pytest.param([0.1, 0.1, 0.1], None, None, "ahead of scratch up to the largest size (400)", id="never"),
        pytest.param([-0.1, -0.1, 0.0], None, None, "ahead of scratch at no size from 25 to 400", id="never ahead"),
        pytest.param([-0.1, 0.1, -0.1], 200.0, (100, 400), "the lead also changes near 50", id="the last counts"),
        pytest.param(
            [0.1, -0.1, 0.1],
            None,
            None,
            "ahead of scratch up to the largest size (400); the lead also changes near 50, 200",
            id="regained",
        ),
    ],
)
def test_scratch_overtakes(ahead, size, between, note):
    found = crossing([25, 100, 400], ahead)
    assert found == (pytest.approx(size) if size else None, between, note)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_after_a_crossing_scratch_stays_ahead(ahead):
    sizes = [10 * 3**i for i in range(len(ahead))]
    size, between, _ = crossing(sizes, ahead)
    if size is None:
        assert ahead[-1] > 0 or max(ahead) <= 0
        return
    assert between[0] * (1 - 1e-9) <= size <= between[1] * (1 + 1e-9)
    assert all(lead <= 0 for s, lead in zip(sizes, ahead, strict=True) if s > size * (1 + 1e-9))
    assert np.interp(math.log(size), np.log(sizes), ahead) == pytest.approx(0, abs=1e-9)


def test_a_strategy_has_a_crossing_where_two_sizes_beside_scratch_were_measured():
    cells = [cell(s, size, score) for s, scores in (("full", (0.7, 0.8)), ("scratch", (0.6, 0.9)))
             for size, score in zip((100, 400), scores, strict=True)]  # fmt: skip
    (found,) = crossings([*cells, cell("freeze", 100, 0.9)])
    assert (found.strategy, found.size) == ("full", pytest.approx(200))
    assert crossings(cells[:3]) == ()


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=8))
def test_the_fitted_curve_is_scikit_learns(points):
    scores, weights = zip(*points, strict=True)
    expected = IsotonicRegression().fit_transform(range(len(scores)), scores, sample_weight=weights)
    assert rising(scores, weights) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(-0.1, 1.1))
def test_what_scratch_needs_gives_the_score_back(scores, score):
    fitted, sizes = rising(scores, [1] * len(scores)), [10 * 3**i for i in range(len(scores))]
    size, note = needed(sizes, fitted, score)
    if size is None:
        assert note == (f"more than {sizes[-1]}" if score > fitted[-1] else f"fewer than {sizes[0]}")
    else:
        assert np.interp(math.log(size), np.log(sizes), fitted) == pytest.approx(score, abs=1e-6)
        assert note == ""


def test_of_a_level_stretch_the_smallest_size_counts():
    assert needed([100, 400, 1600], [0.6, 0.8, 0.8], 0.8) == (400, "")


def test_effective_data_is_what_scratch_needs_beyond_the_size():
    scratch = [cell("scratch", size, score) for size, score in ((100, 0.6), (400, 0.8), (1600, 0.9))]
    found = effective([*scratch, cell("full", 100, 0.7), cell("full", 400, 0.95), cell("full", 1600, 0.5)])
    assert [(one.task.size, one.scratch_needs, one.transferred, one.note) for one in found] == [
        (100, pytest.approx(200), pytest.approx(100), ""),
        (400, None, None, "more than 1600"),
        (1600, None, None, "fewer than 100"),
    ]
