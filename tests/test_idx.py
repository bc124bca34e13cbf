import gzip
import struct

import numpy as np
import pytest

from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 255, (30, 5, 7), np.uint8)
TEST = RNG.integers(0, 255, (9, 5, 7), np.uint8)


def idx(values):
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def labels(count, *numbers):
    return np.resize(np.array(numbers, np.uint8), count)


def write(root, zipped=False, numbers=(0, 1, 2), mark="-"):
    root.mkdir(parents=True, exist_ok=True)
    for part, images in (("train", TRAIN), ("t10k", TEST)):
        for what, values in (("images", images), ("labels", labels(len(images), *numbers))):
            name = f"{part}-{what}{mark}idx{values.ndim}-ubyte"
            content = idx(values)
            (root / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return root


def load(root, **values):
    return load_splits(DatasetSpec("mine", "idx", str(root), **values), seed=0)


@pytest.mark.parametrize(
    ("folder", "zipped", "mark"),
    [
        pytest.param("", False, "-", id="plain"),
        pytest.param("", True, "-", id="zipped"),
        pytest.param("raw", False, "-", id="in raw, as torchvision leaves them"),
        pytest.param("", False, ".", id="with a dot, as Kaggle has them"),
    ],
)
def test_images_and_labels_are_read(folder, zipped, mark, tmp_path):
    write(tmp_path / folder, zipped, mark=mark)
    splits = load(tmp_path, val_share=0.2)
    assert splits.classes == ("0", "1", "2")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [24, 6, 9]
    assert np.array_equal(splits.test.load(4)[2].numpy(), TEST[4])
    assert splits.test.labels.tolist() == [0, 1, 2] * 3
    place = int(splits.train.names[3].split("/")[1])
    assert np.array_equal(splits.train.load(3)[0].numpy(), TRAIN[place])


def test_labels_that_do_not_start_at_zero_keep_their_numbers_as_names(tmp_path):
    splits = load(write(tmp_path, numbers=(1, 2, 5)))
    assert splits.classes == ("1", "2", "5")
    assert set(splits.test.labels.tolist()) == {0, 1, 2}


def test_classes_are_named_by_classes_txt_or_by_a_known_folder(tmp_path):
    named = write(tmp_path / "mine")
    (named / "classes.txt").write_text("cup\nspoon\nfork\n")
    assert load(named).classes == ("cup", "spoon", "fork")
    assert load(write(tmp_path / "FashionMNIST" / "raw").parent).classes == ("T-shirt/top", "Trouser", "Pullover")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        pytest.param("train-images-idx3-ubyte", lambda b: b[:-1], "holds 1065 bytes, .* promises 1066", id="truncated"),
        pytest.param("t10k-labels-idx1-ubyte", lambda b: b + b"0", "holds 18 bytes, .* promises 17", id="too long"),
        pytest.param("train-images-idx3-ubyte", lambda b: b"<html>", "begins with '3c68746d'", id="a web page"),
        pytest.param("train-images-idx3-ubyte", lambda b: b"", "begins with ''", id="zero bytes"),
        pytest.param("train-images-idx3-ubyte", lambda _: idx(labels(9, 1)), "begins with '00000801'", id="labels"),
        pytest.param("t10k-labels-idx1-ubyte", lambda _: idx(labels(8, 0, 1, 2)), "9 images, .* 8 labels", id="counts"),
        pytest.param("t10k-labels-idx1-ubyte", lambda _: idx(labels(9, 0, 1, 7)), "labels 7 occur", id="classes"),
    ],
)
def test_refuses_a_file(name, change, said, tmp_path):
    path = write(tmp_path) / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=said):
        load(tmp_path)


def test_refuses_broken_gzip(tmp_path):
    path = write(tmp_path, zipped=True) / "train-images-idx3-ubyte.gz"
    for content in (path.read_bytes()[:-20], b"<html>"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"ubyte\.gz cannot be read"):
            load(tmp_path)


def test_refuses_missing_files_and_names(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte or train-images-idx3-ubyte\.gz"):
        load(tmp_path)
    (write(tmp_path) / "classes.txt").write_text("cup\nspoon")
    with pytest.raises(UserError, match="must name 3 classes"):
        load(tmp_path)
