"""Real weights and real photographs, where the environment variable THAWLAB_DATA names a folder that holds them.

Its layout: weights/*.safetensors and datasets/*.zip.
"""

import os
import zipfile
from pathlib import Path

import pytest
import torch
from small_runs import carried_out, config_of

from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.prepare import prepare

DATA = Path(os.environ.get("THAWLAB_DATA", ""))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "THAWLAB_DATA" not in os.environ, reason="THAWLAB_DATA names no folder with real weights and images"
    ),
]
PLAIN = ["logger=none", "logger.progress=off"]

BYOBNET = """
from timm.models.byobnet import ByobNet, ByoBlockCfg, ByoModelCfg

def build():
    block = lambda c, s: ByoBlockCfg(type="basic", d=3, c=c, s=s, gs=0, br=1.0)
    model = ByobNet(ByoModelCfg(blocks=(block(16, 1), block(32, 2), block(64, 2)), stem_chs=16, stem_type="3x3",
                                stem_pool="", act_layer="relu"), num_classes=10)
    model.stem.conv.stride = (1, 1)
    return model
"""


@pytest.fixture(scope="module")
def hymenoptera(tmp_path_factory):
    root = tmp_path_factory.mktemp("hymenoptera")
    with zipfile.ZipFile(DATA / "datasets" / "hymenoptera.zip") as archive:
        archive.extractall(root)
    (train,) = root.rglob("train")
    return train.parent


def weights(start):
    (path,) = (DATA / "weights").glob(f"{start}*.safetensors")
    return path


def test_photographs_in_folders_are_read(hymenoptera):
    splits = load_splits(DatasetSpec("ants", "folder", root=str(hymenoptera)), 0)
    assert splits.classes == ("ants", "bees")
    assert len(splits.train) + len(splits.val) + len(splits.test) in (397, 396)
    assert splits.test.load(0).dtype == torch.uint8


@pytest.mark.parametrize(
    ("backbone", "start", "classifier"),
    [
        pytest.param("vit_tiny", "vit_tiny", {"head.weight", "head.bias"}, id="ViT-Tiny"),
        pytest.param("mobilenetv2", "mobilenetv2", {"classifier.weight", "classifier.bias"}, id="MobileNetV2"),
    ],
)
def test_real_weights_fit_but_for_the_classifier(hymenoptera, backbone, start, classifier):
    words = [
        f"backbone={backbone}",
        f"backbone.weights={weights(start)}",
        "dataset=folder",
        f"dataset.root={hymenoptera}",
    ]
    built = prepare(config_of("strategy=freeze", small=[*words, *PLAIN])).built
    assert set(built.match.left_out) == classifier
    assert not built.match.missing
    assert not built.match.misfit
    own = {name for name in built.network.state_dict() if name not in classifier and "num_batches" not in name}
    assert own <= set(built.match.matched)
    assert built.preprocessing.mean == built.preprocessing.std == (0.5, 0.5, 0.5)


def test_a_frozen_mobilenet_tells_ants_from_bees_in_two_epochs(tmp_path, hymenoptera):
    words = ["backbone=mobilenetv2", f"backbone.weights={weights('mobilenetv2')}", "dataset=folder",
             f"dataset.root={hymenoptera}", "trainer.epochs=2", "optimizer.lr=0.01"]  # fmt: skip
    left = carried_out(tmp_path / "run", "strategy=freeze", small=[*words, *PLAIN])
    assert left.record.status == "finished", left.record.reason
    assert left.record.metrics["test/accuracy"]["value"] > 0.85
    assert left.record.costs["parameters"]["trained_share"] < 0.01


def test_a_network_from_a_function_takes_its_weights_and_their_mean(tmp_path):
    (tmp_path / "nets.py").write_text(BYOBNET)
    words = ["backbone=function", "backbone.name=cifar_resnet20", f"backbone.function={tmp_path / 'nets.py'}:build",
             f"backbone.weights={weights('cifar10_resnet20.timm')}", "backbone.size=32"]  # fmt: skip
    built = prepare(config_of("strategy=partial", small=[*words, *PLAIN])).built
    assert not built.match.missing
    assert built.preprocessing.mean == pytest.approx((0.485, 0.456, 0.406))
    assert all("head.fc" in name for name in built.match.left_out)


@pytest.mark.parametrize("channels", [pytest.param(3, id="colour"), pytest.param(1, id="grey")])
def test_a_frozen_transformer_tells_ants_from_bees_at_less_than_half_its_size(tmp_path, hymenoptera, channels):
    words = ["backbone=vit_tiny", f"backbone.weights={weights('vit_tiny')}", "backbone.size=96", "dataset=folder",
             f"dataset.root={hymenoptera}", f"dataset.channels={channels}", "trainer.epochs=4",
             "optimizer.lr=0.01"]  # fmt: skip
    left = carried_out(tmp_path / "run", "strategy=freeze", small=[*words, *PLAIN])
    assert left.record.status == "finished", left.record.reason
    assert left.record.metrics["test/accuracy"]["value"] > 0.65
