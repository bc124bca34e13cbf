"""A network's frozen part: laid out for the store, computed once, and read in its place."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from thawlab.caching.checking import Precision, check, close_enough, refusing
from thawlab.caching.folding import Folding, folding, layout_of, narrowed
from thawlab.caching.inside import Inside
from thawlab.caching.keys import key_of
from thawlab.caching.pictures import Pictures
from thawlab.data.order import Key as Picture
from thawlab.splitting import CannotSplit, Cut, Suffix, cut, prefix
from thawlab.stages import Stage
from thawlab.store.faults import tell
from thawlab.store.key import Key
from thawlab.store.layout import Layout
from thawlab.store.rows import Rows
from thawlab.store.rowstore import RowStore

CHECKED = 4  # images that a cut is tried on


class Stored(NamedTuple):
    """What passes the boundary for n images of a split, in the place of the images."""

    split: str
    n: int
    tensors: list[Tensor]


@dataclass(frozen=True)
class Work:
    """How the network runs: its modules are in their modes, `shape` is an image's (channels, height, width).

    `told` is what results depend on that the network does not tell; `layout` brings images to its memory format.
    """

    network: nn.Module
    stages: Sequence[Stage]
    shape: tuple[int, int, int]
    device: torch.device
    precision: Precision
    memory_format: torch.memory_format
    batch_size: int
    told: Mapping[str, str]

    def images(self, pictures: Pictures, places: Sequence[int]) -> Tensor:
        """Pictures as the network takes them."""
        return pictures.at(places).to(self.device).contiguous(memory_format=self.memory_format)


@dataclass(frozen=True)
class Frozen:
    """The part below a cut, as the store knows it: `sample` are the rows of a few pictures.

    Those computed in other batches differ from them by no more than `close`, as a share of the largest value.
    """

    cut: Cut
    folding: Folding
    sample: tuple[Tensor, ...]
    close: float
    layout: Layout
    key: Key

    @property
    def row_bytes(self) -> int:
        """Bytes of a row on disk."""
        return sum(one.row_bytes for one in self.layout)


def frozen_part(work: Work, moving: Collection[str], pictures: Pictures, dtype: torch.dtype, trains: bool) -> Frozen:
    """Cut below the first of the stages `moving`, and try the cut on a few pictures. Raises CannotSplit.

    `trains` says whether gradients are asked of the second part.
    """
    found = cut(work.network, work.stages, moving, work.shape)
    folds = folding(work.network, found, work.shape)
    trained = {name for stage in work.stages if trains and stage.name in moving for name in stage.parameters}
    images = work.images(pictures, _tried(pictures))
    checked = check(work.network, found, folds, images, trained, work.precision)
    layout = layout_of(checked.rows, dtype)
    with refusing("telling it from others"):
        key = key_of(Inside(found, work.stages, moving), checked, layout, {**work.told, **pictures.told})
    return Frozen(found, folds, checked.rows, checked.close, layout, key)


def _tried(pictures: Pictures) -> list[int]:
    """Places from the first to the last: a split's rows may be of several runs."""
    return [i * (len(pictures) - 1) // (CHECKED - 1) for i in range(CHECKED)]


@dataclass(frozen=True)
class Reading:
    """A split's rows, and the network's second part."""

    split: str
    pictures: Pictures
    rows: Rows
    frozen: Frozen
    suffix: Suffix

    def gather(self, keys: Sequence[Picture]) -> Stored:
        """What passes the boundary for a batch of (epoch, index)."""
        places = torch.tensor([self.pictures.place(key) for key in keys])
        return Stored(self.split, len(keys), list(self.frozen.folding.tensors(self._rows(places))))

    def _rows(self, places: Tensor) -> list[Tensor]:
        found = zip(self.rows.gather(places), self.frozen.sample, strict=True)
        return [row.to(sample.dtype) for row, sample in found if isinstance(row, Tensor)]

    def agrees(self) -> bool:
        """Whether the rows of the pictures that were tried are what was computed of them just now."""
        found = self._rows(torch.tensor(_tried(self.pictures)))
        three = zip(found, self.frozen.sample, self.frozen.layout, strict=True)
        return all(
            close_enough(row, sample.cpu(), self.frozen.close + _rounding(sample.dtype, getattr(torch, one.dtype)))
            for row, sample, one in three
        )


def _rounding(own: torch.dtype, kept: torch.dtype) -> float:
    """How far keeping a number in another dtype moves it at most, as a share of it."""
    return torch.finfo(kept).eps / 2 if own != kept else 0.0


def read(work: Work, split: str, pictures: Pictures, frozen: Frozen, store: RowStore) -> Reading:
    """Open the split's rows, computing those that are not there. Raises StoreError and CannotSplit.

    Rows that are not what the network gives now (its code changed in a way that the key does not tell) are dropped
    and computed again; where these are not either, the network gives something else each time.
    """

    def attempt() -> Reading:
        compute = _computing(work, pictures, frozen)
        rows = store.open(frozen.key, pictures.items, frozen.layout, compute, frozen.row_bytes)
        suffix = Suffix(work.network, frozen.cut, work.shape, work.device)
        return Reading(split, pictures, rows, frozen, suffix)

    reading = attempt()
    if reading.agrees():
        return reading
    tell(f"cache: {frozen.key.digest[:12]} holds what the network does not give now. It is dropped and computed again.")
    store.forget(frozen.key)
    reading = attempt()
    if reading.agrees():
        return reading
    store.forget(frozen.key)
    raise CannotSplit("what passes the boundary is not the same when it is computed again")


def _computing(work: Work, pictures: Pictures, frozen: Frozen) -> Callable[[list[int]], Iterator[tuple[Tensor, ...]]]:
    kept = [getattr(torch, one.dtype) for one in frozen.layout]

    def compute(places: list[int]) -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, len(places), work.batch_size):
            images = work.images(pictures, places[start : start + work.batch_size])
            with work.precision():
                rows = frozen.folding.rows(prefix(work.network, frozen.cut, images))
            yield tuple(narrowed(row, dtype) for row, dtype in zip(rows, kept, strict=True))

    return compute
