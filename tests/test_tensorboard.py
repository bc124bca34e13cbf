import io
from dataclasses import asdict
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib._pylab_helpers import Gcf
from PIL import Image

from thawlab import schema
from thawlab.scores import MAIN, SCORES
from thawlab.tensorboard import _HPARAMS, HPARAM_METRICS, confusion_figure, examples_figure, hparams_of, labels_figure


def png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def confusion(n):
    return np.random.default_rng(0).integers(0, 9, (n, n)) + 40 * np.eye(n, dtype=int)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("n", [2, 10, 20, 21, 100])
def test_a_confusion_can_be_drawn_for_any_number_of_classes(n):
    figure = confusion_figure(confusion(n), [f"class number {i}" for i in range(n)])
    assert png(figure).std() > 10
    labels = figure.axes[0].get_yticklabels()
    assert 2 <= len(labels) <= 34
    tops = [label.get_window_extent() for label in labels]
    assert all(not a.overlaps(b) for a, b in pairwise(tops))
    assert texts(figure) == ([str(count) for count in confusion(n).ravel()] if n <= 20 else [])


def test_colour_is_the_share_of_the_true_class():
    figure = confusion_figure([[1, 3], [10, 0]], ["a", "b"])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[25, 75], [100, 0]])
    assert figure.axes[0].get_title(loc="left") == "14 test images, 7.1% right"


def test_a_class_without_images_has_dashes():
    figure = confusion_figure([[4, 0], [0, 0]], ["a", "b"])
    assert texts(figure) == ["4", "0", "-", "-"]
    png(figure)
    png(confusion_figure([[0, 0], [0, 0]], ["a", "b"]))


def test_class_names_are_taken_literally():
    names = ["$x_1$", r"\frac{", "a" * 60]
    figure = confusion_figure(np.eye(3), names)
    png(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*names[:2], "a" * 19 + "…"]
    image = np.zeros((3, 4, 4), np.uint8)
    png(examples_figure([image], ["$a$"], [r"\frac{$"], [0.5]))


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.axison]


def test_examples_show_the_wrong_ones_first_by_word_and_by_frame():
    images = [torch.full((3, 8, 6), 50 * i, dtype=torch.uint8) for i in range(4)]
    figure = examples_figure(images, ["a", "b", "a", "b"], ["a", "a", "b", "b"], [0.4, 0.6, 0.9, 0.95])
    assert titles(figure) == [
        "WRONG, 90%\nsaid: b\ntrue: a",
        "WRONG, 60%\nsaid: a\ntrue: b",
        "right, 95%\nb",
        "right, 40%\na",
    ]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert [image[0, 0, 0] for image in shown] == [100, 50, 150, 0]
    assert shown[0].shape == (8, 6, 3)
    assert len({axes.spines["left"].get_linestyle() for axes in figure.axes}) == 2
    assert png(figure).std() > 10


@pytest.mark.parametrize("n", [0, 1, 5, 16, 64])
def test_any_number_of_examples_fits(n):
    figure = examples_figure([np.zeros((3, 4, 4), np.uint8)] * n, ["a"] * n, ["b"] * n, [0.5] * n)
    png(figure)
    assert len(titles(figure)) == n


def test_nothing_is_left_in_pyplot():
    confusion_figure(np.eye(2), ["a", "b"])
    assert Gcf.get_num_fig_managers() == 0
    assert matplotlib.rcParams["figure.dpi"] == matplotlib.rcParamsDefault["figure.dpi"]


def plain_config(**strategy):
    config = asdict(schema.Config())
    return {**config, "strategy": {**config["strategy"], "name": "freeze", **strategy}}


def test_hparams_are_flat_and_plain_and_name_the_same_keys_for_every_run():
    first = hparams_of(plain_config())
    second = hparams_of(plain_config(keep="layer3", fresh=2))
    assert first.keys() == second.keys() == hparams_of({}).keys()
    assert (second["keep"], second["fresh"], second["Lr"], second["Seed"]) == ("layer3", 2, 1e-3, 0)
    assert {name: type(value) for name, value in first.items()} == {name: type(v) for name, v in second.items()}
    assert first["per_class"] == "-"
    assert set(hparams_of({}).values()) == {"-"}
    assert {type(value) for value in first.values()} <= {str, int, float, bool}


def test_every_hparam_is_a_setting_of_the_schema():
    for path in _HPARAMS.values():
        value = plain_config()
        for key in path.split("."):
            value = value[key]


def found_labels(n):
    precisions = np.random.default_rng(0).permutation(n) / n
    return {f"label {i}": {"average_precision": float(p), "f1": 0.5, "n": i + 1} for i, p in enumerate(precisions)}


@pytest.mark.parametrize("n", [0, 1, 3, 34, 35, 500])
def test_labels_are_drawn_best_first_and_the_middle_is_left_out_where_they_are_many(n):
    figure = labels_figure(found_labels(n))
    png(figure)
    axes = figure.axes[0]
    best_first = sorted(found_labels(n).items(), key=lambda item: -item[1]["average_precision"])
    drawn = best_first if n <= 34 else best_first[:17] + best_first[-17:]
    assert [label.get_text() for label in axes.get_yticklabels()] == [name for name, _ in drawn]
    assert [bar.get_width() for bar in axes.patches] == [found["average_precision"] for _, found in drawn]
    assert [text.get_text().split("(")[1] for text in axes.texts] == [f"{found['n']})" for _, found in drawn]
    tops = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(not a.overlaps(b) for a, b in pairwise(tops))


def test_a_label_that_no_test_image_has_is_not_drawn():
    figure = labels_figure({"a": {"average_precision": 0.5, "n": 3}, "$b": {"average_precision": None, "n": 0}})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a"]


@pytest.mark.parametrize("task", HPARAM_METRICS)
def test_every_column_is_a_score_of_its_task(task):
    for column, name in HPARAM_METRICS[task].items():
        assert name.partition("/")[2] in SCORES[task]
        assert column == name or column.startswith("best/")
    assert {f"test/{name}" for name in SCORES[task]} == set(HPARAM_METRICS[task].values()) - {f"val/{MAIN[task]}"}


def test_tensorboard_reads_hparams_and_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_hparams(hparams_of(plain_config()), dict.fromkeys(HPARAM_METRICS["multiclass"], 0.5), run_name=".")
        writer.add_figure("confusion", confusion_figure(np.eye(3), ["a", "b", "c"]), 1)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["images"] == ["confusion"]
    assert set(events.Tags()["scalars"]) == set(HPARAM_METRICS["multiclass"])
