"""Every schedule against torch's own and against its formula written out anew, for every group at every step."""

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR

from thawlab.errors import UserError
from thawlab.schedule import NAMES, ScheduleSpec, build_scheduler, factor

RATES = (1e-2, 3e-3, 7e-5)


def make_optimizer(rates=RATES):
    return SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates_of(optimizer: SGD, scheduler: LRScheduler, steps: int):
    """The rates of every group at each step at which the optimizer steps."""
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def ours(spec: ScheduleSpec, steps: int, rates=RATES):
    optimizer = make_optimizer(rates)
    made = build_scheduler(spec, optimizer, steps)
    assert made["interval"] == "step"
    assert "monitor" not in made
    return rates_of(optimizer, made["scheduler"], steps)


def assert_same_rates(found, expected):
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 2, 17, 100])
def test_constant_stays(steps):
    assert ours(ScheduleSpec("constant"), steps) == [list(RATES)] * steps


@pytest.mark.parametrize("steps", [1, 2, 17, 100])
def test_cosine_is_torchs(steps):
    optimizer = make_optimizer()
    expected = rates_of(optimizer, CosineAnnealingLR(optimizer, steps), steps)
    assert_same_rates(ours(ScheduleSpec("cosine"), steps), expected)


@pytest.mark.parametrize("rate", RATES)
def test_cosine_with_a_floor_is_torchs_with_eta_min(rate):
    optimizer = make_optimizer([rate])
    expected = rates_of(optimizer, CosineAnnealingLR(optimizer, 40, eta_min=0.2 * rate), 40)
    assert_same_rates(ours(ScheduleSpec("cosine", floor=0.2), 40, [rate]), expected)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.1), (37, 0.25), (10, 0.5)])
def test_warmup_cosine_is_torchs_linear_then_cosine(steps, warmup):
    rising = round(steps * warmup)
    optimizer = make_optimizer()
    linear = LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    scheduler = SequentialLR(optimizer, [linear, CosineAnnealingLR(optimizer, steps - rising)], [rising])
    expected = rates_of(optimizer, scheduler, steps)
    assert_same_rates(ours(ScheduleSpec("warmup_cosine", warmup=warmup), steps), expected)


def test_warmup_cosine_by_hand():
    spec = ScheduleSpec("warmup_cosine", warmup=0.3, floor=0.1)
    falling = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t / 7)) for t in range(8)]
    expected = [1 / 4, 2 / 4, 3 / 4, *falling]
    assert [factor(spec, t, 10) for t in range(11)] == pytest.approx(expected)
    assert expected[3] == 1
    assert expected[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.3), (37, 0.25), (50, 0.1), (12, 0.5), (9, 0.05), (5, 0.0)])
def test_one_cycle_is_torchs_for_every_group(steps, warmup):
    optimizer = make_optimizer()
    scheduler = OneCycleLR(optimizer, list(RATES), total_steps=steps, pct_start=warmup, cycle_momentum=False)
    assert_same_rates(ours(ScheduleSpec("one_cycle", warmup=warmup), steps), rates_of(optimizer, scheduler, steps))


def test_one_cycle_by_hand():
    spec = ScheduleSpec("one_cycle", warmup=0.5)
    found = [factor(spec, t, 10) for t in (0, 2, 4, 9, 10)]
    middle = 1 / 25 + (1 - 1 / 25) / 2
    assert found == pytest.approx([1 / 25, middle, 1, 1 / 250_000, 1 / 250_000])


def test_one_cycle_begins_at_the_peak_where_the_rise_takes_one_step():
    assert factor(ScheduleSpec("one_cycle", warmup=0.1), 0, 10) == 1  # torch divides by zero here


@pytest.mark.parametrize(("steps", "warmup", "floor"), [(100, 0.1, 0.0), (40, 0.25, 0.0), (60, 0.5, 0.2)])
def test_slanted_triangular_is_howard_and_ruders(steps, warmup, floor):
    ratio = 1 / floor if floor else 32
    cut = math.floor(steps * warmup)
    expected = []
    for t in range(steps):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / warmup - 1))
        expected.append([rate * (1 + p * (ratio - 1)) / ratio for rate in RATES])
    assert_same_rates(ours(ScheduleSpec("slanted_triangular", warmup=warmup, floor=floor), steps), expected)


def test_slanted_triangular_never_goes_below_its_floor_where_the_cut_is_no_whole_step():
    spec = ScheduleSpec("slanted_triangular", warmup=0.1)
    found = [factor(spec, t, 15) for t in range(16)]
    assert found[1] == 1
    assert found[15] == pytest.approx(1 / 32)
    assert min(found) >= 1 / 32 - 1e-12


@pytest.mark.parametrize("name", [name for name in NAMES if name != "plateau"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.34, 1.0])
@pytest.mark.parametrize("total", [1, 2, 3, 10, 101])
def test_a_factor_is_a_share_that_never_falls_below_the_floor(name, warmup, total):
    spec = ScheduleSpec(name, warmup=warmup, floor=0.05)
    found = [factor(spec, step, total) for step in range(total + 3)]
    assert max(found) <= 1 + 1e-12
    # A linear warm-up rises from one step's worth, which may lie lower.
    least = min(0.05, 1 / (round(warmup * total) + 1)) if name == "warmup_cosine" else 0.05
    assert min(found) >= least - 1e-12


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("plateau", "constant")])
def test_ratios_between_groups_hold_at_every_step(name):
    for rates in ours(ScheduleSpec(name), 50):
        assert [rate / rates[0] for rate in rates] == pytest.approx([rate / RATES[0] for rate in RATES])


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("floor", [0.0, 0.03])
def test_plateau_against_a_hand_loop(patience, floor):
    losses = [1.0, 0.9, 0.95, 0.91, 0.9, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    rates = (1e-2, 1e-8)
    optimizer = make_optimizer(rates)
    made = build_scheduler(ScheduleSpec("plateau", factor=0.2, patience=patience, floor=floor), optimizer, 100)
    assert (made["interval"], made["monitor"]) == ("epoch", "val/loss")
    best, bad, share = math.inf, 0, 1.0
    for loss in losses:
        best, bad = (loss, 0) if loss < best * (1 - 1e-4) else (best, bad + 1)
        if bad > patience:
            share, bad = max(floor, 0.2 * share), 0
        made["scheduler"].step(loss)
        found = [group["lr"] for group in optimizer.param_groups]
        assert found == pytest.approx([share * rate for rate in rates], rel=1e-9)
    assert share < 1


def test_plateau_has_no_factor_and_a_schedule_has_steps():
    with pytest.raises(ValueError, match="plateau"):
        factor(ScheduleSpec("plateau"), 0, 10)
    with pytest.raises(ValueError, match="0 steps"):
        factor(ScheduleSpec(), 0, 0)


def test_a_scheduler_resumes_where_it_stopped():
    whole = ours(ScheduleSpec("one_cycle"), 30)
    first = make_optimizer()
    scheduler = build_scheduler(ScheduleSpec("one_cycle"), first, 30)["scheduler"]
    rates_of(first, scheduler, 11)
    second = make_optimizer()
    resumed = build_scheduler(ScheduleSpec("one_cycle"), second, 30)["scheduler"]
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert rates_of(second, resumed, 19) == whole[11:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "cosin"}, "schedule.name is 'cosin'. Did you mean 'cosine'"),
        ({"warmup": 1.5}, "schedule.warmup is 1.5"),
        ({"floor": 1.0}, "schedule.floor is 1.0"),
        ({"factor": 1.0}, "schedule.factor is 1.0"),
        ({"patience": -1}, "schedule.patience is -1"),
    ],
)
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(UserError) as caught:
        ScheduleSpec(**settings)
    assert message in str(caught.value)
