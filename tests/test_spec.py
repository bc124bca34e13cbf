from dataclasses import fields

import pytest

from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError
from thawlab.schema import DatasetConfig


def test_fields_are_those_of_the_schema_with_its_defaults():
    ours = {field.name: field.default for field in fields(DatasetSpec)}
    schema = {field.name: field.default for field in fields(DatasetConfig)}
    assert list(ours) == list(schema)
    assert all(ours[name] == schema[name] for name in list(ours)[2:])


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        pytest.param({"source": "digit"}, "source", "Did you mean 'digits'", id="a typo in the source"),
        pytest.param({"name": " "}, "name", "word", id="no name"),
        pytest.param({"bad_images": "skip"}, "bad_images", "quarantine", id="unknown way with bad images"),
        pytest.param({"root": "x"}, "root", "only folder, idx, shards, table, torchvision", id="a root for digits"),
        pytest.param({"source": "folder"}, "root", "dataset.root=FOLDER", id="a folder without root"),
        pytest.param({"source": "idx", "root": ""}, "root", "dataset.root=FOLDER", id="an empty root"),
        pytest.param({"source": "table"}, "table", "dataset.table=labels.csv", id="no table"),
        pytest.param(
            {"source": "folder", "root": "x", "table": "l.csv"}, "table", "only table", id="a table for folders"
        ),
        pytest.param(
            {"source": "folder", "root": "x", "task": "multilabel"}, "task", "only table", id="several labels"
        ),
        pytest.param(
            {"source": "table", "table": "l.csv", "separator": ";"},
            "separator",
            "dataset.task=multilabel",
            id="one label",
        ),
        pytest.param(
            {"source": "table", "table": "l.csv", "task": "multilabel", "separator": ""},
            "separator",
            "Give a text",
            id="an empty separator",
        ),
        pytest.param({"images": 100}, "images", "only characters", id="a number of images for digits"),
        pytest.param({"source": "shapes", "images": 0}, "images", "1 or more", id="no images"),
        pytest.param({"bad_images": "quarantine"}, "bad_images", "only folder", id="quarantine for digits"),
        pytest.param({"test_share": 0.3}, "test_share", "Leave it out", id="digits have their own test set"),
        pytest.param({"per_class": 0}, "per_class", "1 or more", id="nothing per class"),
        pytest.param(
            {"per_class": -2},
            "per_class",
            "-2, but it is how many images of each class to train on. Give a whole number, 1 or more, or leave it out.",
            id="fewer than nothing per class",
        ),
        pytest.param({"per_class": 2.5}, "per_class", "whole number", id="half an image"),
        pytest.param({"share": 0.0}, "share", "more than 0", id="share of nothing"),
        pytest.param({"share": 1.1}, "share", "more than 0", id="share above one"),
        pytest.param({"share": float("nan")}, "share", "more than 0", id="share not a number"),
        pytest.param({"val_share": 1.0}, "val_share", "below 1", id="everything held out"),
        pytest.param({"split_seed": -1}, "split_seed", "0 or more", id="negative seed"),
        pytest.param({"split_seed": None}, "split_seed", "0 or more", id="no split seed"),
        pytest.param({"share": 0.5, "per_class": 5}, "per_class", "one of them", id="two sizes at once"),
    ],
)
def test_refuses(values, field, said):
    with pytest.raises(UserError, match=f"dataset.{field} is ") as caught:
        DatasetSpec(**{"name": "mine", "source": "digits", **values})
    assert said in str(caught.value)


def test_accepts_all_training_images_as_a_share():
    assert DatasetSpec("mine", "folder", root="x", share=1).share == 1
