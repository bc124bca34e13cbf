"""A network's frozen part: laid out for the store, computed once, and read in its place."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from thawlab.caching.checking import Precision, check, close_enough
from thawlab.caching.folding import Folding, folding, layout_of
from thawlab.caching.keys import key_of
from thawlab.caching.pictures import Pictures
from thawlab.data.order import Key as Picture
from thawlab.splitting import Cut, Suffix, cut, prefix
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
    """The part below a cut, as the store knows it: `sample` are the rows of the first pictures, `dtypes` theirs."""

    cut: Cut
    folding: Folding
    sample: tuple[Tensor, ...]
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
    sample = check(work.network, found, folds, images, trained, work.precision)
    layout = layout_of(sample, dtype)
    key = key_of(work.network, found, layout, {**work.told, **pictures.told})
    return Frozen(found, folds, sample, layout, key)


def _tried(pictures: Pictures) -> list[int]:
    return [i % len(pictures) for i in range(CHECKED)]


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
        return all(close_enough(row, sample.cpu()) for row, sample in zip(found, self.frozen.sample, strict=True))


def read(work: Work, split: str, pictures: Pictures, frozen: Frozen, store: RowStore) -> Reading:
    """Open the split's rows, computing those that are not there. Raises StoreError.

    Rows that are not what the network gives now (its code changed in a way that the key does not tell) are dropped
    and computed again.
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
    return attempt()


def _computing(work: Work, pictures: Pictures, frozen: Frozen) -> Callable[[list[int]], Iterator[tuple[Tensor, ...]]]:
    kept = [getattr(torch, one.dtype) for one in frozen.layout]

    def compute(places: list[int]) -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, len(places), work.batch_size):
            images = work.images(pictures, places[start : start + work.batch_size])
            with work.precision():
                rows = frozen.folding.rows(prefix(work.network, frozen.cut, images))
            yield tuple(row.to(dtype) for row, dtype in zip(rows, kept, strict=True))

    return compute
