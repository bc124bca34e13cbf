"""When a plateau of the monitored metric thaws a further stage."""

from dataclasses import dataclass, field


@dataclass
class Plateaus:
    """What a plateau schedule has decided so far; the one piece of freezing that a checkpoint must carry."""

    patience: int
    higher_is_better: bool
    epochs: list[int] = field(default_factory=list)  # epochs at which a further stage began to train
    best: float | None = None
    waited: int = 0

    def observe(self, value: float, epoch: int) -> None:
        """Take in the monitored metric at the end of `epoch`; thaw from the next one after `patience` without gain."""
        better = self.best is None or (value > self.best if self.higher_is_better else value < self.best)
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        if self.waited >= self.patience:
            self.epochs.append(epoch + 1)
            self.waited = 0
