"""A study's settings, and what words they stand for."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thawlab.errors import UserError
from thawlab.study import grid
from thawlab.study.spec import SourceCost, StudySpec

SPEC = StudySpec(
    kind="four_cases", similar=["dataset=digits"], sizes=[5, 20, 80], strategies=["freeze", "full"], rates=[0.01],
    search_seeds=[0], seeds=[0, 1],
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "four"}, "study.kind is 'four'. Did you mean 'four_cases'"),
        ({"similar": []}, "a study needs a target"),
        ({"sizes": []}, "study.sizes is empty"),
        ({"strategies": []}, "study.strategies is empty"),
        ({"kind": "depth_profile"}, "makes its own"),
        ({"seeds": [1, 1]}, "one of them twice"),
        ({"sizes": [5, 0.5]}, "one axis cannot have both"),
        ({"sizes": [20, 5]}, "from the smallest to the largest"),
        ({"sizes": [0.5, 1.5]}, "study.sizes has 1.5"),
        ({"sizes": [0]}, "study.sizes has 0"),
        ({"rates": [0.0]}, "study.rates has 0.0"),
        ({"rates": [math.inf]}, "study.rates has inf"),
        ({"epochs": [1, 2, 3]}, "study.epochs is \\[1, 2, 3\\]"),
        ({"batch_sizes": [0]}, "study.batch_sizes is \\[0\\]"),
    ],
)
def test_what_is_no_study_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        replace(SPEC, **change)


def test_a_cost_below_nothing_is_refused():
    with pytest.raises(UserError, match=r"study.source.flops is -1"):
        SourceCost(flops=-1)


def test_no_study_needs_nothing():
    assert StudySpec().kind == "none"


def test_each_dataset_begins_another_target():
    words = ["dataset=folder", "dataset.root=photos", "dataset=digits"]
    spec = replace(SPEC, similar=words, different=["dataset=shapes"])
    assert [(target.words, target.case) for target in grid.targets(spec)] == [
        (("dataset=folder", "dataset.root=photos"), "similar"),
        (("dataset=digits",), "similar"),
        (("dataset=shapes",), "different"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digits"], r"Write key=value, as in study.similar=\[dataset=digits\]"),
        (["dataset.root=photos"], "a target begins with its data set"),
        (["dataset=digits", "dataset.per_class=3"], "study.sizes"),
        (["dataset=digits", "seed=3"], "study.seeds"),
    ],
)
def test_what_is_no_target_is_refused(words, said):
    with pytest.raises(UserError, match=said):
        grid.targets(replace(SPEC, similar=words))


@pytest.mark.parametrize("word", ["dataset=digits", "strategy=full", "optimizer.lr=1", "seed=1", "dataset.share=0.5"])
def test_what_a_study_sets_itself_is_refused_on_the_command_line(word):
    with pytest.raises(UserError, match=r"Say study\.\w+="):
        grid.check_free([word])
    grid.check_free(["trainer.epochs=3", "dataset.val_share=0.3", "strategy.norm=adapt"])


def test_sizes_are_labelled_and_say_how_long_to_train():
    first, middle, last = grid.sizes(replace(SPEC, epochs=[40, 10], batch_sizes=[16]), [])
    assert [size.label for size in (first, middle, last)] == ["small", "between", "large"]
    assert first.words == (
        "dataset.share=null", "dataset.per_class=5", "trainer.epochs=40", "trainer.batch_size=16"
    )  # fmt: skip
    assert middle.words[2] == "trainer.epochs=20", "20 is half-way between 5 and 80 where each doubling counts the same"
    assert last.words[2] == "trainer.epochs=10"
    assert grid.sizes(replace(SPEC, epochs=[40, 10]), ["trainer.epochs=3"])[0].words[2:] == (), "what is typed holds"


def test_shares_are_sizes_too():
    (size,) = grid.sizes(replace(SPEC, sizes=[0.5]), [])
    assert (size.per_class, size.share, size.label) == (None, 0.5, "small")
    assert size.words == ("dataset.per_class=null", "dataset.share=0.5")


@given(st.integers(1, 100), st.integers(1, 1000), st.integers(1, 200), st.integers(1, 200), st.floats(0, 1))
def test_what_lies_between_two_sizes_lies_between_their_values(first, more, low, high, place):
    last, amount = first + more, first + place * more
    assert grid.between(first, last, first, [low, high]) == low
    assert grid.between(first, last, last, [low, high]) == high
    assert min(low, high) <= grid.between(first, last, amount, [low, high]) <= max(low, high)


def test_a_strategy_may_have_words_of_its_own():
    assert grid.strategy_words("freeze") == ("strategy=freeze",)
    assert grid.strategy_words("strategy=partial strategy.train=1") == ("strategy=partial", "strategy.train=1")
    with pytest.raises(UserError, match="'deep' is no setting"):
        grid.strategy_words("partial deep")
    with pytest.raises(UserError, match=r"study.rates"):
        grid.strategy_words("partial optimizer.lr=1")
