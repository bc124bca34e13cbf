"""The same images give the same training, wherever they come from."""

import io

import numpy as np
import pytest
from PIL import Image
from small_runs import carried_out, same_bits

CLASSES = ("crow", "owl")


def png(seed):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(content, "PNG")
    return content.getvalue()


IMAGES = [(CLASSES[i // 15], f"{i:03d}", png(i)) for i in range(30)]


def a_folder(root):
    for name, key, content in IMAGES:
        path = root / name / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return f"dataset=folder dataset.root={root}"


def shards(root):
    import webdataset

    root.mkdir()
    with webdataset.ShardWriter(str(root / "part-%03d.tar"), maxcount=8, verbose=0) as sink:
        for name, key, content in IMAGES:
            sink.write({"__key__": key, "png": content, "txt": name})
    return f"dataset=shards dataset.root={root}"


def a_saved_table(root):
    import datasets

    datasets.disable_progress_bars()
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    rows = {"image": [{"bytes": c, "path": None} for _, _, c in IMAGES], "label": [name for name, _, _ in IMAGES]}
    datasets.Dataset.from_dict(rows, features=kinds).save_to_disk(str(root))
    return f"dataset=hub dataset.id={root}"


def a_set_of_torchvision(root):
    a_folder(root / "eurosat/2750")
    return f"dataset=torchvision dataset.id=EuroSAT dataset.root={root}"


@pytest.mark.slow
def test_the_same_images_train_the_same_weights(tmp_path):
    options = ("trainer.epochs=2", "trainer.batch_size=8", "augment=light", "logger=none", "dataset.per_class=6")
    left = {}
    for write in (a_folder, shards, a_saved_table, a_set_of_torchvision):
        words = write(tmp_path / write.__name__).split()
        left[write] = carried_out(tmp_path / "runs" / write.__name__, *words, *options, small=())
    first = left.pop(a_folder)
    assert first.record.data["train"] == 12
    for other in left.values():
        assert other.record.data["classes"] == list(CLASSES)
        assert same_bits(first.weights, other.weights)
        assert other.record.metrics == first.record.metrics
