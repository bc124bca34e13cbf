"""Every preset on every backbone that has a config, with weights that nobody trained and images of noise."""

import numpy as np
import pytest
from PIL import Image
from small_runs import carried_out, random_weights

from thawlab import compose

PRESETS = sorted({path.stem for path in (compose.config_folder() / "strategy").glob("*.yaml")} - {"auto"})
# Backbone -> the least size at which its architecture works, and its name with timm.
BACKBONES = {
    "demo": (32, "thawlab_demo"),
    "resnet18": (32, "resnet18"),
    "resnet50": (32, "resnet50"),
    "mobilenetv2": (32, "mobilenetv2_100"),
    "mobilenetv3": (32, "mobilenetv3_large_100"),
    "efficientnet_b0": (32, "efficientnet_b0"),
    "convnext_tiny": (32, "convnext_tiny"),
    "vit_tiny": (32, "vit_tiny_patch16_224"),
    "vit_small": (32, "vit_small_patch16_224"),
    "deit": (32, "deit_small_patch16_224"),
    "swin_tiny": (56, "swin_tiny_patch4_window7_224"),
    "inception_v3": (80, "inception_v3"),
    "densenet121": (32, "densenet121"),
}
CLASSES, EACH = 3, 4
QUIET = ("logger=none", "logger.progress=off")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for part, count in (("train", EACH), ("val", 1), ("test", 1)):
        for name in "abc"[:CLASSES]:
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


def test_every_backbone_with_a_config_is_here():
    found = {path.stem for path in (compose.config_folder() / "backbone").glob("*.yaml")}
    assert found - {"timm", "torchvision", "function"} == set(BACKBONES)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_preset_keeps_its_promises(tmp_path, photos, backbone):
    size, name = BACKBONES[backbone]
    weights = random_weights(tmp_path / "w.safetensors", name, size=size)
    problems = []
    for preset in PRESETS:
        small = [
            f"backbone={backbone}",
            "dataset=folder",
            f"dataset.root={photos}",
            "logger=none",
            "logger.progress=off",
        ]
        words = [f"backbone.size={size}", f"backbone.weights={weights}", f"strategy={preset}", "trainer.batch_size=6"]
        left = carried_out(tmp_path / preset, *words, *_enough_epochs(preset, backbone), small=small)
        record = left.record
        if record.status != "finished" or not record.audit["passed"]:
            problems.append(f"{preset}: {record.status}, {record.reason}")
            continue
        assert all(row["first_epoch"] is None or row["first_epoch"] < len(left.curves) for row in record.plan)
        trained = [row["stage"] for row in record.plan if row["kept"] and row["first_epoch"] is not None]
        assert {c.partition("/")[2] for c, v in left.curves[-1].items() if c.startswith("trains/") and v} == set(
            trained
        )
    assert not problems


def _enough_epochs(preset, backbone):
    """So many that every stage thaws."""
    if preset == "gradual":
        return ["strategy.thaw.epochs=1", f"trainer.epochs={16 if backbone in DEEP else 8}"]
    return ["strategy.thaw.epochs=1", "trainer.epochs=2"] if preset == "lp_ft" else ["trainer.epochs=1"]


DEEP = ("vit_tiny", "vit_small", "deit", "inception_v3", "densenet121", "mobilenetv2", "mobilenetv3", "efficientnet_b0")
