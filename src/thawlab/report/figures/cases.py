"""The square of the four cases: every strategy with its interval, the winners, and whether the recipe held."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from thawlab.report.figures.drawn import Drawn, finish
from thawlab.report.figures.style import DARK, GREY, Mark, canvas, grid, marks, ordered, scores_axis, styled
from thawlab.report.findings import CORNERS, HELD, NOT_HELD, SIGNS, Case, Cell, Findings
from thawlab.report.words import NONE, Table, count, score, short, shown

_CORNERS = {number: f"{size}, {target}" for number, (size, target, _) in CORNERS.items()}
# A sign, words and a frame for each: no colour tells them apart.
_VERDICTS = {
    HELD: (SIGNS[HELD], "the recipe held", "-"),
    NOT_HELD: (SIGNS[NOT_HELD], "the recipe did not hold", (0, (6, 2))),
}
_UNCLEAR = ("?", "unclear", (0, (1, 1.5)))


def squares(cases: Sequence[Case]) -> list[dict[int, Case]]:
    """The cases as squares, corner -> case: one for each source, more where a corner has several targets."""
    found: dict[str, list[dict[int, Case]]] = defaultdict(list)
    for case in cases:
        of_source = found[case.task.source]
        free = next((square for square in of_source if case.number not in square), None)
        if free is None:
            of_source.append(free := {})
        free[case.number] = case
    return [square for of_source in found.values() for square in of_source]


def draw(findings: Findings) -> Iterator[Drawn]:
    """A square for each source."""
    known = marks(ordered(cell.strategy for cell in findings.cells))
    cells: dict[object, list[Cell]] = defaultdict(list)
    for cell in findings.cells:
        cells[cell.task].append(cell)
    for i, square in enumerate(squares(findings.cases)):
        yield _square(f"cases-{i + 1}", square, cells, known)


def _square(name: str, square: dict[int, Case], cells: dict[object, list[Cell]], known: dict[str, Mark]) -> Drawn:
    source = next(iter(square.values())).task.source
    rows = max(len(cells[case.task]) for case in square.values())
    with styled(name):
        figure = canvas(9.4, 2 * (1.6 + 0.29 * max(rows, 2)))
        figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.14))  # inches between the corners
        grid_of_axes = figure.subplots(2, 2, sharex=True)
        for number, axes in zip((1, 2, 3, 4), grid_of_axes.ravel(), strict=True):
            if number in square:
                _corner(axes, square[number], cells[square[number].task], known)
            else:
                axes.set_axis_off()
                axes.set_title(f"{number} · {_CORNERS[number]}: not measured")
        scores_axis(figure.axes[0], "x")
        title = f"The four cases, from {shown(source)}"
        told = [
            f"{_CORNERS[n].capitalize()}: {_verdict(case)[1]}, best {_names(case)}"
            for n, case in sorted(square.items())
        ]
        return finish(figure, name, title, f"{'; '.join(told)}.", _table(title, square, cells))


def _corner(axes: Axes, case: Case, cells: Sequence[Cell], known: dict[str, Mark]) -> None:
    order = sorted(cells, key=lambda cell: cell.score.value)
    for y, cell in enumerate(order):
        mark, found = known[cell.strategy], cell.score
        if found.low is not None and found.high is not None:
            axes.plot([100 * found.low, 100 * found.high], [y, y], color=DARK, linewidth=1.4, solid_capstyle="butt")
        axes.plot([100 * found.value], [y], **(mark.line | {"linestyle": "none", "markersize": 8}))
    labels = [_label(cell.strategy, case) for cell in order]
    axes.set_yticks(range(len(order)), labels)
    for label, cell in zip(axes.get_yticklabels(), order, strict=True):
        label.set_fontweight("bold" if cell.strategy in case.winners else "normal")
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_xlabel("test score, %")
    grid(axes, "x")
    sign, words, dash = _verdict(case)
    axes.set_title(
        f"{case.number} · {_CORNERS[case.number]}\n{short(case.task.target, 16)}, {count(case.task.size)} images\n"
        f"{sign} {words}", color=DARK,
    )  # fmt: skip
    axes.spines[:].set(visible=True, linestyle=dash, linewidth=1.6, color=GREY)


def _label(strategy: str, case: Case) -> str:
    signs = ("★ " if strategy in case.winners else "") + ("recipe: " if strategy == case.recipe else "")
    return signs + short(strategy, 18)


def _verdict(case: Case) -> tuple[str, str, object]:
    return _VERDICTS.get(case.held, _UNCLEAR)


def _names(case: Case) -> str:
    return " or ".join(map(shown, case.winners)) or "none"


def _table(title: str, square: dict[int, Case], cells: dict[object, list[Cell]]) -> Table:
    rows = [
        (
            f"{number} {_CORNERS[number]}",
            shown(case.task.target),
            count(case.task.size),
            shown(cell.strategy),
            score(cell.score),
            str(cell.score.n),
            ", ".join(_roles(cell.strategy, case)) or NONE,
        )
        for number, case in sorted(square.items())
        for cell in sorted(cells[case.task], key=lambda cell: -cell.score.value)
    ]
    columns = ("case", "target", "images", "strategy", "score % [95%]", "n", "is")
    return Table(title, columns, tuple(rows))


def _roles(strategy: str, case: Case) -> list[str]:
    return [role for role, has in (("winner", strategy in case.winners), ("recipe", strategy == case.recipe)) if has]
