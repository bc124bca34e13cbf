import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thawlab.errors import UserError
from thawlab.strategy import Strategy, Thaw, lay


@dataclass(frozen=True)
class Sized:
    name: str
    size: int


STAGES = [Sized("stem", 10), Sized("layer1", 20), Sized("layer2", 30), Sized("layer3", 40), Sized("head", 5)]
BODY = [stage.name for stage in STAGES[:-1]]


def starts(strategy):
    return [row.first_epoch if row.kept else "cut" for row in lay(strategy, STAGES, 1.0).rows]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        pytest.param({"train": 0}, [None, None, None, None, 0], id="freeze: the head alone"),
        pytest.param({"train": 1}, [None, None, None, 0, 0], id="one backbone stage and the head"),
        pytest.param({"train": 0.5}, [None, None, 0, 0, 0], id="partial: the upper half"),
        pytest.param({"train": "layer1"}, [None, 0, 0, 0, 0], id="from a named stage up"),
        pytest.param({"train": "head"}, [None, None, None, None, 0], id="from the head up"),
        pytest.param({"train": 1.0}, [0, 0, 0, 0, 0], id="full"),
        pytest.param({"keep": 0.5, "train": 0}, [None, None, "cut", "cut", 0], id="truncate: the early half, frozen"),
        pytest.param({"keep": "layer2", "train": 0.34}, [None, None, 0, "cut", 0], id="keep up to a stage, train one"),
        pytest.param({"thaw": Thaw("every", 3)}, [12, 9, 6, 3, 0], id="gradual: one stage every three epochs"),
        pytest.param({"train": 2, "thaw": Thaw("every", 2)}, [None, None, 4, 2, 0], id="gradual over the upper two"),
        pytest.param({"thaw": Thaw("after", 4)}, [4, 4, 4, 4, 0], id="linear probe, then everything"),
        pytest.param(
            {"thaw": Thaw("schedule", schedule={"layer3": 2, "stem": 7})}, [7, 0, 0, 2, 0], id="a written schedule"
        ),
    ],
)
def test_stages_start_training_at(strategy, expected):
    assert starts(Strategy("s", **strategy)) == expected


def test_rates_decay_from_the_head_down():
    plan = lay(Strategy("s", layer_decay=0.5), STAGES, 0.8)
    assert [row.rate for row in plan.rows] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8])


def test_written_rates_replace_the_decay():
    plan = lay(Strategy("s", layer_decay=0.5, rates={"stem": 0.3}), STAGES, 0.8)
    assert [row.rate for row in plan.rows] == pytest.approx([0.3, 0.1, 0.2, 0.4, 0.8])


def test_after_a_cut_the_decay_counts_from_the_stage_under_the_head():
    plan = lay(Strategy("s", keep=2, layer_decay=0.5), STAGES, 0.8)
    assert [row.rate for row in plan.kept] == pytest.approx([0.2, 0.4, 0.8])


def test_stages_that_go_on_from_the_source_train_slower_than_fresh_ones():
    plan = lay(Strategy("s", layer_decay=0.5, source_rate=0.1, fresh=1), STAGES, 0.8)
    assert [row.rate for row in plan.rows] == pytest.approx([0.005, 0.01, 0.02, 0.4, 0.8])
    scratch = lay(Strategy("s", weights="random", source_rate=0.1), STAGES, 0.8)
    assert {row.rate for row in scratch.rows} == {0.8}


def test_weights_come_from():
    plan = lay(Strategy("s", keep=3, fresh=1), STAGES, 1.0)
    assert [row.weights for row in plan.rows] == ["source", "source", "fresh", "cut", "new"]
    scratch = lay(Strategy("s", weights="random"), STAGES, 1.0)
    assert [row.weights for row in scratch.rows] == ["random"] * 4 + ["new"]


def test_plateaus_thaw_one_stage_each():
    plan = lay(Strategy("s", train=2, thaw=Thaw("plateau")), STAGES, 1.0)
    assert plan.training(9) == {"head"}
    assert plan.training(4, plateaus=[5]) == {"head"}
    assert plan.training(5, plateaus=[5]) == {"head", "layer3"}
    assert plan.training(9, plateaus=[5, 8]) == {"head", "layer3", "layer2"}
    assert plan.training(99, plateaus=[5, 8, 11]) == {"head", "layer3", "layer2"}


def test_frozen_norm_is_named_only_where_a_stage_is_frozen():
    plan = lay(Strategy("s", train=1, norm="adapt"), STAGES, 1.0)
    assert [row.norm for row in plan.rows] == ["adapt", "adapt", "adapt", "-", "-"]


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ({"train": 9}, "strategy.train is 9, but this backbone has 4 stages"),
        ({"train": -1}, "strategy.train is -1"),
        ({"train": 1.5}, "strategy.train is 1.5"),
        ({"keep": 0}, "strategy.keep is 0"),
        ({"keep": 0.0}, "strategy.keep is 0.0"),
        ({"keep": "layer9"}, r"strategy.keep is 'layer9'.*Did you mean 'layer3'"),
        ({"keep": 1, "train": "layer3"}, "does not keep. Kept: stem"),
        ({"keep": 2, "fresh": 3}, "strategy.fresh is 3, but 2 stages"),
        ({"rates": {"layer7": 0.1}}, "strategy.rates names 'layer7'"),
        ({"train": 0, "thaw": Thaw("schedule", schedule={"stem": 2})}, "never trains"),
        ({"train": 0, "thaw": Thaw("schedule", schedule={"head": 2})}, "nothing trains in epoch 0"),
    ],
)
def test_out_of_range_names_key_value_and_remedy(strategy, says):
    with pytest.raises(UserError, match=says):
        lay(Strategy("s", **strategy), STAGES, 1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Strategy("s", weights="imagenet"),
        lambda: Strategy("s", layer_decay=0.0),
        lambda: Strategy("s", layer_decay=1.1),
        lambda: Strategy("s", source_rate=0.0),
        lambda: Strategy("s", norm="batch"),
        lambda: Strategy("s", rates={"stem": 0.0}),
        lambda: Thaw("sometimes"),
        lambda: Thaw("every", 0),
        lambda: Thaw("schedule"),
        lambda: Thaw("start", schedule={"stem": 1}),
        lambda: Thaw("schedule", schedule={"stem": -1}),
    ],
)
def test_impossible_strategies_are_refused(make):
    with pytest.raises(UserError, match=r"strategy\."):
        make()


depths = st.one_of(st.integers(1, 4), st.floats(0.01, 1.0), st.sampled_from(BODY))
thaws = st.one_of(
    st.just(Thaw()),
    st.builds(Thaw, st.sampled_from(["every", "after", "plateau"]), st.integers(1, 5)),
)


@given(keep=depths, train=st.floats(0, 1), decay=st.floats(0.1, 1), thaw=thaws, epoch=st.integers(0, 40))
def test_every_plan_holds(keep, train, decay, thaw, epoch):
    plan = lay(Strategy("s", keep=keep, train=train, layer_decay=decay, thaw=thaw), STAGES, 0.1)
    kept = [row.stage for row in plan.kept]
    assert [row.stage for row in plan.rows] == [stage.name for stage in STAGES]
    assert kept[:-1] == BODY[: len(kept) - 1]
    assert kept[-1] == "head"
    assert math.isclose(sum(row.share for row in plan.kept), 1)
    rates = [row.rate for row in plan.kept]
    assert rates == sorted(rates)
    assert rates[-1] == 0.1
    now, later = plan.training(epoch), plan.training(epoch + 1)
    assert "head" in now
    assert now <= later
    # What trains is always the top of what is kept: no trained stage lies below a frozen one.
    assert set(kept[len(kept) - len(now) :]) == now


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_larger_share_trains_at_least_as_much(low, high):
    low, high = sorted((low, high))
    trained = [len(lay(Strategy("s", train=share), STAGES, 1.0).training(0)) for share in (low, high)]
    assert trained[0] <= trained[1]


def test_a_pinned_plan_trains_the_same_stages_in_every_epoch():
    plan = lay(Strategy("s", thaw=Thaw("every", epochs=2)), STAGES, 0.1)
    names = plan.training(2)
    assert 1 < len(names) < len(plan.rows)
    pinned = plan.pinned(names)
    assert all(pinned.training(epoch) == names for epoch in range(20))
    assert [row.rate for row in pinned.rows] == [row.rate for row in plan.rows]
