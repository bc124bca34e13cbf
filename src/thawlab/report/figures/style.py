"""How the report's figures look: safe colours, and beside each colour a mark, a dash and a hatch that say the same."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from thawlab.report.words import amount, short

_LINES, _LINE = 2, 0.21  # of a legend; inches
DARK, GREY, FAINT = "#222222", "#595959", "#d0d0d0"
# Okabe and Ito's palette (2008, jfly.uni-koeln.de/color), which the colour-blind can tell apart.
BLUE, GREEN, ORANGE, VERMILION, PURPLE, SKY, BLACK = (
    *("#0072B2", "#009E73", "#E69F00", "#D55E00"),
    *("#CC79A7", "#56B4E9", "#000000"),
)


@dataclass(frozen=True)
class Mark:
    """What stands for a strategy throughout a report."""

    colour: str
    marker: str
    dash: Any  # as Line2D's linestyle

    @property
    def line(self) -> dict[str, Any]:
        """Settings of a line with this mark; the dark edge keeps light colours visible on white."""
        return {
            "color": self.colour, "marker": self.marker, "linestyle": self.dash, "linewidth": 1.8, "markersize": 6.5,
            "markeredgecolor": DARK, "markeredgewidth": 0.7,
        }  # fmt: skip


_KNOWN = {
    "freeze": Mark(BLUE, "o", "-"),
    "truncate": Mark(GREEN, "s", (0, (5, 1.5))),
    "partial": Mark(ORANGE, "D", (0, (3, 1, 1, 1))),
    "full": Mark(VERMILION, "^", "-"),
    "gradual": Mark(PURPLE, "v", (0, (7, 2, 1, 2))),
    "scratch": Mark(BLACK, "X", (0, (1, 1.2))),
    "fresh_top": Mark(SKY, "P", (0, (4, 2))),
    "lp_ft": Mark(ORANGE, "<", "-"),
    "auto": Mark(GREY, "*", (0, (2, 1))),
}
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
_MARKERS, _DASHES = ">phd8H", ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 2, 1, 2, 1, 2)), (0, (2, 2)))


def marks(strategies: Iterable[str]) -> dict[str, Mark]:
    """A mark for each strategy, in the order given; those of the presets are always the same."""
    names = list(dict.fromkeys(strategies))
    unknown = [name for name in names if name not in _KNOWN]
    others = {
        name: Mark(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)])
        for i, name in enumerate(unknown)
    }
    return {name: (_KNOWN | others)[name] for name in names}


def ordered(strategies: Iterable[str]) -> list[str]:
    """Strategies as a reader looks for them: the presets from least to most trained, then the others."""
    known = list(_KNOWN)
    place = {name: i for i, name in enumerate(known)}
    return sorted(set(strategies), key=lambda name: (place.get(name.split(", ")[0], len(known)), name))


@contextmanager
def styled(name: str) -> Iterator[None]:
    """Settings within which a report's figure is drawn and written.

    Names of classes and files are no formulas; text stays text, which a browser can show in any script and a reader
    can select; `name` goes into the ids of what the SVG defines, so that the same findings give the same file.
    """
    settings: dict[Any, Any] = {
        "text.parse_math": False, "text.usetex": False, "svg.fonttype": "none", "svg.hashsalt": name,
        "font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left", "axes.edgecolor": GREY,
        "axes.labelcolor": DARK, "text.color": DARK, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": DARK,
        "ytick.labelcolor": DARK, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
        "grid.color": FAINT, "grid.linewidth": 0.6, "legend.frameon": False, "hatch.linewidth": 0.8,
        "axes.unicode_minus": True, "axes.formatter.use_mathtext": False,
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches. No pyplot: its state would outlive the report."""
    return Figure(figsize=(width, height), layout="constrained")


def legend(figure: Figure, strategies: Sequence[str], of: Mapping[str, Mark], columns: int = 6) -> None:
    """Name the strategies' marks above the axes."""
    handles = [Line2D([], [], **of[name].line) for name in strategies]
    labels = [short(name, 24) for name in strategies]
    # Matplotlib leaves out what begins with an underscore.
    labels = [f" {label}" if label.startswith("_") else label for label in labels]
    above(figure, handles, labels, columns, handlelength=3.2)


def above(
    figure: Figure, handles: Sequence[Artist], labels: Sequence[str], columns: int, handlelength: float = 2.0
) -> None:
    """A legend above the axes, in as many of so many columns as the figure's width has room for.

    Its text stays text in an SVG: where a reader's font is up to an eighth wider than ours, it is still within.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    ncols = max(1, min(columns, len(labels)))
    place = partial(figure.legend, handles, labels, loc="outside upper left", handlelength=handlelength)
    drawn = place(ncols=ncols)
    while ncols > 1 and drawn.get_window_extent(renderer).width > figure.bbox.width * 8 / 9:
        drawn.remove()
        ncols -= 1
        drawn = place(ncols=ncols)
    width, height = figure.get_size_inches()
    more = max(0, math.ceil(len(labels) / ncols) - _LINES)  # for which the figure's height leaves no room
    figure.set_size_inches(width, height + more * _LINE)


def sizes_axis(axes: Axes, sizes: Iterable[int]) -> None:
    """A logarithmic axis of training images, with a tick at each measured size that has room."""
    axes.set_xscale("log")
    kept: list[int] = []
    for size in sorted(set(sizes)):
        if not kept or size / kept[-1] > 1.25:
            kept.append(size)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _no_minor(axes)


def amounts_axis(axes: Axes) -> None:
    """A logarithmic axis of a cost, its ticks in words: 1 k, 20 k."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    between = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    # Within a factor of 6 there may be neither a 1 nor a 2 nor a 5.
    axes.xaxis.set_major_locator(LogLocator(subs=between, numticks=8) if high / low > 6 else MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    _no_minor(axes)


def scores_axis(axes: Axes, which: str) -> None:
    """No room for scores that cannot be, but for a mark at 0 or 100%."""
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    (axes.set_xlim if which == "x" else axes.set_ylim)(max(low, -3), min(high, 103))


def _no_minor(axes: Axes) -> None:
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def grid(axes: Axes, which: str = "y") -> None:
    """Faint lines behind what is drawn."""
    axes.grid(visible=True, axis=which)  # pyright: ignore[reportArgumentType]
    axes.set_axisbelow(True)
