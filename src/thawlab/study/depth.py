"""The strategies of a depth profile: where the boundary lies, from the input to the head (Yosinski et al. 2014).

arXiv:1411.1792, whose AnB is `frozen` and AnB+ `trained`; `random` has first stages that nobody trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONTROLS = ("frozen", "trained", "random")


@dataclass(frozen=True)
class Depth:
    """A point of the profile: the first `kept` stages are the control's, the others random and trained."""

    control: str
    kept: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the strategy, in records."""
        return f"depth_{self.control}_{self.kept}"


def depths(body: int) -> dict[str, list[Depth]]:
    """The points of each control, for a network with `body` stages below the head.

    Where nothing is kept, all controls are the same network, trained from random weights: it is done once, as the
    first point of `trained`.
    """
    return {
        control: [_depth(control, kept, body) for kept in range(0 if control == "trained" else 1, body + 1)]
        for control in CONTROLS
    }


def middle(body: int) -> int:
    """The depth at which a control's rate is searched."""
    return (body + 1) // 2


def _depth(control: str, kept: int, body: int) -> Depth:
    """All in a strategy's fields: `fresh` stages nearest the head start random, `train` stages from there train."""
    weights, fresh = ("random", 0) if control == "random" else ("pretrained", body - kept)
    train = body if control == "trained" else body - kept
    words = (
        "strategy=full",
        f"strategy.name=depth_{control}_{kept}",
        f"strategy.weights={weights}",
        "strategy.keep=1.0",
        f"strategy.fresh={fresh}",
        f"strategy.train={train}",
        # A stage that is copied and one that is not must not differ in their rate as well.
        "strategy.layer_decay=1.0",
        "strategy.source_rate=1.0",
    )
    return Depth(control, kept, words)


def body_stages(config: Mapping[str, Any]) -> list[str]:
    """The names of a network's stages below the head; UserError where it cannot be built for these images."""
    from thawlab.prepare import prepare

    return [row.stage for row in prepare(config).built.plan.rows][:-1]
