"""Tensors as bytes and back, with the memory layout that they had.

Only here does the store need torch, and only once tensors pass: listing and verifying start at once.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Bytes = NDArray[np.uint8]
SIZES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
SIZES |= {"int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}


@dataclass(frozen=True)
class TensorLayout:
    """One tensor of a row.

    `shape` is a row's, without the axis of rows; None: ragged, each row has its own, all with the same number of axes.
    `order` names a row's axes from the slowest to the fastest in memory, as (1, 2, 0) of a channels_last (c, h, w);
    None: contiguous. A batch read back has these strides, so that kernels do with it what they did without the store.
    """

    shape: tuple[int, ...] | None
    dtype: str
    order: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in SIZES:
            raise ValueError(f"rows of {self.dtype} cannot be kept: one of {', '.join(SIZES)}")
        axes = len(self.order or ()) if self.shape is None else len(self.shape)
        if self.order is not None and sorted(self.order) != list(range(axes)):
            raise ValueError(f"{self.order} does not order {axes} axes")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, where all have the same."""
        assert self.shape is not None, "ragged rows have a size each"
        return self.bytes_of(self.shape)

    def bytes_of(self, shape: Sequence[int]) -> int:
        """Bytes of a row of this shape."""
        return math.prod(shape) * SIZES[self.dtype]

    def as_json(self) -> dict[str, Any]:
        """The layout in a manifest."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def _axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(ndim)) if self.order is None else self.order


Layout = tuple[TensorLayout, ...]


def layout_of(content: Any) -> Layout:
    """The layout that a manifest names."""
    made = []
    for tensor in content:
        shape, order = (None if tensor[name] is None else tuple(tensor[name]) for name in ("shape", "order"))
        made.append(TensorLayout(shape, tensor["dtype"], order))
    return tuple(made)


def to_bytes(layout: TensorLayout, batch: "Tensor") -> Bytes:
    """Rows (n, *shape) of fixed shape as bytes (n, row_bytes), each row in the memory order that the layout names."""
    shape = tuple(batch.shape[1:])
    if shape != layout.shape:
        raise ValueError(f"a batch of rows {shape} was computed for rows {layout.shape}")
    return _flat(layout, batch)


def one_to_bytes(layout: TensorLayout, row: "Tensor") -> Bytes:
    """A ragged row of any shape as bytes (nbytes,)."""
    return _flat(layout, row[None])[0]


def _flat(layout: TensorLayout, batch: "Tensor") -> Bytes:
    import torch

    if batch.dtype != getattr(torch, layout.dtype):
        raise ValueError(f"{batch.dtype} was computed where the layout says {layout.dtype}")
    n, shape = len(batch), batch.shape[1:]
    if batch.numel() == 0:
        return np.zeros((n, 0), np.uint8)
    axes = layout._axes(len(shape))
    memory = batch.detach().cpu().permute(0, *(1 + axis for axis in axes)).contiguous()
    return memory.view(n, math.prod(shape)).view(torch.uint8).numpy()


def empty(layout: TensorLayout, n: int) -> "tuple[Tensor, Bytes]":
    """A new batch of n rows with the layout's strides, and the same memory as bytes (n, row_bytes) to be filled."""
    assert layout.shape is not None, "ragged rows are made one by one"
    return _empty(layout, n, layout.shape)


def empty_one(layout: TensorLayout, shape: Sequence[int]) -> "tuple[Tensor, Bytes]":
    """A new row of this shape, and the same memory as bytes (nbytes,)."""
    batch, memory = _empty(layout, 1, shape)
    return batch[0], memory[0]


def _empty(layout: TensorLayout, n: int, shape: Sequence[int]) -> "tuple[Tensor, Bytes]":
    import torch

    axes = layout._axes(len(shape))
    memory = torch.empty((n, *(shape[axis] for axis in axes)), dtype=getattr(torch, layout.dtype))
    batch = memory.permute(0, *(1 + axes.index(axis) for axis in range(len(shape))))
    if memory.numel() == 0:
        return batch, np.zeros((n, 0), np.uint8)
    return batch, memory.view(n, math.prod(shape)).view(torch.uint8).numpy()
