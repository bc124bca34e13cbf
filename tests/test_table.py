import csv
import os
import re

import numpy as np
import pyarrow as pa
import pytest
import torch
from photos import laid_out, named_pngs, packed, png
from pyarrow import parquet
from small_runs import config_of

from thawlab.data.augment import AugmentSpec
from thawlab.data.datamodule import ImageData
from thawlab.data.preprocessing import Preprocessing
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError
from thawlab.record import Record
from thawlab.run_files import read_predictions

PREPROCESSING = Preprocessing(8, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
FILES = named_pngs(10)


@pytest.fixture
def table(tmp_path):
    """Write rows of (path, label[, split]) beside the images; give the file's path."""

    def write(rows, name="labels.csv", columns=("path", "label", "split")):
        columns = columns[: len(rows[0])]
        if name.endswith(".parquet"):
            parquet.write_table(
                pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))), tmp_path / name
            )
        else:
            with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([columns, *rows])
        return str(tmp_path / name)

    laid_out(tmp_path, FILES)
    return write


def rows_of(files=FILES):
    return [(name, name.split("/")[0]) for name in files]


def load(path, seed=0, **values):
    return load_splits(DatasetSpec("mine", "table", table=path, **values), seed)


def batches(splits, workers=0):
    """What a network is shown in two epochs of training."""
    data = ImageData(splits, PREPROCESSING, AugmentSpec("mine", flip=0.5, rotate=10), 5, seed=3, workers=workers)
    loader = data.train_dataloader()
    return [batch for _ in range(2) for batch in loader]


def same_batches(first, second):
    return all(torch.equal(*both) for pair in zip(first, second, strict=True) for both in zip(*pair, strict=True))


def test_folder_zip_tar_and_table_of_the_same_images_give_the_same_splits_and_batches(table, tmp_path):
    laid_out(tmp_path / "photos", FILES)
    shuffled = [rows_of()[i] for i in np.random.default_rng(0).permutation(len(FILES))]
    zipped, tarred = packed(tmp_path / "p.zip", FILES, "photos/"), packed(tmp_path / "p.tgz", FILES)
    ways = [
        DatasetSpec("mine", "folder", root=str(tmp_path / "photos")),
        DatasetSpec("mine", "folder", root=str(zipped)),
        DatasetSpec("mine", "folder", root=str(tarred)),
        DatasetSpec("mine", "table", table=table(rows_of())),
        DatasetSpec("mine", "table", table=table(shuffled, "l.parquet")),
        DatasetSpec("mine", "table", table=table(shuffled, "m.csv"), root=str(zipped)),
    ]
    first, *others = [load_splits(spec, seed=0) for spec in ways]
    shown = batches(first)
    for splits in others:
        assert (splits.fingerprint, splits.test_fingerprint) == (first.fingerprint, first.test_fingerprint)
        assert (splits.train.names, splits.val.names) == (first.train.names, first.val.names)
        assert same_batches(batches(splits), shown)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_worker_processes_read_archives_alike(table, tmp_path):
    for ending in (".zip", ".tgz"):
        splits = load(table(rows_of()), root=str(packed(tmp_path / f"p{ending}", FILES)))
        assert same_batches(batches(splits, workers=2), batches(splits))


def test_given_splits_are_kept_in_any_spelling(table):
    words = ["Train", "training", "TRAIN", "train", "dev", "Validation", "valid", "test", "TESTING", "Test"]
    splits = load(table([(name, label, words[i % 10]) for i, (name, label) in enumerate(rows_of())]))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [8, 6, 6]
    assert {name.split("/")[1] for name in splits.val.names} == {"04.png", "05.png", "06.png"}


def test_numbers_are_classes_in_the_order_of_numbers(table):
    rows = [(name, i % 4 * 5) for i, name in enumerate(FILES)]
    expected = load(table(rows))
    assert expected.classes == ("0", "5", "10", "15")
    assert load(table(rows, "i.parquet")).fingerprint == expected.fingerprint
    as_floats = [(name, float(number)) for name, number in rows]
    assert load(table(as_floats, "f.parquet")).fingerprint == expected.fingerprint
    assert load(table(as_floats, "f.csv")).fingerprint == expected.fingerprint
    assert load(table([(name, f"{label}x") for name, label in rows])).classes == ("0x", "10x", "15x", "5x")


def test_bad_and_absent_images_are_refused_or_left_out_as_with_folders(table, tmp_path):
    (tmp_path / "cats/00.png").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"1 of 20 files (?s:.*)cats/00.png is not an image"):
        load(table(rows_of()))
    os.remove(tmp_path / "dogs/00.png")
    with pytest.raises(UserError, match=r"1 of the 20 paths .* line 12 \('dogs/00.png'\)"):
        load(table(rows_of()))
    splits = load(table(rows_of()), bad_images="quarantine")
    assert "left out 2 unreadable files" in splits.notes[0]
    assert len(splits.train) + len(splits.val) + len(splits.test) == 18


def test_a_label_that_changes_changes_the_fingerprint(table):
    before = load(table(rows_of())).fingerprint
    rows = rows_of()
    rows[0] = (rows[0][0], "dogs")
    assert load(table(rows)).fingerprint != before


def with_row(row, columns=2):
    rows = [(*both, "train")[:columns] for both in rows_of()]
    return [*rows, row]


@pytest.mark.parametrize(
    ("rows", "values", "said"),
    [
        pytest.param(with_row(("x.png", "")), {}, r"'label' holds no label: line 22 \(''\)", id="no label"),
        pytest.param(with_row(("x.png", " ")), {}, "holds no label", id="a blank label"),
        pytest.param(with_row(("x.png", "cats", "all"), 3), {}, r"line 22 \('all'\). Known are", id="an unknown split"),
        pytest.param(with_row(("x.png", "cats", ""), 3), {}, r"unknown splits: line 22 \(''\)", id="an empty split"),
        pytest.param(with_row(("x.png", "fish", "test"), 3), {}, r"image has: line 22 \('fish'\)", id="only tested"),
        pytest.param([(*row, "test") for row in rows_of()], {}, "no row of train, only test", id="nothing to train on"),
        pytest.param(with_row(("cats/00.png", "cats")), {}, "images twice: line 2 .* line 22", id="an image twice"),
        pytest.param([(name, "cats") for name in FILES], {}, "telling images apart takes two", id="one class"),
        pytest.param(rows_of(), {"label_column": "species"}, "label_column is 'species'", id="an unknown column"),
        pytest.param(rows_of(), {"per_class": 50}, "per_class is 50, but class", id="too many per class"),
    ],
)  # fmt: skip
def test_refuses(rows, values, said, table):
    with pytest.raises(UserError, match=said):
        load(table(rows), **values)


def test_refuses_lists_without_the_task_and_images_within_the_table(table):
    lists = [(name, [label]) for name, label in rows_of()]
    with pytest.raises(UserError, match=r"'label' holds lists of labels. Give dataset.task=multilabel"):
        load(table(lists, "l.parquet"))
    inside = [({"bytes": b"", "path": name}, label) for name, label in rows_of()]
    with pytest.raises(UserError, match=r"'path' holds what is neither text nor a number: row 1"):
        load(table(inside, "l.parquet"))


LABELS = [["cat", "indoors"], ["dog"], [], ["dog", "cat"], ["indoors"]]


def many(tmp_path, count=40):
    return laid_out(tmp_path, {f"{i}.png": png(i) for i in range(count)}), [LABELS[i % 5] for i in range(count)]


def test_several_labels_come_from_text_or_from_lists(table, tmp_path):
    _, labels = many(tmp_path)
    values = {"task": "multilabel", "val_share": 0.25, "test_share": 0.25}
    lists = load(table([(f"{i}.png", row) for i, row in enumerate(labels)], "l.parquet"), **values)
    texts = load(table([(f"{i}.png", "|".join([*row, *row[:1]])) for i, row in enumerate(labels)]), **values)
    spaced = load(table([(f"{i}.png", " ; ".join(row)) for i, row in enumerate(labels)]), **values, separator=";")
    assert lists.fingerprint == texts.fingerprint == spaced.fingerprint
    assert lists.task == "multilabel"
    assert lists.classes == ("cat", "dog", "indoors")
    assert [part.labels.shape for part in (lists.train, lists.val, lists.test)] == [(22, 3), (8, 3), (10, 3)]
    for part in (lists.train, lists.val, lists.test):
        for name, row in zip(part.names, part.labels, strict=True):
            expected = labels[int(name.removesuffix(".png"))]
            assert {lists.classes[place] for place in np.flatnonzero(row)} == set(expected)


@pytest.mark.parametrize("name", ["marks.csv", "marks.parquet"])
def test_several_labels_come_from_columns_of_marks(name, table, tmp_path):
    _, labels = many(tmp_path)
    values = {"task": "multilabel"}
    expected = load(table([(f"{i}.png", "|".join(row)) for i, row in enumerate(labels)]), **values)
    classes = ("cat", "dog", "indoors")
    marks = [(f"{i}.png", *(one in row for one in classes)) for i, row in enumerate(labels)]
    as_numbers = [(path, *map(float, row)) for path, *row in marks]
    for rows in (marks, as_numbers):
        path = table(rows, name, ("path", *classes))
        assert load(path, label_column="dog, cat,indoors", **values).fingerprint == expected.fingerprint
    assert load(path, label_column="dog, indoors", **values).notes == ()
    with pytest.raises(UserError, match="label_column is 'fish', but"):
        load(path, label_column="cat,fish", **values)


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        pytest.param("-1", r"column 'b' holds other marks than 0 and 1: line 2 \('-1'\)", id="an uncertain mark"),
        pytest.param("", r"other marks than 0 and 1: line 2 \(''\)", id="an empty mark"),
        pytest.param("0", "no row has 1 in column 'b'", id="a label of no image"),
    ],
)
def test_refuses_marks(mark, said, table):
    rows = [(name, 1, mark if name == "cats/00.png" else 0) for name in FILES]
    with pytest.raises(UserError, match=said):
        load(table(rows, columns=("path", "a", "b")), task="multilabel", label_column="a,b")


def test_batches_of_several_labels_are_rows_of_floats(table, tmp_path):
    _, labels = many(tmp_path)
    splits = load(table([(f"{i}.png", "|".join(row)) for i, row in enumerate(labels)]), task="multilabel", share=0.5)
    (_, shown, indices), *_ = batches(splits)
    assert (shown.dtype, shown.shape) == (torch.float32, (5, 3))
    assert torch.equal(shown, torch.tensor(splits.train.labels[indices.numpy()]).float())


def test_a_separator_that_divides_nothing_is_told(table, tmp_path):
    _, labels = many(tmp_path)
    splits = load(table([(f"{i}.png", ",".join(row[:1])) for i, row in enumerate(labels)]), task="multilabel")
    assert "no image has two labels: no cell of column 'label' holds '|' (dataset.separator)" in splits.notes


def test_another_separator_in_the_cells_is_told(table, tmp_path):
    _, labels = many(tmp_path)
    rows = [(f"{i}.png", ";".join(row)) for i, row in enumerate(labels)]
    remedy = "Labels hold ';': if it stands between several, give 'dataset.separator=\";\"'"
    (note,) = [note for note in load(table(rows), task="multilabel").notes if "no image has two" in note]
    assert note.endswith(f"(dataset.separator). {remedy}")
    assert len(load(table(rows), task="multilabel", separator=";").classes) == 3
    assert config_of("dataset=table", 'dataset.separator=";"', small=())["dataset"]["separator"] == ";"
    given = [(*row, "train") for row in rows]
    given[0] = ("0.png", "dog;indoors", "test")
    with pytest.raises(UserError, match=f"'dog;indoors'.*{re.escape(remedy)}"):
        load(table(given), task="multilabel")


def test_a_label_that_only_one_image_has_is_trained_on(table, tmp_path):
    _, labels = many(tmp_path)
    rows = [(f"{i}.png", "|".join(row)) for i, row in enumerate([["rare"], *labels[1:]])]
    splits = load(table(rows), task="multilabel")
    assert "0.png" in splits.train.names
    assert any("no test image and no part in its scores: rare" in note for note in splits.notes)


SMALL = "trainer.epochs=1 trainer.batch_size=5 logger=none logger.progress=off strategy=scratch"


def test_a_run_on_a_table_leaves_its_record_and_is_kept_until_a_label_changes(table, tmp_path, command):
    table(rows_of())
    packed(tmp_path / "photos.zip", FILES, "photos/")
    line = f"dataset=table dataset.table=labels.csv dataset.root=photos.zip {SMALL}"
    assert command(line).status == 0
    (folder,) = {path.parent for path in tmp_path.glob("outputs/**/result.json")}
    record = Record.read(folder)
    assert record.status == "finished"
    assert record.data["classes"] == ["cats", "dogs"]
    predicted = read_predictions(folder)
    assert {row["name"] for row in predicted} <= set(FILES)
    again = command(line)
    assert again.status == 0
    assert "finished already" in again.out
    table([(name, "dogs" if name == "cats/00.png" else label) for name, label in rows_of()])
    assert "other images" in command(line).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param("", "dataset.table=labels.csv", id="no table named"),
        pytest.param("dataset.table=gone.csv", "gone.csv', but there is no such file", id="a table that is not there"),
        pytest.param("dataset.table=labels.csv dataset.root=x.rar", "dataset.root is 'x.rar'", id="no such root"),
        pytest.param("dataset.table=labels.csv dataset.separator=/", "dataset.task=multilabel", id="an idle separator"),
    ],
)
def test_a_command_on_a_table_is_refused_in_one_message(words, said, table, command):
    table(rows_of())
    ended = command(f"dataset=table {words} {SMALL}")
    assert ended.status == 2
    assert said in ended.err
