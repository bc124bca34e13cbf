import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models import adapt_input_conv
from torch import nn

from thawlab.backbones.channels import adapted_input, first_layers, spread, with_channels
from thawlab.errors import UserError


def adapted(name, before, channels):
    source, model = (timm.create_model(name, in_chans=n) for n in (before, channels))
    return source, model, *adapted_input(source.state_dict(), model, before, channels)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_first_weights_are_what_timm_makes_of_them(tmp_path, name, channels):
    source = timm.create_model(name)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    timms = timm.create_model(
        name, pretrained=True, in_chans=channels, pretrained_cfg_overlay={"file": str(tmp_path / "w.pth")}
    )
    found, names = adapted_input(source.state_dict(), timms, 3, channels)
    assert len(names) == 1
    assert all(torch.equal(tensor, found[key]) for key, tensor in timms.state_dict().items())


def test_every_layer_that_reads_the_image_is_adapted():
    _, model, found, names = adapted("crossvit_9_240", 3, 4)
    assert names == ("patch_embed.0.proj.weight", "patch_embed.1.proj.weight")
    model.load_state_dict(found)


def test_grey_in_three_channels_gives_what_the_summed_weights_give():
    source, model, found, _ = adapted("test_resnet", 3, 1)
    model.load_state_dict(found)
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model.eval()(images), source.eval()(images.expand(-1, 3, -1, -1)), atol=1e-4)


def test_colour_from_a_grey_source_gives_grey_images_what_they_had():
    source, model, found, _ = adapted("test_resnet", 1, 3)
    model.load_state_dict(found)
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(source.eval()(images), model.eval()(images.expand(-1, 3, -1, -1)), atol=1e-4)


class Stem(nn.Module):
    """Takes every second place in as a channel of its own, as TResNet does."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(4 * channels, 8, 3)

    def forward(self, images):
        n, c, h, w = images.shape
        places = images.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
        return self.conv(places.reshape(n, 4 * c, h // 2, w // 2))


@pytest.mark.parametrize("channels", [1, 5])
def test_a_stem_that_folds_places_into_channels_keeps_them_apart(channels):
    source, model = Stem(3), Stem(channels)
    state, _ = adapted_input(source.state_dict(), model, 3, channels)
    model.load_state_dict(state)
    groups = source.conv.weight.detach().reshape(8, 4, 3, 3, 3)
    expected = groups.sum(2, keepdim=True) if channels == 1 else groups[:, :, [0, 1, 2, 0, 1]] * 3 / 5
    assert torch.allclose(model.conv.weight.reshape(8, 4, channels, 3, 3), expected, atol=1e-6)
    if channels == 1:
        grey = torch.randn(2, 1, 16, 16)
        assert torch.allclose(model(grey), source(grey.expand(-1, 3, -1, -1)), atol=1e-5)


def test_a_first_layer_that_is_no_convolution_is_refused():
    with torch.device("meta"):
        source, model = (timm.create_model("naflexvit_base_patch16_gap", in_chans=n) for n in (3, 4))
    with pytest.raises(UserError, match=r"dataset\.channels is 4.* no convolution"):
        adapted_input(source.state_dict(), model, 3, 4)


def test_as_many_channels_change_nothing():
    _, _, found, names = adapted("test_resnet", 3, 3)
    assert names == ()
    assert found.keys() == timm.create_model("test_resnet").state_dict().keys()


@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_of_the_users_reads_so_many_channels(channels):
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 16, 2))
    before = network[0].weight.detach().clone()
    changed = with_channels(network, channels)
    assert changed(torch.zeros(1, channels, 8, 8)).shape == (1, 2)
    assert (changed[0].stride, changed[0].padding, changed[0].bias) == ((2, 2), (1, 1), None)
    assert torch.equal(changed[0].weight, adapt_input_conv(channels, before))


def test_a_network_that_reads_bands_already_stays():
    network = nn.Sequential(nn.Conv2d(6, 8, 3))
    assert with_channels(network, 6) is network
    assert network[0].in_channels == 6
    assert with_channels(nn.Linear(2, 2), 6).in_features == 2


def test_the_first_layers_are_told():
    assert first_layers(timm.create_model("test_vit")) == ("patch_embed.proj",)
    assert first_layers(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 1))) == ("1",)
    assert first_layers(nn.Linear(2, 2)) == ()


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6), st.integers(1, 12))
def test_statistics_are_spread_over_any_number_of_channels(values, channels):
    found = spread(values, channels)
    assert len(found) == channels
    if channels == 1:
        assert found[0] == pytest.approx(sum(values) / len(values))
    else:
        assert all(found[i] == values[i % len(values)] for i in range(channels))
