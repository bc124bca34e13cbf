"""The axis of sizes: where scratch catches up with a strategy, and how many images a strategy is worth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from thawlab.report.evidence import SCRATCH, Evidence, Group, Run
from thawlab.report.findings import ABOVE, BELOW, LEAD_CHANGES, Crossing, Difference, EffectiveData, Interval
from thawlab.report.pairing import Reader, pairs_of
from thawlab.report.pairing import test as tested
from thawlab.report.rows import test_set_of

TWO_SIZES = "between two measured sizes"  # what a straight line through two points is worth
_UNKNOWN = Interval(0.0, None, None, 1)


def _beside_scratch(evidence: Evidence) -> Iterator[tuple[Group, Group]]:
    """Every group, and the runs from scratch that it is held against."""
    for group in evidence.groups:
        scratch = evidence.scratch_of(group)
        if scratch and group.name != SCRATCH:
            yield group, scratch


def crossings(evidence: Evidence, held: Sequence[Difference]) -> tuple[Crossing, ...]:
    """For each strategy, where scratch overtakes it for good; none where fewer than two sizes were measured.

    The lead at a size is the mean over the seeds that both have there, its interval that of the difference in `held`.
    """
    bands = {(one.task, one.strategy): one.points for one in held}
    leads: dict[tuple[str, str, str], dict[int, float]] = {}
    known: dict[tuple[str, str, str], dict[int, Interval]] = {}
    for group, scratch in _beside_scratch(evidence):
        ahead = [(one.score or 0.0) - (two.score or 0.0) for one, two in pairs_of(group, scratch)]
        if ahead:
            key = group.task.target, group.task.source, group.strategy
            leads.setdefault(key, {})[group.task.size] = sum(ahead) / len(ahead)
            known.setdefault(key, {})[group.task.size] = bands.get((group.task, group.strategy), _UNKNOWN)
    several = [(key, dict(sorted(by_size.items()))) for key, by_size in leads.items() if len(by_size) > 1]
    return tuple(_crossing(key, by_size, known[key]) for key, by_size in several)


def _crossing(key: tuple[str, str, str], ahead: Mapping[int, float], bands: Mapping[int, Interval]) -> Crossing:
    sizes = list(ahead)
    size, between_, note = crossing(sizes, list(ahead.values()))
    if size is None or between_ is None:
        return Crossing(*key, size, between_, note + _doubt(ahead, bands))
    return Crossing(*key, size, between_, note, *bounds(sizes, lambda i: bands[sizes[i]], sizes.index(between_[0])))


def _doubt(ahead: Mapping[int, float], bands: Mapping[int, Interval]) -> str:
    """What is to be said of a lead that never changes for good where its interval does not show that."""
    doubtful = [size for size, lead in ahead.items() if bands[size].side != (ABOVE if lead > 0 else BELOW)]
    return f"; not shown by its interval at {', '.join(map(str, doubtful))}" if doubtful else ""


def bounds(sizes: Sequence[int], lead: Callable[[int], Interval], last: int) -> tuple[float | None, float | None]:
    """Between which sizes a lead that is lost between `last` and the next may be lost: its interval has room for zero.

    `lead(i)` is that at size i. From the last size at which the lead is shown to the first at which its loss is;
    between sizes the intervals' ends are joined straight on a logarithmic axis. None where no size shows it, as of one
    seed.
    """
    low = next((i for i in range(last, -1, -1) if lead(i).side == ABOVE), None)
    high = next((i for i in range(last + 1, len(sizes)) if lead(i).side == BELOW), None)
    return (
        None if low is None else _zero(sizes, low, lead(low).low, lead(low + 1).low),
        None if high is None else _zero(sizes, high - 1, lead(high - 1).high, lead(high).high),
    )


def _zero(sizes: Sequence[int], i: int, here: float | None, there: float | None) -> float | None:
    """Where the line from a bound at size i to that at the next passes zero; None where one of them is unknown."""
    if here is None or there is None or here == there:
        return None
    return between(sizes[i], sizes[i + 1], min(max(here / (here - there), 0.0), 1.0))


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


def effective(evidence: Evidence, reader: Reader) -> tuple[EffectiveData, ...]:
    """How many images scratch would need for each strategy's score at each size.

    Both are means over the same seeds: those of the strategy that scratch has at each of its sizes.
    """
    found = [_effective(group, _curve(evidence, scratch), reader) for group, scratch in _beside_scratch(evidence)]
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


def _effective(group: Group, curve: Sequence[Group], reader: Reader) -> EffectiveData:
    by_size = {one.task.size: runs for one in curve if (runs := _comparable(group, one))}
    own = {run.seed: run for run in group.chosen}
    seeds = sorted(set(own).intersection(*by_size.values()), key=str)
    if not seeds or not by_size:
        score = _mean(list(own.values()))
        return EffectiveData(group.task, group.strategy, score, None, None, "no seed that scratch has at every size")
    score, sizes = _mean([own[seed] for seed in seeds]), list(by_size)
    needs, note = needed(sizes, rising([_mean([runs[s] for s in seeds]) for runs in by_size.values()]), score)
    if needs is None:
        return EffectiveData(group.task, group.strategy, score, None, None, note)

    @cache
    def lead(i: int) -> Interval:
        """Over scratch's runs with the images of size i."""
        pairs = [(own[seed], by_size[sizes[i]][seed]) for seed in seeds]
        return tested(pairs, f"{group.strategy} and {SCRATCH}, {group.task.target}", reader).tested.points

    if len(sizes) == 2 and sizes[0] < needs < sizes[1]:
        note = TWO_SIZES
    last = max((i for i in range(len(sizes)) if sizes[i] < needs), default=0)
    ends = bounds(sizes, lead, last) if len(sizes) > 1 else (None, None)
    return EffectiveData(group.task, group.strategy, score, needs, needs - group.task.size, note, *ends)


def _comparable(group: Group, other: Group) -> dict[int | None, Run]:
    """Seed -> run, of the other's runs that have a seed of the group's, and its test images."""
    sets = {run.seed: test_set_of(run.record) for run in group.chosen}
    return {run.seed: run for run in other.chosen if run.seed in sets and sets[run.seed] == test_set_of(run.record)}


def _mean(runs: Sequence[Run]) -> float:
    return sum(run.score or 0.0 for run in runs) / len(runs)


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
