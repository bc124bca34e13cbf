from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.linear_model import LogisticRegression

from thawlab.data import glyphs, made, rendering, textures

TASKS = [
    pytest.param(made.CHARACTERS, (32, 32), len(made.SOURCE), id="source: characters"),
    pytest.param(made.CHARACTERS_NEAR, (32, 32), 20, id="near: characters of another alphabet"),
    pytest.param(made.SHAPES, (32, 32, 3), 10, id="far: coloured patterns"),
]
STILL = rendering.Distortion(
    turn=0,
    slant=0,
    perspective=0,
    bend=0,
    shift=0,
    fill=(1, 1),
    strokes=(0, 0),
    resolution=(32, 32),
    contrast=1,
    noise=0,
)


@pytest.mark.parametrize(("task", "shape", "classes"), TASKS)
def test_a_task_gives_images_labels_and_class_names(task, shape, classes):
    pixels, labels, names = task.pixels(range(2 * classes + 1), seed=0), task.labels(2 * classes + 1), task.classes
    assert pixels.shape == (2 * classes + 1, *shape)
    assert pixels.dtype == np.uint8
    assert labels.dtype == np.int64
    assert len(set(names)) == len(names) == classes
    assert sorted(np.bincount(labels, minlength=classes)) == [2] * (classes - 1) + [3]


@pytest.mark.parametrize(("task", "shape", "classes"), TASKS)
@settings(max_examples=15, deadline=None)
@given(large=st.integers(0, 60), share=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_an_image_depends_on_its_place_alone(task, shape, classes, large, share, seed):
    small = int(share * large)
    pixels, labels = task.pixels(range(large), seed), task.labels(large)
    assert np.array_equal(pixels[:small], task.pixels(range(small), seed))
    assert np.array_equal(pixels[small:][::-1], task.pixels(range(small, large)[::-1], seed))
    assert np.array_equal(labels[:small], task.labels(small))
    counts = np.bincount(labels, minlength=classes)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(("task", "shape", "classes"), TASKS)
def test_no_two_images_are_the_same_within_or_across_seeds(task, shape, classes):
    both = np.concatenate([task.pixels(range(150), seed=0), task.pixels(range(150), seed=1)])
    assert len({image.tobytes() for image in both}) == 300


@pytest.mark.parametrize("face", glyphs.FACES)
def test_every_face_draws_every_character(face):
    assert [c for c in made.SOURCE + made.NEAR if not glyphs.draws(face, c)] == []
    assert not glyphs.draws(face, "\u4e00")  # a Chinese character: the check can fail


def test_source_has_neither_digits_nor_letters_of_the_near_target():
    assert not any(character.isdigit() for character in made.SOURCE)
    assert not set(made.SOURCE) & set(made.NEAR)


@pytest.mark.parametrize("characters", [made.SOURCE, made.NEAR], ids=["source", "near"])
def test_no_letter_stands_for_two_classes(characters):
    def drawn(character):
        return np.asarray(glyphs.glyph(character, "DejaVuSans").resize((24, 24), Image.Resampling.BOX)) / 255

    def apart(one, other):
        return np.abs(drawn(one) - drawn(other)).mean()

    assert apart("A", "\N{GREEK CAPITAL LETTER ALPHA}") < 0.02  # what the next line is there to find
    assert [a + b for a in characters for b in characters if a < b and apart(a, b) < 0.04] == []


def test_without_distortion_a_character_fills_the_frame_as_its_mask():
    image = rendering.render("H", STILL, np.random.default_rng(0)) / 255.0
    rows, columns = np.flatnonzero(image.max(1) > 0.5), np.flatnonzero(image.max(0) > 0.5)
    assert rows[0] <= 1 and rows[-1] >= 30  # noqa: PT018 - the outermost may be half inked
    assert columns[0] + columns[-1] == pytest.approx(31, abs=1)


def test_a_character_is_neither_mirrored_nor_upside_down():
    image = rendering.render("L", STILL, np.random.default_rng(0)).astype(float)
    left, right = np.array_split(image, 2, axis=1)
    top, bottom = np.array_split(image, 2, axis=0)
    assert left.mean() > right.mean()
    assert bottom.mean() > top.mean()


def test_a_turn_moves_a_bar_to_the_frames_diagonal(monkeypatch):
    # A circle turned is a circle; an upright bar, turned by 45 degrees, has its ends in opposite corners.
    turned = replace(STILL, turn=np.pi / 4)
    image = rendering.render("I", turned, _AlwaysTheUpperEnd(np.random.PCG64(0))) > 127
    corners = [image[:10, :10].any(), image[-10:, -10:].any(), image[:10, -10:].any(), image[-10:, :10].any()]
    assert sorted(corners) == [False, False, True, True]
    assert corners[0] == corners[1]


class _AlwaysTheUpperEnd(np.random.Generator):
    def uniform(self, low=0.0, high=1.0, size=None):
        return high if size is None else np.full(size, high)


def test_strokes_grow_and_shrink_by_pixels_on_every_edge():
    plain, thick, thin = (glyphs.glyph("I", "DejaVuSans", stroke).size for stroke in (0, 3, -2))
    assert thick == (plain[0] + 6, plain[1] + 6)
    assert thin == (plain[0] - 4, plain[1] - 4)


def test_a_stroke_that_would_vanish_is_left_as_it_is():
    assert glyphs.glyph("I", "DejaVuSans", -30).size == glyphs.glyph("I", "DejaVuSans").size


def test_few_pixels_enlarged_leave_no_fine_detail():
    coarse = replace(STILL, resolution=(8, 8))
    fine, blurred = (rendering.render("Ш", d, np.random.default_rng(0)).astype(float) for d in (STILL, coarse))
    steepest = [np.abs(np.diff(image, axis=1)).max() for image in (fine, blurred)]
    assert steepest[1] <= 255 / 4 + 1 < steepest[0]


@pytest.mark.parametrize("axis", textures.AXES)
def test_a_patterns_two_colours_differ_along_its_axis_and_not_in_brightness(axis):
    drawn = np.array([textures._direction(axis, np.random.default_rng(seed)) for seed in range(200)])
    assert drawn.sum(1) == pytest.approx(0, abs=1e-9)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(1)
    off = np.arccos(np.abs(drawn @ textures.AXES[axis]))
    assert textures.STRAY * 0.9 < off.max() <= textures.STRAY
    assert 0.4 < (drawn @ textures.AXES[axis] > 0).mean() < 0.6


def test_in_grey_an_image_of_the_far_task_shows_its_light_and_not_its_pattern(monkeypatch):
    monkeypatch.setattr(textures, "GRAIN", 0.02)
    monkeypatch.setattr(textures, "LIGHT", 0.0)
    monkeypatch.setattr(textures, "STRENGTH", (0.3, 0.3))
    images = [textures.pattern(textures.checks, axis, np.random.default_rng(1)) for axis in textures.AXES]
    for image in images:
        assert image.mean(2).std() < 4 < 40 < image.std(axis=(0, 1)).max()


@pytest.mark.parametrize("field", textures.FIELDS)
def test_a_pattern_lies_between_two_colours(field):
    rng = np.random.default_rng(0)
    line = np.linspace(-1, 1, 32)
    values = [field(*np.meshgrid(line, line), rng) for _ in range(20)]
    assert 0 <= np.min(values) < 0.05
    assert 0.95 < np.max(values) <= 1


def test_mean_colour_tells_little_of_the_class():
    pixels, labels = made.SHAPES.pixels(range(1000), seed=0), made.SHAPES.labels(1000)
    means = pixels.reshape(1000, -1, 3).mean(1) / 255
    reader = LogisticRegression(max_iter=2000).fit(means[:500], labels[:500])
    assert reader.score(means[500:], labels[500:]) < 0.3


def test_near_letters_can_be_learnt_from_few_and_are_not_trivial():
    pixels, labels = made.CHARACTERS_NEAR.pixels(range(1200), seed=0), made.CHARACTERS_NEAR.labels(1200)
    flat = pixels.reshape(1200, -1) / 255.0
    reader = LogisticRegression(max_iter=500, C=0.01).fit(flat[:400], labels[:400])
    assert 0.4 < reader.score(flat[400:], labels[400:]) < 0.97
