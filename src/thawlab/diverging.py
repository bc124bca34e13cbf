"""The end of a run whose numbers are none."""


class Diverged(FloatingPointError):
    """Training led to numbers that are none; the message says where, and what helps."""

    def __init__(self, what: str, epoch: int) -> None:
        super().__init__(
            f"training diverged: {what} in epoch {epoch + 1}. Lower optimizer.lr, or set trainer.clip_norm=1."
        )
