import importlib
import io
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hub_server import serving
from PIL import Image as Pillow

from thawlab import offline
from thawlab.data.hub import read_hub
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError


class Late:
    """The library when it is first used: importing it takes seconds, which collecting tests must not."""

    def __getattr__(self, name):
        return getattr(importlib.import_module("datasets"), name)


datasets = Late()

NAMES = ["cat", "dog"]
COUNTS = {"train": 8, "test": 3}


@pytest.fixture(autouse=True)
def _cached_here(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()


def encoded(seed, mode="RGB"):
    shape = (9, 11, 3) if mode == "RGB" else (9, 11)
    content = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(content, "PNG")
    return content.getvalue()


def rows(count, start=0, **more):
    """Columns of `count` images of each class."""
    images = [{"bytes": encoded(start + i), "path": None} for i in range(2 * count)]
    return {"image": images, "label": [i % 2 for i in range(2 * count)], **more}


def features(label=None, **more):
    return datasets.Features({"image": datasets.Image(), "label": label or datasets.ClassLabel(names=NAMES), **more})


def table(count, start=0, **values):
    return datasets.Dataset.from_dict(rows(count, start), features=features(**values))


@pytest.fixture
def both():
    return datasets.DatasetDict({part: table(count, 100 * len(part)) for part, count in COUNTS.items()})


def as_saved(both, folder):
    both.save_to_disk(str(folder))


def as_parquet(both, folder):
    """The layout of a repository on the hub: data/split-*.parquet, and a README that names the classes."""
    (folder / "data").mkdir(parents=True)
    for part, held in both.items():
        held.to_parquet(str(folder / "data" / f"{part}-00000-of-00001.parquet"))
    (folder / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
        "      class_label:\n        names:\n          '0': cat\n          '1': dog\n---\n# Cats and dogs\n"
    )


def as_images(both, folder):
    for part, held in both.items():
        for i, row in enumerate(held.cast_column("image", datasets.Image(decode=False))):
            path = folder / part / NAMES[row["label"]] / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"]["bytes"])


def spec(folder, **values):
    return DatasetSpec("mine", "hub", id=str(folder), **values)


@pytest.mark.parametrize("write", [as_saved, as_parquet, as_images])
def test_reads_the_formats_of_the_hub(write, both, tmp_path):
    write(both, tmp_path / "set")
    pools = read_hub(spec(tmp_path / "set"))
    assert pools.classes == ("cat", "dog")
    assert (len(pools.train), pools.val, len(pools.test)) == (16, None, 6)
    for part, held in both.items():
        expected = {(np.asarray(row["image"]).transpose(2, 0, 1).tobytes(), row["label"]) for row in held}
        ours = getattr(pools, part)
        assert {(ours.load(i).numpy().tobytes(), ours.labels[i]) for i in range(len(ours))} == expected


def test_a_table_gives_the_same_splits_as_a_folder_of_its_images(tmp_path):
    held = table(12)
    # In the order of a folder: class by class.
    as_images({"": held}, tmp_path / "plain")
    held.select(np.argsort(held["label"], kind="stable")).save_to_disk(str(tmp_path / "sorted"))
    ours = load_splits(spec(tmp_path / "sorted"), 0)
    plain = load_splits(DatasetSpec("x", "folder", str(tmp_path / "plain")), 0)
    for part in ("train", "val", "test"):
        first, second = getattr(ours, part), getattr(plain, part)
        assert np.array_equal(first.labels, second.labels)
        assert all(np.array_equal(first.load(i), second.load(i)) for i in range(len(first)))
    assert ours.train.names[0].startswith("train/0")
    sent = pickle.loads(pickle.dumps(ours.train))  # to a worker process
    assert np.array_equal(sent.load(3), ours.train.load(3))


def test_one_split_is_divided_by_us_whatever_its_name(tmp_path):
    table(8).save_to_disk(str(tmp_path / "a"))
    datasets.DatasetDict({"full": table(8)}).save_to_disk(str(tmp_path / "b"))
    for name in ("a", "b"):
        splits = load_splits(spec(tmp_path / name, test_share=0.25), 0)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [10, 2, 4]


def test_a_test_split_without_labels_is_left_out_and_said_so(tmp_path):
    unlabelled = datasets.Dataset.from_dict({**rows(2, 50), "label": [-1] * 4}, features=features())
    datasets.DatasetDict({"train": table(8), "test": unlabelled}).save_to_disk(str(tmp_path))
    pools = read_hub(spec(tmp_path))
    assert pools.test is None
    assert pools.notes == ("the test images have no labels and are left out",)


def test_other_splits_are_named(tmp_path):
    datasets.DatasetDict(
        {"train": table(8), "validation": table(3, 70), "test": table(3, 90), "extra": table(2)}
    ).save_to_disk(str(tmp_path))
    pools = read_hub(spec(tmp_path))
    assert (len(pools.train), len(pools.val), len(pools.test)) == (16, 6, 6)
    assert pools.notes == ("splits other than train, validation and test are left alone: extra",)


@pytest.mark.parametrize(
    ("kind", "values", "classes"),
    [
        pytest.param("string", ["b", "a"] * 8, ("a", "b"), id="names"),
        pytest.param("int64", [10, 9] * 8, ("9", "10"), id="numbers"),
        pytest.param("bool", [True, False] * 8, ("false", "true"), id="yes or no"),
    ],
)
def test_labels_need_not_be_declared(kind, values, classes, tmp_path):
    held = datasets.Dataset.from_dict({**rows(8), "label": values}, features=features(datasets.Value(kind)))
    held.save_to_disk(str(tmp_path))
    pools = read_hub(spec(tmp_path))
    assert pools.classes == classes
    assert pools.train.labels.tolist() == [1, 0] * 8


@pytest.mark.parametrize("inner", ["names", "string"])
def test_several_labels_of_an_image(inner, tmp_path):
    kind = datasets.ClassLabel(names=["red", "round", "wet"]) if inner == "names" else datasets.Value("string")
    values = [["red"], ["red", "wet"], [], ["round"]] * 4
    if inner == "names":
        values = [[kind.str2int(name) for name in labels] for labels in values]
    held = datasets.Dataset.from_dict({**rows(8), "label": values}, features=features(datasets.List(kind)))
    held.save_to_disk(str(tmp_path))
    pools = read_hub(spec(tmp_path, task="multilabel"))
    assert pools.classes == ("red", "round", "wet")
    assert pools.train.labels[:4].tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    with pytest.raises(UserError, match=r"Give dataset.task=multilabel"):
        read_hub(spec(tmp_path))


def test_images_that_nobody_declared_are_found(tmp_path):
    plain = {"img": [encoded(i) for i in range(16)], "label": [i % 2 for i in range(16)]}
    datasets.Dataset.from_dict(plain).save_to_disk(str(tmp_path))
    assert len(read_hub(spec(tmp_path)).train) == 16


def test_unreadable_images_are_named_or_left_out(tmp_path):
    broken = rows(8)
    broken["image"][3] = {"bytes": encoded(3)[:60], "path": None}
    broken["image"][5] = None
    datasets.Dataset.from_dict(broken, features=features()).save_to_disk(str(tmp_path))
    with pytest.raises(UserError, match="2 of 16 files") as caught:
        read_hub(spec(tmp_path))
    assert "train/000003 " in str(caught.value)
    assert "train/000005 cannot be read: its row holds no image" in str(caught.value)
    assert len(read_hub(spec(tmp_path, bad_images="quarantine")).train) == 14


def test_turned_and_deep_images_are_shown_as_a_person_sees_them(tmp_path):
    turned, deep = io.BytesIO(), io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.new("RGB", (11, 9)).save(turned, "JPEG", exif=exif)
    Pillow.fromarray(np.full((9, 11), 65535, np.uint16)).save(deep, "PNG")
    values = rows(8)
    values["image"][0], values["image"][1] = ({"bytes": b.getvalue(), "path": None} for b in (turned, deep))
    datasets.Dataset.from_dict(values, features=features()).save_to_disk(str(tmp_path))
    train = read_hub(spec(tmp_path)).train
    assert train.load(0).shape == (3, 11, 9)
    assert int(train.load(1).min()) == 255


@pytest.mark.parametrize(
    ("more", "values", "said"),
    [
        pytest.param(
            {}, {"label_column": "kind"}, r"label_column is 'kind', but .* image \(Image\), label", id="no such"
        ),
        pytest.param({}, {"label_column": "image"}, "that column holds Image", id="no label"),
        pytest.param({"fine": "c"}, {}, r"several could hold the label: label, fine", id="two labels"),
        pytest.param(
            {"other": "i"}, {}, r"several could hold the image: image, other.*dataset.image_column=", id="two images"
        ),
        pytest.param({}, {"task": "multilabel"}, "Give dataset.task=multiclass", id="one label each"),
        pytest.param({}, {"subset": "x"}, "cannot be had", id="no such configuration"),
    ],
)
def test_refuses_columns(more, values, said, tmp_path):
    held = table(8)
    for name, kind in more.items():
        held = held.add_column(
            name, held["label"] if kind == "c" else held.cast_column("image", datasets.Image(decode=False))["image"]
        )
        held = held.cast_column(name, datasets.ClassLabel(names=NAMES) if kind == "c" else datasets.Image())
    held.to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(UserError, match=said):
        read_hub(spec(tmp_path, **values))


@pytest.mark.parametrize("asked", [None, "path"])
def test_paths_are_no_images(asked, tmp_path):
    paths = datasets.Dataset.from_dict({"path": [f"{i}.png" for i in range(8)], "label": [0, 1] * 4})
    paths.to_parquet(str(tmp_path / "train.parquet"))
    said = r"image_column is 'path', but that column holds string" if asked else "is not given, and none"
    with pytest.raises(UserError, match=rf"{said}.*path \(string\), label.*dataset=table dataset.table=FILE.parquet"):
        read_hub(spec(tmp_path, image_column=asked))


def test_no_progress_is_shown_and_the_library_is_left_as_it_was(both, tmp_path, capfd):
    as_parquet(both, tmp_path / "set")
    datasets.enable_progress_bars()
    read_hub(spec(tmp_path / "set"))
    assert capfd.readouterr().err == ""
    assert not datasets.are_progress_bars_disabled()


def test_a_column_that_is_named_is_taken(tmp_path):
    held = table(8).add_column("kind", ["x", "y", "y", "x"] * 4)
    held.save_to_disk(str(tmp_path))
    pools = read_hub(spec(tmp_path, label_column="kind", image_column="image"))
    assert (pools.classes, pools.train.labels[:4].tolist()) == (("x", "y"), [0, 1, 1, 0])


def test_training_images_without_labels_are_refused(tmp_path):
    values = {**rows(8), "label": [0, 1, None, -1] * 4}
    datasets.Dataset.from_dict(values, features=features()).save_to_disk(str(tmp_path))
    with pytest.raises(UserError, match=r"8 of the 16 train images .* \(the first is number 2\)"):
        read_hub(spec(tmp_path))


@pytest.mark.parametrize("splits", [{"test": 3, "dev": 3}, {"train": 8, "val": 3, "validation": 3}])
def test_refuses_splits_that_cannot_be_told(splits, tmp_path):
    datasets.DatasetDict({name: table(count) for name, count in splits.items()}).save_to_disk(str(tmp_path))
    with pytest.raises(UserError, match=r"none called train|mean the same"):
        read_hub(spec(tmp_path))


def test_a_script_is_never_run(tmp_path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "pets.py").write_text("raise SystemExit('was run')")
    with pytest.raises(UserError, match="scripts are no longer supported"):
        read_hub(spec(tmp_path / "pets"))


def test_an_unreachable_hub_is_told_at_once(monkeypatch):
    monkeypatch.setattr(offline.hub, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"Nothing of it is cached here"):
        read_hub(spec("nobody/nothing"))


READ = """
from thawlab.data.hub import read_hub
from thawlab.data.spec import DatasetSpec
pools = read_hub(DatasetSpec("x", "hub", id="pets/photos"))
print(len(pools.train), len(pools.test), *pools.classes, pools.train.digest(0).hex())
"""


@pytest.mark.slow
def test_reads_from_a_hub_and_later_without_it(both, tmp_path):
    as_parquet(both, tmp_path / "repository")

    def read(address):
        env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        return subprocess.run([sys.executable, "-c", READ], env=env, capture_output=True, text=True, check=True).stdout

    with serving(tmp_path / "repository") as (address, asked):
        first = read(address)
    assert first.startswith("16 6 cat dog")
    assert any("train-00000-of-00001.parquet" in request for request in asked)
    assert not any(request.startswith("GET") and ".py" in request for request in asked), "no script is fetched"
    assert read(address) == first, "the server is gone"


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_hub(spec(tmp_path / "nowhere"))


def test_images_are_not_decoded_by_the_library(both, tmp_path, monkeypatch):
    as_saved(both, tmp_path / "set")
    monkeypatch.setattr(datasets.Image, "decode_example", lambda *_, **__: pytest.fail("decoded"))
    assert len(read_hub(spec(tmp_path / "set")).train) == 16


@pytest.mark.slow
def test_a_run_finishes(both, tmp_path, command):
    as_parquet(both, tmp_path / "set")
    ended = command(f"dataset=hub dataset.id={tmp_path / 'set'} trainer.epochs=1 trainer.batch_size=4 logger=none")
    assert ended.status == 0, ended.err
    (result,) = tmp_path.rglob("result.json")
    assert json.loads(result.read_text())["status"] == "finished"
