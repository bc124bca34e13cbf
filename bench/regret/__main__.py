"""Carry out the tasks, and judge the advice by them.

    python -m bench.regret prepare|run|measure|follow|page --data FOLDER [--part PART] [--only WORD ...]

prepare makes the targets' folders and prints where (so does each step but page), run carries out every
strategy, measure measures source and target, follow runs strategy=auto, page writes docs/regret.md.

FOLDER holds weights/ and datasets/ (their names: `tasks`, `prepare`). What a task came to goes into
docs/data/regret.json as soon as its runs are there; tasks that are in it are not done again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from bench.measuring import ROOT
from bench.regret import measuring, page, prepare, running
from bench.regret.tasks import PARTS, tasks
from thawlab.files import replace

GRID = ROOT / "docs" / "data" / "regret.json"
STEPS = {
    "run": ("strategies", running.carry_out),
    "measure": ("similarity", measuring.similarities),
    "follow": ("auto", running.follow),
}


def main() -> None:
    asked = _arguments()
    if asked.what == "page":
        page.write(json.loads(asked.grid.read_text()), ROOT / "docs")
        return
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    (work / "docs").exists() or (work / "docs").symlink_to(ROOT / "docs")
    prepare.prepare(asked.data / "datasets", work / "targets")
    places = (asked.data.resolve() / "weights", work / "targets", work)
    if asked.what == "prepare":
        print(work / "targets")
        return
    key, do = STEPS[asked.what]
    for task in tasks(asked.part):
        grid = json.loads(asked.grid.read_text()) if asked.grid.exists() else {}
        of_task = grid.setdefault(task.name, {})
        if key in of_task or (asked.only and not any(word in task.name for word in asked.only)):
            continue
        of_task |= {"part": task.part, key: do(task, *places)}
        replace(asked.grid, json.dumps(grid, indent=1) + "\n")
        print(f"{task.name}: {_told(of_task)}", flush=True)


def _told(found: dict[str, Any]) -> str:
    followed = {"auto": found["auto"]} if "auto" in found else {}
    scores = {name: one["test"].values() for name, one in {**found.get("strategies", {}), **followed}.items()}
    return ", ".join(f"{name} {100 * sum(score) / len(score):.1f}" for name, score in scores.items())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.regret", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("prepare", *STEPS, "page"))
    parser.add_argument("--data", type=Path, required=True, help="a folder with weights/ and datasets/")
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="tasks whose name holds one of these")
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "regret", help="where runs land")
    parser.add_argument("--grid", type=Path, default=GRID)
    return parser.parse_args()


if __name__ == "__main__":
    main()
