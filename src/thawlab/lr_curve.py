"""What a range test saw: the curve, the rates that it suggests, and the files that show it.

The suggestions are those of fastai's `lr_find` (fastai/callback/schedule.py), on its smoothed loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.signal import lfilter

from thawlab.files import write_csv, write_json

SMOOTHING = 0.98  # fastai's: share of the earlier mean that each loss keeps
EXPLODED = 4.0  # the test ends once the smoothed loss is so many times its best
RECOMMENDED = "valley"
CURVE, FIGURE, SUGGESTED = "lr.csv", "lr.png", "lr.json"
_FALL = 0.01  # share of the first smoothed loss by which it must fall, or the test showed nothing
_LEAST = 6  # points, after both ends are cut off
_MARKERS = {"steepest": "^", "valley": "o", "minimum/10": "s"}


@dataclass(frozen=True)
class Suggestion:
    """A rate, as `optimizer.lr`, and by which rule."""

    rule: str
    rate: float


@dataclass(frozen=True)
class Curve:
    """A point per optimizer step: the rate, as `optimizer.lr`, and the mean loss of the step's images before it."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    planned: int  # steps that the test would have taken, had the loss not exploded

    @cached_property
    def smoothed(self) -> np.ndarray:
        """The losses, smoothed."""
        return smooth(self.losses)

    @property
    def exploded(self) -> bool:
        """Whether the loss is no number any more, or `EXPLODED` times the best one."""
        return not np.isfinite(self.losses[-1]) or bool(self.smoothed[-1] > EXPLODED * self.smoothed.min())

    def suggestions(self) -> tuple[Suggestion, ...]:
        """One of each rule; none where the loss never fell or the test was too short.

        As in fastai the first tenth of the steps, in which the mean still settles, and the last five, in which the
        loss explodes, are left out.
        """
        rates, losses = (np.array(values[self.planned // 10 : -5]) for values in (self.rates, self.smoothed))
        if len(losses) < _LEAST or losses[0] - losses.min() <= _FALL * abs(losses[0]):
            return ()
        slopes = np.diff(losses) / np.diff(np.log(rates))
        return (
            Suggestion("steepest", float(rates[slopes.argmin()])),
            Suggestion("valley", float(rates[valley(losses)])),
            Suggestion("minimum/10", float(rates[losses.argmin()]) / 10),
        )


def smooth(losses: Sequence[float]) -> np.ndarray:
    """Exponential means of the losses so far, without the bias towards zero that they would begin with."""
    weighted = lfilter([1 - SMOOTHING], [1, -SMOOTHING], np.asarray(losses, dtype=float))
    return np.asarray(weighted) / (1 - SMOOTHING ** np.arange(1, len(losses) + 1))


def valley(losses: np.ndarray) -> int:
    """Index of the middle of the longest valley's middle third.

    The valley is the longest subsequence that falls all the way; where several are as long, the first.
    """
    lengths = np.ones(len(losses), dtype=int)
    for i in range(1, len(losses)):
        above = lengths[:i][losses[:i] > losses[i]]
        lengths[i] = above.max(initial=0) + 1
    end = int(lengths.argmax())
    start = end - int(lengths[end])
    third = (end - start) / 3
    return start + int(third) + int(third / 2)


def recommended(suggestions: Sequence[Suggestion]) -> Suggestion:
    """The one to take: the valley's, since it rests on the whole descent and not, as the others, on a single point."""
    return next(suggestion for suggestion in suggestions if suggestion.rule == RECOMMENDED)


def leave_files(curve: Curve, shares: Mapping[str, float], folder: Path) -> None:
    """Write lr.csv, lr.png and lr.json; `shares` gives each stage's rate as a multiple of `optimizer.lr`."""
    columns = ["optimizer.lr", "loss", "smoothed", *(f"rate/{stage}" for stage in shares)]
    points = zip(curve.rates, curve.losses, curve.smoothed.tolist(), strict=True)
    write_csv(folder / CURVE, columns, [[*point, *(point[0] * share for share in shares.values())] for point in points])
    found = curve.suggestions()
    best = {"recommended": RECOMMENDED} if found else {}
    write_json(folder / SUGGESTED, best | {suggestion.rule: suggestion.rate for suggestion in found})
    FigureCanvasAgg(figure(curve)).print_png(folder / FIGURE)


def figure(curve: Curve) -> Figure:
    """The curve over the rate, which is drawn logarithmically, with every suggestion marked by shape and label."""
    drawn = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = drawn.add_subplot()
    axes.plot(curve.rates, curve.losses, ".", color="#9a9a9a", markersize=4, label="loss of a step")
    axes.plot(curve.rates, curve.smoothed, color="#1f4e79", label="smoothed")
    for suggestion in curve.suggestions():
        height = np.interp(np.log(suggestion.rate), np.log(curve.rates), curve.smoothed)
        label = f"{suggestion.rule}: {suggestion.rate:.2g}"
        if suggestion.rule == RECOMMENDED:
            label += " (recommended)"
            axes.axvline(suggestion.rate, color="black", linewidth=0.8, linestyle=":")
        axes.plot(
            suggestion.rate, height, _MARKERS[suggestion.rule], color="#c04000", markeredgecolor="black", label=label,
            markersize=8,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="optimizer.lr (rate of the head)", ylabel="training loss")
    axes.set_ylim(*_window(curve))
    axes.legend(loc="best", fontsize=8)
    axes.grid(alpha=0.3)
    return drawn


def _window(curve: Curve) -> tuple[float, float]:
    """Losses to show: an explosion would press the descent flat."""
    losses = np.array(curve.losses)
    losses = losses[np.isfinite(losses)]
    start = float(curve.smoothed[0])
    low, high = float(losses.min(initial=start)), min(float(losses.max(initial=start)), 1.6 * abs(start))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
