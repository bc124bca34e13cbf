"""What was measured → docs/performance.md, its JSON, and a plot. Runs again over the JSON alone."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.plan import NAMES
from bench.rows import Row, rows

# Okabe and Ito's colours, told apart by the colour-blind.
COLOURS = dict(zip(NAMES.values(), ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00"), strict=True))
BARS = {
    "freeze": ("freeze ours", "freeze again", "freeze cached", "freeze lightning"),
    "partial": ("partial ours", "partial again", "partial suffix"),
    "full, defaults": ("full ours", "full lightning", "full fastai"),
}
CAPTION = "Seconds of each contender at each piece of work; seconds and peak memory by the number of images"
COLUMNS = (
    "measure", "contender", "network", "images", "epochs", "rounds", "seconds (range)", "CPU", "peak MB", "accuracy",
)  # fmt: skip
Raw = Mapping[str, Any]  # machine, versions, date, options, results
WAYS = {"cached": ", frozen part once"}

TIMED = """\
Every measurement is a process of its own; the contenders take turns, round by round, on the same files. **Seconds**
run from after the imports to the end of the last validation: making the network and loading its weights from disk,
listing and decoding the images, training, and validating after every epoch; for thawlab also composing the config,
its final test (of eight images), its audit and its record. **CPU** is user and system time of the process and its
loaders' workers in that time. **Peak** is the most resident memory of the main process, imports included, workers
not; on a GPU the targets compare the memory that torch allocated there. All: batches of 32, AdamW, random starting
weights from one file, 500 by 375 JPEGs of eight drawn classes (`bench/images.py`). All but thawlab load with as many
worker processes as there are cores. Everything in fp32 but for "full", where thawlab trains in bf16 and each is at
its own defaults. Lightning and fastai leave the frozen part's BatchNorm in training mode, as is their default.{more}"""


def write(raw: Raw, docs: Path) -> list[Row]:
    """Write page, data and plot under `docs`; the rows of the target table."""
    for folder in (docs / "data", docs / "img"):
        folder.mkdir(parents=True, exist_ok=True)
    (docs / "data" / "performance.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    plot(raw["results"], docs / "img" / "performance.png")
    found = rows(raw["results"])
    (docs / "performance.md").write_text(page(raw, found), encoding="utf-8")
    return found


def page(raw: Raw, found: Sequence[Row]) -> str:
    """The page as Markdown."""
    versions = ", ".join(f"{name} {value}" for name, value in raw["versions"].items())
    parts = [
        "# Performance",
        "    make bench\n    python -m bench --help",
        f"{raw['date']}, {raw['machine']}; load average {raw['load']} at the start. {versions}. "
        f"Rounds: up to {raw['rounds']}; cache={raw['cache']}. Raw figures: [performance.json](data/performance.json).",
        *(["**A quick run, to see that everything runs: its figures say nothing.**"] if raw["quick"] else []),
        "## To reach",
        _table(("work", "against", "to reach", "measured (range)", ""), [_target(row) for row in found]),
        *["\n".join(f"- {row.sentence}" for row in found)],
        f"![{CAPTION}](img/performance.png)",
        "## Everything measured",
        TIMED.format(more=f" The rows named accuracy: {raw['accuracy']}." if raw["accuracy"] else ""),
        _table(
            COLUMNS,
            [_measured(name, figures) for name, figures in raw["results"].items() if figures],
        ),
        *([f"Failed: {', '.join(raw['failed'])}."] if raw["failed"] else []),
        *([f"Not run: {', '.join(raw['not_run'])} (`python -m bench --peers`)."] if raw["not_run"] else []),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _target(row: Row) -> tuple[str, ...]:
    if row.ratio is None or row.range is None:
        return row.work, row.against, row.asked, "not run", ""
    low, high = row.range
    spread = f" ({low:.2f} to {high:.2f})" if high > low else ""
    return row.work, row.against, row.asked, f"{row.ratio:.2f}{spread}", row.verdict


def _measured(name: str, figures: Sequence[Raw]) -> tuple[str, ...]:
    one = figures[0]
    walls = [each["wall"] for each in figures]
    spread = f" ({min(walls):.1f} to {max(walls):.1f})" if len(walls) > 1 else ""
    cpu, peak, accuracy = (statistics.median(each[key] for each in figures) for key in ("cpu", "peak", "accuracy"))
    precision = f", {one['precision']}" if one["precision"] != "fp32" else ""
    return (
        name, one["contender"] + WAYS.get(one["way"], "") + precision, f"{one['network']}, {one['size']} px",
        str(one["images"]), str(one["epochs"]), str(len(figures)), f"{statistics.median(walls):.1f}{spread}",
        f"{cpu:.1f}", f"{peak / 1e6:.0f}", f"{accuracy:.1%}",
    )  # fmt: skip


def plot(results: Mapping[str, Sequence[Raw]], path: Path) -> None:
    """Bars of seconds for what is compared, beside how seconds and memory grow with the images."""
    figure, axes = plt.subplot_mosaic("bs;bm", figsize=(11, 4.8), layout="constrained", width_ratios=(3, 2))
    _bars(axes["b"], results)
    _growth(axes["s"], results, "seconds", lambda one: one["wall"])
    _growth(axes["m"], results, "peak memory, MB", lambda one: one["peak"] / 1e6)
    axes["s"].set_title("thawlab, by the number of images", fontsize=10)
    axes["m"].set_xlabel("training images")
    for one in axes.values():
        one.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(axes: Axes, results: Mapping[str, Sequence[Raw]]) -> None:
    place, ticks = 0.0, []
    for group, names in BARS.items():
        for name in (name for name in names if results.get(name)):
            one = results[name][0]
            seconds = statistics.median(each["wall"] for each in results[name])
            axes.barh(place, seconds, color=COLOURS[one["contender"]])
            axes.text(seconds, place, f" {seconds:.1f}", va="center", fontsize=8)
            again = ", run again" if name.endswith("again") else ""
            ticks.append((place, f"{group}: {one['contender']}{WAYS.get(one['way'], '')}{again}"))
            place -= 1
        place -= 0.7
    axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks], fontsize=8)
    axes.margins(x=0.12)
    axes.set_xlabel("seconds from JPEGs, median")


def _growth(axes: Axes, results: Mapping[str, Sequence[Raw]], label: str, figure: Callable[[Raw], float]) -> None:
    seen = set()
    for task, colour, marker in (("freeze", "#0072B2", "o"), ("full", "#D55E00", "s")):
        many = [one for name, figures in results.items() if name.startswith(f"{task} x") for one in figures]
        points = sorted((one["images"], figure(one)) for one in many)
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=task)
            axes.legend(fontsize=8, frameon=False, loc="lower right")
            seen |= {images for images, _ in points}
    axes.set_xticks(sorted(seen))
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
