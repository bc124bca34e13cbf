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
    images: int  # rows that the stretch needs
    missing: int  # of those, the ones that are not there yet
    passes: int  # how often each row is used
    device: str  # cpu or cuda

    @property
    def saved(self) -> float:
        """FLOPs that need not be done again."""
        return self.flops * (self.images * self.passes - self.missing)

    @property
    def paid(self) -> float:
        """What writing and reading costs, in FLOPs."""
        return self.nbytes * (self.images * self.passes + 2 * self.missing) * PER_BYTE[self.device]


def refusal(offer: Offer) -> str | None:
    """Why it would not pay; None where it does.

    >>> refusal(Offer(flops=3e9, nbytes=4e5, images=1000, missing=1000, passes=20, device="cpu")) is None
    True
    >>> refusal(Offer(flops=3e9, nbytes=4e5, images=1000, missing=1000, passes=1, device="cpu"))
    'each image passes once'
    """
    if offer.saved <= 0:
        return "each image passes once"
    if offer.saved < LEAST[offer.device]:
        return f"it would save {offer.saved / 1e9:.2g} GFLOPs in all"
    if offer.saved < offer.paid:
        return f"reading {offer.nbytes / 1e3:.3g} kB an image costs more than computing {offer.flops / 1e9:.2g} GFLOPs"
    return None
