import copy

import pytest
import timm
import torch
from torch import nn

from thawlab.audit import check, digests
from thawlab.freezing import parameter_groups, set_modes, set_trainable
from thawlab.stages import split_into_stages
from thawlab.strategy import Strategy, Thaw, lay


@pytest.fixture
def network():
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=3)


def under(network, **strategy):
    stages = split_into_stages(network)
    return stages, lay(Strategy("s", **strategy), stages, 0.1)


def step(network, optimizer, size=64):
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(torch.randn(4, 3, size, size)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()


@pytest.mark.parametrize("train", [0, 1, 0.5, 1.0])
def test_exactly_the_planned_parameters_get_a_gradient(network, train):
    stages, plan = under(network, train=train)
    set_trainable(network, stages, plan.training(0))
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    planned = {name for stage in stages if stage.name in plan.training(0) for name in stage.parameters}
    assert {name for name, p in network.named_parameters() if p.grad is not None} == planned


def test_frozen_norms_keep_source_statistics_although_train_is_called(network):
    stages, plan = under(network, train=1)
    before = digests(network)
    for _ in range(2):
        network.train()
        set_modes(network, stages, plan.training(0), plan.norm)
        network(torch.randn(4, 3, 64, 64))
    changed = {name for name, value in digests(network).items() if value != before[name]}
    assert changed
    assert all(name.startswith("layer4.") for name in changed)


def test_adapting_norms_take_the_target_statistics(network):
    stages, plan = under(network, train=0, norm="adapt")
    set_modes(network, stages, plan.training(0), plan.norm)
    images = torch.randn(8, 3, 64, 64)
    network(images)
    batch_mean = network.conv1(images).mean(dim=(0, 2, 3))
    assert torch.allclose(network.bn1.running_mean, 0.1 * batch_mean, atol=1e-6)


def test_frozen_dropout_is_off_and_trained_dropout_on():
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=3, proj_drop_rate=0.5)
    stages, plan = under(network, train=1)
    network.train()
    set_modes(network, stages, plan.training(0), plan.norm)
    modes = {name: m.training for name, m in network.named_modules() if isinstance(m, nn.Dropout) and m.p == 0.5}
    assert modes
    assert all(training == name.startswith("blocks.11.") for name, training in modes.items())


def test_every_parameter_is_in_one_group_at_its_stage_rate(network):
    stages, plan = under(network, train=0.5, layer_decay=0.5)
    groups = parameter_groups(network, stages, plan, weight_decay=0.1)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    for group in groups:
        stage, _, kind = group["name"].partition("/")
        assert group["lr"] == plan.row(stage).rate
        assert group["weight_decay"] == (0.0 if kind else 0.1)
        assert all((p.ndim > 1) == (kind == "") for p in group["params"])


def test_frozen_parameters_stay_bit_identical_and_cost_no_optimizer_state(network):
    stages, plan = under(network, train=0)
    set_trainable(network, stages, plan.training(0))
    optimizer = torch.optim.AdamW(parameter_groups(network, stages, plan, weight_decay=0.5))
    before = digests(network)
    set_modes(network, stages, plan.training(0), plan.norm)
    for _ in range(2):
        step(network, optimizer)
    assert check(before, digests(network), stages, {"head"}, "source", {s.name for s in stages}).passed
    assert len(optimizer.state) == 2


def test_a_network_thawed_later_equals_one_thawed_by_hand(network):
    by_hand = copy.deepcopy(network)
    stages, plan = under(network, thaw=Thaw("every", 1), layer_decay=0.5)
    optimizer = torch.optim.SGD(parameter_groups(network, stages, plan, weight_decay=0.0))
    for epoch in range(3):
        set_trainable(network, stages, plan.training(epoch))
        set_modes(network.train(), stages, plan.training(epoch), plan.norm)
        torch.manual_seed(epoch)
        step(network, optimizer)
    opened = [["fc"], ["fc", "layer4"], ["fc", "layer4", "layer3"]]
    rates = {"fc": 0.1, "layer4": 0.05, "layer3": 0.025}
    for epoch, names in enumerate(opened):
        by_hand.requires_grad_(False).eval()
        for name in names:
            getattr(by_hand, name).requires_grad_(True).train()
        torch.manual_seed(epoch)
        groups = [{"params": list(getattr(by_hand, n).parameters()), "lr": rates[n]} for n in names]
        step(by_hand, torch.optim.SGD(groups))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), by_hand.state_dict().values(), strict=True)
    )
