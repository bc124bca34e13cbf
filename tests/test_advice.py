import json
import shlex
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_similarity import DEMO, EARLY_BEST, LATE_BEST, NO_BETTER, UNDEFINED, planted
from test_rules import rules, similarities

from thawlab import compose
from thawlab.advice import PRESETS, Advice, advise, applied
from thawlab.prepare import specs_of
from thawlab.rules import Rules
from thawlab.schema import register
from thawlab.strategy import lay

register()
compose.register_resolvers()
WHOLE = "strategy=gradual strategy.thaw.epochs=1 optimizer.lr=0.016"
FULL = "strategy=full strategy.keep=conv3 optimizer.lr=0.016"
CUT = "strategy=gradual strategy.keep=conv3 strategy.thaw.epochs=1 optimizer.lr=0.016"


@dataclass(frozen=True)
class Sized:
    name: str
    size: int = 1


def config_of(words):
    (job,) = compose.jobs(shlex.split(words), multirun=False)
    return job.config


@pytest.mark.parametrize(
    ("probes", "per_class", "words"),
    [
        pytest.param(LATE_BEST, 5, "strategy=freeze optimizer.lr=0.008", id="few, the last stage is best"),
        pytest.param(EARLY_BEST, 5, CUT, id="few, an early one is"),
        pytest.param(LATE_BEST, 40, "strategy=freeze optimizer.lr=0.008", id="some, similar"),
        pytest.param(EARLY_BEST, 40, CUT, id="some, an early one is"),
        pytest.param(LATE_BEST, 400, "strategy=full optimizer.lr=0.016", id="many, similar"),
        pytest.param(EARLY_BEST, 400, FULL, id="many, different"),
        pytest.param(NO_BETTER, 400, FULL, id="many, no better than pixels"),
        pytest.param((0.5, 0.52, 0.54, 0.56, 0.6), 5, WHOLE, id="few, no better"),
        pytest.param((0.4, 0.45, 0.47, 0.49, 0.51), 5, WHOLE, id="few, as random ones"),
        pytest.param((0.4, 0.45, 0.47, 0.49, 0.51), 40, "strategy=full optimizer.lr=0.016", id="some, as random ones"),
        pytest.param((0.4, 0.45, 0.47, 0.49, 0.51), 400, "strategy=scratch optimizer.lr=0.002", id="many, as random"),
        pytest.param(UNDEFINED, 1, "strategy=freeze optimizer.lr=0.008", id="one each: nothing can be measured"),
    ],
)
def test_each_case_has_its_strategy(probes, per_class, words):
    assert advise(planted(probes, per_class=float(per_class)), DEMO).words == words


def test_the_reason_is_two_sentences_with_the_figures():
    said = advise(planted(EARLY_BEST), DEMO).reason
    assert said.count(". ") == 1
    assert said.endswith(".")
    for figure in ("50 training images", "5 for each of 10", "95.0%", "conv3", "70.0%", "fc2", "60.0%", "50.0%", "87%"):
        assert figure in said


def test_what_else_was_close_says_what_would_bring_it():
    advice = advise(planted(LATE_BEST, per_class=100.0, classes=20), DEMO)
    assert advice.like == "freeze"
    assert {one.like: one.why for one in advice.close} == {"full": "with 2 times the images"}


@pytest.mark.parametrize(
    ("early", "images", "close"), [(0.88, 50, True), (0.86, 50, False), (0.88, 500, False), (0.895, 500, True)]
)
def test_a_stage_within_the_noise_of_its_worth_is_close(early, images, close):
    # Of 50 images 0.2 / sqrt(50) = 0.028, of 500 0.0089.
    similarity = planted((0.5, 0.6, early, 0.8, 0.9), per_class=images / 10)
    advice = advise(similarity, DEMO, images=50)
    assert advice.like == "freeze"
    near = [one.words for one in advice.close if one.like == "gradual"]
    assert near == [CUT] * close
    narrow = [replace(one, width=16) if one.stage == "conv3" else one for one in similarity.stages]
    opposed = advise(replace(similarity, stages=tuple(narrow)), DEMO, images=50)
    assert not [one for one in opposed.close if one.like == "gradual"], "a head would have fewer numbers"


@pytest.mark.parametrize(("lead", "close"), [(0.02, True), (0.06, True), (0.07, False), (0.2, False)])
def test_freezing_is_close_to_a_cut_within_the_probes_error_and_no_further(lead, close):
    similarity = planted((0.5, 0.6, 0.7 + lead, 0.6, 0.7), pixels=0.1, random=0.1)
    last = replace(similarity.stages[-1], nearest_neighbour=0.7 + lead)
    advice = advise(replace(similarity, stages=(*similarity.stages[:-1], last)), DEMO)
    assert advice.words == CUT
    assert ("freeze" in [one.like for one in advice.close]) == close


def test_the_reason_for_a_cut_is_what_speaks_for_it():
    by_evidence = advise(planted(EARLY_BEST), DEMO).reason
    assert "LogME, 0.950 at stage conv3 and 0.700 at the last, fc2, puts the earlier first" in by_evidence
    similarity = planted(LATE_BEST, leep=-1.5)
    stages = [replace(one, nearest_neighbour=0.95) if one.stage == "fc1" else one for one in similarity.stages]
    advice = advise(replace(similarity, stages=tuple(replace(one, linear_probe=0.9) for one in stages)), DEMO)
    assert advice.strategy.keep == "fc1"
    assert "and 90.0% off stage fc1, where the nearest neighbour is right more often (95.0%, at the last 90.0%)" in (
        advice.reason
    )


def test_all_training_images_count_where_a_sample_was_measured():
    sample = planted(LATE_BEST, per_class=20.0, classes=100)
    assert advise(sample, DEMO).like == "freeze"
    assert advise(sample, DEMO, images=20_000).like == "full"
    assert "20,000 training images, 200 for each" in advise(sample, DEMO, images=20_000).reason


def test_a_rate_that_is_given_is_everyones():
    advice = advise(planted(LATE_BEST, per_class=100.0, classes=20), DEMO, rate=0.07)
    assert advice.rate == 0.07
    assert [one.words for one in advice.close] == ["strategy=full optimizer.lr=0.07"]


def test_the_reason_for_random_weights_is_the_last_stage():
    similarity = planted((0.2, 0.2, 0.2, 0.2, 0.32), random=0.3, pixels=0.1, per_class=400.0)
    said = advise(similarity, DEMO).reason
    assert "the last stage, 32.0%, hardly reads more than random weights" in said


def test_other_rules_make_other_advice():
    similarity = planted(LATE_BEST)
    assert advise(similarity, DEMO, rules=Rules(many_per_class=4, many_images=40)).like == "full"
    assert advise(similarity, DEMO, rules=Rules(rate_head=0.32)).rate == 0.02


def test_a_stage_that_cannot_be_kept_is_not_named():
    advice = advise(planted((0.5, 0.97, 0.95, 0.8, 0.7)), [name for name in DEMO if name != "conv2"])
    assert advice.strategy.keep == "conv3"


@given(st.data(), rules, st.integers(1, 8))
def test_the_plan_of_an_advice_can_be_laid_over_any_network(data, by, depth):
    names = [f"layer{i}" for i in range(depth)]
    probes = data.draw(st.lists(st.floats(0, 1), min_size=depth, max_size=depth))
    per_class = data.draw(st.integers(1, 300))
    advice = advise(planted(probes, per_class=float(per_class), stages=names), names, rules=by)
    plan = lay(advice.strategy, [Sized(name) for name in (*names, "head")], advice.rate)
    assert plan.rows[-1].rate == advice.rate
    assert plan.training(0)
    assert 1 <= advice.case <= 4
    assert all(one.words != advice.words for one in advice.close)


@given(similarities, rules)
def test_an_advice_comes_back_as_it_was(similarity, by):
    plain = advise(similarity, DEMO, rules=by).to_plain()
    back = Advice.from_plain(json.loads(json.dumps(plain)))
    assert back.to_plain() == plain
    assert back.strategy == advise(similarity, DEMO, rules=by).strategy


@pytest.mark.parametrize(
    "change",
    [{"like": "frezee"}, {"rate": 0}, {"rate": "fast"}, {"strategy": {}}, {"strategy": None}, {"close": [1]},
     {"similarity": {}}, {"strategy": {"name": "freeze", "thaw": {"when": "never"}}}],
)  # fmt: skip
def test_what_is_no_advice_is_refused(change):
    plain = advise(planted(LATE_BEST), DEMO).to_plain()
    with pytest.raises(ValueError, match=r"\w"):
        Advice.from_plain(plain | change)
    with pytest.raises(ValueError, match="advice is not as thawlab writes it"):
        Advice.from_plain({})


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_are_those_of_the_configs(name):
    assert specs_of(config_of(f"strategy={name}")).strategy == PRESETS[name]


@pytest.mark.parametrize("per_class", [5, 400])
@pytest.mark.parametrize(
    "stage",
    ["conv3", "layer1.0", "0", "1.5", "stages_2", "features.3-5", "null", "True", "nan", "inf", "\u00e91", "1e3"],
)
def test_the_words_mean_the_advice(stage, per_class):
    names = ("a", stage, "z")
    advice = advise(planted((0.5, 0.95, 0.6), per_class=float(per_class), stages=names), names)
    assert advice.strategy.keep == stage
    specs = specs_of(config_of(advice.words))
    assert specs.strategy == advice.strategy
    assert specs.optimizer.lr == advice.rate


def test_an_advice_takes_the_place_of_auto_in_a_config():
    advice, config = advise(planted(EARLY_BEST), DEMO), config_of("strategy=auto strategy.norm=adapt")
    specs = specs_of(applied(config, advice))
    assert specs.strategy == replace(advice.strategy, name="auto", norm="adapt")
    assert specs.optimizer.lr == 0.016
    assert config["strategy"]["auto"], "the config itself stays as it was"
    assert applied(config, None) == config
