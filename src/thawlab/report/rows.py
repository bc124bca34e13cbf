"""Records → one row per combination of settings, averaged over seeds: what every comparison shows."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scipy.stats import t as student

from thawlab.naming import NOT_RESULT
from thawlab.record import Record, Sweep, main_metric
from thawlab.runlock import owner_of
from thawlab.statuses import in_words

T = TypeVar("T")
CONFIDENCE = 0.95
# What tells runs apart without making them a different experiment.
_NOT_COMPARED = ("seed", *NOT_RESULT)
# A label names these first, and a value that follows from them not at all.
_NAMES = ("strategy.name", "backbone.name", "dataset.name", "head.kind")


@dataclass(frozen=True)
class Row:
    """The runs of one combination of settings, over seeds; shares are 0 to 1."""

    label: str
    seeds: tuple[int, ...]
    metric: str  # what `score` is: test/accuracy or, of images with several labels, test/mean_average_precision
    score: float
    half_width: float | None  # of the 95% t-interval of the mean, uncut; None for a single run
    seconds: float | None
    trained_share: float | None
    test_images: tuple[int, ...]  # how many; one number unless the runs differ
    val_images: tuple[int, ...]  # the same; empty where no record tells
    test_sets: frozenset[str]  # fingerprints

    @property
    def n(self) -> int:
        """How many runs were averaged."""
        return len(self.seeds)


def rows(sweep: Sweep) -> list[Row]:
    """Average the measured runs of each combination of settings that vary in the sweep, the best of a metric first."""
    measured = [record for record in sweep.records if score_of(record) is not None]
    labels = labels_of([settings(record) for record in measured])
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for label, record in zip(labels, measured, strict=True):
        groups[label, main_metric(record)].append(record)
    averaged = [_row(label, metric, records) for (label, metric), records in groups.items()]
    return sorted(averaged, key=lambda row: (row.metric, -row.score, row.label))


def unmeasured(sweep: Sweep) -> list[tuple[str, str]]:
    """Every run that no row counts: its name, and one line with the reason."""
    found = [(run.name, "missing: planned, but it left no record") for run in sweep.missing]
    found += [(name, f"unreadable: {_one_line(defect)}") for name, defect in sweep.unreadable.items()]
    found += [(one.name, _why(one, sweep.folder / one.name)) for one in sweep.records if score_of(one) is None]
    return sorted(found)


def settings(record: Record) -> dict[str, str]:
    """The config, flat; the rate of an advised run is the advice's, whatever the config says."""
    return flat(record.config) | ({"optimizer.lr": "advised"} if record.advice else {})


def _why(record: Record, folder: Path) -> str:
    if record.status == "running":
        return _still_running(folder)
    if record.status == "finished":
        return f"finished, but without a value for {main_metric(record)}"
    return f"{in_words(record.status)}: {_one_line(record.reason or 'no reason recorded')}"


def _still_running(folder: Path) -> str:
    """Of a record without an end: whether somebody still does the run."""
    try:
        owner = owner_of(folder)
    except OSError:
        return "missing: begun, but no end is recorded (still running, or killed)"
    return f"still running ({owner})" if owner else "killed: begun, but no end is recorded"


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else "no reason recorded"


def score_of(record: Record) -> float | None:
    """The run's main test score, 0 to 1; None unless it finished with one."""
    return record.metrics.get(main_metric(record), {}).get("value") if record.status == "finished" else None


def _row(label: str, metric: str, records: Sequence[Record]) -> Row:
    mean, half_width = mean_and_half_width([record.metrics[metric]["value"] for record in records])
    return Row(
        label,
        tuple(record.config.get("seed", 0) for record in records),
        metric,
        mean,
        half_width,
        mean_cost(records, "seconds", "total"),
        mean_cost(records, "parameters", "trained_share"),
        tuple(sorted({record.metrics[metric]["n"] for record in records})),
        tuple(sorted({record.data["val"] for record in records if "val" in record.data})),
        frozenset(test_set_of(record) for record in records),
    )


def test_set_of(record: Record) -> str:
    """What tells one set of test images from another."""
    return str(record.data.get("test_fingerprint") or record.data.get("fingerprint"))


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95% interval by Student's t; None for one value, which says nothing of spread."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return mean, float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / math.sqrt(n)


def leaders(items: Sequence[T], score: Callable[[T], float]) -> list[T]:
    """Those with the highest score: several where they tie, but for what adding up in another order leaves.

    >>> leaders((0.3, 0.1 + 0.2, 0.2), float)
    [0.3, 0.30000000000000004]
    """
    highest = max(map(score, items))
    return [item for item in items if math.isclose(score(item), highest, abs_tol=1e-9)]


def mean_cost(records: Sequence[Record], kind: str, key: str) -> float | None:
    """Mean over the runs; None where one of them lacks it, for half of them would not stand for all."""
    return mean_of_all([record.costs.get(kind, {}).get(key) for record in records])


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """The mean; None of none, and where one is unknown."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys -> values as text, without what does not make runs differ."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if f"{prefix}{key}" in _NOT_COMPARED:
            continue
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = "-" if value in (None, {}) else str(value)
    return found


def labels_of(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Name each run by its strategy, then by the fewest further settings that keep different ones apart."""
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if key not in _NAMES]
    varying = [key for key in (*_NAMES[1:], *keys) if len({config.get(key) for config in configs}) > 1]
    parts = [[config.get("strategy.name", "-")] for config in configs]
    classes = [tuple(part) for part in parts]
    for key in varying:
        split = [(*known, config.get(key, "-")) for known, config in zip(classes, configs, strict=True)]
        if len(set(split)) > len(set(classes)):
            classes = split
            for part, config in zip(parts, configs, strict=True):
                value = config.get(key, "-")
                part.append(value if key in _NAMES else f"{key}={value}")
    return [", ".join(part) for part in parts]
