"""Regret: the best strategy's test accuracy minus the advised one's, over tasks that no rule was tuned on."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from bench.regret.tasks import AUTO, STRATEGIES

Found = Mapping[str, Any]
# The rule of courses: below 20,000 images freeze, below 500,000 train the upper half, beyond that everything.
SIZES = ((20_000, "freeze"), (500_000, "partial"))
TARGETS = {"mean": 0.01, "worst": 0.04}
LEAST_TASKS = 24


@dataclass(frozen=True)
class Regret:
    """Of one way to choose, over tasks; shares of the test images, 0 to 1."""

    chooser: str
    by_task: Mapping[str, float]

    @property
    def mean(self) -> float:
        return mean(self.by_task.values())

    @property
    def worst(self) -> float:
        return max(self.by_task.values())

    @property
    def behind(self) -> float:
        """The mean where an advised run that is ahead of all presets counts as none, and makes up for no other task."""
        return mean(max(0.0, regret) for regret in self.by_task.values())

    def without(self, pair: str) -> "Regret":
        """The same over the tasks of all other pairs of source and target."""
        return Regret(self.chooser, {name: one for name, one in self.by_task.items() if _pair(name) != pair})

    def over(self, other: "Regret") -> "Regret":
        """This one's regret beyond the other's, task by task."""
        return Regret(self.chooser, {name: regret - other.by_task[name] for name, regret in self.by_task.items()})

    @property
    def interval(self) -> tuple[float, float] | None:
        """A 95% interval of the mean; None of fewer than two pairs of source and target.

        A percentile bootstrap over these pairs: the sizes of a pair are not independent of each other. Of few pairs it
        is rather too narrow.
        """
        pairs = defaultdict(list)
        for name, regret in self.by_task.items():
            pairs[_pair(name)].append(regret)
        if len(pairs) < 2:
            return None
        found = bootstrap(
            ([sum(one) for one in pairs.values()], [len(one) for one in pairs.values()]),
            lambda sums, counts, axis: np.sum(sums, axis) / np.sum(counts, axis),
            paired=True, method="percentile", rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        return float(found.low), float(found.high)


def _pair(task: str) -> str:
    return task.rpartition("-")[0]


def regrets(grid: Mapping[str, Found], part: str) -> list[Regret]:
    """Of the advice, and of those who always do the same, over the tasks of a part on which the advice was followed."""
    judged = {name: one for name, one in grid.items() if _done(one, part)}
    choosers: dict[str, Callable[[Found], float]] = {
        "strategy=auto": lambda one: _score(one[AUTO]["test"]),
        "a rule of sizes": lambda one: _of(one, by_size(one[AUTO]["images"]["train"])),
        **{f"always {name}": lambda one, name=name: _of(one, name) for name in STRATEGIES},
    }
    return [
        Regret(chooser, {name: best(one) - chosen(one) for name, one in judged.items()})
        for chooser, chosen in choosers.items()
    ]


def _done(found: Found, part: str) -> bool:
    return found["part"] == part and {AUTO, "strategies"} <= found.keys()


def best(found: Found) -> float:
    """The highest mean test accuracy that any strategy has: chosen by it, so that chance is in its favour."""
    return max(_of(found, name) for name in found["strategies"])


def crossed(grid: Mapping[str, Found], part: str) -> float:
    """Mean regret of the advice where the best strategy is chosen by all seeds but one, and measured on that one.

    Free of the luck of whoever is best by the very scores that it is measured by; mean over tasks and seeds.
    """
    judged = [one for one in grid.values() if _done(one, part)]
    return mean(mean(_held_out(one, seed) for seed in one[AUTO]["test"]) for one in judged)


def _held_out(found: Found, seed: str) -> float:
    def others(scores: Mapping[str, float]) -> float:
        return mean(score for its, score in scores.items() if its != seed)

    tested = {name: one["test"] for name, one in found["strategies"].items()}
    chosen = max(tested, key=lambda name: others(tested[name]))
    return tested[chosen][seed] - found[AUTO]["test"][seed]


def by_size(images: int) -> str:
    """What the rule of sizes says."""
    return next((name for most, name in SIZES if images < most), "full")


def verdicts(found: Sequence[Regret]) -> list[tuple[str, str, bool]]:
    """What was asked of the advice, what came of it, and whether it was reached."""
    advice, *others = found
    tasks = len(advice.by_task)
    rows = [
        (f"at least {LEAST_TASKS} tasks", f"{tasks}", tasks >= LEAST_TASKS),
        (f"mean regret below {100 * TARGETS['mean']:g} point", _points(advice.mean), advice.mean < TARGETS["mean"]),
        (
            "the same, where leads over all presets make up for nothing",
            _points(advice.behind),
            advice.behind < TARGETS["mean"],
        ),
        (f"worst below {100 * TARGETS['worst']:g} points", _points(advice.worst), advice.worst < TARGETS["worst"]),
    ]
    asked = ("a rule of sizes", "always freeze", "always full")
    rows += [
        (
            f"better than {other.chooser}",
            f"{_points(advice.mean)} against {_points(other.mean)}",
            advice.mean < other.mean,
        )
        for other in others
        if other.chooser in asked
    ]
    return rows


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _of(found: Found, strategy: str) -> float:
    return _score(found["strategies"][strategy]["test"])


def _score(scores: Mapping[str, float]) -> float:
    return mean(scores.values())
