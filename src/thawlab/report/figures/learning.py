"""Learning curves: a cell's mean over its runs after each epoch, from its lowest to its highest run."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from thawlab.report.figures.drawn import Drawn, finish
from thawlab.report.figures.style import Mark, canvas, grid, legend, marks, ordered, styled
from thawlab.report.findings import Cell, Findings, Task
from thawlab.report.words import Table, count, percent, short, shown

PANELS = 12  # tasks: beyond, those of the fewest and of the most images are drawn
_COLUMNS = 3
Curve = list[tuple[int, float, float, float]]  # epoch from 1, mean, lowest, highest


def draw(findings: Findings) -> Iterator[Drawn]:
    """One figure with a panel for each task."""
    metric = f"val/{findings.metric.partition('/')[2]}"
    panels: dict[Task, dict[str, Curve]] = defaultdict(dict)
    for cell in findings.cells:
        if curve := gathered(cell, findings.curves, metric):
            panels[cell.task][cell.strategy] = curve
    if panels:
        yield _panels("learning", metric, _chosen(panels), len(panels))


def gathered(cell: Cell, curves: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> Curve:
    """A cell's curve; an epoch counts the runs that came to it and measured it."""
    values: dict[int, list[float]] = defaultdict(list)
    for run in cell.runs:
        for row in curves.get(run, ()):
            value = row.get(metric)
            if value is not None and value == value:
                values[int(row["epoch"]) + 1].append(float(value))
    return [(epoch, sum(v) / len(v), min(v), max(v)) for epoch, v in sorted(values.items())]


def _chosen(panels: Mapping[Task, dict[str, Curve]]) -> dict[Task, dict[str, Curve]]:
    order = sorted(panels, key=lambda task: (task.target, task.source, task.size))
    if len(order) > PANELS:
        by_size = sorted(order, key=lambda task: task.size)
        kept = {*by_size[: PANELS // 2], *by_size[-PANELS // 2 :]}
        order = [task for task in order if task in kept]
    return {task: panels[task] for task in order}


def _panels(name: str, metric: str, panels: Mapping[Task, dict[str, Curve]], measured: int) -> Drawn:
    strategies = ordered({strategy for curves in panels.values() for strategy in curves})
    known = marks(strategies)
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    with styled(name):
        figure = canvas(max(3.3 * columns, 6.6), 0.7 + 2.7 * lines)
        grid_of_axes = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for axes in grid_of_axes[len(panels) :]:
            axes.set_axis_off()
        for axes, (task, curves) in zip(grid_of_axes, panels.items(), strict=False):
            _panel(axes, task, curves, known)
        for axes in grid_of_axes[::columns]:
            axes.set_ylabel("validation score, %")
        legend(figure, strategies, known, columns=2 * columns)
        title = "Learning curves"
        told = (
            f"{shown(metric)} after each epoch, the mean over seeds at the chosen rate; "
            "the bands go from the lowest run to the highest."
        )
        if measured > len(panels):
            told += f" Of {measured} tasks the {len(panels)} with the fewest and the most images are drawn."
        return finish(figure, name, title, told, _table(panels))


def _panel(axes: Axes, task: Task, curves: Mapping[str, Curve], known: Mapping[str, Mark]) -> None:
    for strategy in ordered(curves):
        mark, curve = known[strategy], curves[strategy]
        epochs = [epoch for epoch, *_ in curve]
        # A few marks are enough to tell the lines apart.
        style = mark.line | {"markevery": max(1, len(epochs) // 6), "markersize": 5, "linewidth": 1.5}
        axes.plot(epochs, [100 * mean for _, mean, _, _ in curve], **style)
        low, high = [100 * low for _, _, low, _ in curve], [100 * high for *_, high in curve]
        axes.fill_between(epochs, low, high, color=mark.colour, alpha=0.15, linewidth=0)
    axes.set_title(f"{short(task.target, 18)} from {short(task.source, 14)},\n{count(task.size)} images", fontsize=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.tick_params(labelleft=True)
    grid(axes)


def _table(panels: Mapping[Task, dict[str, Curve]]) -> Table:
    rows = []
    for task, curves in panels.items():
        for strategy in ordered(curves):
            curve = curves[strategy]
            best = max(curve, key=lambda point: point[1])
            rows.append(
                (
                    shown(task.target), shown(task.source), count(task.size), shown(strategy), percent(curve[0][1]),
                    percent(curve[len(curve) // 2][1]), percent(curve[-1][1]), f"{percent(best[1])} (epoch {best[0]})",
                )
            )  # fmt: skip
    columns = ("target", "source", "images", "strategy", "first epoch %", "halfway %", "last epoch %", "best %")
    return Table("Learning curves, mean validation score", columns, tuple(rows))
