"""The rate that validation images choose, held against a hand-written loop over planted records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thawlab.rates import choose_rate
from thawlab.record import Record


def planted(rate, seed, val, test=0.5, status="finished", metric="accuracy"):
    """The record of a run with given scores; None for one that has none."""
    metrics = {f"test/{metric}": {"value": test, "n": 100}}
    metrics |= {} if val is None else {f"val/{metric}": {"value": val, "n": 100}}
    config = {"optimizer": {"lr": rate}, "seed": seed}
    return Record(name=f"{rate}-{seed}", status=status, config=config, metrics=metrics)


def test_validation_scores_choose_where_test_scores_say_the_contrary():
    records = [planted(0.1, 0, val=0.8, test=0.1), planted(0.01, 0, val=0.7, test=0.9)]
    assert choose_rate(records) == (0.1, {0.01: 0.7, 0.1: 0.8})


def test_only_seeds_that_all_rates_share_count():
    records = [planted(0.1, 0, 0.6), planted(0.01, 0, 0.7), *(planted(0.1, seed, 1.0) for seed in (1, 2, 3))]
    assert choose_rate(records)[0] == 0.01


def test_of_equal_scores_the_lower_rate_is_chosen():
    assert choose_rate([planted(rate, 0, 0.5) for rate in (0.1, 0.001, 0.01)])[0] == 0.001


def test_a_run_that_did_not_finish_has_no_say():
    records = [planted(0.1, 0, 0.9, status="diverged"), planted(0.01, 0, 0.2), planted(0.001, 0, None)]
    assert choose_rate(records) == (0.01, {0.01: 0.2})


def test_several_labels_are_judged_by_their_mean_average_precision():
    records = [planted(rate, 0, val, metric="mean_average_precision") for rate, val in ((0.1, 0.4), (0.01, 0.3))]
    for record in records:
        record.metrics["val/accuracy"] = {"value": record.config["optimizer"]["lr"] * -1, "n": 1}
    assert choose_rate(records)[0] == 0.1


@pytest.mark.parametrize(
    ("records", "said"),
    [([], "no finished run"), ([planted(0.1, 0, 0.5), planted(0.2, 1, 0.5)], "share no seed")],
)
def test_without_anything_to_compare_there_is_no_choice(records, said):
    with pytest.raises(ValueError, match=said):
        choose_rate(records)


scores = st.sampled_from([0.0, 0.25, 0.5, 1.0])
tables = st.dictionaries(
    st.sampled_from([1e-4, 1e-3, 1e-2, 0.1]), st.dictionaries(st.integers(0, 3), scores), min_size=1
)


@given(tables, st.randoms(), scores)
def test_the_choice_is_the_best_mean_over_shared_seeds_whatever_the_order_and_the_test_scores(table, random, test):
    records = [planted(rate, seed, val, test) for rate, seeds in table.items() for seed, val in seeds.items()]
    random.shuffle(records)
    with_runs = {rate: seeds for rate, seeds in table.items() if seeds}
    shared = [seed for seed in range(4) if with_runs and all(seed in seeds for seeds in with_runs.values())]
    if not shared:
        with pytest.raises(ValueError, match=r"no finished run|share no seed"):
            choose_rate(records)
        return
    best = None
    for rate in sorted(with_runs):
        mean = sum(with_runs[rate][seed] for seed in shared) / len(shared)
        if best is None or mean > best[1] + 1e-12:
            best = rate, mean
    rate, means = choose_rate(records)
    assert rate == best[0]
    assert means[rate] == pytest.approx(best[1])
    assert set(means) == set(with_runs)
