import copy

import pytest
import timm
import torch
from torch import nn

from thawlab.boundary import boundary
from thawlab.errors import UserError
from thawlab.stages import split_into_stages
from thawlab.tracing import truncate


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
    assert [c.module for c in boundary(resnet, split_into_stages(resnet), 3).captures] == ["layer3"]
    assert len(boundary(hrnet, split_into_stages(hrnet), 3).captures) == 3


def test_what_is_made_after_the_cut_is_taken_where_it_comes_from():
    """EfficientViM pools its early features when the later stages have run, for a head on each."""
    model = timm.create_model("efficientvim_m1").eval()
    images = torch.rand(2, 3, 64, 64)
    seen = [prefix_by_hand(model, name, images) for name in ("norm.0", "stages.0")]
    network, _, width = truncate(model, split_into_stages(model), 2, 64)
    expected = torch.cat([seen[0].mean(1), seen[1][1].mean((2, 3))], dim=1)
    torch.testing.assert_close(network.eval().features(images), expected)
    assert width == expected.shape[1]


def test_a_network_without_a_classifier_is_cut_at_its_outputs():
    model = timm.create_model("mobilenetv5_300m_enc", device="meta")
    stages = split_into_stages(model)
    assert stages[-1].parameters == ()
    assert [(c.module, c.enters) for c in boundary(model, stages, len(stages) - 1).captures] == [("", False)]


def test_cutting_leaves_the_model_as_it_was_and_shares_its_tensors():
    model = timm.create_model("test_resnet")
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    network, _, _ = truncate(model, split_into_stages(model), 3, 32)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    after = model.state_dict()
    assert all(torch.equal(after[n], value) and after[n].data_ptr() == place for n, (place, value) in before.items())
    kept = network.body.state_dict()
    assert kept
    assert all(kept[name].data_ptr() == before[name][0] for name in kept)


def test_a_cut_network_trains_its_own_copy_when_copied():
    network, _, _ = truncate(model := timm.create_model("test_vit"), split_into_stages(model, size=160), 3, 160)
    copied = copy.deepcopy(network)
    copied.features(torch.rand(2, 3, 160, 160)).sum().backward()
    assert all(parameter.grad is not None for parameter in copied.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_images_may_have_other_than_three_channels():
    model = timm.create_model("test_resnet", in_chans=5)
    network, _, width = truncate(model, split_into_stages(model), 2, 32, channels=5)
    assert network.features(torch.rand(3, 5, 32, 32)).shape == (3, width)


class Overwriting(nn.Module):
    """Two branches; the first one's result is overwritten in place while the second runs."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.act, self.late, self.fc = nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1), nn.Linear(8, 2)

    def forward(self, x):
        first = self.one(x)
        kept = first * 1
        second = self.two(self.act(first))
        return self.fc(torch.cat([self.late(second), kept], dim=1).mean((2, 3)))


def test_a_tensor_that_is_overwritten_later_is_taken_as_it_was():
    model = Overwriting().eval()
    parts = {"one": ["one"], "two": ["two"], "late": ["late"]}
    network, _, _ = truncate(model, split_into_stages(model, parts=parts), 2, 16)
    images = torch.randn(2, 3, 16, 16)
    one = model.one(images)
    expected = {"one": one.mean((2, 3)), "two": model.two(one.relu()).mean((2, 3))}
    torch.testing.assert_close(network.features(images), torch.cat(list(expected.values()), dim=1))


class Choosing(nn.Module):
    """Asks for values, which shapes alone do not have."""

    def __init__(self):
        super().__init__()
        self.conv, self.mid, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x)
        x = self.mid(x.relu() if x.sum() > 0 else x)
        return self.fc(x.mean((2, 3)))


def test_a_network_that_asks_for_values_is_cut_as_well():
    network, _, width = truncate(model := Choosing(), split_into_stages(model), 1, 16)
    images = torch.rand(2, 3, 16, 16)
    first = model.conv(images)
    there = (first.relu() if first.sum() > 0 else first).mean((2, 3))
    torch.testing.assert_close(network.features(images), there)
    assert width == 4


class Functional(Choosing):
    """Reads its parameters itself: nothing enters or leaves a module."""

    def forward(self, x):
        x = nn.functional.conv2d(x, self.conv.weight, self.conv.bias)
        x = nn.functional.conv2d(x.tanh(), self.mid.weight, self.mid.bias)
        return nn.functional.linear(x.mean((2, 3)), self.fc.weight, self.fc.bias)


def test_what_cannot_be_had_is_refused_with_a_remedy():
    model = Functional()
    with pytest.raises(UserError, match=r"Functional, but what it computes from conv\.bias .*strategy\.keep=1\.0"):
        truncate(model, split_into_stages(model), 1, 16)


class Encoder(nn.Module):
    """As timm's Qwen3-ViT encoder: it has no classifier, and says so."""

    pretrained_cfg, num_classes = {"input_size": (3, 32, 32)}, 0

    def __init__(self):
        super().__init__()
        self.patches, self.block, self.norm = nn.Conv2d(3, 6, 8, 8), nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.norm(x + self.block(x))


def test_only_what_is_cut_is_run_and_on_one_image():
    model = Encoder()
    stages = split_into_stages(model)
    seen = []
    torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, args: seen.append(tuple(args[0].shape)) if args[0].device.type == "cpu" else None
    )
    try:
        network, _, width = truncate(model, stages, len(stages) - 1, 32)
        assert (seen, network.cut, width) == ([], False, 6)
        network, _, _ = truncate(model, stages, 1, 32)
        assert network.cut
        assert {shape[0] for shape in seen} == {1}
    finally:
        torch.nn.modules.module._global_forward_pre_hooks.clear()


def test_an_encoder_that_cannot_take_a_head_is_refused_without_a_word_on_keep():
    class Odd(Encoder):
        def forward(self, x):
            return super().forward(x).reshape(len(x), 4, 4, 6)[:, :3]

    model = Odd()
    stages = split_into_stages(model)
    with pytest.raises(UserError, match=r"Odd has no classifier, so that the head goes .* Take another") as caught:
        truncate(model, stages, len(stages) - 1, 32)
    assert "keep" not in str(caught.value)


def test_features_whose_places_cannot_be_told_are_refused():
    class Fixed(Choosing):
        def forward(self, x):
            x = self.conv(x).reshape(len(x), 4, 4, 4)  # images of 6 pixels
            return self.fc(self.mid(x).mean((2, 3)))

    model = Fixed()
    with pytest.raises(UserError, match=r"features \(4x4x4\) it cannot be told which axes are places"):
        truncate(model, split_into_stages(model, size=6), 1, 6)
