"""Networks of the user's own."""

import pytest
import torch
from safetensors.torch import save_file
from small_runs import config_of, same_bits

from thawlab.backbones.source import build_random
from thawlab.backbones.spec import BackboneSpec
from thawlab.errors import UserError
from thawlab.prepare import prepare

NET = """
from timm.models.byobnet import ByobNet, ByoBlockCfg, ByoModelCfg

def build():
    block = lambda c, s: ByoBlockCfg(type="basic", d=1, c=c, s=s, gs=0, br=1.0)
    model = ByobNet(ByoModelCfg(blocks=(block(16, 1), block(32, 2)), stem_chs=16, stem_type="3x3", stem_pool="",
                                act_layer="relu"), num_classes=10)
    model.stem.conv.stride = (1, 1)
    return model

def text():
    return "no network"

number = 3

def of(width):
    return width

def broken():
    raise KeyError("depth")
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "nets.py").write_text(NET)
    return tmp_path / "nets.py"


def with_function(net, reference="build"):
    return BackboneSpec("mine", function=f"{net}:{reference}")


def test_a_function_in_a_file_builds_the_network_and_the_weights_tell_its_mean(net, tmp_path):
    torch.manual_seed(4)
    state = build_random(with_function(net), 4).state_dict()
    metadata = {"mean": "[0.1, 0.2, 0.3]", "std": "(0.4, 0.5, 0.6)"}
    save_file(state, tmp_path / "mine.safetensors", metadata=metadata)
    config = config_of(
        "backbone=function", "backbone.name=mine", f"backbone.function={net}:build",
        f"backbone.weights={tmp_path / 'mine.safetensors'}", "strategy=freeze",
    )  # fmt: skip
    built = prepare(config).built
    assert built.preprocessing.mean == (0.1, 0.2, 0.3)
    assert built.preprocessing.std == (0.4, 0.5, 0.6)
    kept = {n: t for n, t in built.network.state_dict().items() if not n.startswith("head.fc.")}
    assert same_bits(kept, {n: state[n] for n in kept})
    assert [stage.name for stage in built.stages][-1] == "head"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        pytest.param("bulid", "has no function 'bulid'", id="a typo"),
        pytest.param("number", "has no function 'number'", id="no function"),
        pytest.param("text", "returned a str", id="no network"),
        pytest.param("of", r"nets.py:of'.*raised TypeError: of\(\) missing .*'width'", id="an argument"),
        pytest.param("broken", r"nets.py:broken'.*raised KeyError: 'depth'", id="it raises"),
    ],
)
def test_a_function_that_builds_no_network_is_refused(net, reference, says):
    with pytest.raises(UserError, match=says):
        build_random(with_function(net, reference), 0)


def test_a_function_in_a_file_with_a_syntax_error_is_refused(tmp_path):
    (tmp_path / "typo.py").write_text("def build(:\n    pass\n")
    with pytest.raises(UserError, match=r"backbone\.function is .*typo\.py cannot be imported: SyntaxError: "):
        build_random(with_function(tmp_path / "typo.py"), 0)


@pytest.mark.parametrize("reference", ["build", "nowhere.py:build", "no_such_package:build"])
def test_a_function_that_cannot_be_found_is_refused(reference):
    with pytest.raises(UserError, match=r"backbone\.function is"):
        build_random(BackboneSpec("mine", function=reference), 0)


def test_a_function_without_weights_starts_random_or_not_at_all(net):
    words = ["backbone=function", "backbone.name=mine", f"backbone.function={net}:build", "backbone.size=32",
             "backbone.mean=[0,0,0]", "backbone.std=[1,1,1]"]  # fmt: skip
    with pytest.raises(UserError, match=r"backbone\.weights is not set"):
        prepare(config_of(*words, "strategy=freeze"))
    assert prepare(config_of(*words, "strategy=scratch")).built.match is None
