"""Runs on images of other channels and sizes than RGB at the source's, on torchvision's models, and on named stages."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from small_runs import carried_out, config_of, random_weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision import models

from thawlab import use
from thawlab.backbones.source import build_random
from thawlab.backbones.spec import BackboneSpec
from thawlab.errors import UserError
from thawlab.prepare import prepare

QUIET = ("logger=none", "logger.progress=off", "trainer.batch_size=6", "trainer.epochs=1", "backbone=timm")


def written(root, channels, side=40):
    """Two classes of images of so many channels, the one darker than the other."""
    generator = np.random.default_rng(0)
    for label, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for i in range(8):
            pixels = generator.integers(0, 128, (side, side, channels), dtype=np.uint8) + 127 * label
            pixels = pixels.astype(np.uint8)
            if channels in (1, 3, 4):
                Image.fromarray(pixels.squeeze()).save(root / name / f"{i}.png")
            elif i % 2:
                np.save(root / name / f"{i}.npy", pixels)
            else:
                tifffile.imwrite(root / name / f"{i}.tif", pixels, photometric="minisblack", planarconfig="contig")
    return root


def metadata(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_a_run_on_images_of_so_many_channels(tmp_path, channels):
    weights = random_weights(tmp_path / "w.safetensors", "test_resnet")
    words = [f"dataset.root={written(tmp_path / 'images', channels)}", "dataset=folder", "logger=tensorboard",
             f"dataset.channels={channels}", "backbone.name=test_resnet", f"backbone.weights={weights}",
             "backbone.size=32", "strategy=full"]  # fmt: skip
    left = carried_out(tmp_path / "run", *words, small=QUIET)
    assert left.record.status == "finished", left.record.reason
    assert left.weights["conv1.0.weight"].shape[1] == channels
    assert metadata(left.folder)["channels"] == str(channels)
    assert len(metadata(left.folder)["mean"].split(",")) == channels
    events = EventAccumulator(str(left.folder)).Reload()
    assert "test/examples" in events.Tags()["images"]


def test_a_run_in_grey_is_a_source_for_colour(tmp_path):
    grey = carried_out(tmp_path / "grey", "dataset.channels=1", "backbone=demo", "strategy=full", "trainer.epochs=1")
    assert grey.record.status == "finished", grey.record.reason
    built = prepare(config_of("backbone=demo", f"backbone.weights={grey.folder}", "strategy=freeze")).built
    first = grey.weights["conv1.conv.weight"]
    assert torch.allclose(built.network.conv1.conv.weight, first.repeat(1, 3, 1, 1) / 3)
    assert any("3 channels, the source's weights read 1: conv1.conv.weight repeated" in note for note in built.notes)
    assert built.preprocessing.mean == (0.5, 0.5, 0.5)


def test_made_images_have_one_channel_or_three():
    with pytest.raises(UserError, match=r"dataset\.channels is 4, but these images are grey"):
        prepare(config_of("dataset=digits", "dataset.channels=4", "backbone.name=test_resnet", "strategy=scratch"))


def test_the_users_parts_are_the_stages(tmp_path):
    (tmp_path / "nets.py").write_text(NET)
    words = ["backbone=function", "backbone.name=mine", f"backbone.function={tmp_path / 'nets.py'}:Net",
             "backbone.mean=[0.5,0.5,0.5]", "backbone.std=[0.5,0.5,0.5]", "strategy=scratch"]  # fmt: skip
    left = carried_out(tmp_path / "run", *words, "backbone.parts={low: [first, second.0], high: [second.2]}")
    assert left.record.status == "finished", left.record.reason
    assert [row["stage"] for row in left.record.plan] == ["low", "high", "head"]
    with pytest.raises(UserError, match=r"backbone\.parts"):
        prepare(config_of(*words, "backbone.parts={low: [first], high: [thrid]}"))


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 10)
        self.second = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.fc(self.second(self.first(images)).mean((2, 3)))
"""


def published(monkeypatch, tmp_path, name):
    """Put random weights where torchvision's are."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    torch.save(build_random(BackboneSpec(name, library="torchvision"), 0).state_dict(), tmp_path / f"{name}.pth")
    weights = models.get_model_weights(name).DEFAULT.value
    monkeypatch.setattr(weights, "url", (tmp_path / f"{name}.pth").as_uri())


# One small model of each of torchvision's families, and a size that it takes.
FAMILIES = {
    "alexnet": 64, "convnext_tiny": 32, "densenet121": 32, "efficientnet_b0": 32, "googlenet": 32, "inception_v3": 80,
    "maxvit_t": 224, "mnasnet0_5": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32, "regnet_x_400mf": 32,
    "resnet18": 32, "shufflenet_v2_x0_5": 32, "squeezenet1_1": 32, "swin_t": 32, "swin_v2_t": 32, "vgg11_bn": 32,
    "vit_b_32": 64,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_torchvisions_families_keep_every_promise(tmp_path, monkeypatch, name):
    published(monkeypatch, tmp_path, name)
    root = written(tmp_path / "images", 3)
    for strategy in ("freeze", "truncate", "partial", "full"):
        words = ["backbone=torchvision", f"backbone.name={name}", f"backbone.size={FAMILIES[name]}", "dataset=folder",
                 f"dataset.root={root}", f"strategy={strategy}", "trainer.batch_size=5"]  # fmt: skip
        left = carried_out(tmp_path / strategy, *words, small=QUIET[:-1])
        assert left.record.status == "finished", f"{strategy}: {left.record.reason}"
        assert left.record.audit["passed"]
        assert left.record.plan[0]["weights"] == "source"


def test_a_network_that_wants_a_version_with_its_state_comes_back(tmp_path, monkeypatch):
    """MNASNet refuses to load a state without: from the source, from the best epoch, and from the run's folder."""
    published(monkeypatch, tmp_path, "mnasnet0_5")
    words = ["backbone=torchvision", "backbone.name=mnasnet0_5", "strategy=full", "dataset.channels=1"]
    left = carried_out(tmp_path / "run", *words)
    assert left.record.status == "finished", left.record.reason
    again = use.load(tmp_path / "run").network.state_dict()
    trained = load_file(tmp_path / "run" / "model.safetensors")
    assert again.keys() == trained.keys()
    assert all(torch.equal(again[name], trained[name]) for name in trained)


def test_a_torchvision_model_trains_from_its_published_weights(tmp_path, monkeypatch):
    published(monkeypatch, tmp_path, "squeezenet1_1")
    words = ["backbone=torchvision", "backbone.name=squeezenet1_1", "strategy=partial", "dataset.channels=1"]
    left = carried_out(tmp_path / "run", *words)
    assert left.record.status == "finished", left.record.reason
    assert [row["stage"] for row in left.record.plan] == ["stem", "features.3", "features.6", "features.9", "head"]
