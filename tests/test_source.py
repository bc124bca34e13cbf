import socket
import time
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from small_runs import random_weights, same_bits

from thawlab.backbones.source import build_random, preprocessing_of, published_weights, source_images
from thawlab.backbones.spec import BackboneSpec
from thawlab.errors import UserError

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
    found = published_weights(BackboneSpec("test_resnet"))
    assert same_bits(found, timm.models.load_state_dict(str(path)))
    assert offline == constants.HF_HUB_OFFLINE


def test_a_tag_chooses_among_the_pretrained_weights(tmp_path, hub):
    one, two = (random_weights(tmp_path / f"{i}.safetensors", "resnet18", seed=i) for i in (1, 2))
    in_hub_cache(hub, "timm/resnet18.a1_in1k", one)
    in_hub_cache(hub, "timm/resnet18.tv_in1k", two)
    for name, path in (("resnet18", one), ("resnet18.tv_in1k", two)):
        found = published_weights(BackboneSpec(name))
        assert torch.equal(found["conv1.weight"], timm.models.load_state_dict(str(path))["conv1.weight"])


def test_without_network_and_cache_the_answer_is_quick_and_says_what_to_do(hub):
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        published_weights(BackboneSpec("resnet18"))
    assert time.monotonic() - began < 10
    for said in (
        "backbone.name is 'resnet18'",
        "could not be had",
        "connection is on)",  # the library's words to their end
        "backbone.weights=FILE (downloaded elsewhere from https://huggingface.co/timm, the page of resnet18)",
        "strategy=scratch",
    ):
        assert said in str(caught.value)


def test_an_architecture_that_nobody_pretrained_is_refused(hub):
    with pytest.raises(UserError, match=r"could not be had.*No pretrained weights exist"):
        published_weights(BackboneSpec("efficientnet_b0_g8_gn"))


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
        pytest.param({"name": "resnet18", "mean": ()}, r"backbone.mean is empty", id="no number"),
        pytest.param({"name": "resnet18", "library": "keras"}, r"backbone.library is 'keras'. .*timm", id="library"),
        pytest.param({"name": "resnet18", "stages": "blocks"}, r"coarse, fine", id="grain"),
    ],
)
def test_a_bad_spec_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        BackboneSpec(**values)


@pytest.fixture
def net(tmp_path):
    (tmp_path / "nets.py").write_text("from torch import nn\n\ndef build():\n    return nn.Linear(2, 2)\n")
    return tmp_path / "nets.py"


def known(model, spec, metadata, channels=3):
    return preprocessing_of(spec, source_images(spec, model, metadata), channels)


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
    assert known(timm.create_model("resnet18"), spec, metadata).mean == pytest.approx(expected)


@pytest.mark.parametrize(
    ("channels", "told", "expected"),
    [
        pytest.param(1, {}, ((0.485 + 0.456 + 0.406) / 3,), id="grey: the mean of RGB"),
        pytest.param(4, {}, (0.485, 0.456, 0.406, 0.485), id="more: in turn"),
        pytest.param(3, {"mean": "0.3"}, (0.3, 0.3, 0.3), id="colour from a grey source"),
        pytest.param(2, {"mean": "[0.1, 0.2]"}, (0.1, 0.2), id="as many as the source has"),
    ],
)
def test_the_mean_of_another_number_of_channels(channels, told, expected):
    assert known(timm.create_model("resnet18"), BackboneSpec("resnet18"), told, channels).mean == pytest.approx(
        expected
    )


def test_a_given_mean_has_a_number_for_each_channel():
    model = timm.create_model("resnet18")
    six = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert known(model, BackboneSpec("resnet18", mean=six), {}, 6).mean == six
    with pytest.raises(UserError, match=r"backbone\.mean is .* dataset\.channels is 4. Give 4 numbers"):
        known(model, BackboneSpec("resnet18", mean=six), {}, 4)


def test_a_weights_file_tells_size_interpolation_and_crop():
    told = {"size": "48", "interpolation": "nearest", "crop": "0.75"}
    model = timm.create_model("resnet18")

    def found(metadata, **settings):
        images = known(model, BackboneSpec("resnet18", **settings), metadata)
        return images.size, images.interpolation, images.crop

    assert found(told) == (48, "nearest", 0.75)
    assert found(told, size=64, interpolation="bilinear", crop=1.0) == (64, "bilinear", 1.0)
    assert found({"size": "big", "interpolation": "?", "crop": "x"}) == found({}) == (224, "bicubic", 0.95)


def test_an_unknown_size_is_asked_for(net):
    spec = BackboneSpec("mine", function=f"{net}:build", mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(UserError, match=r"backbone\.size is not set"):
        known(torch.nn.Sequential(torch.nn.Linear(2, 2)), spec, {})
