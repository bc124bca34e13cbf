"""Carry out the tasks, and judge the advice by them.

    python -m bench.regret run --data FOLDER [--part tune|judge] [--only WORD ...]

FOLDER holds weights/ and datasets/ (their names: `tasks`, `prepare`). What a task came to goes into
docs/data/regret.json as soon as its runs are there; tasks that are in it are not done again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from bench.measuring import ROOT
from bench.regret import prepare, running
from bench.regret.tasks import tasks
from thawlab.files import replace

GRID = ROOT / "docs" / "data" / "regret.json"


def main() -> None:
    asked = _arguments()
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    (work / "docs").exists() or (work / "docs").symlink_to(ROOT / "docs")
    prepare.prepare(asked.data / "datasets", work / "targets")
    for task in tasks(asked.part):
        found = json.loads(asked.grid.read_text()) if asked.grid.exists() else {}
        if task.name in found or (asked.only and not any(word in task.name for word in asked.only)):
            continue
        found[task.name] = running.carry_out(task, asked.data.resolve() / "weights", work / "targets", work)
        replace(asked.grid, json.dumps(found, indent=1) + "\n")
        print(f"{task.name}: {_told(found[task.name])}", flush=True)


def _told(found: dict[str, Any]) -> str:
    scores = {name: one["test"].values() for name, one in found["strategies"].items()}
    return ", ".join(f"{name} {100 * sum(score) / len(score):.1f}" for name, score in scores.items())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.regret", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run",))
    parser.add_argument("--data", type=Path, required=True, help="a folder with weights/ and datasets/")
    parser.add_argument("--part", choices=("tune", "judge"))
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="tasks whose name holds one of these")
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "regret", help="where runs land")
    parser.add_argument("--grid", type=Path, default=GRID)
    return parser.parse_args()


if __name__ == "__main__":
    main()
