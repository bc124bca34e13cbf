"""Training at another size than the source's: what is resampled, and what it costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from thawlab.backbones.sizes import shapes_of
from thawlab.backbones.spec import BackboneSpec
from thawlab.costs import count_flops

Shape = tuple[int, ...]
Changes = Mapping[str, tuple[Shape, Shape]]  # tensor -> its shape in the source, and here


def size_line(spec: BackboneSpec, size: int, saw: int | None, channels: int, resampled: Changes) -> str:
    """Say what another size than the source's does to its weights and to the cost; `saw` is None where unknown."""
    what = "; ".join(_resampling(resampled)) or "no tensor of its weights depends on that, nothing to resample"
    if saw is None:
        return f"images of {size} pixels, the source saw another size: {what}"
    cost = relative_cost(spec, size, saw, channels)
    told = f"; the whole network's forward pass costs {cost:.2f} times that at {saw}" if cost is not None else ""
    return f"images of {size} pixels, the source saw {saw}: {what}{told}"


def state_shapes(spec: BackboneSpec, size: int, channels: int) -> dict[str, Shape]:
    """The shapes of the network's tensors, built for another size."""
    found = shapes_of(replace(spec, size=size), channels).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in found.items()}


def relative_cost(spec: BackboneSpec, size: int, other: int, channels: int) -> float | None:
    """Forward FLOPs at `size` over those at `other`; None where the network does not run at `other`."""
    plain = replace(spec, weights=None, mean=None, std=None, parts={})
    try:
        here, there = (_forward_flops(_Key(replace(plain, size=s)), s, channels) for s in (size, other))
    except Exception:  # what it was trained on need not be what this library builds it for
        return None
    return here / there if there else None


class _Key:
    """A spec that can be remembered by what it builds: its mapping of parts cannot."""

    def __init__(self, spec: BackboneSpec) -> None:
        self.spec = spec

    def __hash__(self) -> int:
        return hash((self.spec.library, self.spec.name, self.spec.function, self.spec.size))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.spec == other.spec


@lru_cache(maxsize=64)
def _forward_flops(key: _Key, size: int, channels: int) -> int:
    return count_flops(shapes_of(key.spec, channels), (channels, size, size), ()).forward


def _resampling(resampled: Changes) -> Sequence[str]:
    by_change: dict[str, list[str]] = {}
    for name, (before, after) in resampled.items():
        by_change.setdefault(_change(before, after), []).append(name)
    return [f"{_named(names)} resampled from {change}" for change, names in by_change.items()]


def _named(names: Sequence[str]) -> str:
    kind = "position embeddings" if any("pos" in name for name in names) else "weights"
    return f"{kind} ({names[0]})" if len(names) == 1 else f"{kind} ({len(names)} tensors, such as {names[0]})"


def _change(before: Shape, after: Shape) -> str:
    """Of tokens (1, n, width) the grid's sides, without class tokens; of offsets' tables the window's; else shapes."""
    if len(before) == len(after) == 2 and before[1] == after[1]:
        sides = [math.isqrt(shape[0]) for shape in (before, after)]
        if all(side % 2 and side**2 == shape[0] for side, shape in zip(sides, (before, after), strict=True)):
            return "windows of " + " to ".join(f"{(side + 1) // 2}x{(side + 1) // 2}" for side in sides)
    if len(before) == len(after) == 3 and before[0] == after[0] == 1:
        for extra in range(6):
            sides = [math.isqrt(max(0, shape[1] - extra)) for shape in (before, after)]
            if all(side**2 == shape[1] - extra for side, shape in zip(sides, (before, after), strict=True)):
                return " to ".join(f"{side}x{side}" for side in sides)
    return " to ".join("x".join(map(str, shape)) for shape in (before, after))
