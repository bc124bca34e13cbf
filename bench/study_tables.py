"""A study's report.json as the tables of docs/results.md.

python -m bench.study_tables outputs/SWEEP
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thawlab.report.figures.style import ordered
from thawlab.report.findings import Interval
from thawlab.report.words import percent, score

Report = Mapping[str, Any]


def tables(report: Report) -> Iterator[str]:
    """Accuracy by strategy and task, what became of each recipe, which transfers hurt, and what limits the figures."""
    cases = sorted(report["cases"], key=lambda one: one["number"])
    heads = [f"{one['task']['target']}, {one['task']['size']:,} images" for one in cases]
    yield f"| strategy | {' | '.join(heads)} |"
    yield f"|---|{'--:|' * len(cases)}"
    for strategy in ordered(one["strategy"] for one in report["cells"]):
        yield f"| {strategy} | {' | '.join(_score(report, one['task'], strategy) for one in cases)} |"
    yield from ("", "| case | recipe | |", "|---|---|---|")
    for one, head in zip(cases, heads, strict=True):
        yield f"| {one['number']} {head} | {one['recipe']} | **{one['held']}**: {one['sentence']} |"
    hurt = [one for one in report["differences"] if one["negative_transfer"]]
    yield "\nNegative transfer: " + ("; ".join(_hurt(one) for one in hurt) or "none") + "."
    yield from ("", *report["notes"], *report["cautions"])


def _score(report: Report, task: Mapping[str, Any], strategy: str) -> str:
    cells = [one for one in report["cells"] if one["task"] == task and one["strategy"] == strategy]
    return _interval(cells[0]["score"]) if cells and cells[0]["score"] else "-"


def _interval(found: Mapping[str, Any]) -> str:
    one = Interval(**found)
    return percent(one.value) if one.low is None else score(one)


def _hurt(one: Mapping[str, Any]) -> str:
    task = one["task"]
    return f"{one['strategy']} on {task['target']}, {task['size']:,} images: {_interval(one['points'])}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.study_tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path, help="its folder, with report.json")
    print("\n".join(tables(json.loads((parser.parse_args().sweep / "report.json").read_text()))))


if __name__ == "__main__":
    main()
