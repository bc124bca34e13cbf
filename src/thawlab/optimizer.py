"""The optimizers on offer, over a plan's parameter groups."""

from dataclasses import dataclass
from typing import Any

import torch

from thawlab.errors import UserError, nearest

NAMES = ("adamw", "sgd")


@dataclass(frozen=True)
class OptimizerSpec:
    """How the weights are stepped; see `schema.OptimizerConfig`."""

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"optimizer.name is {self.name!r}. {nearest(self.name, NAMES)}")
        if self.lr <= 0:
            raise UserError(f"optimizer.lr is {self.lr}, but a rate is positive. Give, for instance, 0.001.")
        if self.weight_decay < 0:
            raise UserError(
                f"optimizer.weight_decay is {self.weight_decay}, but it cannot be negative. Give 0 for none."
            )
        if not 0 <= self.momentum < 1:
            raise UserError(f"optimizer.momentum is {self.momentum}. Give 0 (none) or more, below 1.")


def build_optimizer(spec: OptimizerSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """An optimizer over `groups`, each of which carries its own `lr` and `weight_decay`."""
    if spec.name == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
    return torch.optim.AdamW(groups, lr=spec.lr)
