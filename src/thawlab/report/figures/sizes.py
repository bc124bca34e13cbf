"""Score against the number of training images, and where scratch catches up."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from thawlab.report.figures.drawn import Drawn, finish, some
from thawlab.report.figures.style import (
    DARK,
    GREY,
    Mark,
    canvas,
    grid,
    legend,
    marks,
    ordered,
    scores_axis,
    sizes_axis,
    styled,
)
from thawlab.report.findings import LEAD_CHANGES, Cell, Crossing, Findings
from thawlab.report.words import Table, count, score, short, shown, span

MOST = 6  # figures


def draw(findings: Findings) -> Iterator[Drawn]:
    """A figure for each target and source that was measured at two sizes or more."""
    known = marks(ordered(cell.strategy for cell in findings.cells))
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in findings.cells:
        groups[cell.task.target, cell.task.source].append(cell)
    wide = {pair: cells for pair, cells in groups.items() if len({cell.task.size for cell in cells}) > 1}
    drawn, rest = some(wide.items(), MOST, "targets and sources")
    for i, (pair, cells) in enumerate(drawn):
        crossings = [one for one in findings.crossings if (one.target, one.source) == pair]
        yield _lines(f"sizes-{i + 1}", cells, crossings, known, rest)


def _lines(name: str, cells: Sequence[Cell], crossings: Sequence[Crossing], known: dict[str, Mark], rest: str) -> Drawn:
    task = cells[0].task
    strategies = ordered(cell.strategy for cell in cells)
    title = f"Score against training images: {shown(task.target)} from {shown(task.source)}"
    found = [one for one in crossings if one.size is not None]
    with styled(name):
        figure = canvas(8.6, 5.0)
        axes = figure.add_subplot()
        sizes = [cell.task.size for cell in cells]
        for i, strategy in enumerate(strategies):
            # Beside each other by a hundredth of the axis: intervals at one size would hide each other.
            aside = (max(sizes) / min(sizes)) ** (0.009 * (i - (len(strategies) - 1) / 2))
            _line(axes, [cell for cell in cells if cell.strategy == strategy], known[strategy], aside)
        sizes_axis(axes, sizes)
        scores_axis(axes, "y")
        _mark_crossings(axes, found, (min(sizes) * max(sizes)) ** 0.5)
        axes.set_xlabel("training images (logarithmic)")
        axes.set_ylabel("test score, %")
        grid(axes)
        legend(figure, strategies, known)
        wide = len({cell.task.size for cell in cells})
        described = f"{len(strategies)} strategies at {wide} sizes, mean and 95% interval.{_told(crossings)}{rest}"
        return finish(figure, name, title, described, _table(title, cells))


def _told(crossings: Sequence[Crossing]) -> str:
    """Where scratch catches up, in a sentence; nothing where no strategy was held against it at two sizes."""
    found = [one for one in crossings if one.size is not None]
    if found:
        told = [
            f"scratch catches up with {shown(one.strategy)} at about {count(one.size)} images "
            f"(95% interval: {span(one.low, one.high)})"
            for one in found
        ]
        return f" {'; '.join(told)}."
    if not crossings:
        return ""
    if any(LEAD_CHANGES in one.note for one in crossings):
        return " Scratch overtakes no strategy for good within the sizes measured."
    return " No curve meets that of scratch within the sizes measured."


def _line(axes: Axes, cells: Sequence[Cell], mark: Mark, aside: float) -> None:
    cells = sorted(cells, key=lambda cell: cell.task.size)
    sizes, means = [aside * cell.task.size for cell in cells], [100 * cell.score.value for cell in cells]
    axes.plot(sizes, means, **mark.line)
    known = [cell for cell in cells if cell.score.low is not None and cell.score.high is not None]
    low = [100 * (cell.score.value - (cell.score.low or 0)) for cell in known]
    high = [100 * ((cell.score.high or 0) - cell.score.value) for cell in known]
    at = ([aside * cell.task.size for cell in known], [100 * cell.score.value for cell in known])
    axes.errorbar(*at, yerr=(low, high), fmt="none", ecolor=DARK, elinewidth=1.1, capsize=3)


def _mark_crossings(axes: Axes, found: Sequence[Crossing], middle: float) -> None:
    for i, one in enumerate(sorted(found, key=lambda one: one.size or 0)):
        assert one.size is not None
        axes.axvline(one.size, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
        late = one.size > middle
        # Names in turn on several lines: crossings lie close together.
        label = f"{short(one.strategy, 16)} = scratch: {count(one.size)}"
        axes.annotate(
            label, (one.size, 0.02 + 0.055 * (i % 4)), xycoords=("data", "axes fraction"), fontsize=9, color=DARK,
            ha="right" if late else "left", xytext=(-3 if late else 3, 0), textcoords="offset points",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )  # fmt: skip


def _table(title: str, cells: Sequence[Cell]) -> Table:
    sizes = sorted({cell.task.size for cell in cells})
    of = {(cell.strategy, cell.task.size): f"{score(cell.score)}" for cell in cells}
    rows = [
        (shown(strategy), *(of.get((strategy, size), "-") for size in sizes))
        for strategy in ordered(cell.strategy for cell in cells)
    ]
    return Table(f"{title}, % [95%]", ("strategy", *(f"{count(size)} images" for size in sizes)), tuple(rows))
