"""The depth profile (Yosinski et al. 2014): score against how many first stages come from the source."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from thawlab.report.figures.drawn import Drawn, finish, some
from thawlab.report.figures.style import BLACK, BLUE, DARK, VERMILION, Mark, above, canvas, grid, scores_axis, styled
from thawlab.report.findings import DepthPoint, Findings, Task
from thawlab.report.rows import leaders
from thawlab.report.words import Table, count, score, short, shown

MOST = 6  # figures
_CONTROLS = {
    "frozen": (Mark(BLUE, "o", "-"), "first stages copied and frozen"),
    "trained": (Mark(VERMILION, "^", (0, (5, 1.5))), "first stages copied, all trained"),
    "random": (Mark(BLACK, "X", (0, (1, 1.2))), "first stages random and frozen"),
}
_OTHER = Mark("#595959", "D", "-")


def draw(findings: Findings) -> Iterator[Drawn]:
    """A figure for each task that was profiled."""
    groups: dict[Task, list[DepthPoint]] = defaultdict(list)
    for point in findings.depth:
        groups[point.task].append(point)
    drawn, rest = some(groups.items(), MOST, "tasks")
    for i, (task, points) in enumerate(drawn):
        yield _profile(f"depth-{i + 1}", task, points, rest)


def _profile(name: str, task: Task, points: Sequence[DepthPoint], rest: str) -> Drawn:
    title = f"Depth profile: {shown(task.target)} from {shown(task.source)}, {count(task.size)} images"
    controls = list(
        dict.fromkeys([*(c for c in _CONTROLS if any(p.control == c for p in points)), *(p.control for p in points)])
    )
    stages = {point.kept: point.stage for point in points}
    with styled(name):
        figure = canvas(8.6, 4.8)
        axes = figure.add_subplot()
        handles, labels = [], []
        for control in controls:
            mark, words = _CONTROLS.get(control, (_OTHER, control))
            _line(axes, [point for point in points if point.control == control], mark)
            handles.append(Line2D([], [], **mark.line))
            labels.append(short(words, 40))
        above(figure, handles, labels, columns=3, handlelength=3.2)
        _name_stages(axes, stages)
        axes.set_ylabel("test score, %")
        scores_axis(axes, "y")
        grid(axes)
        best = leaders(points, lambda point: point.score.value)
        kept = ", ".join(f"{shown(point.control)} with {point.kept} stages kept" for point in best)
        told = (
            f"{', '.join(_CONTROLS.get(c, (None, shown(c)))[1] for c in controls)}; mean and 95% interval. "
            f"Best{', a tie' if len(best) > 1 else ''}: {kept}, {score(best[0].score)}%."
        )
        return finish(figure, name, title, told + rest, _table(title, controls, points, stages))


def _line(axes: Axes, points: Sequence[DepthPoint], mark: Mark) -> None:
    points = sorted(points, key=lambda point: point.kept)
    axes.plot([p.kept for p in points], [100 * p.score.value for p in points], **mark.line)
    for point in points:
        if point.score.low is not None and point.score.high is not None:
            ends = [100 * point.score.low, 100 * point.score.high]
            axes.plot([point.kept] * 2, ends, color=DARK, linewidth=1.2, marker="_", markersize=7)


def _name_stages(axes: Axes, stages: dict[int, str]) -> None:
    places = sorted(stages)[:: -(-len(stages) // 20)]
    names = [f"{kept}\n{short(stages[kept], 10)}" for kept in places]
    crowded = len(names) > 9
    axes.set_xticks(places, names, fontsize=8 if crowded else 10, rotation=60 if len(names) > 13 else 0)
    axes.set_xlabel("first stages that come from the source, and the last of them")


def _table(title: str, controls: Sequence[str], points: Sequence[DepthPoint], stages: dict[int, str]) -> Table:
    of = {(point.kept, point.control): score(point.score) for point in points}
    rows = [
        (str(kept), shown(stages[kept]), *(of.get((kept, control), "-") for control in controls))
        for kept in sorted(stages)
    ]
    return Table(f"{title}, % [95%]", ("kept", "last kept", *map(shown, controls)), tuple(rows))
