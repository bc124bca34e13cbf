"""Each strategy minus scratch, with intervals: above zero the source network helped, below it did harm."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from thawlab.report.figures.drawn import Drawn, finish, some
from thawlab.report.figures.style import BLUE, DARK, GREY, VERMILION, above, canvas, grid, ordered, styled
from thawlab.report.findings import ABOVE, ACROSS, BELOW, BETTER, UNCLEAR, WORSE, Difference, Findings
from thawlab.report.words import Table, count, points, probability, short, shown, signed

MOST = 6  # figures; the table of all differences has the rest
_ROWS = 40  # of a figure
_UNCORRECTED = ", not after correction"
# Verdict, or the side of the interval where the correction leaves none -> marker, whether it is filled, colour, words.
_SHAPES = {
    BETTER: ("^", True, BLUE, "better than scratch"),
    WORSE: ("v", True, VERMILION, "worse than scratch"),
    ACROSS: ("o", False, GREY, "not told apart"),
    ABOVE: ("^", False, GREY, "above scratch" + _UNCORRECTED),
    BELOW: ("v", False, GREY, "below scratch" + _UNCORRECTED),
}
_HARM = "negative transfer"


def _kind(one: Difference) -> str:
    return one.side if one.verdict == UNCLEAR else one.verdict


def _harm(one: Difference) -> str:
    """The flag of negative transfer, as far as it is shown."""
    return "" if not one.negative_transfer else _HARM if one.verdict == WORSE else _HARM + _UNCORRECTED


def draw(findings: Findings) -> Iterator[Drawn]:
    """A figure for each target and source."""
    groups: dict[tuple[str, str], list[Difference]] = defaultdict(list)
    for one in findings.differences:
        groups[one.task.target, one.task.source].append(one)
    drawn, rest = some(groups.items(), MOST, "targets and sources")
    for i, ((target, source), found) in enumerate(drawn):
        yield _forest(f"differences-{i + 1}", target, source, found, rest)


def _forest(name: str, target: str, source: str, found: Sequence[Difference], rest: str) -> Drawn:
    rank = {strategy: i for i, strategy in enumerate(ordered(one.strategy for one in found))}
    rows = sorted(found, key=lambda one: (one.task.size, rank[one.strategy]))
    title = f"Difference to scratch: {shown(target)} from {shown(source)}"
    with styled(name):
        drawn, beyond = some(rows, _ROWS, "differences")
        figure = canvas(8.6, 1.7 + 0.29 * len(drawn) + 0.12 * len({one.task.size for one in drawn}))
        axes = figure.add_subplot()
        _rows(axes, drawn)
        _legend(figure, {_kind(one) for one in drawn})
        harm = [one for one in rows if one.verdict == WORSE]
        short = [one for one in rows if _kind(one) == BELOW]
        told = (
            f"{sum(one.verdict == BETTER for one in rows)} of {len(rows)} differences are shown to be above zero, "
            f"{len(harm)} below. Negative transfer: {_list(harm)}."
        ) + (f" Negative transfer{_UNCORRECTED}: {_list(short)}." if short else "")
        return finish(figure, name, title, told + beyond + rest, table(title, rows))


def _legend(figure: Figure, there: Collection[str]) -> None:
    kinds = [shape for kind, shape in _SHAPES.items() if kind in there or kind in (BETTER, WORSE, ACROSS)]
    bare = {"linestyle": "none", "markersize": 8, "markeredgecolor": DARK}
    handles = [
        Line2D([], [], marker=marker, markerfacecolor=colour if filled else "white", **bare)
        for marker, filled, colour, _ in kinds
    ]
    above(figure, handles, [words for *_, words in kinds], columns=3)


def _rows(axes: Axes, rows: Sequence[Difference]) -> None:
    places, y, before = [], 0.0, None
    for one in rows:
        if before not in (None, one.task.size):
            y += 0.4
            axes.axhline(y - 0.7, color=GREY, linewidth=0.5, linestyle=(0, (1, 2)))
        before = one.task.size
        places.append(y)
        y += 1
    for y, one in zip(places, rows, strict=True):
        marker, filled, colour, _ = _SHAPES[_kind(one)]
        found = one.points
        if found.low is not None and found.high is not None:
            axes.plot([100 * found.low, 100 * found.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([100 * found.value], [y], marker, markersize=8, markeredgecolor=DARK,
                  markerfacecolor=colour if filled else "white")  # fmt: skip
        harm = _harm(one)
        flag = f"  ! {harm}" if harm == _HARM else f"  ({harm})" if harm else ""
        axes.annotate(f"{signed(found.value)}{flag}", (1.01, y), xycoords=("axes fraction", "data"), va="center")
    axes.axvline(0, color=DARK, linewidth=1)
    axes.set_yticks(places, [f"{short(one.strategy, 20)}, {count(one.task.size)} images" for one in rows])
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("points of test score above scratch, with 95% interval")
    grid(axes, "x")


def _list(found: Sequence[Difference]) -> str:
    return ", ".join(f"{shown(one.strategy)} with {count(one.task.size)} images" for one in found) or "none"


def _words(one: Difference) -> str:
    more = _harm(one) or (_SHAPES[ABOVE][3] if _kind(one) == ABOVE else "")
    return one.verdict + (f" ({more})" if more else "")


def table(caption: str, found: Sequence[Difference]) -> Table:
    """All that is known of differences, a row each."""
    columns = ("target", "source", "images", "strategy", "points [95%]", "p", "p, Holm", "n", "test images", "verdict")
    rows = [
        (
            shown(one.task.target), shown(one.task.source), count(one.task.size), shown(one.strategy),
            points(one.points), probability(one.p), probability(one.p_holm), str(one.points.n), count(one.images),
            _words(one),
        )
        for one in found
    ]  # fmt: skip
    return Table(caption, columns, tuple(rows))
