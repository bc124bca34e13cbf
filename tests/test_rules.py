import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_similarity import DEMO, EARLY_BEST, LATE_BEST, NO_BETTER, UNDEFINED, planted

from thawlab.rules import DEFAULT, Figures, Rules

shares = st.floats(0, 1)
similarities = st.builds(
    planted,
    st.lists(st.one_of(shares, st.just(float("nan"))), min_size=5, max_size=5),
    per_class=st.integers(1, 400).map(float),
    classes=st.integers(2, 50),
    pixels=shares | st.just(float("nan")),
    random=st.none() | shares,
)
rules = st.builds(
    Rules,
    few_per_class=st.floats(1, 30),
    few_images=st.floats(10, 300),
    many_per_class=st.floats(30, 300),
    many_images=st.floats(300, 5000),
    foreign=st.floats(0.1, 1),
    useful_gain=st.floats(-0.5, 0.9),
    noise=st.floats(0, 1),
    clear_errors=st.floats(0, 3),
)
# In the first epoch: gradual begins with the head alone.
TRAINS = {"freeze": 0, "truncate": 0, "gradual": 0, "partial": 1, "full": 2, "scratch": 2}


def figures(similarity, images=None):
    return Figures.of(similarity, DEMO, similarity.images if images is None else images)


@given(similarities, rules, st.floats(1, 100))
def test_more_images_never_freeze_more_at_the_start(similarity, by, times):
    few, more = (figures(similarity, int(similarity.images * factor)) for factor in (1, times))
    assert TRAINS[more.strategy(by)] >= TRAINS[few.strategy(by)]
    assert ["small", "middle", "large"].index(more.size(by)) >= ["small", "middle", "large"].index(few.size(by))
    assert more.case(by) >= few.case(by)


@given(similarities, rules, st.floats(0, 1))
def test_a_better_last_stage_is_never_cut_off_for_it(similarity, by, more):
    seen = figures(similarity)
    better = replace(seen, seen=(*seen.seen[:-1], seen.last.moved(more, more)))
    assert seen.cut(by) or not better.cut(by)


def test_the_gain_is_the_share_of_errors_put_right():
    seen = figures(planted((0.5, 0.5, 0.5, 0.5, 0.9), pixels=0.6, random=0.5))
    assert seen.gain == pytest.approx(0.75)  # 40% wrong, then 10%
    assert figures(planted((0.5,) * 5, pixels=0.6)).gain == pytest.approx(-0.25)
    assert figures(planted((0.5, 0.5, 0.5, 0.5, 0.9), pixels=0.2, random=0.8)).gain == pytest.approx(0.5)
    assert figures(planted((0.5, 0.5, 0.5, 0.5, 0.9), pixels=0.2, random=None, chance=0.5)).gain == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("evidence", "h_score", "cut"),
    [(0.3, 6.0, True), (0.3, 4.0, False), (0.1, 6.0, False), (0.2, 6.0, False), (0.3, 5.0, False), (0.3, None, False)],
)
def test_a_network_is_cut_where_two_measures_agree_that_an_earlier_stage_is_worth_more(evidence, h_score, cut):
    similarity = planted((0.5, 0.5, 0.9, 0.5, 0.95))
    early = replace(similarity.stages[2], log_evidence=evidence, h_score=math.nan if h_score is None else h_score)
    rest = [replace(one, log_evidence=0.0, h_score=9.0) for one in similarity.stages]
    last = replace(similarity.stages[4], log_evidence=0.2, h_score=5.0)
    seen = figures(replace(similarity, stages=(*rest[:2], early, rest[3], last)))
    assert seen.cut(DEFAULT) == cut
    assert seen.strategy(DEFAULT) == ("truncate" if cut else "freeze")


def test_chance_makes_features_seem_better_than_random_ones():
    # 50 images, 40% right: a standard error is sqrt(0.4 * 0.6 / 50) = 6.9 points; a tenth of 70% errors is 7 points.
    by_chance, clearly = (planted((0.2, 0.2, 0.2, 0.2, last), random=0.3, pixels=0.1) for last in (0.43, 0.46))
    assert figures(by_chance).strategy(DEFAULT) == "scratch"
    assert figures(clearly).strategy(DEFAULT) == "freeze"
    assert figures(planted((0.2, 0.2, 0.2, 0.2, 0.43), random=None, pixels=0.1)).strategy(DEFAULT) == "freeze"


@pytest.mark.parametrize(("leep", "per_class", "strategy"), [
    (-1.3, 5, "freeze"), (-1.5, 5, "gradual"), (-1.3, 40, "freeze"), (-1.5, 40, "partial"), (-1.5, 400, "full"),
    (None, 5, "freeze"),
])  # fmt: skip
def test_features_of_a_foreign_source_have_to_change(leep, per_class, strategy):
    # Guessing among ten loses log(10) = 2.303; 0.6 of it is 1.38.
    assert figures(planted(LATE_BEST, per_class=float(per_class), leep=leep)).strategy(DEFAULT) == strategy


def test_without_batch_norm_stages_bear_less():
    plain = planted(LATE_BEST)
    bare = replace(plain, stages=tuple(replace(one, norm_distance=None) for one in plain.stages))
    assert [figures(one).rate("full", DEFAULT) for one in (plain, bare)] == [0.012, 0.002]
    assert [figures(one).rate("freeze", DEFAULT) for one in (plain, bare)] == [0.008, 0.008]


@pytest.mark.parametrize(("width", "rate"), [(16, 0.032), (64, 0.016), (256, 0.008), (1280, 0.0036)])
def test_a_head_on_more_numbers_takes_smaller_steps(width, rate):
    similarity = planted(LATE_BEST)
    last = replace(similarity.stages[-1], width=width)
    wide = figures(replace(similarity, stages=(*similarity.stages[:-1], last)))
    assert wide.rate("freeze", DEFAULT) == rate
    assert wide.rate("truncate", DEFAULT) == 0.016
    assert wide.rate("gradual", DEFAULT) == 0.012


def test_of_equal_stages_the_deepest_is_best():
    assert figures(planted((0.5, 0.9, 0.9, 0.8, 0.8))).best.stage == "conv3"


@pytest.mark.parametrize(
    ("per_class", "classes", "size"),
    [(5, 10, "small"), (20, 10, "middle"), (50, 2, "middle"), (30, 3, "small"), (150, 10, "large"), (400, 2, "middle")],
)
def test_both_counts_must_be_enough(per_class, classes, size):
    assert figures(planted(LATE_BEST, per_class=float(per_class), classes=classes)).size(DEFAULT) == size


@pytest.mark.parametrize(
    ("probes", "per_class", "case"),
    [(LATE_BEST, 5, 1), (EARLY_BEST, 5, 2), (LATE_BEST, 200, 3), (EARLY_BEST, 200, 4), (NO_BETTER, 5, 2),
     (LATE_BEST, 30, 1), (LATE_BEST, 90, 3), (UNDEFINED, 1, 1)],
)  # fmt: skip
def test_the_four_cases(probes, per_class, case):
    assert figures(planted(probes, per_class=float(per_class))).case(DEFAULT) == case


def test_where_a_stage_is_undefined_nothing_is_made_of_the_others():
    seen = figures(planted((0.5, float("nan"), 0.9, 0.5, 0.5)))
    assert not seen.known
    assert not seen.cut(DEFAULT)
    assert seen.strategy(DEFAULT) == "freeze"
