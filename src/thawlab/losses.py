"""What training makes small."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from thawlab.errors import UserError


@dataclass(frozen=True)
class LossSpec:
    """What training makes small; see `schema.LossConfig`."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"loss.label_smoothing is {self.label_smoothing}. Give 0 (none) or more, below 1.")

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over the batch; logits (n, classes), targets int64 (n,) or shares of each class (n, classes)."""
        return functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
