import pytest
import timm
import torch

from thawlab.errors import UserError
from thawlab.freezing import parameter_groups
from thawlab.module import TransferModule
from thawlab.optimizer import OptimizerSpec
from thawlab.plateaus import Plateaus
from thawlab.schedule import ScheduleSpec
from thawlab.stages import split_into_stages
from thawlab.strategy import Strategy, lay


def by_hand(values, patience, higher):
    """The epochs at which a stage thaws, written as one would explain it."""
    thawed, best, waited = [], None, 0
    for epoch, value in enumerate(values):
        gained = best is None or (value > best if higher else value < best)
        if gained:
            best, waited = value, 0
        else:
            waited += 1
        if waited == patience:
            thawed.append(epoch + 1)
            waited = 0
    return thawed


@pytest.mark.parametrize(
    ("values", "patience", "higher", "expected"),
    [
        pytest.param([0.1, 0.2, 0.3], 1, True, [], id="always better: nothing thaws"),
        pytest.param([0.5, 0.5, 0.5, 0.5], 1, True, [2, 3, 4], id="no gain: a stage each epoch"),
        pytest.param([0.5, 0.4, 0.6, 0.5, 0.5], 2, True, [5], id="a gain starts the wait anew"),
        pytest.param([1.0, 0.9, 0.9, 0.8, 0.9], 1, False, [3, 5], id="a loss is better when lower"),
    ],
)
def test_plateaus(values, patience, higher, expected):
    plateaus = Plateaus(patience, higher)
    for epoch, value in enumerate(values):
        plateaus.observe(value, epoch)
    assert plateaus.epochs == expected == by_hand(values, patience, higher)


def small_module(norm="source", train=1):
    network = timm.create_model("test_resnet", num_classes=3)
    stages = split_into_stages(network)
    plan = lay(Strategy("s", train=train, norm=norm), stages, 0.1)
    return TransferModule(network, stages, plan, OptimizerSpec(), ScheduleSpec(), classes=3)


@pytest.mark.parametrize("norm", ["source", "adapt"])
def test_frozen_stages_stay_in_evaluation_mode_however_often_train_is_called(norm):
    module = small_module(norm)
    for _ in range(2):
        module.train()
        frozen, trained = module.network.get_submodule("layer1"), module.network.get_submodule("layer4")
        norms = [part for part in frozen.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        assert norms
        assert all(part.training == (norm == "adapt") for part in norms)
        assert all(not part.training for part in frozen.modules() if part not in norms)
        assert all(part.training for part in trained.modules())
    module.eval()
    assert not any(part.training for part in module.network.modules())


class WithAuxiliaryHead(torch.nn.Module):
    """As torchvision's Inception v3: in training a named tuple, the main head's logits first."""

    def forward(self, images):
        logits = images.mean((2, 3))
        return torch.return_types.max((logits, -logits)) if self.training else logits


def test_of_several_heads_the_main_ones_logits_are_taken():
    module, images = small_module(), torch.randn(2, 3, 8, 8)
    module.network = WithAuxiliaryHead()
    for training in (True, False):
        module.network.train(training)
        assert torch.equal(module(images), images.mean((2, 3)))


def test_logits_are_float32_whatever_the_network_computes_in():
    module = small_module()
    module.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).bfloat16()
    assert module(torch.randn(2, 3, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_every_parameter_is_in_the_optimizer_from_the_first_step():
    """Compared by identity: two norms fresh from their makers are equal in value."""
    module = small_module(train=0)
    groups = parameter_groups(module.network, module.stages, module.plan, 0.01)
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in module.network.parameters()}
    assert sum(len(group["params"]) for group in groups) == len(list(module.network.parameters()))


def test_what_a_plateau_decided_is_in_the_checkpoint_and_comes_back():
    module, other = small_module(), small_module()
    for epoch, value in enumerate([0.5, 0.4, 0.6, 0.5]):
        module.plateaus.observe(value, epoch)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert other.plateaus == module.plateaus
    assert other.plateaus.epochs == [2, 4]


def test_a_batch_of_one_image_that_batchnorm_cannot_take_is_told_with_its_remedy():
    module, one = small_module(), torch.zeros(1, 3, 32, 32)
    module.train()
    batch = (one, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    with pytest.raises(UserError, match=r"one image.*BatchNorm.*trainer\.batch_size: 2 or more"):
        module.training_step(batch, 0)
    module.eval()
    assert torch.isfinite(module.training_step(batch, 0))
    with pytest.raises(ValueError, match="to match target batch_size"):
        module.training_step((one, torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long)), 0)


def test_a_checkpoint_leaves_out_what_no_epoch_changes():
    module = small_module()
    module.stages_trained = {stage.name for stage in module.stages if module.plan.row(stage.name).trains}
    constant = module.constant()
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    trained = {
        f"network.{name}" for stage in module.stages if module.plan.row(stage.name).trains for name in stage.parameters
    }
    assert trained <= checkpoint["state_dict"].keys()
    assert checkpoint["state_dict"].keys() | constant == module.state_dict().keys()
    assert not checkpoint["state_dict"].keys() & constant


def test_a_checkpoint_leaves_out_the_weights_of_a_stage_until_it_trains_but_not_what_a_forward_pass_may_change():
    module = small_module()
    layer4 = module.network.get_submodule("layer4")
    weights = {f"network.layer4.{name}" for name, _ in layer4.named_parameters()}
    counters = {f"network.layer4.{name}" for name, _ in layer4.named_buffers()}
    assert weights
    assert counters
    for trained, kept in ({"head"}, False), ({"head", "layer4"}, True):
        module.stages_trained = trained
        checkpoint = {"state_dict": module.state_dict()}
        module.on_save_checkpoint(checkpoint)
        assert checkpoint["state_dict"].keys() & weights == (weights if kept else set())
        assert counters <= checkpoint["state_dict"].keys()
