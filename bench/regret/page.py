"""The grid → docs/regret.md. Says what was measured, and on how many of the tasks."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.regret.judging import Regret, best, crossed, regrets, verdicts
from bench.regret.tasks import AUTO, FIRST, JUDGE, LEAST_SEEDS, RATES, STRATEGIES, TUNE, tasks

Grid = Mapping[str, Mapping[str, Any]]
TITLES = {
    JUDGE: "The tasks that judge",
    FIRST: "The tasks that judged first, which rules were then set on too",
    TUNE: "The tasks that rules were set on from the beginning",
}
INTRODUCTION = f"""\
# The advice, judged

    python -m bench.regret run --data FOLDER
    python -m bench.regret measure --data FOLDER
    python -m bench.regret follow --data FOLDER
    python -m bench.regret page --data FOLDER

`strategy=auto` measures source and target before anything trains, and chooses by the rules in `src/thawlab/rules.py`
([how](howto/advice.md)). **Regret** is what following it costs: the best strategy's test accuracy minus that of the
run that was advised, in points. The best is whichever of {len(STRATEGIES)} strategies has the highest mean *test*
accuracy, each at the best of the head rates {", ".join(f"{rate:g}" for rate in RATES)} on validation images at the
first seed, then run with {LEAST_SEEDS} or 3 seeds. Choosing the best by its test score gives luck to the best and none
to the advice; *crossed* chooses it by all seeds but one, and compares on that one.

The tasks and their parts were written down before any of a part was run (`bench/regret/tasks.py`), dealt by pairs of
source and target. Raw figures: [regret.json](data/regret.json).

**The advice has been judged twice, and found wanting twice.** On 2026-11-28 rules that had been set on 15 tasks
were followed on 26 others: 1.87 points behind the best strategy in the mean (0.93 crossed), 8.50 at worst
(mobilenetv2-clothes-25, vit_tiny-textures-5, vit_tiny-digits-20, resnet20-textures-5, demo-near-3: 7 or more each),
where 1 and 4 were aimed at; always `partial` had 2.54 and 9.11, always `full` 3.54 and 18.15, always `freeze` 11.41 and
27.40 ([regret-first.json](data/regret-first.json)). Those 26 have been looked at since. Today's rules were set on all
41, and 28 others judged them on 2026-11-30: what came out is below. More than half of it is one task. For
mobilenetv2-digits-5 `scratch` was advised, since a probe on the same network with random weights told the digits apart
as well as on the source's: 50 images for 2.2 million random parameters, 55 points behind. Features that are of no use
to a head are a better start all the same. Without it the mean would be 1.71. Of
the other 27 tasks three are 4 points or more behind (demo-korean-3 8.3, vit_tiny-latin-all 6.5, mobilenetv2-greek-all
4.9), and five are ahead of all presets.

Two more tasks of that time, mobilenetv2 on ants, had been seen before they were judged, and judged nothing. One
target was smaller than what was written down first: near has 141 images of a class, so that 200 became 140."""


def write(grid: Grid, docs: Path) -> None:
    """Write the page under `docs`."""
    (docs / "regret.md").write_text("\n\n".join(_parts(grid)) + "\n", encoding="utf-8")


def _parts(grid: Grid) -> Iterator[str]:
    yield INTRODUCTION
    yield from _verdict(grid)
    for part, title in TITLES.items():
        its = {task.name: grid.get(task.name, {}) for task in tasks(part)}
        yield f"## {title}"
        if any("strategies" in found for found in its.values()):
            yield _table(its)
        missing = [name for name, found in its.items() if "strategies" not in found or AUTO not in found]
        if missing:
            yield f"**Not measured to the end**, and counted nowhere above: {', '.join(missing)}."


def _verdict(grid: Grid) -> Iterator[str]:
    found = regrets(grid, JUDGE)
    planned = sum(1 for _ in tasks(JUDGE))
    yield "## What came out"
    if not found[0].by_task:
        yield f"None of the {planned} tasks that judge has been measured to the end, so that nothing can be said yet."
        return
    rows = [
        f"| {asked} | {figure} | {'reached' if reached else 'NOT reached'} |"
        for asked, figure, reached in verdicts(found)
    ]
    yield "\n".join(["| asked | measured | |", "|---|---|---|", *rows])
    advice, *others = found
    rows = [f"| {advice.chooser} | {_points(advice)} | {100 * advice.worst:.2f} | |"]
    rows += [
        f"| {one.chooser} | {_points(one)} | {100 * one.worst:.2f} | {_points(one.over(advice))} |" for one in others
    ]
    yield "\n".join(["| who chooses | mean regret | worst | beyond the advice's |", "|---|---|---|---|", *rows])
    yield (
        f"Over {len(found[0].by_task)} of {planned} tasks. Crossed, the mean regret of the advice is "
        f"{100 * crossed(grid, JUDGE):.2f} points. A negative regret is an advised run that is better than all "
        "presets: the advice chooses where to cut, which presets do not. Below 20,000 images the rule of sizes "
        "freezes. In brackets stand 95% intervals for other pairs of source and target: a bootstrap over the pairs."
    )
    yield _rates(grid)


def _points(found: Regret) -> str:
    bounds = found.interval
    return f"{100 * found.mean:.2f}" + (f" [{100 * bounds[0]:.2f}, {100 * bounds[1]:.2f}]" if bounds else "")


def _rates(grid: Grid) -> str:
    """How often the search of rates ended at its edge, where one beyond may do better."""
    chosen = [
        (name, one["rate"])
        for task in tasks(JUDGE)
        for name, one in grid.get(task.name, {}).get("strategies", {}).items()
    ]
    at = {rate: [name for name, its in chosen if its == rate] for rate in (RATES[0], RATES[-1])}
    most = ", ".join(f"{name} {at[RATES[-1]].count(name)}" for name in STRATEGIES)
    return (
        f"**The rates end where they do.** Of {len(chosen)} searches {len(at[RATES[-1]])} chose the highest rate "
        f"({most}) and {len(at[RATES[0]])} the lowest; of equal ones the lower was taken. What a strategy would do "
        "beyond them was not measured: presets may be better than they look here, and the regret larger."
    )


def _table(its: Grid) -> str:
    head = ["task", "images", *STRATEGIES, AUTO, "regret", "advised"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 2)}---|"]
    for name, found in its.items():
        if "strategies" in found:
            lines.append(f"| {' | '.join(_row(name, found))} |")
    return "\n".join(lines)


def _row(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    top = best(found)
    yield name
    yield f"{found['strategies'][STRATEGIES[0]]['images']['train']:,}"
    for strategy in STRATEGIES:
        score = _mean(found["strategies"][strategy])
        yield f"**{100 * score:.1f}**" if score == top else f"{100 * score:.1f}"
    if AUTO not in found:
        yield from ("-", "-", "-")
        return
    yield f"{100 * _mean(found[AUTO]):.1f}"
    yield f"{100 * (top - _mean(found[AUTO])):.1f}"
    yield "; ".join(f"`{words}`" for words in dict.fromkeys(found[AUTO]["advice"].values()))


def _mean(found: Mapping[str, Any]) -> float:
    return sum(found["test"].values()) / len(found["test"])
