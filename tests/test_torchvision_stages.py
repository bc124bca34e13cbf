import pytest
import timm
import torch
from torch import nn
from torchvision import models

from thawlab.backbones import torchvision_models
from thawlab.backbones.torchvision_stages import classifier_of, parts_of
from thawlab.stages import split_into_stages

NAMES = models.list_models(module=models)
QUICK = ("alexnet", "vgg11", "resnet18", "vit_b_32", "squeezenet1_1", "mobilenet_v3_small", "swin_t")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("resnet18", ["stem", "layer1", "layer2", "layer3", "layer4"], id="its children, the stem in one"),
        pytest.param("vgg11", ["stem", "features.3", "features.6", "features.11", "features.16", "classifier.0",
                     "classifier.3"], id="between the poolings"),
        pytest.param("squeezenet1_1", ["stem", "features.3", "features.6", "features.9"], id="SqueezeNet"),
        pytest.param("mobilenet_v3_small", ["stem", "features.1", "features.2", "features.4", "features.9",
                     "classifier.0"], id="by resolution"),
        pytest.param("swin_t", ["stem", "features.1", "features.2", "features.4", "features.6"], id="Swin"),
    ],
)  # fmt: skip
def test_coarse_stages_are_as_many_as_people_speak_of(name, expected):
    assert list(parts_of(torchvision_models.build(name, None), "coarse")) == expected


def test_fine_stages_are_single_blocks():
    parts = parts_of(torchvision_models.build("resnet18", None), "fine")
    assert list(parts) == ["stem", *(f"layer{i}.{j}" for i in range(1, 5) for j in range(2))]
    assert len(parts_of(torchvision_models.build("vgg11", None), "fine")) == 8 + 2


def test_another_network_is_not_ours_to_cut():
    assert parts_of(timm.create_model("test_resnet"), "coarse") == {}
    assert parts_of(nn.Sequential(nn.Linear(2, 2)), "fine") == {}


def check(name, grain):
    model = torchvision_models.build(name, None)
    size = torchvision_models.data_of(name)["size"]
    parts = parts_of(model, grain)
    stages = split_into_stages(model, grain, parts, size, 3)
    assert [stage.name for stage in stages] == [*parts, "head"]
    assert len(stages) >= 5, "a network of a few stages only"
    named = [parameter for stage in stages for parameter in stage.parameters]
    assert sorted(named) == sorted(key for key, _ in model.named_parameters())
    classes = {key for key, p in model.named_parameters() if len(p) == 1000 and key.startswith(classifier_of(model))}
    assert set(stages[-1].parameters) == classes


@pytest.mark.parametrize("name", QUICK)
def test_the_stages_hold_every_parameter_once_and_the_classifier_last(name, monkeypatch):
    without_drawing(monkeypatch)
    check(name, "coarse")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_cut_in_the_order_of_its_forward_pass(name, monkeypatch):
    without_drawing(monkeypatch)
    for grain in ("coarse", "fine"):
        check(name, grain)


def without_drawing(monkeypatch):
    """Leave weights as memory has them: a gigabyte of them takes long to draw, and nobody reads them."""
    for function in ("kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "trunc_normal_", "normal_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, function, lambda tensor, *_, **__: tensor)
