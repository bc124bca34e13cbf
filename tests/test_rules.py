from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_similarity import DEMO, EARLY_BEST, LATE_BEST, NO_BETTER, UNDEFINED, planted

from thawlab.rules import DEFAULT, Figures, Rules
from thawlab.similarity.measured import StageSimilarity

shares = st.floats(0, 1)
measured = st.builds(
    StageSimilarity,
    stage=st.just(""),
    width=st.sampled_from([16, 63, 64, 320, 1280]),
    linear_probe=shares,
    nearest_neighbour=shares,
    log_evidence=st.floats(-1, 1),
    h_score=st.just(1.0),
    norm_distance=st.none() | st.just(0.1),
)


@st.composite
def similar_or_not(draw):
    """Every figure apart from the others, a few of them undefined."""
    stages = [replace(draw(measured), stage=name) for name in DEMO]
    if draw(st.integers(0, 5)) == 0:
        stages[draw(st.integers(0, 4))] = replace(draw(measured), stage="conv1", linear_probe=float("nan"))
    found = planted(
        (0.5,) * 5,
        per_class=float(draw(st.integers(1, 400))),
        classes=draw(st.integers(2, 50)),
        pixels=draw(shares | st.just(float("nan"))),
        random=draw(st.none() | shares),
        leep=draw(st.none() | st.floats(-4, 0)),
    )
    return replace(found, stages=tuple(stages))


similarities = similar_or_not()
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
# More of the network, or earlier.
TRAINS = {"freeze": 0, "gradual": 1, "full": 2, "scratch": 2}


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
    assert seen.cut(by) or not seen.known or not better.cut(by)


def test_the_gain_is_the_share_of_errors_put_right():
    seen = figures(planted((0.5, 0.5, 0.5, 0.5, 0.9), pixels=0.6, random=0.5))
    assert seen.gain == pytest.approx(0.75)  # 40% wrong, then 10%
    assert figures(planted((0.5,) * 5, pixels=0.6)).gain == pytest.approx(-0.25)
    assert figures(planted((0.5, 0.5, 0.5, 0.5, 0.9), pixels=0.2, random=0.8)).gain == pytest.approx(0.5)
    assert figures(planted((0.5, 0.5, 0.5, 0.5, 0.9), pixels=0.2, random=None, chance=0.5)).gain == pytest.approx(0.8)


def with_early_stage(early, leep):
    similarity = planted((0.1, 0.1, 0.8, 0.1, 0.7), pixels=0.1, random=0.1, leep=leep)
    changed = replace(similarity.stages[2], **{"log_evidence": 0.3, **early})
    last = replace(similarity.stages[4], log_evidence=0.2)
    return figures(replace(similarity, stages=(*similarity.stages[:2], changed, similarity.stages[3], last)))


@pytest.mark.parametrize(
    ("early", "cut"),
    [
        pytest.param({}, True, id="better by all"),
        pytest.param({"log_evidence": 0.2}, False, id="as good by LogME"),
        pytest.param({"linear_probe": 0.6}, True, id="worse to the probe alone"),
        pytest.param({"nearest_neighbour": 0.6}, True, id="worse to neighbours alone"),
        pytest.param({"linear_probe": 0.6, "nearest_neighbour": 0.6}, False, id="worse to both"),
        pytest.param({"width": 512}, True, id="wider"),
        pytest.param({"width": 255}, False, id="narrower"),
    ],
)
def test_a_network_is_cut_where_an_earlier_stage_is_worth_more(early, cut):
    seen = with_early_stage(early, leep=-1.0)
    assert seen.cut(DEFAULT) == cut
    assert seen.strategy(DEFAULT) == ("gradual" if cut else "freeze")


@pytest.mark.parametrize(
    ("early", "cut"),
    [
        pytest.param({}, True, id="better to both"),
        pytest.param({"nearest_neighbour": 0.7}, False, id="as good to neighbours"),
        pytest.param({"linear_probe": 0.64}, True, id="worse to the probe, within its error of 0.065"),
        pytest.param({"linear_probe": 0.63}, False, id="worse to the probe"),
        pytest.param({"width": 64}, True, id="narrower"),
        pytest.param({"width": 63}, False, id="too narrow"),
    ],
)
def test_a_foreign_source_is_cut_where_neighbours_tell_more(early, cut):
    early = {"log_evidence": 0.1, **early}
    assert with_early_stage(early, leep=-1.5).cut(DEFAULT) == cut
    assert with_early_stage(early, leep=-1.5).strategy(DEFAULT) == "gradual"
    assert not with_early_stage(early, leep=-1.3).cut(DEFAULT), "its features serve as they are"
    of_no_use = replace(with_early_stage(early, leep=-1.3), baseline=0.65)
    assert of_no_use.cut(DEFAULT) == cut, "as with a foreign source"


def test_what_logme_prefers_and_the_others_do_not_is_no_gain():
    refused = {"linear_probe": 0.3, "nearest_neighbour": 0.3}
    seen = with_early_stage(refused, leep=-1.0)
    assert seen.worth is seen.last
    assert seen.gain == pytest.approx((0.7 - 0.1) / 0.9)
    assert seen.strategy(DEFAULT) == "freeze"
    foreign = with_early_stage(refused, leep=-1.5)
    other = replace(foreign.seen[3], probe=0.7, neighbour=0.9)
    assert replace(foreign, seen=(*foreign.seen[:3], other, foreign.last)).kept(DEFAULT) is other


@pytest.mark.parametrize(("probe", "stage"), [(0.8, "fc1"), (0.81, "conv3")])
def test_of_stages_that_neighbours_tell_alike_the_probes_choice_is_kept_then_the_deepest(probe, stage):
    seen = with_early_stage({"log_evidence": 0.1, "linear_probe": probe}, leep=-1.5)
    twin = replace(seen.seen[3], probe=0.8, neighbour=0.8)
    assert replace(seen, seen=(*seen.seen[:3], twin, seen.last)).kept(DEFAULT).stage == stage


def test_a_last_stage_that_is_narrow_itself_can_be_kept():
    seen = with_early_stage({"log_evidence": 0.1, "width": 15}, leep=-1.5)
    narrow = replace(seen, seen=(*seen.seen[:-1], replace(seen.last, width=16)))
    assert narrow.kept(DEFAULT) is narrow.last


@pytest.mark.parametrize(
    ("early", "last", "random", "strategy"),
    [
        (0.2, 0.33, 0.3, "scratch"),  # 4% of what random weights get wrong
        (0.2, 0.34, 0.3, "full"),  # 6%
        (0.42, 0.32, 0.3, "full"),  # an early stage is worth more
        (0.2, 0.32, None, "full"),
    ],
)
def test_with_many_images_a_source_that_has_nothing_is_left(early, last, random, strategy):
    similarity = planted((0.2, 0.2, early, 0.2, last), random=random, pixels=0.1, per_class=400.0)
    assert figures(similarity).strategy(DEFAULT) == strategy


@given(similarities, rules)
def test_with_few_images_nothing_starts_from_random_weights(similarity, by):
    seen = figures(similarity)
    assert seen.strategy(by) != "scratch" or seen.size(by) == "large"


@given(similarities, rules)
def test_what_is_kept_is_as_good_to_a_probe_or_to_neighbours_as_the_last(similarity, by):
    seen = figures(similarity)
    kept = seen.kept(by)
    assert seen.cut(by) == (kept is not seen.last)
    assert kept is seen.last or kept.probe >= seen.last.probe or kept.neighbour >= seen.last.neighbour


@pytest.mark.parametrize(("leep", "per_class", "strategy"), [
    (-1.3, 5, "freeze"), (-1.5, 5, "gradual"), (-1.3, 40, "freeze"), (-1.5, 40, "gradual"), (-1.5, 400, "full"),
    (None, 5, "freeze"),
])  # fmt: skip
def test_features_of_a_foreign_source_have_to_change(leep, per_class, strategy):
    # Guessing among ten loses log(10) = 2.303; 0.6 of it is 1.38.
    assert figures(planted(LATE_BEST, per_class=float(per_class), leep=leep)).strategy(DEFAULT) == strategy


@pytest.mark.parametrize(("early", "strategy"), [(0.75, "gradual"), (0.7, "full")])
def test_between_few_and_many_what_is_of_little_use_trains_from_the_start(early, strategy):
    similarity = planted((0.2, 0.2, early, 0.2, 0.65), per_class=40.0, random=0.5, pixels=0.6)
    assert figures(similarity).strategy(DEFAULT) == strategy
    assert figures(similarity, images=50).strategy(DEFAULT) == "gradual"
    bare = tuple(replace(one, norm_distance=None) for one in similarity.stages)
    assert figures(replace(similarity, stages=bare)).strategy(DEFAULT) == "gradual"


def test_without_batch_norm_stages_bear_less():
    plain = planted(LATE_BEST)
    bare = replace(plain, stages=tuple(replace(one, norm_distance=None) for one in plain.stages))
    assert [figures(one).rate("full", DEFAULT) for one in (plain, bare)] == [0.016, 0.0018]
    assert [figures(one).rate("gradual", DEFAULT) for one in (plain, bare)] == [0.016, 0.0034]
    assert [figures(one).rate("freeze", DEFAULT) for one in (plain, bare)] == [0.008, 0.008]


@pytest.mark.parametrize(("width", "rate"), [(64, 0.016), (256, 0.008), (1280, 0.0036)])
def test_a_head_on_more_numbers_takes_smaller_steps(width, rate):
    similarity = planted(LATE_BEST)
    last = replace(similarity.stages[-1], width=width)
    wide = figures(replace(similarity, stages=(*similarity.stages[:-1], last)))
    assert wide.rate("freeze", DEFAULT) == rate
    assert wide.rate("gradual", DEFAULT) == wide.rate("full", DEFAULT) == pytest.approx(2 * rate, rel=0.03)
    assert wide.rate("scratch", DEFAULT) == 0.002
    narrow = replace(wide, seen=(replace(wide.last, width=16),))
    assert [narrow.rate(name, DEFAULT) for name in ("freeze", "gradual")] == [0.032, 0.032]


def test_the_rate_goes_by_what_is_kept():
    seen = with_early_stage({"width": 1024}, leep=-1.0)
    assert seen.kept(DEFAULT).width == 1024
    assert seen.rate("gradual", DEFAULT) == 0.008  # 0.256 over the root of 1024
    narrow = with_early_stage({"log_evidence": 0.1, "width": 64}, leep=-1.5)
    assert narrow.rate("full", DEFAULT) == 0.032


def test_batch_norm_above_the_cut_is_none():
    seen = with_early_stage({}, leep=-1.0)
    bare = [replace(one, batch_norm=False) for one in seen.seen[:3]]
    assert not replace(seen, seen=(*bare, *seen.seen[3:])).batch_norm(DEFAULT)
    assert replace(seen, seen=(bare[0], *seen.seen[1:])).batch_norm(DEFAULT)


def test_a_little_of_each_figure_that_decides_is_tried():
    seen = with_early_stage({"log_evidence": 0.1}, leep=-1.5)
    tried = [other for other, _ in seen.neighbours(DEFAULT)]
    step = seen.margin(DEFAULT)
    assert sorted({one.leep - seen.leep for one in tried}) == pytest.approx([-0.2 / 50**0.5, 0, 0.2 / 50**0.5])
    moved = {round(one.kept(DEFAULT).neighbour, 6) for one in tried if one.kept(DEFAULT).stage == "conv3"}
    assert round(0.8 + step, 6) in moved


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
