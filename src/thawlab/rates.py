"""Which learning rate a strategy gets: the one that validation images prefer. Test images have no say."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from thawlab.record import Record, main_metric


def choose_rate(records: Sequence[Record]) -> tuple[float, dict[float, float]]:
    """Choose among the rates at which a strategy was run on a task: the rate, and every candidate's mean.

    The mean is of the best epoch's main validation score, over the seeds that all candidates share. Of equals, which
    few validation images make common, the one with the lower mean validation loss wins, then the lower rate. A rate
    without results is no candidate, nor one that lacks the seed that most rates have.
    ValueError where no run has a result.
    """
    scores: dict[float, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    losses: dict[float, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if (score := validation_score(record)) is not None:
            rate, seed = float(record.config["optimizer"]["lr"]), record.config.get("seed", 0)
            scores[rate][seed].append(score)
            losses[rate][seed].append(validation_loss(record))
    if not scores:
        raise ValueError("no run has a validation score")
    frequency = Counter(seed for seeds in scores.values() for seed in seeds)
    commonest = min(frequency, key=lambda seed: (-frequency[seed], seed))
    candidates = {rate: seeds for rate, seeds in scores.items() if commonest in seeds}
    shared = sorted(set.intersection(*(set(seeds) for seeds in candidates.values())))
    means = {rate: _mean([_mean(candidates[rate][seed]) for seed in shared]) for rate in sorted(candidates)}
    loss = {rate: _mean([_mean(losses[rate][seed]) for seed in shared]) for rate in means}
    return max(means, key=lambda rate: (means[rate], -loss[rate], -rate)), means


def validation_loss(record: Record) -> float:
    """At the best epoch; infinite where it is no number."""
    value = record.metrics.get("val/loss", {}).get("value")
    return value if value is not None and math.isfinite(value) else math.inf


def validation_score(record: Record) -> float | None:
    """The main metric on validation images at the best epoch, 0 to 1; None unless the run finished with one."""
    name = main_metric(record).replace("test/", "val/", 1)
    return record.metrics.get(name, {}).get("value") if record.status == "finished" else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
