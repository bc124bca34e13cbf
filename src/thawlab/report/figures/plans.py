"""Each strategy's plan as a strip of stages: cut, frozen, thawing later, trained, in hatches and words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from thawlab.report.figures.drawn import Drawn, finish, some
from thawlab.report.figures.style import DARK, canvas, ordered, styled
from thawlab.report.findings import Findings
from thawlab.report.words import Table, short, shown

MOST = 24  # strategies
_NAMED = 14  # stages: beyond, only the first and the last are named
# What a stage does -> background and hatch. All backgrounds are light: the words on them stay readable.
_LOOKS = {
    "cut": ("#ffffff", "xx"),
    "frozen": ("#cfe3f3", "//"),
    "thaws": ("#fbe3bd", "..."),
    "trained": ("#f6cfc0", ""),
}
_WIDTH = 8.0  # inches, of all stages together


@dataclass(frozen=True)
class Part:
    """What a plan does with a stage."""

    does: str  # cut, frozen, thaws, trained
    when: str  # thaws: "at epoch 4" (from 1, as people count), "at plateau 1"
    weights: str  # source, partly, fresh, random, new, cut

    @property
    def lines(self) -> tuple[str, ...]:
        """What is written on the strip."""
        if self.does == "cut":
            return ("cut",)
        return (f"{self.does} {self.when}".strip(), {"new": "new head"}.get(self.weights, self.weights))


def part(row: Mapping[str, Any]) -> Part:
    """A row of a plan, as a record has it."""
    if not row["kept"]:
        return Part("cut", "", "cut")
    first, turn, weights = row["first_epoch"], row.get("turn", 0), str(row["weights"])
    if first is None:
        return Part("thaws", f"at plateau {turn}", weights) if turn else Part("frozen", "", weights)
    return Part("thaws", f"at epoch {first + 1}", weights) if first else Part("trained", "", weights)


def draw(findings: Findings) -> Iterator[Drawn]:
    """One figure, a strip for each strategy."""
    plans = {name: findings.plans[name] for name in ordered(findings.plans) if findings.plans[name]}
    drawn, rest = some(plans, MOST, "strategies")
    if drawn:
        yield _strips("plans", {name: plans[name] for name in drawn}, rest, _table(plans))


def _strips(name: str, plans: Mapping[str, Sequence[Mapping[str, Any]]], rest: str, table: Table) -> Drawn:
    title = "What each strategy does with the network's stages"
    with styled(name):
        figure = canvas(9.4, 0.75 + 0.62 * len(plans))
        axes = figure.add_subplot()
        for y, plan in enumerate(plans.values()):
            _strip(axes, y, plan)
        axes.set_yticks([y + 0.5 for y in range(len(plans))], [short(strategy, 30) for strategy in plans])
        axes.set_ylim(len(plans), -0.02)
        axes.set_xlim(0, 1)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        _name_stages(axes, list(plans.values()))
        axes.xaxis.tick_top()
        axes.set_xlabel("input  →  output")
        told = (
            f"{len(plans)} strips of stages from the input to the head. Crossed: cut off; hatched: frozen; dotted: "
            "frozen until it thaws; plain: trained from the start. The words below say where its weights come from."
        )
        return finish(figure, name, title, told + rest, table)


def _strip(axes: Axes, y: int, plan: Sequence[Mapping[str, Any]]) -> None:
    wide, x = 1 / len(plan), 0.0
    for one, group in groupby(map(part, plan)):
        width = wide * len(list(group))
        ground, hatch = _LOOKS[one.does]
        axes.add_patch(
            Rectangle((x, y + 0.04), width, 0.88, facecolor=ground, edgecolor="#8a8a8a", hatch=hatch, linewidth=0)
        )
        axes.add_patch(Rectangle((x, y + 0.04), width, 0.88, fill=False, edgecolor=DARK, linewidth=1))
        _write(axes, x + width / 2, y + 0.48, width, one)
        x += width


def _write(axes: Axes, x: float, y: float, width: float, one: Part) -> None:
    room = width * _WIDTH / 0.075  # characters of the smaller size
    lines = one.lines
    if max(map(len, lines)) > room:
        # The table below has what there is no room for.
        epoch = one.when.rpartition(" ")[2]
        lines = (epoch,) if len(epoch) <= room else ()
    boxed = {"facecolor": _LOOKS[one.does][0], "edgecolor": "none", "pad": 1.2}
    axes.text(
        x, y, "\n".join(lines), ha="center", va="center", fontsize=8.5, bbox=boxed if lines else None, linespacing=1.1
    )


def _name_stages(axes: Axes, plans: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    names = [[str(row["stage"]) for row in plan] for plan in plans]
    if any(other != names[0] for other in names):
        axes.set_xticks([])  # of several networks: the table names them
        return
    n = len(names[0])
    places = range(n) if n <= _NAMED else (0, n - 1)
    axes.set_xticks([(i + 0.5) / n for i in places], [short(names[0][i], max(6, 90 // n)) for i in places], fontsize=9)


def _table(plans: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    rows = []
    for strategy, plan in plans.items():
        for row in plan:
            one, rate = part(row), row.get("rate")
            moves = one.does in ("trained", "thaws") and rate is not None
            rows.append(
                (shown(strategy), shown(row["stage"]), f"{one.does} {one.when}".strip(), shown(one.weights),
                 f"{rate:.3g}" if moves else "-")
            )  # fmt: skip
    return Table("Plans, stage by stage", ("strategy", "stage", "what it does", "weights from", "rate"), tuple(rows))
