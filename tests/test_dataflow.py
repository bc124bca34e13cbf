import pytest
import timm
import torch
from torch import nn

from thawlab.dataflow import CannotRun, trace


class Forked(nn.Module):
    """Its children are defined in another order than they run in; one is never run, and one runs twice."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.unused = nn.Linear(3, 3)
        self.join = nn.Conv2d(8, 4, 1)
        self.twice = nn.Conv2d(4, 4, 1)
        self.stem = nn.Conv2d(3, 4, 1)
        self.shift = nn.Parameter(torch.zeros(1, 4, 1, 1))

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.twice(x), self.twice(x) + self.shift * 2], dim=1)
        return self.fc(self.join(x).mean((2, 3)))


def reads(flow):
    return [step.reads for step in flow.steps if step.reads]


def test_parameters_are_read_in_the_order_in_which_they_run():
    assert reads(trace(Forked())) == [
        ("stem.bias", "stem.weight"),
        ("twice.bias", "twice.weight"),
        ("twice.bias", "twice.weight"),
        ("shift",),
        ("join.bias", "join.weight"),
        ("fc.bias", "fc.weight"),
    ]


def test_a_step_counts_to_the_deepest_stage_behind_it():
    flow = trace(Forked())
    stage_of = {"stem": 0, "twice": 1, "shift": 2, "join": 3, "fc": 4}
    levels = flow.levels(
        {
            name: i
            for part, i in stage_of.items()
            for step in flow.steps
            for name in step.reads
            if name.split(".")[0] == part
        }
    )
    found = {name: levels[i] for i, step in reversed(list(enumerate(flow.steps))) for name in step.reads}
    assert found == {"stem.weight": 0, "stem.bias": 0, "twice.weight": 1, "twice.bias": 1, "shift": 2, "join.weight": 3,
                     "join.bias": 3, "fc.weight": 4, "fc.bias": 4}  # fmt: skip
    assert levels == sorted(levels) or levels[-1] == 4


def test_each_step_knows_the_modules_around_it():
    flow = trace(Forked())
    around = {name: modules for step, modules in zip(flow.steps, flow.around(), strict=True) for name in step.reads}
    assert around["stem.weight"] == ("", "stem")
    assert around["shift"] == ("",)
    assert around["fc.bias"] == ("", "fc")


def test_tracing_leaves_the_model_and_the_random_state_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.LazyLinear(2))[:4]
    model = nn.Sequential(*model, nn.AdaptiveAvgPool1d(4), nn.Linear(4, 2)).train()
    model[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    trace(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True, True]
    assert not model[0]._forward_hooks


def test_a_size_is_found_where_the_network_takes_one_only():
    flow = trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 10)))
    assert reads(flow)[-1] == ("2.bias", "2.weight")
    assert trace(timm.create_model("test_vit", img_size=32)).steps


def test_a_network_that_runs_on_nothing_says_why():
    with pytest.raises(CannotRun, match="RuntimeError"):
        trace(nn.Sequential(nn.Flatten(), nn.Linear(12345, 2)))


class OneByOne(nn.Module):
    """Calls the modules of its second part, not the part: what `checkpoint_sequential` does."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 4, 1))

    def forward(self, x):
        x = self.first(x)
        for module in self.second:
            x = module(x)
        return x


def test_a_step_counts_to_the_part_whose_modules_are_called_one_by_one():
    flow = trace(OneByOne())
    stage_of = {name: i for i, part in enumerate(("first", "second")) for name, _ in OneByOne().named_parameters()
                if name.startswith(part)}  # fmt: skip
    kinds = [step.kind for step in flow.steps]
    pool = next(i for i, kind in enumerate(kinds) if kind.startswith("MaxPool"))
    assert flow.levels(stage_of)[pool] == 0
    assert flow.levels(stage_of, {"first": 0, "second": 1})[pool] == 1
