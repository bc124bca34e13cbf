"""A task's runs: each strategy's rate, chosen on validation images at the first seed; then every seed at that rate."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.regret.tasks import AUTO, STRATEGIES, Task
from thawlab import compose, schema, sweep
from thawlab.rates import choose_rate
from thawlab.record import Record, read_sweep

COMMON = ("logger=none", "logger.progress=off", "trainer.threads=1", "checkpoint.minutes=0", "launch.jobs=2")


def carry_out(task: Task, weights: Path, targets: Path, work: Path) -> dict[str, Any]:
    """Do what is missing of a task's runs, and sum them up."""
    words = [*task.words(str(weights), str(targets)), *COMMON]
    first = task.seeds[0]
    _sweep(task, work, [*words, f"seed={first}", f"strategy={_list(STRATEGIES)}", f"optimizer.lr={_list(task.rates)}"])
    chosen = {name: rate for name, (rate, _) in _searched(task, work).items()}
    for rate in sorted(set(chosen.values())):
        strategies = [name for name, its in chosen.items() if its == rate]
        _sweep(
            task, work, [*words, f"seed={_list(task.seeds)}", f"strategy={_list(strategies)}", f"optimizer.lr={rate}"]
        )
    return summary(task, work)


def follow(task: Task, weights: Path, targets: Path, work: Path) -> dict[str, Any]:
    """Run `strategy=auto` with every seed: its scores, and what was advised."""
    words = [*task.words(str(weights), str(targets)), *COMMON]
    _sweep(task, work, [*words, f"seed={_list(task.seeds)}", "strategy=auto"])
    runs = [one for one in _finished(task, work) if _strategy(one) == AUTO]
    advice = {str(one.config["seed"]): one.advice["words"] for one in runs}
    return {"advice": advice, **_scores(runs)}


def folder(task: Task, work: Path) -> Path:
    return work / "outputs" / _name(task)


def _name(task: Task) -> str:
    return f"regret-{task.name}".replace("_", "-")  # as sweeps are named


def summary(task: Task, work: Path) -> dict[str, Any]:
    """Each strategy's rates with their validation scores, and at the chosen one every seed's scores and costs."""
    strategies = {}
    for name, (rate, searched) in _searched(task, work).items():
        runs = [
            one for one in _finished(task, work) if _strategy(one) == name and one.config["optimizer"]["lr"] == rate
        ]
        strategies[name] = {
            "rate": rate,
            "searched": {f"{other:g}": score for other, score in searched.items()},
            **_scores(runs),
        }
    return strategies


def _scores(runs: Sequence[Record]) -> dict[str, Any]:
    return {
        "images": {key: runs[0].data[key] for key in ("train", "val", "test")},
        "test": {str(one.config["seed"]): one.metrics["test/accuracy"]["value"] for one in runs},
        "val": {str(one.config["seed"]): one.metrics["val/accuracy"]["value"] for one in runs},
        "flops": _mean(one.costs["flops"]["train"] for one in runs),
    }


def _searched(task: Task, work: Path) -> dict[str, tuple[float, dict[float, float]]]:
    """Strategy -> the rate that validation images choose at the first seed, and the score of each."""
    first = [one for one in _finished(task, work) if one.config["seed"] == task.seeds[0]]
    by_strategy = {name: [one for one in first if _strategy(one) == name] for name in STRATEGIES}
    return {name: choose_rate(runs) for name, runs in by_strategy.items() if runs}


def _finished(task: Task, work: Path) -> list[Record]:
    return [one for one in read_sweep(folder(task, work)).records if one.status == "finished"]


def _strategy(record: Record) -> str:
    return record.config["strategy"]["name"]


def _sweep(task: Task, work: Path, words: Sequence[str]) -> None:
    schema.register()
    compose.register_resolvers()
    os.chdir(work)
    if sweep.carry_out(compose.jobs(["-m", *words, f"sweep={_name(task)}"], multirun=True)):
        raise SystemExit(f"not every run of {_name(task)} is finished")


def _list(values: Iterable[object]) -> str:
    return ",".join(map(str, values))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
