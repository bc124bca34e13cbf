"""The table "speed and memory to reach": each row a function of what was measured."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy import stats

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # measure -> a round's figures each
Figure = Callable[[Mapping[str, Any]], float]
SEEDS = 5  # by which accuracy is judged


@dataclass(frozen=True)
class Row:
    """A target and how far it was reached; `ratio` is None where a contender was not run."""

    work: str
    against: str
    target: float
    at_least: bool
    ratio: float | None
    range: tuple[float, float] | None
    says: str
    no_worse: bool | None = True  # in accuracy; None: not judged

    @property
    def reached(self) -> bool | None:
        """None: not known."""
        if self.ratio is None:
            return None
        return self.no_worse if self._short() <= 0 else False

    @property
    def asked(self) -> str:
        return f"at least {self.target:g} times faster" if self.at_least else f"at most {self.target:g} times"

    @property
    def sentence(self) -> str:
        """Whether it was reached and, where not, by how much it falls short."""
        if self.ratio is None:
            return f"{self.work}, against {self.against}: not run."
        word = self.verdict
        if self._short() > 0:
            word += f", {'short' if self.at_least else 'over'} by {self._short():.0%}"
        elif self.reached is False:
            word += ", less accurate"
        return (
            f"{self.work}, against {self.against}: {word} ({self.ratio:.2f}, asked {self.asked}). {self.says}".strip()
        )

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.ratio is None:
            return ""
        return {True: "reached", False: "not reached", None: "fast enough, accuracy not judged"}[self.reached]

    def _short(self) -> float:
        assert self.ratio is not None
        return (self.target - self.ratio if self.at_least else self.ratio - self.target) / self.target


def rows(results: Results) -> list[Row]:
    """Every row of the table, in its order."""
    simple = [
        _row(work, against, target, at_least, ratios(results, *names, figure), _seconds(results, *names, figure))
        for work, against, target, at_least, names, figure in SIMPLE
    ]
    return [
        *simple,
        full_by_default(results, "lightning", "Lightning + torchvision ImageFolder at theirs"),
        full_by_default(results, "fastai", "fastai at its defaults"),
        memory_by_images(results),
        memory_of_training(results),
    ]


def wall(figures: Mapping[str, Any]) -> float:
    return figures["wall"]


def peak(figures: Mapping[str, Any]) -> float:
    return figures["device_peak"] or figures["peak"]


def per_epoch(figures: Mapping[str, Any]) -> float:
    """Seconds of an epoch, its validation included; what was built before is not."""
    return _phases(figures, "data", "train", "validate") / figures["epochs"]


def per_step(figures: Mapping[str, Any]) -> float:
    """Seconds of an optimizer step, fetching its batch included."""
    return _phases(figures, "data", "train") / figures["steps"]


def _phases(figures: Mapping[str, Any], *names: str) -> float:
    return sum(figures["phases"].get(name, 0.0) for name in names)


# Work, against, target, whether more is better, the measures whose ratio it is, and of which figure.
SIMPLE: tuple[tuple[str, str, float, bool, tuple[str, str], Figure], ...] = (
    ("freeze, 20 epochs, from JPEGs", "Lightning BackboneFinetuning",
     20, True, ("freeze lightning", "freeze ours"), wall),
    ("freeze, 20 epochs, from JPEGs", "hand-written loop over cached features",
     1.15, False, ("freeze ours", "freeze cached"), wall),
    ("freeze run again (another seed, another head)", "its first run",
     5, True, ("freeze ours", "freeze again"), wall),
    ("partial at half depth, per epoch", "hand-written loop over the suffix alone",
     1.1, False, ("partial again", "partial suffix"), per_epoch),
    ("full, per step, same precision", "hand-written loop",
     1.03, False, ("step ours", "step hand"), per_step),
)  # fmt: skip


def ratios(results: Results, above: str, below: str, figure: Figure = wall) -> list[float]:
    """Round by round where both were measured as often, for neighbours in time compare best; else of the medians."""
    over, under = ([figure(one) for one in results.get(name, ())] for name in (above, below))
    if not over or not under:
        return []
    if len(over) == len(under):
        return [a / b for a, b in zip(over, under, strict=True)]
    return [statistics.median(over) / statistics.median(under)]


def _row(work: str, against: str, target: float, at_least: bool, found: Sequence[float], says: str) -> Row:
    if not found:
        return Row(work, against, target, at_least, None, None, "")
    return Row(work, against, target, at_least, statistics.median(found), (min(found), max(found)), says)


def _seconds(results: Results, above: str, below: str, figure: Figure) -> str:
    if not results.get(above) or not results.get(below):
        return ""
    return (
        f"{_median(results, above, figure):.3g} s over {_median(results, below, figure):.3g} s."
        f"{_spent(results[above])}{_spent(results[below])}"
    )


def _spent(figures: Sequence[Mapping[str, Any]]) -> str:
    """Where the seconds of a round in the middle went."""
    one = sorted(figures, key=wall)[len(figures) // 2]
    phases = {name: seconds for name, seconds in one["phases"].items() if seconds >= 0.05 and name != "total"}
    if not phases:
        return ""
    rest = one["wall"] - sum(phases.values())
    return f" Of {one['wall']:.3g} s: {', '.join(f'{k} {v:.2g}' for k, v in phases.items())}, all else {rest:.2g}."


def _median(results: Results, name: str, figure: Figure) -> float:
    return statistics.median(figure(one) for one in results[name])


def full_by_default(results: Results, name: str, against: str) -> Row:
    """Seconds, of drawn images from random weights; whether accuracy pays for them, of what `--accuracy` named."""
    names = f"full {name}", "full ours"
    row = _row(
        "full, 5 epochs from JPEGs, our defaults (bf16)", against, 1.8, True,
        ratios(results, *names), _seconds(results, *names, wall),
    )  # fmt: skip
    if row.ratio is None:
        return row
    found = ([one["accuracy"] for one in results.get(f"accuracy {key}", ())] for key in ("ours", f"by_{name}"))
    no_worse, said = accuracies(*found)
    return replace(row, says=f"{row.says} {said}", no_worse=no_worse)


def accuracies(ours: Sequence[float], theirs: Sequence[float]) -> tuple[bool | None, str]:
    """Whether ours is no worse in the mean over `SEEDS` or more; None where it was not tried as often."""
    differences = [a - b for a, b in zip(ours, theirs, strict=False)]
    if len(differences) < SEEDS:
        return None, f"Accuracy: {len(differences)} seeds, {SEEDS} are asked for (`--accuracy`)."
    mean, half = statistics.mean(differences), _half_interval(differences)
    means = f"Accuracy {statistics.mean(ours):.1%} against {statistics.mean(theirs):.1%}"
    return mean >= 0, f"{means} over {len(differences)} seeds: by {100 * mean:+.1f} ± {100 * half:.1f} points."


def _half_interval(values: Sequence[float]) -> float:
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)


def memory_by_images(results: Results) -> Row:
    """The worst of `freeze` and `full`, the most images against the fewest."""
    found = {}
    for task in ("freeze", "full"):
        names = sorted((name for name in results if name.startswith(f"{task} x")), key=lambda n: int(n.split("x")[-1]))
        if len(names) > 1:
            found[f"{task} {names[-1].split()[-1]}"] = ratios(results, names[-1], names[0], peak)
    return _worst("peak memory, 16 times the images", "once the images", found)


def memory_of_training(results: Results) -> Row:
    """The worst of the three tasks."""
    pairs = {"freeze": ("freeze ours", "freeze cached"), "partial": ("partial again", "partial suffix")}
    pairs["full"] = ("step ours", "step hand")
    found = {task: ratios(results, *names, peak) for task, names in pairs.items()}
    row = _worst("peak memory of training", "the hand-written loop's", found)
    held = [f"{task} {_held(results, ours)} against {_held(results, hand)}" for task, (ours, hand) in pairs.items()
            if found[task]]  # fmt: skip
    return replace(row, says=f"{row.says} MB above what the imports take: {_listed(held)}" if held else row.says)


def _held(results: Results, name: str) -> str:
    """What a contender took on top of its imports, in MB, and these."""
    above = statistics.median((peak(one) - one.get("resident_before", 0)) / 1e6 for one in results[name])
    return (
        f"{above:.0f} (imports {statistics.median(one.get('resident_before', 0) for one in results[name]) / 1e6:.0f})"
    )


def _worst(work: str, against: str, found: Mapping[str, Sequence[float]]) -> Row:
    medians = {name: statistics.median(values) for name, values in found.items() if values}
    if not medians:
        return _row(work, against, 1.1, False, [], "")
    worst = max(medians, key=lambda name: medians[name])
    return _row(work, against, 1.1, False, found[worst], _listed(f"{n} {v:.2f}" for n, v in medians.items()))


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts) + "."
