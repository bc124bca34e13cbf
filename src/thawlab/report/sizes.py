"""The axis of sizes: where scratch catches up with a strategy, and how many images a strategy is worth."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from thawlab.report.evidence import SCRATCH
from thawlab.report.findings import Cell, Crossing, EffectiveData

Curve = Mapping[int, Cell]  # size -> the cell


def curves_of(cells: Sequence[Cell]) -> dict[tuple[str, str], dict[str, Curve]]:
    """(target, source) -> strategy -> its cells by size, the smallest first."""
    found: dict[tuple[str, str], dict[str, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for cell in sorted(cells, key=lambda cell: cell.task.size):
        found[cell.task.target, cell.task.source][cell.strategy][cell.task.size] = cell
    return {key: dict(strategies) for key, strategies in found.items()}


def _beside_scratch(cells: Sequence[Cell]) -> Iterator[tuple[str, str, str, Curve, Curve]]:
    """Target, source, strategy, its curve and that of scratch with the same further settings."""
    for (target, source), strategies in curves_of(cells).items():
        for strategy, curve in strategies.items():
            scratch = strategies.get(_scratch_of(strategy), strategies.get(SCRATCH))
            if scratch and strategy.split(",")[0] != SCRATCH:
                yield target, source, strategy, curve, scratch


def _scratch_of(strategy: str) -> str:
    _, comma, others = strategy.partition(",")
    return SCRATCH + comma + others


def crossings(cells: Sequence[Cell]) -> tuple[Crossing, ...]:
    """For each strategy, where scratch overtakes it for good; none where fewer than two sizes were measured."""
    found = []
    for target, source, strategy, curve, scratch in _beside_scratch(cells):
        sizes = sorted(set(curve) & set(scratch))
        if len(sizes) > 1:
            ahead = [curve[size].score.value - scratch[size].score.value for size in sizes]
            found.append(Crossing(target, source, strategy, *crossing(sizes, ahead)))
    return tuple(found)


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
    return "; the lead also changes near " + ", ".join(f"{_place(sizes, ahead, i):.0f}" for i in changes)


def effective(cells: Sequence[Cell]) -> tuple[EffectiveData, ...]:
    """How many images scratch would need for each strategy's score at each size."""
    found = []
    for _, _, strategy, curve, scratch in _beside_scratch(cells):
        sizes = list(scratch)
        weights = [cell.score.n for cell in scratch.values()]
        fitted = rising([cell.score.value for cell in scratch.values()], weights)
        for size, cell in curve.items():
            needs, note = needed(sizes, fitted, cell.score.value)
            transferred = None if needs is None else needs - size
            found.append(EffectiveData(cell.task, strategy, cell.score.value, needs, transferred, note))
    return tuple(found)


def rising(scores: Sequence[float], weights: Sequence[float]) -> NDArray[np.floating]:
    """The nearest curve that never falls (isotonic regression): more images cannot be worth fewer."""
    return isotonic_regression(np.asarray(scores, float), weights=np.asarray(weights, float)).x


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
