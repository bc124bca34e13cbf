"""How every rate moves from step to step: one factor for all groups, so that the plan's ratios between stages hold."""

import math
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from thawlab.errors import UserError, nearest

NAMES = ("constant", "cosine", "warmup_cosine", "one_cycle", "slanted_triangular", "plateau")
PLATEAU_MONITOR = "val/loss"
_RATIO = 32  # slanted_triangular: peak / lowest rate, as in Howard & Ruder
_START, _END = 1 / 25, 1 / 25e4  # one_cycle: first and last rate as shares of the peak, as torch's OneCycleLR


@dataclass(frozen=True)
class ScheduleSpec:
    """How each rate moves from step to step; see `schema.ScheduleConfig`."""

    name: str = "cosine"
    warmup: float = 0.1
    floor: float = 0.0
    factor: float = 0.1
    patience: int = 3

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"schedule.name is {self.name!r}. {nearest(self.name, NAMES)}")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"schedule.warmup is {self.warmup}, but it is a share of the steps: give 0 to 1.")
        if not 0 <= self.floor < 1:
            raise UserError(f"schedule.floor is {self.floor}, but it is a share of the peak rate: 0 <= x < 1.")
        if not 0 < self.factor < 1:
            raise UserError(f"schedule.factor is {self.factor}, but a plateau multiplies the rates by it: 0 < x < 1.")
        if self.patience < 0:
            raise UserError(f"schedule.patience is {self.patience}, but it counts epochs: give 0 or more.")


def factor(spec: ScheduleSpec, step: int, total_steps: int) -> float:
    """Share of the peak rate, 0 to 1, at optimizer step `step` (from 0) of `total_steps`; beyond the end, the last.

    ValueError for `plateau`, whose rate depends on what was measured, and for less than one step.
    """
    if total_steps < 1:
        raise ValueError(f"a schedule over {total_steps} steps")
    step = min(step, total_steps)
    if spec.name == "constant":
        return 1.0
    if spec.name == "cosine":
        return _cosine(1.0, spec.floor, step / total_steps)
    if spec.name == "warmup_cosine":
        return _warmup_cosine(spec, step, total_steps)
    if spec.name == "slanted_triangular":
        return _slanted_triangular(spec, step, total_steps)
    if spec.name == "one_cycle":
        return _one_cycle(spec, step, total_steps)
    raise ValueError(f"the rate of a {spec.name} schedule is no function of the step")


def _cosine(start: float, end: float, share: float) -> float:
    """Half a cosine wave from `start` (share 0) to `end` (share 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _warmup_cosine(spec: ScheduleSpec, step: int, total: int) -> float:
    rising = round(spec.warmup * total)
    if step < rising:
        # Over rising + 1, so that the first step is not wasted at rate 0 and the peak comes right after.
        return (step + 1) / (rising + 1)
    return _cosine(1.0, spec.floor, (step - rising) / max(1, total - rising))


def _slanted_triangular(spec: ScheduleSpec, step: int, total: int) -> float:
    """Howard & Ruder 2018, equation 3, with cut_frac = warmup and 1 / ratio = floor, 1/32 where that is 0.

    The paper's way down divides by cut * (1 / cut_frac - 1), which is total - cut where cut_frac * total is whole;
    elsewhere it would carry the rate below zero, so total - cut is used.
    """
    floor = spec.floor or 1 / _RATIO
    cut = math.floor(spec.warmup * total)
    share = step / cut if step < cut else 1 - (step - cut) / max(1, total - cut)
    return (1 + share * (1 / floor - 1)) * floor


def _one_cycle(spec: ScheduleSpec, step: int, total: int) -> float:
    """Smith & Topin 2017 as torch's OneCycleLR with cosine annealing: peak at warmup * total - 1, lowest at the last.

    A floor lifts the two ends.
    """
    peak, last = spec.warmup * total - 1, total - 1
    step = min(step, last)
    if step <= peak and peak > 0:
        return _cosine(max(_START, spec.floor), 1.0, step / peak)
    return _cosine(1.0, spec.floor or _END, (step - peak) / max(last - peak, 1e-12))


def build_scheduler(spec: ScheduleSpec, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
    """Make what Lightning wants as `lr_scheduler`; every group's present `lr` is taken for its peak rate.

    `plateau` acts after each epoch on `val/loss`; all others after each optimizer step.
    """
    if spec.name == "plateau":
        floors = [spec.floor * group["lr"] for group in optimizer.param_groups]
        # eps=0: torch's default leaves small rates alone, which would change the ratios between stages.
        plateau = ReduceLROnPlateau(
            optimizer, "min", factor=spec.factor, patience=spec.patience, min_lr=floors, eps=0.0
        )
        return {"scheduler": plateau, "interval": "epoch", "frequency": 1, "monitor": PLATEAU_MONITOR}

    def at(step: int) -> float:
        return factor(spec, step, total_steps)

    scheduler = LambdaLR(optimizer, [at] * len(optimizer.param_groups))
    return {"scheduler": scheduler, "interval": "step", "frequency": 1}
