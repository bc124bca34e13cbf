"""A boundary's tensors ↔ one row for each image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from thawlab.dataflow import copied_to
from thawlab.splitting import CannotSplit, Cut, prefix
from thawlab.store.layout import Layout, TensorLayout


@dataclass(frozen=True)
class Fold:
    """Where a boundary tensor has its images: along `axis`, `each` places for each (windows of an image, say)."""

    axis: int
    each: int


@dataclass(frozen=True)
class Folding:
    """How the tensors at a cut become rows, and the first part's forward FLOPs for one image."""

    folds: tuple[Fold, ...]
    flops: int

    def rows(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The tensors with images first: (n, ...), as views where that is possible."""
        return tuple(_row_first(tensor, fold) for tensor, fold in zip(tensors, self.folds, strict=True))

    def tensors(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Undo `rows`."""
        return tuple(_as_it_was(row, fold) for row, fold in zip(rows, self.folds, strict=True))


def folding(network: nn.Module, cut: Cut, shape: tuple[int, int, int]) -> Folding:
    """Find out on shapes alone, from runs on two images and on three. Raises CannotSplit."""
    last: Exception | None = None
    for device in ("meta", "cpu"):
        copied = copied_to(device, network)
        try:
            with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
                two = prefix(copied, cut, torch.zeros(2, *shape, device=device))
            with torch.random.fork_rng(devices=[]):
                three = prefix(copied, cut, torch.zeros(3, *shape, device=device))
        except Exception as error:  # networks raise many kinds
            last = error
            continue
        folds = tuple(_fold(a.shape, b.shape) for a, b in zip(two, three, strict=True))
        return Folding(folds, counter.get_total_flops() // 2)
    raise CannotSplit(f"it does not run without values ({last})")


def _fold(two: torch.Size, three: torch.Size) -> Fold:
    """The axis that grows with the images. Raises CannotSplit where none does, or several."""
    grown = [i for i, (a, b) in enumerate(zip(two, three, strict=False)) if a != b]
    if len(two) != len(three) or len(grown) != 1 or 3 * two[grown[0]] != 2 * three[grown[0]]:
        raise CannotSplit(f"a tensor of shape {tuple(two)} passes, which has no place for each image")
    return Fold(grown[0], two[grown[0]] // 2)


def _row_first(tensor: Tensor, fold: Fold) -> Tensor:
    moved = tensor.movedim(fold.axis, 0)
    return moved.unflatten(0, (-1, fold.each)) if fold.each > 1 else moved


def _as_it_was(rows: Tensor, fold: Fold) -> Tensor:
    return (rows.flatten(0, 1) if fold.each > 1 else rows).movedim(0, fold.axis)


def layout_of(rows: Sequence[Tensor], dtype: torch.dtype) -> Layout:
    """How such rows are kept: floating-point ones that are wider than `dtype` in it, each in its memory order.

    Raises CannotSplit for what the store does not keep, such as complex numbers.
    """
    names = [str(_kept_dtype(row.dtype, dtype)).removeprefix("torch.") for row in rows]
    try:
        return tuple(
            TensorLayout(tuple(row.shape[1:]), name, _order(row)) for row, name in zip(rows, names, strict=True)
        )
    except ValueError as error:
        raise CannotSplit(str(error)) from error


def narrowed(row: Tensor, kept: torch.dtype) -> Tensor:
    """Rows in the dtype that they are kept in. Raises CannotSplit where a number is too large for that."""
    found = row.to(kept)
    if kept.is_floating_point and kept != row.dtype and bool((row.isfinite() & ~found.isfinite()).any()):
        name = str(kept).removeprefix("torch.")
        wider = "bfloat16 or float32" if kept == torch.float16 else "float32"
        raise CannotSplit(
            f"cache.dtype is {name}, which holds numbers up to {torch.finfo(kept).max:.3g}, and what passes the "
            f"boundary reaches {float(row[row.isfinite()].abs().max()):.3g}: give cache.dtype={wider}"
        )
    return found


def _kept_dtype(own: torch.dtype, wanted: torch.dtype) -> torch.dtype:
    return wanted if own.is_floating_point and own.itemsize > wanted.itemsize else own


def _order(rows: Tensor) -> tuple[int, ...] | None:
    """A row's axes from the slowest to the fastest in memory; None: as they stand."""
    strides = rows.stride()[1:]
    order = tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))
    return None if order == tuple(range(len(strides))) else order
