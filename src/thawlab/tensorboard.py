"""What TensorBoard shows besides curves: two figures, and the settings and metrics of its HParams page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

# HParams shows a column only where every run of a sweep names the same metrics and settings. By task, column → the
# record's metric: the best epoch's validation accuracy has a name of its own, or it would end the curve of that name.
HPARAM_METRICS = {
    "multiclass": {
        "test/accuracy": "test/accuracy",
        "test/balanced_accuracy": "test/balanced_accuracy",
        "test/macro_f1": "test/macro_f1",
        "test/calibration_error": "test/calibration_error",
        "test/loss": "test/loss",
        "best/val_accuracy": "val/accuracy",
    },
    "multilabel": {
        "test/mean_average_precision": "test/mean_average_precision",
        "test/macro_f1": "test/macro_f1",
        "test/micro_f1": "test/micro_f1",
        "test/accuracy": "test/accuracy",
        "test/label_accuracy": "test/label_accuracy",
        "test/calibration_error": "test/calibration_error",
        "test/loss": "test/loss",
        "best/val_mean_average_precision": "val/mean_average_precision",
    },
}
# TensorBoard sorts the names and at first shows five: capitals put what people compare there.
_HPARAMS = {
    "Backbone": "backbone.name",
    "Dataset": "dataset.name",
    "Lr": "optimizer.lr",
    "Seed": "seed",
    "Strategy": "strategy.name",
    "weights": "strategy.weights",
    "keep": "strategy.keep",
    "fresh": "strategy.fresh",
    "train": "strategy.train",
    "thaw": "strategy.thaw.when",
    "thaw_epochs": "strategy.thaw.epochs",
    "layer_decay": "strategy.layer_decay",
    "source_rate": "strategy.source_rate",
    "norm": "strategy.norm",
    "per_class": "dataset.per_class",
    "share": "dataset.share",
    "head": "head.kind",
    "dropout": "head.dropout",
    "optimizer": "optimizer.name",
    "weight_decay": "optimizer.weight_decay",
    "schedule": "schedule.name",
    "augment": "augment.name",
    "epochs": "trainer.epochs",
    "batch_size": "trainer.batch_size",
    "loss": "loss.name",
    "label_smoothing": "loss.label_smoothing",
    "class_weights": "loss.class_weights",
    "ema_decay": "trainer.ema_decay",
    "precision": "trainer.precision",
}
# Numbers in some runs and words in others: a column keeps one type, or TensorBoard splits it.
_TEXT = ("keep", "train", "per_class", "share", "ema_decay", "batch_size")
_SHADES = colormaps["Blues"]
_COUNTS_UP_TO = 20  # classes: beyond, a count in each cell is too small to read
_LABELS_UP_TO = 34  # classes: beyond, every k-th is labelled
_DARK, _WRONG, _RIGHT = "#222222", "#c04000", "#b8bec6"


def hparams_of(config: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """The settings of a run as HParams wants them: flat, plain, and under the same keys for every run; null is "-"."""
    values = {name: _scalar(_at(config, path)) for name, path in _HPARAMS.items()}
    return {name: str(value) if name in _TEXT else value for name, value in values.items()}


def _at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _scalar(value: Any) -> str | int | float | bool:
    if value is None:
        return "-"
    return value if isinstance(value, str | int | float | bool) else str(value)


def confusion_figure(confusion: ArrayLike, classes: Sequence[str], seeds: int = 1) -> Figure:
    """Draw counts (n, n), a row per true class, summed over seeds: colour is the percentage of the true class.

    A class without images has a row of dashes or, beyond 20 classes, a grey one.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    n = len(classes)
    of_class = counts.sum(axis=1, keepdims=True)
    percent = np.divide(100 * counts, of_class, out=np.full(counts.shape, np.nan), where=of_class > 0)
    side = float(np.clip(3.2 + 0.42 * n, 4.2, 11))
    figure = _figure(side + 1.4, side)
    axes = figure.add_subplot()
    axes.set_facecolor("#dddddd")
    # The square root's shades, so that a class mistaken in 2 of 100 cases can be seen at all.
    image = axes.imshow(percent, cmap=_SHADES, norm=PowerNorm(0.5, vmin=0, vmax=100))
    bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.035, 1)), ticks=(0, 2, 10, 25, 50, 75, 100))
    bar.set_label("% of the true class")
    _name_classes(axes, classes)
    if n <= _COUNTS_UP_TO:
        _write_counts(axes, counts, percent)
    total = counts.sum()
    share = f", {np.trace(counts) / total:.1%} right" if total else ""
    of = f", {seeds} seeds" if seeds > 1 else ""
    axes.set_title(f"{total // seeds:,} test images{of}{share}", loc="left")
    return figure


def _figure(width: float, height: float) -> Figure:
    """Make a figure, in inches, with its own canvas: pyplot's global state would leak from run to run."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    n = len(classes)
    places = range(0, n, -(-n // _LABELS_UP_TO))
    labels = [_short(classes[i], 20) for i in places]
    upright = max(map(len, labels)) * len(labels) <= 60
    size = 9 if n <= _COUNTS_UP_TO else 8
    axes.set_xticks(places, labels, rotation=0 if upright else 90, fontsize=size, parse_math=False)
    axes.set_yticks(places, labels, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=2 if n > _COUNTS_UP_TO else 0)
    axes.spines[:].set_visible(False)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _write_counts(axes: Axes, counts: np.ndarray, percent: np.ndarray) -> None:
    size = 10 if len(counts) <= 12 else 8
    for (row, column), count in np.ndenumerate(counts):
        share = percent[row, column]
        text = "-" if np.isnan(share) else str(count)
        faint = np.isnan(share) or (count == 0 and row != column)
        colour = "white" if share > 35 else "#67717c" if faint else _DARK
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def labels_figure(per_label: Mapping[str, Mapping[str, float | None]]) -> Figure:
    """Draw a bar of the average precision of each label, the best first, with how many test images have it.

    Of more than `_LABELS_UP_TO` labels the best and the worst are drawn. A label that no test image has is left out.
    """
    known = [(name, found) for name, found in per_label.items() if found["n"]]
    known.sort(key=lambda item: -(item[1]["average_precision"] or 0.0))
    half = _LABELS_UP_TO // 2
    drawn = known if len(known) <= _LABELS_UP_TO else [*known[:half], *known[-half:]]
    figure = _figure(7.0, 1.3 + 0.27 * max(len(drawn), 1))
    axes = figure.add_subplot()
    heights = [float(found["average_precision"] or 0.0) for _, found in drawn]
    bars = axes.barh(range(len(drawn)), heights, color=_SHADES(0.6), height=0.7)
    axes.bar_label(bars, [f"{ap:.2f}  ({found['n']:,})" for ap, (_, found) in zip(heights, drawn, strict=True)],
                   padding=4, fontsize=8, color=_DARK)  # fmt: skip
    axes.set_yticks(range(len(drawn)), [_short(name, 28) for name, _ in drawn], fontsize=9, parse_math=False)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)  # room for the numbers
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("average precision (test images that have the label)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    left_out = len(known) - len(drawn)
    which = f", the {half} best and the {half} worst" if left_out else ""
    axes.set_title(f"{len(known):,} labels{which}", loc="left")
    return figure


def examples_figure(
    images: Sequence[Any], true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]
) -> Figure:
    """Draw images (each uint8, (channels, height, width), array or tensor) with what they are and were taken for.

    The wrong ones come first, the most confident leading; a word and a broken frame mark them, not colour alone.
    """
    order = sorted(range(len(images)), key=lambda i: (true[i] == predicted[i], -confidence[i]))
    columns = min(8, max(4, round(len(order) ** 0.5 * 1.4)))
    lines = max(1, -(-len(order) // columns))
    figure = _figure(1.55 * columns + 0.2, 2.0 * lines + 0.4)
    wrong = sum(t != p for t, p in zip(true, predicted, strict=True))
    figure.suptitle(f"{len(order)} test images, {wrong} of them wrong", x=0.01, ha="left", fontsize=11)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(order) :]:
        axes.set_axis_off()
    for axes, i in zip(grid, order, strict=False):
        _draw_example(axes, images[i], true[i], predicted[i], confidence[i])
    return figure


def _seen(image: np.ndarray) -> np.ndarray:
    """What can be shown of (channels, height, width): the first three as colours, or the first alone in grey."""
    return image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)


def _draw_example(axes: Axes, image: Any, true: str, predicted: str, confidence: float) -> None:
    axes.imshow(_seen(np.asarray(image)).transpose(1, 2, 0), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    right = true == predicted
    # Butt ends: the default ones fill the gaps of a broken line.
    broken = {"color": _WRONG, "linewidth": 3.5, "linestyle": (0, (1.6, 0.8)), "capstyle": "butt"}
    axes.spines[:].set(**({"color": _RIGHT, "linewidth": 1.5} if right else broken))
    verdict = f"{'right' if right else 'WRONG'}, {confidence:.0%}"
    named = [_short(true, 17)] if right else [f"said: {_short(predicted, 11)}", f"true: {_short(true, 11)}"]
    lines = [verdict, *named]
    axes.set_title("\n".join(lines), fontsize=8, color=_DARK if right else _WRONG, parse_math=False, va="bottom")
