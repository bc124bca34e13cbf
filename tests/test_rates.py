import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thawlab.rates import choose_rate, validation_score
from thawlab.record import Record


def run(rate, seed, val, test=0.5, status="finished", metric="accuracy", loss=None):
    metrics = {f"test/{metric}": {"value": test, "n": 9}, f"val/{metric}": {"value": val, "n": 9}}
    metrics |= {} if loss is None else {"val/loss": {"value": loss, "n": 9}}
    return Record("r", status, {"optimizer": {"lr": rate}, "seed": seed}, metrics=metrics)


def test_the_best_on_validation_images_wins_whatever_the_test_images_say():
    assert choose_rate([run(0.1, 0, 0.7, test=0.9), run(0.01, 0, 0.8, test=0.1)]) == (0.01, {0.01: 0.8, 0.1: 0.7})


def test_only_seeds_that_all_rates_have_count():
    runs = [run(0.1, 0, 0.7), run(0.01, 0, 0.6), run(0.01, 1, 0.99)]
    assert choose_rate(runs) == (0.1, {0.01: 0.6, 0.1: 0.7})


def test_of_equals_the_lower_rate():
    assert choose_rate([run(0.1, 0, 0.7), run(0.01, 0, 0.7), run(0.001, 0, 0.6)])[0] == 0.01


def test_of_equals_the_lower_validation_loss():
    runs = [run(0.1, 0, 0.7, loss=0.3), run(0.01, 0, 0.7, loss=0.4), run(0.001, 0, 0.6, loss=0.1)]
    assert choose_rate(runs)[0] == 0.1
    assert (
        choose_rate([*runs, run(0.1, 1, 0.7, loss=0.9), run(0.01, 1, 0.7, loss=0.2)])[0] == 0.1
    )  # 0.001 has no seed 1
    both = [run(rate, seed, 0.7, loss=rate + seed) for rate in (0.1, 0.01) for seed in (0, 1)]
    assert choose_rate(both)[0] == 0.01
    assert choose_rate([run(0.1, 0, 0.7, loss=0.3), run(0.01, 0, 0.7, loss=math.nan)])[0] == 0.1


def test_a_rate_without_a_result_is_no_candidate():
    runs = [run(0.1, 0, 0.9, status="diverged"), run(0.01, 0, 0.6), run(0.001, 0, None)]
    assert choose_rate(runs) == (0.01, {0.01: 0.6})


def test_several_labels_are_judged_by_mean_average_precision():
    assert choose_rate([run(0.1, 0, 0.7, metric="mean_average_precision")]) == (0.1, {0.1: 0.7})


def test_nothing_can_be_chosen_of_nothing():
    with pytest.raises(ValueError, match="no run has a validation score"):
        choose_rate([run(0.1, 0, None)])
    assert validation_score(run(0.1, 0, 0.5, status="failed")) is None


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([0.001, 0.01, 0.1]),
        st.dictionaries(st.integers(1, 3), st.floats(0, 1), max_size=3),
        min_size=1,
    ),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.randoms(),
)
def test_the_choice_is_the_maximum_over_the_shared_seeds_in_any_order(scores, of_seed_0, random):
    scores = {rate: {0: first, **more} for (rate, more), first in zip(scores.items(), of_seed_0, strict=False)}
    runs = [run(rate, seed, val) for rate, seeds in scores.items() for seed, val in seeds.items()]
    random.shuffle(runs)
    rate, means = choose_rate(runs)
    shared = [seed for seed in range(4) if all(seed in seeds for seeds in scores.values())]
    for candidate, seeds in scores.items():
        assert means[candidate] == pytest.approx(sum(seeds[s] for s in shared) / len(shared))
        assert means[candidate] < means[rate] or (means[candidate] == means[rate] and candidate >= rate)
