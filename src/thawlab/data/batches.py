"""Images → batches of tensors, kept in memory where they are the same each epoch."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from thawlab.data.augment import Augmentation
from thawlab.data.framing import Framing
from thawlab.data.images import ImageSet
from thawlab.data.order import EvenBatches, Key
from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError
from thawlab.store.rows import Rows

MEMORY_LIMIT = 256 * 2**20  # bytes kept per split
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Views(Dataset[Any]):
    """What the network sees of each image: (image float32 (c, size, size), label, index), asked for by (epoch, index).

    A list of keys gives one batch: (images float32 (n, c, size, size), labels, indices int64 (n,)). Labels are int64
    (n,); of a multilabel task, float32 (n, classes). With `keep`, fitted images stay in memory as bytes, if all of them
    take no more than `MEMORY_LIMIT`; so do rows that `read_from` was given. The result is the same either way. With
    `cycle`, augmentation repeats itself after so many epochs. Unless `normalise`, images are left as uint8.
    """

    def __init__(
        self,
        images: ImageSet,
        preprocessing: Preprocessing,
        augment: Augmentation | None = None,
        keep: bool = False,
        cycle: int = 0,
    ) -> None:
        self.images = images
        self.cycle = cycle
        self.preprocessing = preprocessing
        self.augment = augment
        self.framing = augment.framing if augment is not None else Framing(preprocessing)
        self.normalise = True
        self.labels = targets_of(images.labels)
        self._rows: Rows | None = None
        self._kept: torch.Tensor | None = None
        channels = len(preprocessing.mean)
        needed = len(images) * channels * preprocessing.size**2
        if keep and needed <= MEMORY_LIMIT and self.framing.shape is not None:
            # Pages of this are taken only as images arrive. (torch.empty would fill it in deterministic mode.)
            shape = (len(images), channels, preprocessing.size, preprocessing.size)
            self._kept = torch.from_numpy(np.empty(shape, np.uint8))
            self._there = torch.zeros(len(images), dtype=torch.bool)

    def read_from(self, rows: Rows) -> None:
        """Take the images, in the form that `framing` gives, from these rows from now on."""
        assert len(rows) == len(self.images), (len(rows), len(self.images))
        self._rows, self._kept = rows, None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor, int]:
        images, labels, indices = self.__getitems__([key])
        return images[0], labels[0], int(indices[0])

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        indices = torch.tensor([index for _, index in keys], dtype=torch.int64)
        pixels = self._framed(indices)
        if self.augment is not None:
            pixels = [self.augment(image, self._view(key[0]), key[1]) for image, key in zip(pixels, keys, strict=True)]
        stacked = pixels if isinstance(pixels, torch.Tensor) else torch.stack(pixels)
        seen = self.preprocessing.normalise(stacked) if self.normalise else stacked
        return seen, self.labels[indices], indices

    def _framed(self, indices: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        if self._rows is not None:
            return self._rows.gather(indices)[0]
        if self._kept is None:
            return [self.framing(self.images.load(index)) for index in indices.tolist()]
        for index in indices[~self._there[indices]].tolist():
            self._kept[index] = self.framing(self.images.load(index))
            self._there[index] = True
        return self._kept.index_select(0, indices)

    def _view(self, epoch: int) -> int:
        return epoch % self.cycle if self.cycle else epoch


class ManyViews(Dataset[Any]):
    """Each image as evaluation sees it and `count` times augmented, the plain one first.

    A list of keys gives one batch as from `Views`, but of images float32 (n, 1 + count, c, size, size). Augmentation is
    drawn from (seed, -view, index), which no epoch of training draws from.
    """

    def __init__(self, images: ImageSet, preprocessing: Preprocessing, augment: Augmentation, count: int) -> None:
        self.images = images
        self.preprocessing = preprocessing
        self.augment = augment
        self.count = count
        self.normalise = True
        self.labels = targets_of(images.labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        indices = torch.tensor([index for _, index in keys], dtype=torch.int64)
        views = torch.stack([self._of(index) for index in indices.tolist()])
        return self.preprocessing.normalise(views) if self.normalise else views, self.labels[indices], indices

    def _of(self, index: int) -> torch.Tensor:
        image = self.images.load(index)
        fitted = self.preprocessing.fit(image)
        base = self.augment.framing(image) if self.augment.spec.crops else fitted
        return torch.stack([fitted, *(self.augment(base, -view, index) for view in range(1, self.count + 1))])


def targets_of(labels: np.ndarray) -> torch.Tensor:
    """What losses take: class numbers int64 (n,), or of several labels each zeros and ones float32 (n, classes)."""
    return torch.tensor(np.asarray(labels, dtype=np.int64 if np.ndim(labels) == 1 else np.float32))


def as_given(batch: Any) -> Any:
    """Pass a batch on: `Views` has collated it. (A named function, so that worker processes can import it.)"""
    return batch


class _Telling(Dataset[Any]):
    """Gives a UserError in place of the batch: of one that is raised, a worker's traceback would be the message."""

    def __init__(self, seen: "Views | ManyViews") -> None:
        self.seen = seen

    def __len__(self) -> int:
        return len(self.seen)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | UserError:
        try:
            return self.seen.__getitems__(keys)
        except UserError as error:
            return error


class Reader(Protocol):
    """Gives in the place of a batch's images what was computed of them before."""

    def gather(self, keys: Sequence[Key]) -> Any:
        """What takes the place of the images of these keys."""
        ...


class Loader(DataLoader[Any]):
    """Batches of `Views` in an order; while `reader` gives one, what it reads stands in the place of the images.

    It is asked at the start of each iteration. What it reads comes from this process, whatever `num_workers` says.
    `opened` is called once, before the first iteration over images. What a worker process tells the user is told in
    the same words as without one.
    """

    def __init__(
        self,
        seen: "Views | ManyViews",
        order: Sampler[list[Key]],
        reader: Callable[[], Reader | None],
        opened: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> None:
        # A loader seeds its workers from torch's random numbers: with a generator of its own, dropout draws the same
        # ones whether or not images are loaded.
        own = torch.Generator()
        super().__init__(_Telling(seen), batch_sampler=order, collate_fn=as_given, generator=own, **options)
        self._seen, self._in_order, self._reader = seen, order, reader
        self._opened = cache(opened)

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        reader = self._reader()
        if reader is None:
            self._opened()
            for batch in super().__iter__():
                if isinstance(batch, UserError):
                    raise batch
                yield batch
            return
        for keys in self._in_order:
            indices = torch.tensor([index for _, index in keys], dtype=torch.int64)
            yield reader.gather(keys), self._seen.labels[indices], indices


class TrainLoader(Loader):
    """Batches of a training set in the order of `EvenBatches`, resumable within an epoch.

    Lightning makes an iterator before it has settled which epoch a resumed run is in, and a plain DataLoader with
    workers would ask the sampler there and then. This one asks when the first batch is fetched. Its `state_dict`,
    which Lightning keeps in checkpoints, says how far an epoch has come.
    """

    def __init__(
        self, views: Views, order: EvenBatches, reader: Callable[[], Reader | None] = lambda: None, **options: Any
    ) -> None:
        super().__init__(views, order, reader, **options)
        self.order = order
        self._progress = (0, 0)  # epoch, batches handed out
        self._resume: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Any]:
        epoch = self.order.epoch()
        resumed, self._resume = self._resume, None
        start = resumed[1] if resumed is not None and resumed[0] == epoch else 0
        self.order.start = start
        for done, batch in enumerate(super().__iter__(), start + 1):
            self._progress = (epoch, done)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Say which epoch was last iterated over, and how many of its batches were handed out."""
        epoch, batches = self._progress
        return {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on after those batches, if it is over the same epoch."""
        self._resume = self._progress = (state["epoch"], state["batches"])
