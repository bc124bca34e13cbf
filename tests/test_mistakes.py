"""Thumbnails of what a run was surest of and wrong about."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from thawlab.errors import UserError
from thawlab.mistakes import MOST, SIDE, leave, surest, thumbnail
from thawlab.run_files import read_mistakes

rows = st.lists(
    st.fixed_dictionaries(
        {"label": st.sampled_from("ab"), "predicted": st.sampled_from("ab"), "confidence": st.floats(0, 1)}
    ),
    max_size=30,
)


@given(rows)
def test_the_surest_mistakes_are_those_that_no_other_mistake_is_surer_than(predictions):
    chosen = surest(predictions)
    wrong = [i for i, row in enumerate(predictions) if row["label"] != row["predicted"]]
    assert set(chosen) <= set(wrong)
    assert len(chosen) == min(MOST, len(wrong))
    confidence = [predictions[i]["confidence"] for i in chosen]
    assert confidence == sorted(confidence, reverse=True)
    left_out = [predictions[i]["confidence"] for i in wrong if i not in chosen]
    assert not left_out or max(left_out) <= confidence[-1]


@pytest.mark.parametrize(
    ("shape", "mode", "size"),
    [
        pytest.param((3, 480, 640), "RGB", (64, 48), id="a photo"),
        pytest.param((1, 28, 28), "L", (28, 28), id="small and grey: not enlarged"),
        pytest.param((13, 128, 128), "RGB", (64, 64), id="bands: the first three"),
        pytest.param((2, 64, 64), "L", (64, 64), id="two channels: the first"),
        pytest.param((4, 10, 10), "RGB", (10, 10), id="with alpha"),
        pytest.param((3, 1, 5000), "RGB", (64, 1), id="a line"),
    ],
)
def test_any_image_is_made_small(shape, mode, size):
    image = thumbnail(np.full(shape, 200, dtype=np.uint8))
    assert (image.mode, image.size) == (mode, size)
    assert max(image.size) <= SIDE
    assert np.all(np.asarray(image) == 200)


def test_a_small_image_keeps_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 7), dtype=np.uint8)
    assert np.array_equal(np.asarray(thumbnail(pixels)).transpose(2, 0, 1), pixels)


def test_thumbnails_and_their_index(tmp_path):
    predictions = [
        {"name": "right", "label": "a", "predicted": "a", "confidence": 1.0},
        {"name": "../b\n.png", "label": "a", "predicted": "b", "confidence": 0.5},
        {"name": "surest", "label": "b", "predicted": "a", "confidence": 0.9},
        {"name": "gone", "label": "b", "predicted": "a", "confidence": 0.7},
    ]

    def load(place):
        if predictions[place]["name"] == "gone":
            raise UserError("gone cannot be read any more.")
        return torch.full((3, 5, 5), place, dtype=torch.uint8)

    leave(tmp_path, predictions, load)
    assert read_mistakes(tmp_path) == {"surest": "mistakes/00.png", "../b\n.png": "mistakes/01.png"}
    assert np.all(np.asarray(Image.open(tmp_path / "mistakes" / "00.png")) == 2)
    assert {path.name for path in (tmp_path / "mistakes").iterdir()} == {"00.png", "01.png", "index.csv"}


def test_a_run_without_mistakes_says_so_by_an_empty_index(tmp_path):
    leave(tmp_path, [], lambda place: None)
    assert read_mistakes(tmp_path) == {}
    assert (tmp_path / "mistakes" / "index.csv").exists()
    assert read_mistakes(tmp_path / "older run") == {}
