import socket
import time
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from small_runs import config_of, random_weights, same_bits

from thawlab.backbones import source
from thawlab.backbones.source import BackboneSpec, build_pretrained, build_random, preprocessing_of
from thawlab.errors import UserError
from thawlab.prepare import prepare

RESNET = "test_resnet.r160_in1k"


def in_hub_cache(cache: Path, repo: str, weights: Path) -> None:
    """Lay a file as huggingface_hub's cache holds it: blobs, snapshots and refs."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    blob = folder / "blobs" / "b10b"
    blob.write_bytes(weights.read_bytes())
    (snapshot / "model.safetensors").symlink_to(blob)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache, and a hub at a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.mark.parametrize("offline", [pytest.param(True, id="HF_HUB_OFFLINE=1"), pytest.param(False, id="no network")])
def test_pretrained_weights_come_from_the_hubs_cache(tmp_path, hub, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    path = random_weights(tmp_path / "w.safetensors", "test_resnet", seed=11)
    in_hub_cache(hub, f"timm/{RESNET}", path)
    found = build_pretrained(BackboneSpec("test_resnet")).state_dict()
    assert same_bits(found, timm.models.load_state_dict(str(path)))
    assert offline == constants.HF_HUB_OFFLINE


def test_a_tag_chooses_among_the_pretrained_weights(tmp_path, hub):
    one, two = (random_weights(tmp_path / f"{i}.safetensors", "resnet18", seed=i) for i in (1, 2))
    in_hub_cache(hub, "timm/resnet18.a1_in1k", one)
    in_hub_cache(hub, "timm/resnet18.tv_in1k", two)
    for name, path in (("resnet18", one), ("resnet18.tv_in1k", two)):
        found = build_pretrained(BackboneSpec(name)).state_dict()
        assert torch.equal(found["conv1.weight"], timm.models.load_state_dict(str(path))["conv1.weight"])


def test_without_network_and_cache_the_answer_is_quick_and_says_what_to_do(hub):
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        build_pretrained(BackboneSpec("resnet18"))
    assert time.monotonic() - began < 10
    for said in (
        "backbone.name is 'resnet18'",
        "could not be had",
        "backbone.weights=model.safetensors",
        "strategy=scratch",
    ):
        assert said in str(caught.value)


def test_an_architecture_that_nobody_pretrained_is_refused(hub):
    with pytest.raises(UserError, match=r"could not be had.*No pretrained weights exist"):
        build_pretrained(BackboneSpec("efficientnet_b0_g8_gn"))


def test_a_hub_that_answers_with_a_refusal_is_within_reach(monkeypatch):
    def refuse(request, timeout):
        raise source.HTTPError(request.full_url, 405, "no HEAD here", {}, None)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(source, "urlopen", refuse)
    assert source._reachable("https://hub.example")


def test_a_silent_hub_is_out_of_reach(monkeypatch):
    def silent(request, timeout):
        raise TimeoutError

    monkeypatch.setattr(source, "urlopen", silent)
    assert not source._reachable("https://hub.example")


def test_random_weights_follow_from_the_seed_alone():
    spec = BackboneSpec("test_resnet")
    torch.manual_seed(3)
    first, drawn = build_random(spec, 5).state_dict(), torch.rand(1)
    torch.manual_seed(3)
    torch.rand(17)
    assert same_bits(first, build_random(spec, 5).state_dict())
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1)), "the caller's random numbers were used up"
    assert not same_bits(first, build_random(spec, 6).state_dict())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({"name": "resnet81"}, r"no such architecture. Nearest: .*resnet18", id="a typo"),
        pytest.param({"name": "resnet18.foo"}, r"no pretrained weights 'foo' .* It has: resnet18.a1", id="a tag"),
        pytest.param({"name": "resnet18", "size": 4}, r"backbone.size is 4", id="too small"),
        pytest.param({"name": "resnet18", "mean": (0.5,)}, r"backbone.mean is \[0.5\]", id="one channel"),
        pytest.param({"name": "resnet18", "stages": "blocks"}, r"coarse, fine", id="grain"),
    ],
)
def test_a_bad_spec_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        BackboneSpec(**values)


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


@pytest.mark.parametrize(
    ("given", "metadata", "expected"),
    [
        pytest.param((0.3, 0.3, 0.3), {"mean": "0.2, 0.2, 0.2"}, (0.3, 0.3, 0.3), id="the setting first"),
        pytest.param(None, {"mean": "0.2, 0.2, 0.2"}, (0.2, 0.2, 0.2), id="then the weights' file"),
        pytest.param(None, {"mean": "unknown"}, (0.485, 0.456, 0.406), id="then timm's data config"),
        pytest.param(None, {}, (0.485, 0.456, 0.406), id="timm's data config"),
    ],
)
def test_the_mean_is_known_from(given, metadata, expected):
    spec = BackboneSpec("resnet18", mean=given)
    assert preprocessing_of(timm.create_model("resnet18"), spec, metadata).mean == pytest.approx(expected)


def test_a_weights_file_tells_size_interpolation_and_crop():
    told = {"size": "48", "interpolation": "nearest", "crop": "0.75"}
    model = timm.create_model("resnet18")

    def known(metadata, **settings):
        found = preprocessing_of(model, BackboneSpec("resnet18", **settings), metadata)
        return found.size, found.interpolation, found.crop

    assert known(told) == (48, "nearest", 0.75)
    assert known(told, size=64, interpolation="bilinear", crop=1.0) == (64, "bilinear", 1.0)
    assert known({"size": "big", "interpolation": "?", "crop": "x"}) == known({}) == (224, "bicubic", 0.95)


def test_an_unknown_size_is_asked_for(net):
    spec = BackboneSpec("mine", function=f"{net}:build", mean=(0, 0, 0), std=(1, 1, 1))
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"backbone\.size is not set"):
        preprocessing_of(model, spec, {})
