import pytest
import timm
import torch
from small_runs import carried_out, random_weights
from torch import nn
from torch.nn import functional
from torchvision import models

from thawlab.backbones.build import build
from thawlab.backbones.checkpointing import checkpoint_activations
from thawlab.backbones.heads import HeadSpec
from thawlab.backbones.spec import BackboneSpec
from thawlab.errors import UserError
from thawlab.stages import split_into_stages
from thawlab.strategy import Strategy
from thawlab.tracing import truncate


def trained(network, steps=3):
    """The state after a few steps, dropout and batch statistics included."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    network.train()
    for step in range(steps):
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        loss = functional.cross_entropy(network(images), torch.tensor([0, 1, 0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.state_dict()


NETWORKS = {
    "timm ResNet": lambda: timm.create_model("test_resnet", num_classes=2, drop_path_rate=0.3, drop_rate=0.3),
    "timm ViT": lambda: timm.create_model(
        "test_vit", num_classes=2, img_size=32, drop_path_rate=0.3, proj_drop_rate=0.2
    ),
    "timm EfficientNet": lambda: timm.create_model("test_efficientnet", num_classes=2, drop_path_rate=0.3),
    "torchvision": lambda: models.mobilenet_v3_small(num_classes=2, dropout=0.4),
    "demo": lambda: timm.create_model("thawlab_demo", num_classes=2, drop_rate=0.2),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_weights_after_training_are_the_same(network):
    torch.manual_seed(0)
    plain = NETWORKS[network]()
    torch.manual_seed(0)
    checkpointed = NETWORKS[network]()
    checkpoint_activations(checkpointed, split_into_stages(checkpointed, "coarse", None, 32, 3)[:-1])
    expected, found = trained(plain), trained(checkpointed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, 2)
        self.calls = 0
        self.block[0].register_forward_hook(lambda *_: setattr(self, "calls", self.calls + 1))

    def forward(self, images):
        return self.fc(self.block(images).mean((2, 3)))


def test_blocks_are_computed_again_in_the_backward_pass_alone():
    network = Counted()
    checkpoint_activations(network, split_into_stages(network, "coarse", None, 32, 3)[:-1])
    network.calls = 0
    network.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    assert network.calls == 2
    assert network.block[1].num_batches_tracked == 1
    assert network.block[1].momentum == 0.1
    network.eval()(torch.randn(2, 3, 32, 32))
    assert network.calls == 3


def test_a_cut_network_is_refused(tmp_path):
    spec = BackboneSpec("test_resnet", size=32)
    with pytest.raises(UserError, match=r"trainer\.checkpointing is true, but strategy\.keep cuts"):
        build(spec, HeadSpec(), Strategy("s", weights="random", keep=0.5), 2, 0.1, 0, checkpointing=True)


def test_an_encoder_without_a_classifier_is_refused_for_its_own_reason():
    class Encoder(nn.Module):
        pretrained_cfg, num_classes = {"input_size": (3, 32, 32)}, 0

        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)

        def forward(self, images):
            return self.two(self.one(images))

    network, body, _ = truncate(model := Encoder(), stages := split_into_stages(model), len(stages) - 1, 32)
    with pytest.raises(UserError, match=r"checkpointing is true, but Encoder has no classifier") as caught:
        checkpoint_activations(network, body)
    assert "keep" not in str(caught.value)


@pytest.mark.parametrize("strategy", ["full", "partial"])
def test_a_run_gives_the_same_weights(tmp_path, strategy):
    weights = random_weights(tmp_path / "w.safetensors", "test_resnet")
    words = ["backbone.name=test_resnet", f"backbone.weights={weights}", f"strategy={strategy}"]
    plain = carried_out(tmp_path / "plain", *words)
    spared = carried_out(tmp_path / "spared", *words, "trainer.checkpointing=true")
    assert spared.record.status == "finished", spared.record.reason
    assert all(torch.equal(tensor, spared.weights[key]) for key, tensor in plain.weights.items())
    assert plain.predictions == spared.predictions
