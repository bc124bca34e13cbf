"""Draw the figures of docs/four-cases.md from docs/data/results.csv, which holds the tables of docs/results.md.

python scripts/plot_results.py
"""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

DOCS = Path(__file__).resolve().parents[1] / "docs"
TABLE = DOCS / "data" / "results.csv"
# From training nothing of the source's to training all of it anew.
ORDER = ("freeze", "truncate", "fresh_top", "partial", "gradual", "lp_ft", "full", "scratch")
# Okabe and Ito's colours, told apart by the colour-blind; each has a marker of its own besides.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
MARKERS = ("o", "s", "^", "D", "v")
NETWORKS = {
    "mobilenetv2_100": "MobileNetV2",
    "vit_tiny_patch16_224": "ViT-Tiny",
    "optimizer.lr=0.003": "head rate 0.003",
    "optimizer.lr=0.03": "head rate 0.03",
    "": "",
}
Row = dict[str, str]


def main() -> None:
    with TABLE.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    for sweep in ("hymenoptera", "fashion-mnist", "digits"):
        figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        draw_strategies(axes, [row for row in found if row["sweep"] == sweep])
        _save(figure, sweep)
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    draw_sizes(axes, [row for row in found if row["sweep"] == "sizes"])
    _save(figure, "sizes")


def draw_strategies(axes: Axes, rows: Sequence[Row]) -> None:
    """A point with its interval for each strategy, in the order of how much trains; a colour for each variant."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for number, variant in enumerate(variants):
        own = [row for row in rows if row["variant"] == variant]
        places = [ORDER.index(row["strategy"]) + 0.22 * (number - (len(variants) - 1) / 2) for row in own]
        axes.errorbar(
            _numbers(own, "accuracy"), places, xerr=_reach(own), label=NETWORKS[variant], **_style(number),
            linestyle="none",
        )  # fmt: skip
    axes.set_yticks(range(len(ORDER)), ORDER)
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy in %, mean and 95% interval over seeds")
    axes.grid(axis="x", alpha=0.3)
    if len(variants) > 1:
        axes.legend(frameon=False)


def draw_sizes(axes: Axes, rows: Sequence[Row]) -> None:
    """A line for each strategy: accuracy against training images per class."""
    sizes = sorted({int(row["variant"].partition("=")[2]) for row in rows})
    strategies = [name for name in ORDER if any(row["strategy"] == name for row in rows)]
    for number, strategy in enumerate(strategies):
        own = {int(row["variant"].partition("=")[2]): row for row in rows if row["strategy"] == strategy}
        shifted = [size * 1.03 ** (number - 2) for size in sizes]  # so that intervals stand beside each other
        points = [own[size] for size in sizes]
        axes.errorbar(shifted, _numbers(points, "accuracy"), yerr=_reach(points), label=strategy, **_style(number))
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("training images per class")
    axes.set_ylabel("test accuracy in %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)


def _style(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number], "marker": MARKERS[number], "capsize": 3, "markersize": 5}


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    return [float(row[column]) for row in rows]


def _reach(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """How far the intervals go down and up: cut at 0 and 100%, beyond which no accuracy lies."""
    pairs = list(zip(_numbers(rows, "accuracy"), _numbers(rows, "half_width"), strict=True))
    return [min(half, mean) for mean, half in pairs], [min(half, 100 - mean) for mean, half in pairs]


def _save(figure: Any, name: str) -> None:
    """Write an SVG that carries the digest of the table it was drawn from, and is the same each time."""
    matplotlib.rcParams["svg.hashsalt"] = name
    digest = hashlib.sha256(TABLE.read_bytes()).hexdigest()
    figure.savefig(DOCS / "img" / f"{name}.svg", metadata={"Date": None, "Description": f"drawn from {digest}"})
    plt.close(figure)


if __name__ == "__main__":
    main()
