import pytest
import timm
import torch
from torch import nn

from thawlab.errors import UserError
from thawlab.stages import split_into_stages
from thawlab.tracing import boundary, truncate


def prefix_by_hand(model, name, images):
    """What a forward hook sees leaving the module that ends a stage."""
    seen = {}
    hook = model.get_submodule(name).register_forward_hook(lambda _m, _i, out: seen.update(out=out))
    model(images)
    hook.remove()
    return seen["out"]


@pytest.mark.parametrize(
    ("arch", "kept", "module", "mean"),
    [
        pytest.param("resnet18", 2, "layer1", (2, 3), id="ResNet after layer1"),
        pytest.param("resnet18", 1, "maxpool", (2, 3), id="ResNet stem, its pooling included"),
        pytest.param("densenet121", 2, "features.denseblock1", None, id="DenseNet: the transition is the stage's"),
        pytest.param("convnext_atto", 2, "stages.0", (2, 3), id="ConvNeXt"),
        pytest.param("vit_tiny_patch16_224", 4, "blocks.2", 1, id="ViT: mean over tokens"),
        pytest.param("volo_d1_224", 2, "network.0.0", (1, 2), id="VOLO: channels last, though it does not say so"),
        pytest.param("swin_tiny_patch4_window7_224", 3, "layers.1", (1, 2), id="Swin: channels last"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_cut_network_gives_what_the_whole_one_has_there(arch, kept, module, mean, training):
    torch.manual_seed(0)
    steady = {"drop_path_rate": 0.0} if arch.startswith("swin") else {}  # the others drop no paths unasked
    model = timm.create_model(arch, **steady).train(training)
    size = model.pretrained_cfg["input_size"][-1] if "224" in arch else 64
    if arch == "densenet121":
        module, mean = "features.transition1.pool", (2, 3)
    images = torch.randn(2, 3, size, size)
    # Batch statistics move with each pass, but outputs in training mode do not depend on them.
    there = prefix_by_hand(model, module, images)
    network, stages, width = truncate(model, split_into_stages(model), kept, size)
    network.train(training)
    torch.testing.assert_close(network.features(images), there.mean(dim=mean), atol=1e-5, rtol=1e-4)
    assert network.features(images).shape == (2, width)
    assert len(stages) == kept


@pytest.mark.parametrize(
    "arch", ["resnet18", "mobilenetv3_small_100", "efficientnet_b0", "inception_v3", "thawlab_demo"]
)
def test_every_cut_keeps_exactly_its_stages(arch):
    model = timm.create_model(arch)
    stages = split_into_stages(model)
    for kept in range(1, len(stages)):
        network, cut, _ = truncate(model, stages, kept, 96)
        assert [s.name for s in cut] == [s.name for s in stages[:kept]]
        assert sum(p.numel() for p in network.parameters()) == sum(s.size for s in stages[:kept])
        assert {n for s in cut for n in s.parameters} == {n for n, _ in network.named_parameters()}


def test_one_tensor_crosses_a_resnet_and_several_a_multi_branch_network():
    resnet, hrnet = timm.create_model("resnet18"), timm.create_model("hrnet_w18_small")
    assert len(boundary(resnet, split_into_stages(resnet), 3).nodes) == 1
    assert len(boundary(hrnet, split_into_stages(hrnet), 3).nodes) == 3


def test_places_are_the_axes_that_follow_the_image_else_what_the_model_says_else_the_square():
    class Map(nn.Module):
        """Feature maps whose channels are as many as their rows."""

        def __init__(self, fixed):
            super().__init__()
            self.fixed = fixed
            self.stem, self.late, self.fc = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

        def forward(self, x):
            x = self.stem(x)
            if self.fixed:
                x = x.reshape(-1, 4, 4, 4) + self.late.bias.new_zeros(2, 1, 1, 1)  # two images of 16 pixels
            x = self.late(x)
            return self.fc(x.mean((2, 3)))

    def places(fixed, output_fmt=None):
        model = Map(fixed)
        if output_fmt:
            model.output_fmt = output_fmt
        return truncate(model, split_into_stages(model), 1, 16)[0].places

    assert places(False) == {"out0": (2, 3)}
    assert places(False, "NHWC") == {"out0": (2, 3)}
    assert places(True, "NHWC") == {"out0": (1, 2)}
    with pytest.raises(UserError, match=r"features \(4x4x4\) it cannot be told which axes are places"):
        places(True)


def test_a_network_whose_trace_does_not_run_is_refused_with_a_remedy(capsys):
    model = timm.create_model("hiera_tiny_224")
    with pytest.raises(UserError, match=r"Hiera, but its traced forward pass does not run on .*strategy.keep=1.0"):
        truncate(model, split_into_stages(model), 2, 224)
    assert not capsys.readouterr().err


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x)
        return self.fc(x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))


def test_a_network_that_cannot_be_traced_is_refused_with_a_remedy():
    model = Untraceable()
    with pytest.raises(UserError, match=r"Untraceable, but its forward pass cannot be traced .*strategy.keep=1.0"):
        boundary(model, split_into_stages(model), 1)
