import pytest
import timm
import torch
from torch import nn

from thawlab.errors import UserError
from thawlab.stages import classifier_names, split_into_stages

NAMES = [
    "thawlab_demo", "resnet18", "resnet50", "mobilenetv2_100", "mobilenetv3_large_100", "efficientnet_b0",
    "convnext_tiny",
    "vit_tiny_patch16_224", "vit_small_patch16_224", "deit_small_patch16_224", "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224", "inception_v3", "densenet121", "regnety_002", "efficientformerv2_s0",
]  # fmt: skip


def meta(name):
    with torch.device("meta"):
        return timm.create_model(name)


@pytest.mark.parametrize("grain", ["coarse", "fine"])
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_in_exactly_one_stage(name, grain):
    model = meta(name)
    stages = split_into_stages(model, grain)
    assert sorted(p for stage in stages for p in stage.parameters) == sorted(n for n, _ in model.named_parameters())
    assert sum(stage.size for stage in stages) == sum(p.numel() for p in model.parameters())
    assert len({stage.name for stage in stages}) == len(stages)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_stage_is_exactly_the_classifier(name):
    model = meta(name)
    classifier = model.get_classifier()
    heads = classifier if isinstance(classifier, tuple | list) else [classifier]
    wanted = {id(p) for head in heads for p in head.parameters()}
    last = split_into_stages(model)[-1]
    assert last.name == "head"
    assert {id(model.get_parameter(name)) for name in last.parameters} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_every_module_and_buffer_lies_in_one_stage(name):
    model = meta(name)
    stages = split_into_stages(model)
    for buffer, _ in model.named_buffers():
        assert sum(stage.owns(buffer) for stage in stages) == 1, buffer
    leaves = [n for n, m in model.named_modules() if n and not list(m.children())]
    for leaf in leaves:
        assert sum(any(leaf == m or leaf.startswith(f"{m}.") for m in s.modules) for s in stages) == 1, leaf


@pytest.mark.parametrize(
    "name", ["thawlab_demo", "resnet18", "mobilenetv3_small_100", "convnext_atto", "vit_tiny_patch16_224"]
)
@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_stages_run_in_their_order(name, grain):
    model = timm.create_model(name).eval()
    stages = split_into_stages(model, grain)
    seen = []

    def note(stage):
        return lambda *_: seen.append(stage)

    for i, stage in enumerate(stages):
        for owner in {p.rpartition(".")[0] for p in stage.parameters} - {""}:
            model.get_submodule(owner).register_forward_hook(note(i))
    model(torch.zeros(1, *model.pretrained_cfg["input_size"]))
    first = [seen.index(i) for i in dict.fromkeys(seen)]
    assert list(dict.fromkeys(seen)) == sorted(set(seen)), "a stage starts before an earlier one"
    assert first == sorted(first)


def test_stray_parameters_join_the_stage_before_the_classifier():
    stages = {stage.name: stage for stage in split_into_stages(meta("convnext_tiny"))}
    assert "head.norm.weight" in stages["stages.3"].parameters
    assert "norm.weight" in {s.name: s for s in split_into_stages(meta("vit_tiny_patch16_224"))}["blocks.11"].parameters


def test_stages_have_names_that_people_know():
    assert [s.name for s in split_into_stages(meta("resnet50"))] == [
        "stem",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
        "head",
    ]
    names = [s.name for s in split_into_stages(meta("thawlab_demo"))]
    assert names == ["conv1", "conv2", "conv3", "fc1", "fc2", "head"]


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.blocks(self.conv(x)).mean((2, 3)))


def test_any_other_module_is_cut_along_its_children():
    assert [s.name for s in split_into_stages(Plain())] == ["conv", "blocks", "head"]
    assert [s.name for s in split_into_stages(Plain(), "fine")] == ["conv", "blocks.0", "blocks.1", "head"]


def test_a_module_without_a_classifier_is_refused():
    with pytest.raises(UserError, match=r"no get_classifier\(\) and no nn.Linear"):
        classifier_names(nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_unknown_grain_is_refused():
    with pytest.raises(UserError, match=r"backbone\.stages is 'medium'"):
        split_into_stages(Plain(), "medium")
