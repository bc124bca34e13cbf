"""Which learning rate a strategy gets: the one that validation images choose. Test scores play no part."""

import math
from collections import defaultdict
from collections.abc import Sequence

from thawlab.record import Record

_SEVERAL, _ONE = "val/mean_average_precision", "val/accuracy"


def choose_rate(records: Sequence[Record]) -> tuple[float, dict[float, float]]:
    """The rate of a strategy on a task, and of each rate the mean validation score (0 to 1) that it is judged by.

    `records` are runs that differ in `optimizer.lr` and `seed` alone; only finished ones count. A rate's score is the
    mean, over the seeds that all rates share, of the best epoch's validation accuracy or, of images with several labels
    each, mean average precision. Of equal scores the lower rate is chosen. ValueError where no run has a score, or
    the rates share no seed.
    """
    scores: dict[float, dict[int, float]] = defaultdict(dict)
    for record in records:
        score = validation_score(record)
        if score is not None:
            scores[float(record.config["optimizer"]["lr"])][record.config["seed"]] = score
    if not scores:
        raise ValueError("no finished run has a validation score")
    shared = sorted(set.intersection(*(set(of_seeds) for of_seeds in scores.values())))
    if not shared:
        raise ValueError(f"the rates {', '.join(f'{rate:g}' for rate in sorted(scores))} share no seed")
    means = {rate: math.fsum(scores[rate][seed] for seed in shared) / len(shared) for rate in sorted(scores)}
    return min(means, key=lambda rate: (-means[rate], rate)), means


def validation_score(record: Record) -> float | None:
    """The main metric on the validation images at the best epoch, 0 to 1; None for a run that has none."""
    metric = _SEVERAL if _SEVERAL in record.metrics else _ONE
    return record.metrics.get(metric, {}).get("value") if record.status == "finished" else None
