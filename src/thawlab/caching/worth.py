"""Whether computing once and reading back is worth it: bytes against arithmetic."""

from dataclasses import dataclass

# Floating-point operations in the time that one byte takes to be read and handed over: measured on the CPU
# (some 10^11 a second against 2 GB a second), an estimate for a GPU (10^13 to 10^14 against 3 GB a second).
PER_BYTE = {"cpu": 50.0, "cuda": 10_000.0}
# What is saved must also pay for setting it up: a second's work.
LEAST = {"cpu": 5e10, "cuda": 1e13}


@dataclass(frozen=True)
class Offer:
    """What caching would save and cost over a stretch of epochs."""

    flops: float  # of the frozen part's forward pass for one image
    nbytes: float  # kept for one image
    shown: int  # images that the stretch shows, each as often as it shows it
    missing: int  # rows to compute for them that are not there yet
    device: str  # cpu or cuda

    @property
    def saved(self) -> float:
        """FLOPs that need not be done again."""
        return self.flops * (self.shown - self.missing)

    @property
    def paid(self) -> float:
        """What writing and reading costs, in FLOPs."""
        return self.nbytes * (self.shown + 2 * self.missing) * PER_BYTE[self.device]


def refusal(offer: Offer) -> str | None:
    """Why it would not pay; None where it does.

    >>> refusal(Offer(flops=3e9, nbytes=4e5, shown=20_000, missing=1000, device="cpu")) is None
    True
    >>> refusal(Offer(flops=3e9, nbytes=4e5, shown=1000, missing=1000, device="cpu"))
    'nothing of it would be used twice'
    """
    if offer.saved <= 0:
        return "nothing of it would be used twice"
    if offer.saved < LEAST[offer.device]:
        return f"too little to gain: {offer.saved / 1e9:.2g} GFLOPs, a second's work or less (cache=on keeps it still)"
    if offer.saved < offer.paid:
        return f"reading {offer.nbytes / 1e3:.3g} kB an image costs more than computing {offer.flops / 1e9:.2g} GFLOPs"
    return None
