"""The audit: what a plan promises, printed before the first step and checked after the last."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from thawlab.shares import percent
from thawlab.stages import Stage
from thawlab.strategy import Plan, Row

Digests = Mapping[str, str]


@dataclass(frozen=True)
class Audit:
    """Whether the plan's promises were kept, and a line for each stage."""

    passed: bool
    checks: tuple[str, ...]


def table(plan: Plan, in_optimizer: Collection[str]) -> list[tuple[str, ...]]:
    """The plan as text cells, a header first: one row per stage."""
    header = (
        "stage",
        "parameters",
        "share",
        "weights from",
        "trains from epoch",
        "rate",
        "frozen norms",
        "in optimizer",
    )
    return [header, *(_cells(row, in_optimizer) for row in plan.rows)]


def _cells(row: Row, in_optimizer: Collection[str]) -> tuple[str, ...]:
    if not row.kept:
        return (row.stage, f"{row.parameters:,}", "-", "cut", "-", "-", "-", "-")
    first = f"plateau {row.turn}" if row.turn else "never" if row.first_epoch is None else str(row.first_epoch)
    rate = f"{row.rate:.2e}" if row.trains else "-"
    member = "yes" if row.stage in in_optimizer else "no"
    return (row.stage, f"{row.parameters:,}", f"{percent(row.share)}%", row.weights, first, rate, row.norm, member)


def digests(network: nn.Module, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, str]:
    """The sha256 of every wanted parameter and buffer, by name; equal if and only if the bits are."""
    return {name: digest(tensor) for name, tensor in network.state_dict().items() if wanted(name)}


def digest(tensor: torch.Tensor) -> str:
    """The sha256 of a tensor's numbers; its shape and kind are not in it."""
    data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor.cpu()
    return hashlib.sha256(data.numpy().data).hexdigest()


def remarks(plan: Plan, epochs: int) -> list[str]:
    """What a plan will not do in `epochs` epochs although it reads as if it did."""
    late = [row.stage for row in plan.kept if row.first_epoch is not None and row.first_epoch >= epochs]
    idle = [row.stage for row in plan.kept if row.weights in ("fresh", "random") and not row.trains]
    partly = [row.stage for row in plan.kept if row.weights == "partly" and not row.trains]
    said = []
    if late:
        said.append(f"{', '.join(late)} would thaw after this run's {epochs} epochs, and stay frozen throughout")
    if idle:
        said.append(f"{', '.join(idle)} start from random weights and never train")
    if partly:
        said.append(f"{', '.join(partly)} start partly from random weights and never train")
    return said


def check(
    before: Digests,
    after: Digests,
    stages: Sequence[Stage],
    trained: Collection[str],
    norm: str,
    in_optimizer: Collection[str],
) -> Audit:
    """Compare what happened with the promise: frozen stages bit-identical, trained ones changed, all in the optimizer.

    `trained` names the stages that took at least one step, `in_optimizer` those of which the optimizer has every
    parameter. Under `norm="adapt"` a frozen stage's buffers may move.
    """
    results = [_check_stage(before, after, stage, stage.name in trained, norm) for stage in stages]
    results += [
        (False, f"{s.name}: not wholly in the optimizer - BROKEN") for s in stages if s.name not in in_optimizer
    ]
    return Audit(all(ok for ok, _ in results), tuple(line for _, line in results))


def _check_stage(before: Digests, after: Digests, stage: Stage, trained: bool, norm: str) -> tuple[bool, str]:
    buffers = [n for n in before if n not in stage.parameters and stage.owns(n)]
    moved = [n for n in stage.parameters if before[n] != after[n]]
    drifted = [n for n in buffers if before[n] != after[n]]
    if trained:
        still = [n for n in stage.parameters if n not in moved]
        # A parameter may stand still by right (a dead unit); a stage may not.
        end = " - BROKEN" if not moved else f"; unmoved: {', '.join(still)}" if still else ""
        return bool(moved), f"{stage.name}: trained, {len(moved)} of {len(stage.parameters)} parameters changed{end}"
    if norm == "adapt":
        drifted = []
    broken = [*moved, *drifted]
    if broken:
        return False, f"{stage.name}: frozen, but {len(broken)} changed - BROKEN: {', '.join(broken[:3])}"
    return True, f"{stage.name}: frozen, {len(stage.parameters)} parameters and {len(buffers)} buffers bit-identical"
