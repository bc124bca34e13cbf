"""Score against what it cost, in FLOPs and in seconds of one run."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from matplotlib.axes import Axes

from thawlab.report.figures.drawn import Drawn, finish, some
from thawlab.report.figures.style import Mark, amounts_axis, canvas, grid, legend, marks, ordered, styled
from thawlab.report.findings import Cell, Findings
from thawlab.report.rows import leaders
from thawlab.report.words import Table, amount, count, duration, score, shown

MOST = 6  # figures
_COSTS: tuple[tuple[str, Callable[[Cell], float | None]], ...] = (
    ("FLOPs of a training (logarithmic)", lambda cell: cell.flops),
    ("seconds of a run (logarithmic)", lambda cell: cell.seconds),
)


def draw(findings: Findings) -> Iterator[Drawn]:
    """A figure for each target and source; a strategy's sizes are joined by a line."""
    known = marks(ordered(cell.strategy for cell in findings.cells))
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in findings.cells:
        if cell.flops or cell.seconds:
            groups[cell.task.target, cell.task.source].append(cell)
    drawn, rest = some(groups.values(), MOST, "targets and sources")
    for i, cells in enumerate(drawn):
        yield _panels(f"cost-{i + 1}", cells, known, rest)


def _panels(name: str, cells: Sequence[Cell], known: dict[str, Mark], rest: str) -> Drawn:
    task = cells[0].task
    strategies = ordered(cell.strategy for cell in cells)
    title = f"Score against cost: {shown(task.target)} from {shown(task.source)}"
    with styled(name):
        figure = canvas(9.4, 4.6)
        for axes, (label, cost) in zip(figure.subplots(1, 2, sharey=True), _COSTS, strict=True):
            for strategy in strategies:
                _line(axes, [cell for cell in cells if cell.strategy == strategy], cost, known[strategy])
            axes.set_xlabel(label)
            grid(axes, "both")
            amounts_axis(axes)
        figure.axes[0].set_ylabel("test score, %")
        legend(figure, strategies, known)
        told = f"Cost of one run at the chosen rate. {_best(cells)}{_cheapest(cells)}{_unmeasured(strategies)}"
        return finish(figure, name, title, told + rest, _table(title, cells))


def _best(cells: Sequence[Cell]) -> str:
    best = leaders(cells, lambda cell: cell.score.value)
    took = ", ".join(f"{_named(one)} ({amount(one.flops)} FLOPs, {duration(one.seconds)})" for one in best)
    return f"Best{_tie(best)}: {took}."


def _cheapest(cells: Sequence[Cell]) -> str:
    known = [cell for cell in cells if cell.flops]
    if not known:
        return ""
    cheapest = leaders(known, lambda cell: -(cell.flops or 0.0))
    names = ", ".join(map(_named, cheapest))
    return f" Cheapest{_tie(cheapest)}: {names} ({amount(cheapest[0].flops)} FLOPs)."


def _tie(cells: Sequence[Cell]) -> str:
    return ", a tie" if len(cells) > 1 else ""


def _unmeasured(strategies: Sequence[str]) -> str:
    """What is left out of the cost of runs that were advised."""
    if not any(name.split(", ")[0] == "auto" for name in strategies):
        return ""
    return " Of auto it is the run that was advised, without what was measured to advise it."


def _named(cell: Cell) -> str:
    return f"{shown(cell.strategy)} with {count(cell.task.size)} images"


def _line(axes: Axes, cells: Sequence[Cell], cost: Callable[[Cell], float | None], mark: Mark) -> None:
    by_size = sorted(cells, key=lambda cell: cell.task.size)
    found = [(x, 100 * cell.score.value) for cell in by_size if (x := cost(cell))]
    axes.plot([x for x, _ in found], [y for _, y in found], **mark.line)


def _table(title: str, cells: Sequence[Cell]) -> Table:
    rank = {strategy: i for i, strategy in enumerate(ordered(cell.strategy for cell in cells))}
    rows = [
        (
            count(cell.task.size), shown(cell.strategy), score(cell.score), amount(cell.flops), duration(cell.seconds),
            amount(cell.images),
        )
        for cell in sorted(cells, key=lambda cell: (cell.task.size, rank[cell.strategy]))
    ]  # fmt: skip
    return Table(title, ("images", "strategy", "score % [95%]", "FLOPs", "time", "images seen"), tuple(rows))
