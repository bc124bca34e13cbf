"""A study's report.json as the tables of docs/results.md.

python -m bench.study_tables outputs/SWEEP [--keep docs/data/study-NAME.json]
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thawlab.files import write_json
from thawlab.report.figures.style import ordered
from thawlab.report.findings import Interval
from thawlab.report.words import amount, percent, score

Report = Mapping[str, Any]
Row = Mapping[str, Any]
# What --keep leaves out is large, and no table is made of it.
KEPT = (
    "title", "commands", "made", "metric", "versions", "cells", "differences", "crossings", "effective", "sources",
    "pays_off", "cases", "cautions", "notes",
)  # fmt: skip


def tables(report: Report) -> Iterator[str]:
    """Accuracy by strategy and task, the recipes, transfers that hurt, what scratch would need, what it all cost."""
    tasks = _tasks(report)
    strategies = ordered(one["strategy"] for one in report["cells"])
    transfers = [name for name in strategies if any(one["strategy"] == name for one in report["effective"])]
    yield from _table("test accuracy, %", tasks, strategies, _accuracy(report))
    yield from ("", "| case | recipe | |", "|---|---|---|")
    for one in sorted(report["cases"], key=lambda one: one["number"]):
        yield f"| {one['number']} {_head(one['task'])} | {one['recipe']} | **{one['held']}**: {one['sentence']} |"
    hurt = [one for one in report["differences"] if one["negative_transfer"]]
    yield "\nNegative transfer: " + ("; ".join(_hurt(one) for one in hurt) or "none") + "."
    yield "\nWhere scratch catches up: " + "; ".join(_crossings(report)) + ".\n"
    yield from _table_or_line("images that scratch would need", tasks, transfers, _needed(report))
    yield ""
    yield from _table("FLOPs of a run, and of the search before it", tasks, strategies, _costs(report))
    yield ""
    yield from _table_or_line("targets that pay for the source", tasks, transfers, _paid(report))
    source = "; ".join(f"{one['source']}: {amount(one['flops'])} ({one['told_by']})" for one in report["sources"])
    yield from (f"\nFLOPs that the source cost: {source}.", *report["notes"], *report["cautions"])


def _tasks(report: Report) -> list[Row]:
    """Target by target as the cases name them, from few images to many."""
    cases = sorted(report["cases"], key=lambda one: one["number"])
    targets = list(dict.fromkeys(one["task"]["target"] for one in cases))
    tasks = {_head(one["task"]): one["task"] for one in report["cells"] if one["task"]["target"] in targets}
    return sorted(tasks.values(), key=lambda task: (targets.index(task["target"]), task["size"]))


def _head(task: Row) -> str:
    return f"{task['target']}, {task['size']:,}"


def _table(title: str, tasks: Sequence[Row], strategies: Sequence[str], cell: Callable[[Row], str]) -> Iterator[str]:
    yield f"| {title} | {' | '.join(map(_head, tasks))} |"
    yield f"|---|{'--:|' * len(tasks)}"
    for strategy in strategies:
        yield f"| {strategy} | {' | '.join(cell({'task': task, 'strategy': strategy}) for task in tasks)} |"


def _table_or_line(
    title: str, tasks: Sequence[Row], strategies: Sequence[str], cell: Callable[[Row], str]
) -> Iterator[str]:
    """A line where all cells say the same."""
    said = {cell({"task": task, "strategy": strategy}) for task in tasks for strategy in strategies}
    if len(said) == 1:
        yield f"{title[0].upper()}{title[1:]}: {said.pop()}, on every target and size, for every strategy."
    else:
        yield from _table(title, tasks, strategies, cell)


def _of(rows: Sequence[Row], wanted: Row) -> Row | None:
    return next((one for one in rows if all(one[key] == wanted[key] for key in wanted)), None)


def _accuracy(report: Report) -> Callable[[Row], str]:
    def cell(wanted: Row) -> str:
        found = _of(report["cells"], wanted)
        return _interval(found["score"]) if found and found["score"] else "-"

    return cell


def _interval(found: Row) -> str:
    one = Interval(**found)
    return percent(one.value) if one.low is None else score(one)


def _hurt(one: Row) -> str:
    limit = "" if one["verdict"] == "worse" else ", not after correction"
    return f"{one['strategy']} on {_head(one['task'])}: {_interval(one['points'])}{limit}"


def _crossings(report: Report) -> Iterator[str]:
    """Strategies of one target that have the same to say are told together."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in report["crossings"]:
        where = one["note"] if one["size"] is None else f"at {one['size']:,.0f} images{_bounds(one)}"
        found.setdefault((one["target"], where), []).append(one["strategy"])
    for (target, where), names in found.items():
        yield f"{target}, {', '.join(ordered(names))}: {where}"


def _bounds(one: Row) -> str:
    low, high = (f"{one[key]:,.0f}" if one[key] else "beyond" for key in ("low", "high"))
    return f" [{low}, {high}]"


def _needed(report: Report) -> Callable[[Row], str]:
    def cell(wanted: Row) -> str:
        found = _of(report["effective"], wanted)
        if found is None:
            return "-"
        return found["note"] if found["scratch_needs"] is None else f"{found['scratch_needs']:,.0f}{_bounds(found)}"

    return cell


def _costs(report: Report) -> Callable[[Row], str]:
    def cell(wanted: Row) -> str:
        found = _of(report["cells"], wanted)
        return f"{amount(found['flops'])} + {amount((found['search'] or [0, 0])[1])}" if found else "-"

    return cell


def _paid(report: Report) -> Callable[[Row], str]:
    def cell(wanted: Row) -> str:
        found = _of(report["pays_off"], wanted)
        if found is None:
            return "-"
        if found["targets"] is not None:
            return f"{found['targets']:,.0f}"
        return "never" if found["saved_flops"] is None or found["saved_flops"] <= 0 else "not known"

    return cell


def kept(report: Report) -> dict[str, Any]:
    """What the tables are made of."""
    return {key: report[key] for key in KEPT}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.study_tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path, help="its folder, with report.json")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write what the tables are made of there")
    options = parser.parse_args()
    report = json.loads((options.sweep / "report.json").read_text())
    if options.keep:
        write_json(options.keep, kept(report))
    print("\n".join(tables(report)))


if __name__ == "__main__":
    main()
