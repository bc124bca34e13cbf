"""What a run costs by itself, whatever other runs left on disk for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thawlab.record import Record


@dataclass(frozen=True)
class MadeReady:
    """What frozen stages give of the training images, computed once at the start of an epoch."""

    epoch: int  # from 0
    flops: float  # of all rows, whoever computed them
    found: float  # of these, what other runs had computed


def made_ready(record: Record) -> list[MadeReady]:
    """Each time that a run needed rows which it had not computed itself before (`costs.cache` in docs/record.md)."""
    return list(_made_ready(record.costs.get("cache") or ()))


def _made_ready(choices: Sequence[Mapping[str, Any]]) -> Iterator[MadeReady]:
    own: set[tuple[str, ...]] = set()
    for choice in choices:
        if choice["split"] != "train" or choice["reason"] is not None:
            continue
        cut = tuple(choice["frozen"])
        # Rows of images are the same in every epoch; views are drawn anew.
        again = cut in own and choice["rows"] == "images"
        own.add(cut)
        needed = choice["built"] if again else choice["images"]
        yield MadeReady(choice["epoch"], choice["flops"] * needed, choice["flops"] * (needed - choice["built"]))


def flops_alone(record: Record) -> float | None:
    """FLOPs of a run's training if no other run had computed rows for it; None where they were not recorded.

    What it did, and what the rows cost that others computed: so the order of the runs does not matter.
    """
    done = record.costs.get("flops", {}).get("train")
    return None if done is None else done + sum(one.found for one in made_ready(record))


def flops_until(record: Record, epochs: int, of: int) -> float | None:
    """FLOPs of the first epochs of a training of so many: its rows' where they are computed, the rest evenly."""
    whole = flops_alone(record)
    if whole is None:
        return None
    rows = made_ready(record)
    even = whole - sum(one.flops for one in rows)
    return even * epochs / of + sum(one.flops for one in rows if one.epoch < epochs)


def seconds_until(record: Record, epochs: int, of: int) -> float | None:
    """Seconds of the first epochs, as they were: making ready where it was done, the rest evenly."""
    whole = record.costs.get("seconds", {}).get("total")
    if whole is None:
        return None
    # What is made ready after the last epoch, for the test images, is of the rest.
    rows = [(one["epoch"], one["seconds"]) for one in record.costs.get("cache") or () if one["epoch"] < of]
    even = whole - sum(seconds for _, seconds in rows)
    return even * epochs / of + sum(seconds for epoch, seconds in rows if epoch < epochs)
