import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import load_file
from small_runs import random_weights, same_bits
from torch import nn

from thawlab.audit import remarks
from thawlab.backbones.build import build
from thawlab.backbones.heads import CosineHead, HeadSpec
from thawlab.backbones.spec import BackboneSpec
from thawlab.errors import UserError
from thawlab.strategy import Strategy

LINEAR = HeadSpec()


def built(spec, strategy, head=LINEAR, seed=0, classes=3):
    return build(spec, head, Strategy("s", **strategy), classes, 0.1, seed)


@pytest.fixture
def resnet(tmp_path):
    path = random_weights(tmp_path / "resnet.safetensors", "test_resnet")
    return BackboneSpec("test_resnet", weights=str(path), size=32), load_file(path)


def of_stage(found, name):
    (stage,) = [stage for stage in found.stages if stage.name == name]
    state = found.network.state_dict()
    return {n: t for n, t in state.items() if stage.owns(n)}


def test_kept_stages_are_the_sources_to_the_bit_and_fresh_ones_those_of_the_seed(resnet):
    spec, source = resnet
    found = built(spec, {"fresh": 2}, seed=5)
    random = built(spec, {"weights": "random"}, seed=5)
    *kept, above, top, _ = [stage.name for stage in found.stages]
    for name in kept:
        state = of_stage(found, name)
        assert any("running_var" in n for n in state)
        assert same_bits(state, {n: source[n] for n in state})
    for name in (above, top):
        assert same_bits(of_stage(found, name), of_stage(random, name))
        assert not same_bits(of_stage(found, name), of_stage(built(spec, {"fresh": 2}, seed=6), name))
    assert [row.weights for row in found.plan.rows] == ["source"] * len(kept) + ["fresh", "fresh", "new"]


def test_the_head_is_the_same_whatever_the_strategy(resnet):
    spec, _ = resnet
    heads = [of_stage(built(spec, strategy, seed=3), "head") for strategy in ({}, {"train": 0}, {"weights": "random"})]
    assert same_bits(heads[0], heads[1])
    assert same_bits(heads[0], heads[2])


def test_what_matched_and_was_left_out_is_told(resnet):
    spec, source = resnet
    match = built(spec, {"keep": 0.5}).match
    assert set(match.matched) | set(match.left_out) == set(source)
    assert {"fc.weight", "fc.bias"} <= set(match.left_out)
    assert any(name.startswith("layer4") for name in match.left_out)
    assert not match.missing


def test_random_weights_load_nothing(resnet):
    spec, source = resnet
    found = built(spec, {"weights": "random"})
    assert found.match is None
    assert not torch.equal(found.network.state_dict()["layer4.0.conv1.weight"], source["layer4.0.conv1.weight"])


SCRATCH = """
import hashlib, sys, torch
from thawlab.audit import remarks
from thawlab.backbones.build import build
from thawlab.backbones.heads import HeadSpec
from thawlab.backbones.spec import BackboneSpec
from thawlab.strategy import Strategy
torch.rand(int(sys.argv[1]))
torch.set_num_threads(int(sys.argv[1]) % 2 + 1)
found = build(BackboneSpec("test_vit", size=32), HeadSpec(), Strategy("s", weights="random"), 3, 0.1, 4)
digest = hashlib.sha256()
for name, tensor in found.network.state_dict().items():
    digest.update(name.encode() + tensor.numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_scratch_is_the_same_in_every_process():
    command = [sys.executable, "-c", SCRATCH]
    digests = {subprocess.check_output([*command, draws], text=True) for draws in ("1", "1000")}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("name", "classifier", "heads"),
    [
        pytest.param("test_resnet", nn.Linear, 1, id="ResNet"),
        pytest.param("test_vit", nn.Linear, 1, id="ViT"),
        pytest.param("test_convnext", nn.Linear, 1, id="ConvNeXt"),
        pytest.param("mobilenetv3_small_050", nn.Linear, 1, id="MobileNetV3, with layers after its pooling"),
        pytest.param("test_nfnet", nn.Linear, 1, id="NFNet"),
        pytest.param("deit_tiny_distilled_patch16_224", nn.Linear, 2, id="distilled DeiT: two heads"),
        pytest.param("inception_v4", nn.Linear, 1, id="Inception"),
        pytest.param("hardcorenas_a", nn.Linear, 1, id="HardCoRe-NAS"),
        pytest.param("dpn48b", nn.Conv2d, 1, id="DPN: a convolution classifies"),
        pytest.param("mobilenetv4_conv_small_035", nn.Linear, 1, id="MobileNetV4"),
    ],
)
def test_every_kind_of_classifier_is_replaced(name, classifier, heads):
    size = {"size": 32} if "vit" in name else {"size": 224 if "deit" in name else 96}
    found = built(BackboneSpec(name, **size), {"weights": "random", "train": 0}, classes=5)
    replaced = [found.network.get_submodule(place) for place in found.stages[-1].modules]
    assert len(replaced) == heads
    assert all(isinstance(module, classifier) for module in replaced)
    assert {p.shape[0] for module in replaced for p in module.parameters()} == {5}
    found.network.train()
    for mode in (True, False):
        found.network.train(mode)
        logits = found.network(torch.randn(2, 3, found.preprocessing.size, found.preprocessing.size))
        assert logits.shape == (2, 5)
    assert found.stages[-1].size == sum(p.numel() for module in replaced for p in module.parameters())


def test_both_heads_of_a_distilled_transformer_train():
    found = built(BackboneSpec("deit_tiny_distilled_patch16_224", size=224), {"weights": "random"}, classes=4)
    found.network.train()
    found.network(torch.randn(2, 3, 224, 224)).sum().backward()
    gradients = [found.network.get_parameter(name).grad for name in found.stages[-1].parameters]
    assert len(gradients) == 4
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        pytest.param(HeadSpec("linear"), nn.Linear, id="linear"),
        pytest.param(HeadSpec("mlp", hidden=(7,)), nn.Sequential, id="mlp"),
        pytest.param(HeadSpec("cosine"), CosineHead, id="cosine"),
    ],
)
@pytest.mark.parametrize("keep", [1.0, 0.5], ids=["whole", "cut"])
def test_any_head_sits_on_any_depth(resnet, head, kind, keep):
    spec, _ = resnet
    found = built(spec, {"keep": keep}, head, classes=6)
    (place,) = found.stages[-1].modules
    assert isinstance(found.network.get_submodule(place), kind)
    assert found.network.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 6)
    assert {p for stage in found.stages for p in stage.parameters} == {n for n, _ in found.network.named_parameters()}


def test_a_head_that_a_convolution_classifier_cannot_take_is_refused():
    spec = BackboneSpec("dpn48b", size=64)
    with pytest.raises(UserError, match=r"head\.kind is 'mlp'.*no linear layer.*head=linear"):
        built(spec, {"weights": "random"}, HeadSpec("mlp", hidden=(4,)))


def test_a_dropout_that_a_convolution_classifier_cannot_take_is_refused():
    with pytest.raises(UserError, match=r"head\.dropout is 0\.2.*head\.dropout=0"):
        built(BackboneSpec("dpn48b", size=64), {"weights": "random"}, HeadSpec(dropout=0.2))


ENCODER_HEADS = {
    "linear": (HeadSpec(), [nn.Linear]),
    "mlp": (HeadSpec("mlp", hidden=(7,)), [nn.Linear, nn.ReLU, nn.Linear]),
    "cosine": (HeadSpec("cosine"), [CosineHead]),
    "dropout": (HeadSpec(dropout=0.1), [nn.Dropout, nn.Linear]),
}


@pytest.mark.parametrize("head", ENCODER_HEADS)
@pytest.mark.parametrize(("name", "options"), [("test_vit", "img_size=32, "), ("test_convnext", "")])
def test_an_encoder_takes_any_head_where_it_has_an_identity(tmp_path, name, options, head):
    """As DINOv2, SigLIP and EVA-02 in timm: of no classes; test_convnext's place lies in a module with a norm."""
    (tmp_path / "encoder.py").write_text(
        f"import timm\n\ndef encoder():\n    return timm.create_model({name!r}, {options}num_classes=0)\n"
    )
    spec, layers = ENCODER_HEADS[head]
    backbone = BackboneSpec("mine", function=f"{tmp_path}/encoder.py:encoder", size=32)
    found = built(backbone, {"weights": "random", "train": 0}, spec, classes=5)
    (place,) = found.stages[-1].modules
    classifier = found.network.get_submodule(place)
    assert [type(m) for m in classifier.modules() if type(m) is not nn.Sequential] == layers
    assert found.network.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    for tensor in found.network.state_dict():
        owners = [stage.name for stage in found.stages if stage.owns(tensor)]
        assert len(owners) == 1
        assert (owners == ["head"]) == tensor.startswith(f"{place}.")


ENCODER = """
from torch import nn

class Encoder(nn.Module):
    pretrained_cfg, num_classes = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}, 0

    def __init__(self):
        super().__init__()
        self.patches, self.block, self.norm = nn.Conv2d(3, 6, 8, 8), nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.norm(x + self.block(x))
"""


@pytest.mark.parametrize("head", ENCODER_HEADS)
def test_an_encoder_without_a_classifier_takes_any_head_on_the_mean_of_its_tokens(tmp_path, head):
    """As timm's Qwen3-ViT, Gemma 4 and MobileNetV5 encoders."""
    (tmp_path / "encoder.py").write_text(ENCODER)
    spec, _ = ENCODER_HEADS[head]
    backbone = BackboneSpec("mine", function=f"{tmp_path}/encoder.py:Encoder")
    found = built(backbone, {"weights": "random", "train": 0}, spec, classes=5)
    images = torch.rand(2, 3, 32, 32)
    network = found.network.eval()
    torch.testing.assert_close(network(images), network.head(network.body(images).mean(1)))
    assert [row.weights for row in found.plan.rows] == ["random"] * (len(found.stages) - 1) + ["new"]
    assert all(row.first_epoch is None for row in found.plan.rows[:-1])


@pytest.mark.slow
def test_the_least_of_timms_encoders_without_a_classifier():
    found = built(BackboneSpec("qwen3_vit_88m_enc", size=64), {"weights": "random", "train": 0}, classes=5)
    images = torch.rand(2, 3, 64, 64)
    network = found.network.eval()
    with torch.no_grad():
        logits = network(images)
        tokens = network.body(images)
        tokens = tokens.flatten(1, -2) if tokens.shape[-1] == network.head.in_features else tokens.flatten(2).mT
        torch.testing.assert_close(logits, network.head(tokens.mean(1)))
    assert logits.shape == (2, 5)


def test_images_too_small_for_the_network_are_refused():
    with pytest.raises(UserError, match=r"backbone\.size is 32, but InceptionV3 does not run on images of 32"):
        built(BackboneSpec("inception_v3", size=32), {"weights": "random"})


def test_the_size_that_a_weights_file_tells_builds_the_network(tmp_path, resnet):
    from safetensors.torch import save_file

    state = timm.create_model("test_vit", img_size=64).state_dict()
    save_file(state, tmp_path / "vit.safetensors", metadata={"size": "64"})
    found = built(BackboneSpec("test_vit", weights=str(tmp_path / "vit.safetensors")), {})
    assert found.preprocessing.size == 64
    assert torch.equal(found.network.get_parameter("pos_embed"), state["pos_embed"])


def test_a_partial_match_starts_the_rest_random_if_allowed(tmp_path, resnet):
    from safetensors.torch import save_file

    spec, source = resnet
    part = {n: t for n, t in source.items() if not n.startswith("layer3.")}
    save_file(part, tmp_path / "part.safetensors")
    values = {"weights": str(tmp_path / "part.safetensors"), "size": 32}
    with pytest.raises(UserError, match=r"fits this network only in part.*Missing: layer3"):
        built(BackboneSpec("test_resnet", **values), {})
    found = built(BackboneSpec("test_resnet", allow_partial=True, **values), {}, seed=2)
    random = built(spec, {"weights": "random"}, seed=2)
    assert same_bits(of_stage(found, "layer3"), of_stage(random, "layer3"))
    assert all(name.startswith("layer3.") for name in found.match.missing)
    assert len(found.match.missing) > 0


def test_a_stage_that_the_source_knows_nothing_of_is_planned_as_random(tmp_path, resnet):
    from safetensors.torch import save_file

    spec, source = resnet
    save_file({n: t for n, t in source.items() if not n.startswith("layer3.")}, tmp_path / "part.safetensors")
    spec = BackboneSpec("test_resnet", weights=str(tmp_path / "part.safetensors"), size=32, allow_partial=True)
    rows = {row.stage: row for row in built(spec, {"source_rate": 0.1, "layer_decay": 0.5}).plan.rows}
    assert {name: row.weights for name, row in rows.items() if row.weights != "source"} == {
        "layer3": "random",
        "head": "new",
    }
    assert rows["layer3"].rate == pytest.approx(0.1 * 0.5**2)
    assert rows["layer4"].rate == pytest.approx(0.1 * 0.5 * 0.1)


def test_a_stage_of_which_the_source_has_a_part_is_planned_as_such(tmp_path, resnet):
    """Of layer3 a bias alone is missing; of layer2 the file has a counter alone, which is no weight."""
    from safetensors.torch import save_file

    _, source = resnet
    counter = next(name for name in source if name.startswith("layer2.") and name.endswith("num_batches_tracked"))
    bias = next(name for name in source if name.startswith("layer3.") and name.endswith("bias"))
    part = {n: t for n, t in source.items() if not n.startswith("layer2.") and n != bias}
    save_file(part | {counter: source[counter]}, tmp_path / "part.safetensors")
    spec = BackboneSpec("test_resnet", weights=str(tmp_path / "part.safetensors"), size=32, allow_partial=True)
    plan = built(spec, {"train": 0, "source_rate": 0.1}).plan
    origins = {row.stage: row.weights for row in plan.rows}
    assert (origins["layer1"], origins["layer2"], origins["layer3"]) == ("source", "random", "partly")
    said = remarks(plan, 1)
    assert "layer2 start from random weights and never train" in said
    assert "layer3 start partly from random weights and never train" in said
    rates = {row.stage: row.rate for row in built(spec, {"source_rate": 0.1}).plan.rows}
    assert rates["layer2"] == pytest.approx(0.1)
    assert rates["layer3"] == rates["layer1"] == pytest.approx(0.1 * 0.1)


@pytest.mark.parametrize("allowed", [False, True])
def test_weights_of_which_nothing_fits_are_refused_with_what_they_are_of(tmp_path, resnet, allowed):
    """`allow_partial` would not help, so that it is not advised."""
    from safetensors.torch import save_file

    _, source = resnet
    counter = next(name for name in source if name.endswith("num_batches_tracked"))
    save_file({"x": torch.ones(2), counter: source[counter]}, tmp_path / "w.safetensors", {"arch": "vit_tiny"})
    spec = BackboneSpec("test_resnet", weights=str(tmp_path / "w.safetensors"), size=32, allow_partial=allowed)
    with pytest.raises(UserError, match=r"nowhere: none of \d+ tensors matches.*what it is of: vit_tiny") as caught:
        built(spec, {})
    assert "allow_partial" not in str(caught.value)


def test_a_hole_in_what_is_cut_off_or_fresh_is_no_partial_match(tmp_path, resnet):
    from safetensors.torch import save_file

    _, source = resnet
    save_file({n: t for n, t in source.items() if not n.startswith("layer4.")}, tmp_path / "part.safetensors")
    spec = BackboneSpec("test_resnet", weights=str(tmp_path / "part.safetensors"), size=32)
    assert not built(spec, {"fresh": 1}).match.missing
    assert not built(spec, {"keep": 2}).match.missing


def test_the_whole_network_gives_what_timm_gives_but_for_the_head(resnet):
    spec, source = resnet
    found = built(spec, {})
    model = timm.create_model("test_resnet")
    model.load_state_dict(source)
    images = torch.randn(2, 3, 32, 32)
    model.eval(), found.network.eval()
    features = [net.forward_head(net.forward_features(images), pre_logits=True) for net in (model, found.network)]
    assert torch.equal(*features)
