import pytest
import timm
import torch

from thawlab.audit import check, digests, remarks, table
from thawlab.freezing import optimized, parameter_groups
from thawlab.stages import split_into_stages
from thawlab.strategy import Strategy, Thaw, lay


@pytest.fixture
def network():
    return timm.create_model("resnet18", num_classes=3)


def audit(network, change, trained, norm="source"):
    stages = split_into_stages(network)
    before = digests(network)
    with torch.no_grad():
        change(network)
    return check(before, digests(network), stages, trained, norm, {stage.name for stage in stages})


def grow_head(network):
    network.fc.weight += 1


def test_kept_promises_pass(network):
    result = audit(network, grow_head, {"head"})
    assert result.passed
    assert result.checks[-1] == "head: trained, 1 of 2 parameters changed; unmoved: fc.bias"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            lambda n: n.layer1[0].conv1.weight[0, 0, 0, 0].add_(1e-7), "layer1.0.conv1.weight", id="one number"
        ),
        pytest.param(lambda n: n.bn1.running_mean.add_(1e-6), "bn1.running_mean", id="a frozen norm's statistics"),
        pytest.param(
            lambda n: n.bn1.num_batches_tracked.add_(1), "bn1.num_batches_tracked", id="a frozen norm's counter"
        ),
        pytest.param(lambda n: n.conv1.weight[0, 0, 0, 0].copy_(-0.0), "conv1.weight", id="the sign of a zero"),
    ],
)
def test_a_change_in_a_frozen_stage_is_noticed(network, change, says):
    with torch.no_grad():
        network.conv1.weight[0, 0, 0, 0] = 0.0

    def both(n):
        grow_head(n)
        change(n)

    result = audit(network, both, {"head"})
    assert not result.passed
    assert any("BROKEN" in line and says in line for line in result.checks)


def test_a_trained_stage_that_stands_still_is_noticed(network):
    result = audit(network, grow_head, {"head", "layer4"})
    assert not result.passed
    assert "layer4: trained, 0 of 15 parameters changed - BROKEN" in result.checks


def test_adapting_norms_may_move_but_frozen_weights_may_not(network):
    def drift(n):
        grow_head(n)
        n.bn1.running_mean += 1

    assert audit(network, drift, {"head"}, "adapt").passed

    def cheat(n):
        drift(n)
        n.bn1.weight += 1

    assert not audit(network, cheat, {"head"}, "adapt").passed


def test_a_parameter_outside_the_optimizer_is_noticed(network):
    stages = split_into_stages(network)
    plan = lay(Strategy("s"), stages, 0.1)
    groups = parameter_groups(network, stages, plan, weight_decay=0.1)
    assert optimized(network, stages, groups) == {stage.name for stage in stages}
    less = [group for group in groups if group["name"] != "layer2/no_decay"]
    held = optimized(network, stages, less)
    assert held == {stage.name for stage in stages} - {"layer2"}
    before = digests(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    result = check(before, digests(network), stages, {s.name for s in stages}, "source", held)
    assert not result.passed
    assert "layer2: not wholly in the optimizer - BROKEN" in result.checks


def test_remarks_name_what_a_plan_will_not_do(network):
    stages = split_into_stages(network)
    gradual = lay(Strategy("s", thaw=Thaw("every", 2)), stages, 0.1)
    assert remarks(gradual, 5) == [
        "stem, layer1, layer2 would thaw after this run's 5 epochs, and stay frozen throughout"
    ]
    assert remarks(gradual, 11) == []
    idle = lay(Strategy("s", fresh=2, train=1), stages, 0.1)
    assert remarks(idle, 5) == ["layer3 start from random weights and never train"]


def test_the_table_says_what_the_plan_says(network):
    stages = split_into_stages(network)
    plan = lay(Strategy("s", keep=3, train=1, layer_decay=0.5, thaw=Thaw("plateau")), stages, 0.1)
    header, *rows = table(plan, {"stem", "layer1", "layer2", "head"})
    cells = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert cells["stem"]["trains from epoch"] == "never"
    assert cells["stem"]["frozen norms"] == "source"
    assert cells["layer2"]["trains from epoch"] == "plateau 1"
    assert cells["layer2"]["rate"] == "5.00e-02"
    assert cells["layer3"]["weights from"] == "cut"
    assert cells["layer3"]["in optimizer"] == "-"
    assert cells["head"]["trains from epoch"] == "0"
    assert cells["stem"]["parameters"] == "9,536"
