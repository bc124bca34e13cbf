"""The axis of sizes: where scratch catches up with a strategy, and how many images a strategy is worth."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from thawlab.report.evidence import SCRATCH, Evidence, Group
from thawlab.report.findings import LEAD_CHANGES, Crossing, EffectiveData
from thawlab.report.pairing import pairs_of
from thawlab.report.rows import test_set_of

TWO_SIZES = "between two measured sizes"  # what a straight line through two points is worth


def _beside_scratch(evidence: Evidence) -> Iterator[tuple[Group, Group]]:
    """Every group, and the runs from scratch that it is held against."""
    for group in evidence.groups:
        scratch = evidence.scratch_of(group)
        if scratch and group.name != SCRATCH:
            yield group, scratch


def crossings(evidence: Evidence) -> tuple[Crossing, ...]:
    """For each strategy, where scratch overtakes it for good; none where fewer than two sizes were measured.

    The lead at a size is the mean over the seeds that both have there.
    """
    leads: dict[tuple[str, str, str], dict[int, float]] = {}
    for group, scratch in _beside_scratch(evidence):
        ahead = [(one.score or 0.0) - (two.score or 0.0) for one, two in pairs_of(group, scratch)]
        if ahead:
            of_strategy = leads.setdefault((group.task.target, group.task.source, group.strategy), {})
            of_strategy[group.task.size] = sum(ahead) / len(ahead)
    several = [(key, sorted(by_size.items())) for key, by_size in leads.items() if len(by_size) > 1]
    return tuple(Crossing(*key, *crossing(*zip(*points, strict=True))) for key, points in several)


def crossing(sizes: Sequence[int], ahead: Sequence[float]) -> tuple[float | None, tuple[int, int] | None, str]:
    """Where a strategy's lead over scratch is lost for good: size, the measured sizes around it, and a note.

    Straight between measured sizes on a logarithmic axis. `sizes` rise; `ahead` is the lead in each.
    """
    if ahead[-1] > 0:
        return None, None, f"ahead of scratch up to the largest size ({sizes[-1]})" + _earlier(sizes, ahead, len(sizes))
    leads = [i for i, lead in enumerate(ahead) if lead > 0]
    if not leads:
        return None, None, f"ahead of scratch at no size from {sizes[0]} to {sizes[-1]}"
    last = leads[-1]
    return _place(sizes, ahead, last), (sizes[last], sizes[last + 1]), _earlier(sizes, ahead, last).removeprefix("; ")


def _place(sizes: Sequence[int], ahead: Sequence[float], i: int) -> float:
    """Where the line from size i to the next passes zero."""
    return between(sizes[i], sizes[i + 1], ahead[i] / (ahead[i] - ahead[i + 1]))


def between(low: float, high: float, share: float) -> float:
    """What lies so far (0 to 1) from one size to another on a logarithmic axis.

    >>> between(400, 1600, 0.5)
    800.0
    """
    return low * (high / low) ** share


def _earlier(sizes: Sequence[int], ahead: Sequence[float], end: int) -> str:
    """The changes of the lead before index `end`, in words."""
    changes = [i for i in range(min(end, len(sizes) - 1)) if (ahead[i] > 0) != (ahead[i + 1] > 0)]
    if not changes:
        return ""
    return f"; {LEAD_CHANGES} " + ", ".join(f"{_place(sizes, ahead, i):.0f}" for i in changes)


def effective(evidence: Evidence) -> tuple[EffectiveData, ...]:
    """How many images scratch would need for each strategy's score at each size.

    Both are means over the same seeds: those of the strategy that scratch has at each of its sizes.
    """
    found = [_effective(group, _curve(evidence, scratch)) for group, scratch in _beside_scratch(evidence)]
    order = {group.strategy: i for i, group in enumerate(evidence.groups)}
    return tuple(sorted(found, key=lambda one: (one.task.target, one.task.source, order[one.strategy], one.task.size)))


def _curve(evidence: Evidence, scratch: Group) -> list[Group]:
    """These runs from scratch at all sizes, the smallest first."""
    task = scratch.task
    same = [
        group
        for group in evidence.groups
        if (group.task.target, group.task.source, group.strategy) == (task.target, task.source, scratch.strategy)
    ]
    return sorted(same, key=lambda group: group.task.size)


def _effective(group: Group, curve: Sequence[Group]) -> EffectiveData:
    by_size = {one.task.size: scores for one in curve if (scores := _comparable(group, one))}
    own = {run.seed: run.score or 0.0 for run in group.chosen}
    seeds = set(own).intersection(*by_size.values())
    if not seeds or not by_size:
        score = sum(own.values()) / len(own)
        return EffectiveData(group.task, group.strategy, score, None, None, "no seed that scratch has at every size")
    score = sum(own[seed] for seed in seeds) / len(seeds)
    sizes = list(by_size)
    fitted = rising([sum(scores[seed] for seed in seeds) / len(seeds) for scores in by_size.values()])
    needs, note = needed(sizes, fitted, score)
    if needs is not None and len(sizes) == 2 and sizes[0] < needs < sizes[1]:
        note = TWO_SIZES
    transferred = None if needs is None else needs - group.task.size
    return EffectiveData(group.task, group.strategy, score, needs, transferred, note)


def _comparable(group: Group, other: Group) -> dict[int | None, float]:
    """Seed -> score, of the other's runs that have a seed of the group's, and its test images."""
    sets = {run.seed: test_set_of(run.record) for run in group.chosen}
    same = [run for run in other.chosen if run.seed in sets and sets[run.seed] == test_set_of(run.record)]
    return {run.seed: run.score or 0.0 for run in same}


def rising(scores: Sequence[float]) -> NDArray[np.floating]:
    """The nearest curve that never falls (isotonic regression): more images cannot be worth fewer."""
    return isotonic_regression(np.asarray(scores, float)).x


def needed(
    sizes: Sequence[int], fitted: Sequence[float] | NDArray[np.floating], score: float
) -> tuple[float | None, str]:
    """The smallest size at which a rising curve comes to a score, and a note where that is outside of what is measured.

    Straight between sizes on a logarithmic axis.
    """
    if score > fitted[-1]:
        return None, f"more than {sizes[-1]}"
    i = int(np.searchsorted(fitted, score))  # the first that is no lower
    if i == 0:
        return (float(sizes[0]), "") if score == fitted[0] else (None, f"fewer than {sizes[0]}")
    share = (score - fitted[i - 1]) / (fitted[i] - fitted[i - 1])
    return between(sizes[i - 1], sizes[i], float(share)), ""
