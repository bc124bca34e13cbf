"""torchvision's models, with a stand-in for the host of their weights."""

import pytest
import torch
from photos import photo
from small_runs import same_bits
from torch import nn
from torchvision import models

from thawlab.backbones import hub, torchvision_models
from thawlab.backbones.build import build
from thawlab.backbones.heads import HeadSpec
from thawlab.backbones.source import build_random, published_weights
from thawlab.backbones.spec import BackboneSpec
from thawlab.backbones.weights import adapted
from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError
from thawlab.strategy import Strategy

NAMES = models.list_models(module=models)


def spec_of(name, **fields):
    return BackboneSpec(name, library="torchvision", **fields)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Puts a state where torchvision's weights of a name are, on an otherwise empty host, and clears the cache."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "cache"))

    def publish(arch, tag, state):
        path = tmp_path / "host" / f"{arch}.{tag}.pth"
        path.parent.mkdir(exist_ok=True)
        torch.save(state, path)
        monkeypatch.setattr(models.get_model_weights(arch)[tag].value, "url", path.as_uri())

    return publish


def test_the_weights_come_from_torch_hub_by_their_tag(host):
    states = {tag: build_random(spec_of("mobilenet_v2"), i).state_dict() for i, tag in enumerate(("V1", "V2"))}
    for tag, state in states.items():
        host("mobilenet_v2", f"IMAGENET1K_{tag}", state)
    assert same_bits(published_weights(spec_of("mobilenet_v2")), states["V2"])
    assert same_bits(published_weights(spec_of("mobilenet_v2.IMAGENET1K_V1")), states["V1"])
    assert same_bits(published_weights(spec_of("mobilenet_v2.DEFAULT")), states["V2"])


def test_without_network_and_cache_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(hub, "reachable", lambda url: False)
    with pytest.raises(UserError, match=r"'resnet18': torchvision's .*cannot be reached.*backbone\.weights=") as caught:
        published_weights(spec_of("resnet18"))
    assert "downloaded elsewhere from https://download.pytorch.org/models/resnet18-" in str(caught.value)


def test_a_broken_download_is_told(host):
    host("resnet18", "IMAGENET1K_V1", {})
    place = models.ResNet18_Weights.DEFAULT.url.removeprefix("file://")
    with open(place, "wb") as file:
        file.write(b"<html>not found</html>")
    with pytest.raises(UserError, match="torchvision's pretrained weights could not be had"):
        published_weights(spec_of("resnet18"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("resnet19", r"no such classification model. Nearest: .*resnet18", id="a typo"),
        pytest.param("xqq", r"model\. torchvision\.models\.list_models\(\) lists them\. timm's are", id="like none"),
        pytest.param("fcn_resnet50", r"no such classification model", id="of another task"),
        pytest.param("resnet18.V7", r"no pretrained weights 'V7' of resnet18. It has: IMAGENET1K_V1", id="a tag"),
    ],
)
def test_an_unknown_name_is_refused(name, says):
    with pytest.raises(UserError, match=says):
        spec_of(name)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_without_auxiliary_classifiers_the_networks_give_what_torchvisions_give(host, name):
    theirs = models.get_model(name, weights=None, init_weights=True, aux_logits=True, transform_input=True).eval()
    host(name, "IMAGENET1K_V1", theirs.state_dict())
    found = build(spec_of(name, size=96), HeadSpec(), Strategy("s"), 3, 0.1, 0)
    assert any(name.lower().startswith("aux") for name in found.match.left_out)
    pixels = photo(96, 96)
    seen = models.get_model_weights(name).DEFAULT.transforms()
    norm = Preprocessing(96, tuple(seen.mean), tuple(seen.std)).normalise(pixels[None])
    features = {}
    for key, network, images in (
        ("theirs", theirs, norm),
        ("ours", found.network.eval(), found.preprocessing.normalise(pixels[None])),
    ):
        network.fc.register_forward_pre_hook(lambda _, args, key=key: features.__setitem__(key, args[0]))
        with torch.no_grad():
            network(images)
    assert (features["ours"] - features["theirs"]).abs().max() < 1e-4 * features["theirs"].abs().max()
    assert found.network.train()(torch.randn(2, 3, 96, 96)).shape == (2, 3), "a plain tensor in training"


@pytest.mark.parametrize("name", ["squeezenet1_1"])
def test_a_convolution_that_classifies_is_replaced(name):
    found = build(spec_of(name, size=64), HeadSpec(), Strategy("s", weights="random"), 5, 0.1, 0)
    assert found.stages[-1].modules == ("classifier.1",)
    assert isinstance(found.network.classifier[1], nn.Conv2d)
    assert found.network(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    with pytest.raises(UserError, match=r"head\.kind is 'cosine'"):
        build(spec_of(name, size=64), HeadSpec("cosine"), Strategy("s", weights="random"), 5, 0.1, 0)


def old_names(name):
    """A state dict as files of the first releases write it."""
    for new, old in ((".norm1.", ".norm.1."), (".conv2.", ".conv.2."), (".mlp.0.", ".mlp.linear_1."),
                     (".mlp.3.", ".mlp.linear_2.")):  # fmt: skip
        name = name.replace(new, old)
    return name


@pytest.mark.parametrize(("name", "size"), [("densenet121", None), ("vit_b_32", 64)])
def test_names_of_older_files_are_todays(name, size):
    with torch.device("meta"):
        model = torchvision_models.build(name, size)
    state = model.state_dict()
    older = {old_names(key): value for key, value in state.items()}
    assert older.keys() != state.keys()
    assert adapted(older, model).keys() == state.keys()


def test_mnasnet_loads_though_it_refuses_a_state_without_a_version(host):
    state = build_random(spec_of("mnasnet0_5"), 3).state_dict()
    host("mnasnet0_5", "IMAGENET1K_V1", state)
    found = build(spec_of("mnasnet0_5", size=32), HeadSpec(), Strategy("s"), 3, 0.1, 0).network.state_dict()
    own = {key: value for key, value in state.items() if not key.startswith("classifier")}
    assert same_bits({key: found[key] for key in own}, own)


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_is_that_of_the_weights(name):
    for weights in models.get_model_weights(name):
        known = torchvision_models.data_of(f"{name}.{weights.name}")
        theirs = weights.transforms()
        assert [known["size"]] == theirs.crop_size
        assert [int(known["size"] / known["crop"])] == theirs.resize_size
        assert known["interpolation"] == theirs.interpolation.value


def test_evaluation_is_torchvisions():
    weights = models.EfficientNet_B1_Weights.IMAGENET1K_V2
    known = torchvision_models.data_of("efficientnet_b1")
    ours = Preprocessing(known["size"], known["mean"], known["std"], known["interpolation"], known["crop"])
    image = photo(375, 500)
    one_grey_level = 1 / 255 / min(known["std"])
    assert (ours(image) - weights.transforms()(image)).abs().max() <= 1.01 * one_grey_level
