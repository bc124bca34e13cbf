import csv
import math
import os
import shutil
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import carried_out, flip

from thawlab import use
from thawlab.backbones.weights import read_weights
from thawlab.errors import UserError
from thawlab.files import checksum
from thawlab.record import Record
from thawlab.run_files import (
    checksums,
    read_curves,
    read_images,
    read_mistakes,
    read_predictions,
    verify,
    write_curves,
    write_images,
    write_mistakes,
    write_predictions,
)

names = st.text(st.characters(codec="utf-8"), max_size=8)
predictions = st.lists(
    st.fixed_dictionaries({"name": names, "label": names, "predicted": names, "confidence": st.floats(0, 1)}),
    max_size=5,
)


@given(predictions)
def test_predictions_come_back_as_they_were(rows):
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(folder, rows)
        assert read_predictions(folder) == rows


def test_a_file_name_that_is_no_unicode_survives(tmp_path):
    name = os.fsdecode(b"photos/caf\xe9\n1.jpg")
    rows = [{"name": name, "label": "3", "predicted": "a, b", "confidence": 0.25}]
    write_predictions(tmp_path, rows)
    assert read_predictions(tmp_path) == rows
    assert b"caf\xe9" in (tmp_path / "predictions.csv").read_bytes()


curve_rows = st.lists(
    st.dictionaries(
        st.sampled_from(["train/loss", "val/loss", "rate/head", "trains/head"]),
        st.none() | st.floats() | st.integers(-(10**12), 10**12),
    ),
    max_size=4,
)


@given(curve_rows)
def test_curves_come_back_as_they_were(rows):
    rows = [{"epoch": i, "step": 10 * i, **row} for i, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        write_curves(folder, rows)
        found = read_curves(folder)
    columns = {name for row in rows for name in row}
    expected = [{name: row.get(name) for name in columns} for row in rows]
    assert [{k: repr(v) for k, v in row.items()} for row in found] == [
        {k: repr(v) for k, v in row.items()} for row in expected
    ]


def test_curves_put_metrics_before_rates_and_rates_before_what_trains(tmp_path):
    first = {"trains/head": True, "rate/stem": 0.0, "rate/head": 0.1, "step": 5, "train/loss": math.nan, "epoch": 0}
    write_curves(tmp_path, [first, {"epoch": 1, "step": 10, "val/loss": 0.5}])
    with open(tmp_path / "curves.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["epoch", "step", "train/loss", "val/loss", "rate/stem", "rate/head", "trains/head"],
            ["0", "5", "nan", "", "0.0", "0.1", "1"],
            ["1", "10", "", "0.5", "", "", ""],
        ]


@pytest.mark.parametrize(
    ("reader", "file", "text", "message"),
    [
        (read_curves, "curves.csv", "step,epoch\n", "begin with"),
        (read_curves, "curves.csv", "epoch,step,loss\n0,1,x\n", "line 2 has 'x' where a number belongs"),
        (read_curves, "curves.csv", "", "is empty"),
        (read_predictions, "predictions.csv", "name,label\n", "its columns are name, label"),
        (read_predictions, "predictions.csv", "name,label,predicted,confidence\na,b\n", "line 2: 2 cells"),
        (read_mistakes, "mistakes/index.csv", "name,label\n", "its columns are name, label"),
        (
            read_mistakes,
            "mistakes/index.csv",
            "name,file\na,../b.png\n",
            "line 2 names '../b.png', which is no file of",
        ),
    ],
)
def test_a_broken_table_is_named(tmp_path, reader, file, text, message):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        reader(tmp_path)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    ("read", "file"),
    [
        (read_curves, "curves.csv"),
        (read_predictions, "predictions.csv"),
        (lambda folder: read_images(folder, FINGERPRINT), "images-0123456789ab.csv"),
    ],
)
def test_a_file_that_is_gone_is_not_called_broken(tmp_path, read, file):
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=rf"{file} is missing\. Bring it back .* or delete the run's result\.json"):
        read(tmp_path / "run")


SPLITS = ("train", "val", "test")
FINGERPRINT = "0123456789abcdef"
IMAGES = [("train", "b.jpg", "cat", "ff"), ("test", 'a, "b".jpg', "1e-05", "00")]


@pytest.fixture
def left(tmp_path):
    """A finished run's folder with every kind of file that its record names."""
    folder = tmp_path / "run"
    write_curves(folder, [{"epoch": 0, "step": 5, "val/loss": 1e-05}, {"epoch": 1, "step": 10, "val/loss": math.nan}])
    write_predictions(folder, [{"name": "a.jpg", "label": "cat", "predicted": "dog", "confidence": 0.25}])
    write_mistakes(folder, {"a.jpg": "00.png"})
    (folder / "model.safetensors").write_bytes(b"\0\1\2")
    write_images(tmp_path, FINGERPRINT, IMAGES)
    Record("run", "finished", {}, files=checksums(folder, FINGERPRINT)).write(folder)
    return folder


READERS = {
    "curves.csv": read_curves,
    "predictions.csv": read_predictions,
    "mistakes/index.csv": read_mistakes,
    "model.safetensors": lambda folder: verify(folder, "model.safetensors"),
    "../images-0123456789ab.csv": lambda folder: read_images(folder, FINGERPRINT),
}


@pytest.mark.parametrize(("name", "reader"), READERS.items())
def test_every_bit_of_a_file_counts(left, name, reader):
    path = left / name
    reader(left)
    for bit in range(8 * path.stat().st_size):
        flip(path, bit)
        with pytest.raises(UserError, match="was changed after it was written: it has sha256") as caught:
            reader(left)
        flip(path, bit)
    assert str(path) in str(caught.value)
    reader(left)


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b + b"0", lambda _: b""], ids=["cut", "longer", "empty"])
@pytest.mark.parametrize("name", READERS)
def test_a_file_of_another_length_is_named_with_both(left, name, harm):
    content = (left / name).read_bytes()
    (left / name).write_bytes(harm(content))
    with pytest.raises(UserError, match=f"it has bytes {len(harm(content))}, where .* says bytes {len(content)}"):
        READERS[name](left)


def test_a_record_names_all_that_was_left(left):
    files = Record.read(left).files
    assert files == {name: checksum(left / name) for name in READERS}


def test_what_no_record_names_is_read_as_it_is(left):
    Record("run", "running", {}).write(left)
    path = left / "curves.csv"
    path.write_text(path.read_text().replace("0,5,", "0,7,"))
    assert read_curves(left)[0]["step"] == 7
    (left / "result.json").unlink()
    assert read_curves(left)[0]["step"] == 7


def test_images_that_are_there_stay_and_damaged_ones_are_written_again(tmp_path):
    path = tmp_path / "images-0123456789ab.csv"
    write_images(tmp_path, FINGERPRINT, IMAGES)
    before, content = path.stat().st_ino, path.read_bytes()
    write_images(tmp_path, FINGERPRINT, reversed(IMAGES))
    assert path.stat().st_ino == before
    flip(path, 100)
    write_images(tmp_path, FINGERPRINT, IMAGES)
    assert path.read_bytes() == content


def test_a_run_names_its_files_and_their_damage_is_noticed_where_they_are_read(tmp_path):
    names = ("run/.curves.csv.abc.part", "run/checkpoints/.step-1.ckpt.abc.part", ".sweep.json.abc.part")
    parts = [tmp_path / "sweep" / name for name in names]
    for part in parts:  # of a writer that was killed, and of one that may live
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    left = carried_out(tmp_path / "sweep" / "run", "backbone=demo", "backbone.weights=null", "strategy.weights=random")
    assert [part.exists() for part in parts] == [False, False, True]
    folder = left.folder
    images = f"../images-{left.record.data['fingerprint'][:12]}.csv"
    mistakes = {f"mistakes/{path.name}" for path in (folder / "mistakes").iterdir()}
    assert set(left.record.files) == {"curves.csv", "predictions.csv", "model.safetensors", images} | mistakes
    assert "mistakes/index.csv" in mistakes
    assert len(read_images(folder, left.record.data["fingerprint"])) == sum(left.record.data[s] for s in SPLITS)
    use.load(folder)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "run")  # without the sweep's list of images
    use.load(moved)
    for bit in (0, 8 * left.record.files["model.safetensors"]["bytes"] - 1):
        flip(moved / "model.safetensors", bit)
        for place in (moved, moved / "model.safetensors"):
            with pytest.raises(UserError, match=r"model\.safetensors was changed after it was written"):
                read_weights(str(place))
        with pytest.raises(UserError, match=r"model\.safetensors was changed after it was written"):
            use.load(moved)
        flip(moved / "model.safetensors", bit)
