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


class Unordered(nn.Module):
    """Children in another order than they run in, a parameter of its own, and one that nobody reads."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, 4, 1, 1))
        self.unused = nn.Linear(3, 3)
        self.late = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        self.early = nn.Conv2d(3, 4, 1)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out((self.late(self.early(x)) + self.shift).mean((2, 3)))


def test_children_come_in_the_order_in_which_they_run():
    stages = split_into_stages(Unordered())
    assert [stage.name for stage in stages] == ["early", "late", "head"]
    late = {f"late.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    assert {*stages[0].parameters} == {"early.weight", "early.bias"}
    assert {*stages[1].parameters} == {*late, "shift", "unused.weight", "unused.bias"}


def test_a_class_token_that_joins_half_way_belongs_where_it_joins():
    stages = {stage.name: stage for stage in split_into_stages(meta("volo_d1_224"))}
    assert "cls_token" in stages["network.4.1"].parameters or "cls_token" in stages["post_network.0"].parameters
    assert "cls_token" in {s.name: s for s in split_into_stages(meta("vit_tiny_patch16_224"))}["stem"].parameters


@pytest.mark.parametrize("name", ["volo_d1_224", "test_vit", "test_resnet"])
def test_everything_that_a_model_keeps_is_owned_by_one_stage(name):
    """VOLO's position embedding and class token are the model's own, but lie in different stages."""
    model = meta(name)
    stages = split_into_stages(model)
    for key in model.state_dict():
        assert [stage.name for stage in stages if stage.owns(key)] in [[stage.name] for stage in stages], key
    for stage in stages:
        assert all(stage.owns(parameter) for parameter in stage.parameters)


def test_levels_that_a_model_tells_are_stages_where_it_has_no_matcher():
    assert not hasattr(meta("poolformer_s12"), "group_matcher")
    names = [stage.name for stage in split_into_stages(meta("poolformer_s12"))]
    assert names == ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]
    assert "stages.1.blocks.0" in [stage.name for stage in split_into_stages(meta("poolformer_s12"), "fine")]


def test_any_module_may_have_a_matcher_as_timms():
    class Matched(Plain):
        def group_matcher(self, coarse=False):
            return {"all": r"^conv|blocks"} if coarse else {"stem": r"^conv", "blocks": [(r"^blocks\.(\d+)", None)]}

    assert len(split_into_stages(Matched())) == 2
    assert [s.name for s in split_into_stages(Matched(), "fine")] == ["conv", "blocks.0", "blocks.1", "head"]


def test_the_user_names_the_stages():
    parts = {"first": ["conv", "blocks.0"], "second": ["blocks.1.weight", "blocks.1.bias"]}
    stages = split_into_stages(Plain(), parts=parts)
    assert [stage.name for stage in stages] == ["first", "second", "head"]
    assert stages[0].parameters == ("conv.weight", "conv.bias", "blocks.0.weight", "blocks.0.bias")
    assert stages[1].modules == ("blocks.1",)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param({"a": ["conv", "block"]}, r"parts\.a names 'block', but Plain has no such", id="unknown module"),
        pytest.param({"a": ["conv"]}, r"leaves out 4 of .*: blocks\.0\.weight", id="in no stage"),
        pytest.param({"a": ["conv", "blocks"], "b": ["blocks.1"]}, r"blocks\.1\.weight into both a and b", id="in two"),
        pytest.param({"a": ["conv"], "head": ["blocks"]}, "a part called 'head'", id="called head"),
        pytest.param({"a": ["conv", "blocks", "out"]}, r"parts\.a holds out\.weight", id="the classifier's"),
        pytest.param({"a": [], "b": ["conv", "blocks"]}, r"parts\.a is \[\], which holds no parameters", id="empty"),
        pytest.param({"a": ["blocks"], "b": ["conv"]}, r"a before b, but blocks\.0\.\w+ of a", id="out of order"),
    ],
)
def test_wrong_parts_are_refused(parts, message):
    with pytest.raises(UserError, match=message):
        split_into_stages(Plain(), parts=parts)


class Elsewhere(Plain):
    def forward(self, x):
        raise RuntimeError("needs a camera")


def test_a_network_that_runs_nowhere_needs_its_stages_named():
    with pytest.raises(UserError, match=r"Elsewhere runs on no image .*needs a camera.*backbone\.parts="):
        split_into_stages(Elsewhere())
    assert len(split_into_stages(Elsewhere(), parts={"a": ["conv"], "b": ["blocks"]})) == 3


@pytest.mark.parametrize("name", ["mobilenetv5_300m_enc", "vit_small_patch14_dinov2"])
def test_an_encoder_has_an_empty_head(name):
    assert split_into_stages(meta(name))[-1].parameters == ()


def test_an_auxiliary_head_that_predicts_the_classes_is_a_classifier():
    assert classifier_names(meta("volo_d1_224")) == ("head", "aux_head")


def test_a_module_without_a_classifier_is_refused():
    with pytest.raises(UserError, match=r"no get_classifier\(\) and no nn.Linear"):
        classifier_names(nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_unknown_grain_is_refused():
    with pytest.raises(UserError, match=r"backbone\.stages is 'medium'"):
        split_into_stages(Plain(), "medium")
