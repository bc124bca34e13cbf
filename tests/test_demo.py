from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import resolve_data_config
from timm.models import group_parameters
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

import thawlab
from thawlab.backbones import demo
from thawlab.data import made

WEIGHTS = Path(thawlab.__file__).parent / "weights" / demo.WEIGHTS
LAYERS = ["conv1", "conv2", "conv3", "fc1", "fc2"]


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pretrained():
    return timm.create_model("thawlab_demo", pretrained=True).eval()


def by_hand(state, images):
    """The network written out with torch.nn.functional, in evaluation mode."""
    f = nn.functional
    x = images
    for layer in LAYERS[:3]:
        statistics = (state[f"{layer}.norm.running_mean"], state[f"{layer}.norm.running_var"])
        x = f.conv2d(x, state[f"{layer}.conv.weight"], padding=1)
        x = f.batch_norm(x, *statistics, state[f"{layer}.norm.weight"], state[f"{layer}.norm.bias"])
        x = f.max_pool2d(f.relu(x), 2)
    x = f.adaptive_avg_pool2d(x, 2).flatten(1)
    for layer in LAYERS[3:]:
        x = f.relu(f.linear(x, state[f"{layer}.0.weight"], state[f"{layer}.0.bias"]))
    return f.linear(x, state["head.weight"], state["head.bias"])


def test_it_computes_three_convolutions_and_three_linear_layers(pretrained, images):
    with torch.no_grad():
        torch.testing.assert_close(pretrained(images), by_hand(load_file(WEIGHTS), images))


def test_it_has_some_66_thousand_parameters_with_ten_classes():
    parameters = sum(p.numel() for p in timm.create_model("thawlab_demo", num_classes=10).parameters())
    kernels = 9 * (3 * 16 + 16 * 32 + 32 * 64)
    norms = 2 * (16 + 32 + 64)
    linear = (256 + 1) * 128 + (128 + 1) * 64 + (64 + 1) * 10
    assert parameters == kernels + norms + linear == 65_498


def test_its_layers_are_its_groups_in_order_and_the_classifier_is_the_last():
    model = timm.create_model("thawlab_demo", num_classes=10)
    for coarse in (False, True):
        groups = group_parameters(model, model.group_matcher(coarse=coarse))
        owners = [{name.split(".")[0] for name in names} for names in groups.values()]
        assert owners == [{layer} for layer in [*LAYERS, "head"]]


def test_features_then_head_is_the_whole(pretrained, images):
    with torch.no_grad():
        features = pretrained.forward_features(images)
        before = pretrained.forward_head(features, pre_logits=True)
        torch.testing.assert_close(pretrained.get_classifier()(before), pretrained(images))
    assert features.shape == (4, pretrained.num_features, 4, 4)
    assert before.shape == (4, pretrained.head_hidden_size)


@pytest.mark.parametrize(
    ("indices", "stop_early", "channels"),
    [
        pytest.param(None, False, [16, 32, 64], id="all"),
        pytest.param(2, False, [32, 64], id="the last two"),
        pytest.param([0], True, [16], id="the first alone, without computing the rest"),
    ],
)
def test_intermediates_are_what_hooks_see(pretrained, images, indices, stop_early, channels):
    seen = {}
    hooks = [
        getattr(pretrained, layer).register_forward_hook(lambda _, __, out: seen.update({out.shape[1]: out}))
        for layer in LAYERS[:3]
    ]
    with torch.no_grad():
        last, found = pretrained.forward_intermediates(images, indices, stop_early=stop_early)
    for hook in hooks:
        hook.remove()
    assert [x.shape[1] for x in found] == channels
    assert all(torch.equal(x, seen[x.shape[1]]) for x in found)
    assert last.shape[1] == (16 if stop_early else 64)


def test_timm_wraps_it_as_a_feature_pyramid(images):
    model = timm.create_model("thawlab_demo", features_only=True)
    assert [tuple(x.shape[1:]) for x in model(images)] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]
    assert model.feature_info.reduction() == [2, 4, 8]


def test_the_classifier_can_be_replaced_and_taken_away(images):
    model = timm.create_model("thawlab_demo", num_classes=7)
    assert model(images).shape == (4, 7)
    model.reset_classifier(3)
    assert (model(images).shape, model.num_classes) == ((4, 3), 3)
    model.reset_classifier(0)
    assert model(images).shape == (4, model.head_hidden_size)
    assert isinstance(model.get_classifier(), nn.Identity)


@pytest.mark.parametrize("size", [8, 33, 224], ids=lambda size: f"{size} pixels")
def test_it_takes_images_of_any_size_from_8_pixels(pretrained, size):
    assert pretrained(torch.zeros(1, 3, size, size + 1)).shape == (1, len(made.SOURCE))


def test_checkpointing_changes_neither_outputs_nor_gradients(images):
    model = timm.create_model("thawlab_demo", num_classes=10)
    results = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        output = model(images)
        output.square().sum().backward()
        results.append([output, *(p.grad.clone() for p in model.parameters())])
    torch.testing.assert_close(results[0], results[1])


def test_it_can_be_traced_and_cut_after_the_convolutions(pretrained, images):
    cut = create_feature_extractor(pretrained, {"pool": "pooled"}).eval()
    with torch.no_grad():
        expected = nn.functional.adaptive_avg_pool2d(pretrained.forward_features(images), 2).flatten(1)
        torch.testing.assert_close(cut(images)["pooled"], expected)
    assert not any(name.startswith(("fc1", "fc2", "head")) for name, _ in cut.named_parameters())


def test_pretrained_weights_are_the_packages_own_and_no_machine_path_is_registered(pretrained):
    shipped = load_file(WEIGHTS)
    assert all(torch.equal(value, shipped[name]) for name, value in pretrained.state_dict().items())
    assert set(shipped) == set(pretrained.state_dict())
    assert timm.get_pretrained_cfg("thawlab_demo").file == demo.WEIGHTS
    assert timm.is_model_pretrained("thawlab_demo")


def test_pretrained_weights_fit_another_head_and_grey_images(images):
    model = timm.create_model("thawlab_demo", pretrained=True, num_classes=10, in_chans=1).eval()
    shipped = load_file(WEIGHTS)
    assert torch.equal(model.fc2[0].weight, shipped["fc2.0.weight"])
    torch.testing.assert_close(model.conv1.conv.weight, shipped["conv1.conv.weight"].sum(1, keepdim=True))


def test_the_weights_file_says_what_it_is():
    with safe_open(WEIGHTS, framework="pt") as file:
        metadata = file.metadata()
    config = resolve_data_config({}, model=timm.create_model("thawlab_demo"))
    assert metadata["arch"] == "thawlab_demo"
    assert int(metadata["num_classes"]) == len(made.SOURCE)
    for key in ("mean", "std"):
        assert tuple(float(part) for part in metadata[key].strip("()[]").split(",")) == config[key]
    assert (config["input_size"], config["interpolation"], config["crop_pct"]) == ((3, 32, 32), "bilinear", 1.0)


def test_the_weights_read_characters_that_they_were_not_trained_on(pretrained):
    pixels, labels = made.CHARACTERS.pixels(range(1000), seed=12345), made.CHARACTERS.labels(1000)
    images = torch.tensor(pixels)[:, None].repeat(1, 3, 1, 1) / 127.5 - 1
    with torch.no_grad():
        predicted = pretrained(images).argmax(1).numpy()
    assert np.mean(predicted == labels) > 0.7
