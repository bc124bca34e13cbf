"""Which axes of a feature tensor are places in the image, and which one its channels."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

Shape = tuple[int, ...]


class Unknown(Exception):
    """It cannot be told which axes are places; the message says of which features."""


def places(shapes: Mapping[int, Shape], size: int, at: Callable[[int], Mapping[int, Shape]], told: Any) -> list[Shape]:
    """The axes of each tensor of `shapes` (images first) to average over; the one that is left holds its channels.

    Places are what changes with the image's size: `at(pixels)` gives the shapes at another, or raises where the
    network takes one size only. Channels come first or last, so that they are last where the first axis changes, and
    first where the last one does. Where nothing changes, three axes are tokens (n, tokens, width); of four, `told`
    decides ("NCHW" or "NHWC", timm's `output_fmt`), else the one pair of neighbouring axes that is square, as images
    are. Raises Unknown.
    """
    known = {i: () for i, shape in shapes.items() if len(shape) == 2}
    for other in (size // 2, size * 2):
        if len(known) == len(shapes):
            break
        with suppress(Exception):  # networks raise many kinds
            there = at(other)
            known |= {i: axes for i in shapes if i not in known and (axes := _changed(shapes[i], there[i]))}
    return [known.get(i) or _unchanged(shape, told) for i, shape in shapes.items()]


def _changed(shape: Shape, there: Shape) -> Shape:
    if len(shape) != len(there):
        return ()
    changes = [a != b for a, b in zip(shape, there, strict=True)]
    if changes[1] == changes[-1]:  # both channels or both places: no answer
        return ()
    axes = range(1, len(shape))
    return tuple(axes[:-1] if changes[1] else axes[1:])


def _unchanged(shape: Shape, told: Any) -> Shape:
    if len(shape) <= 3:
        return (1,) * (len(shape) - 2)
    named = {"NCHW": (2, 3), "NHWC": (1, 2)}.get(str(told))
    square = [(i, i + 1) for i in (1, 2) if shape[i] == shape[i + 1]]
    if len(shape) == 4 and (named or len(square) == 1):
        return named or square[0]
    raise Unknown("x".join(str(side) for side in shape[1:]))
