"""Which images make up which batch: a pure function of (seed, epoch), in one process or in many."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

from thawlab.errors import UserError

Key = tuple[int, int]  # (epoch, index): a worker process then needs no epoch of its own


class EvenBatches(Sampler[list[Key]]):
    """Shuffled batches whose sizes differ by one at most.

    A last batch of one or two images would upset BatchNorm's statistics; so n images are cut into
    ceil(n / batch_size) nearly equal batches, or a few more that make whole optimizer steps of `accumulate` batches: of
    fewer, the last step would be a shorter one, its gradient divided by `accumulate` all the same. Which images make an
    optimizer step does not depend on `accumulate`, if batch_size x accumulate stays the same.

    With several processes, `batch_size` counts the images of all of them: each takes every world-th
    image of the same batch, which is first cut to a multiple of `world`.

    `epoch` is asked when iteration begins. `start` skips that many batches of the next iteration, once: what a
    resumed epoch has behind it.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        balanced: "BalancedDraws | None" = None,
    ) -> None:
        self.n, self.seed, self.epoch, self.rank, self.world = n, seed, epoch, rank, world
        self.balanced = balanced
        self.start = 0
        self._accumulate = accumulate
        self._batches = _count(n, batch_size, world, accumulate)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, start = self.epoch(), self.start
        self.start = 0
        for batch in self.global_batches(epoch)[start:]:
            whole = len(batch) - len(batch) % self.world
            yield [(epoch, int(index)) for index in batch[self.rank : whole : self.world]]

    def global_batches(self, epoch: int) -> list[np.ndarray]:
        """Give the batches of one epoch over all processes, before they are dealt out."""
        images = np.arange(self.n) if self.balanced is None else self.balanced.of(epoch)
        steps = np.array_split(_generator(self.seed, epoch).permutation(images), self._batches // self._accumulate)
        return [batch for step in steps for batch in np.array_split(step, self._accumulate)]


def _count(n: int, batch_size: int, world: int, accumulate: int) -> int:
    """How many batches an epoch has. Raises UserError where one would be empty in some process."""
    if not 1 <= batch_size <= n:
        raise UserError(
            f"trainer.batch_size makes batches of {batch_size} images, but there are {n} training images. "
            f"Give a batch_size that makes batches of 1 to {n}."
        )
    batches = math.ceil(n / (batch_size * accumulate)) * accumulate
    smallest = n // batches
    if smallest < world:
        raise UserError(
            f"trainer.batch_size and trainer.accumulate make {batches} batches of the {n} training images, the "
            f"smallest of {smallest}, but {world} devices share each batch. Give a larger batch_size, "
            "a smaller accumulate, or fewer devices."
        )
    return batches


class BalancedDraws:
    """Draws as many images as there are, every class equally often: in each epoch and over all, to one image.

    Of each class, images come in shuffled rounds, and every one comes before any comes again: round follows round
    through the epochs, so that an epoch shows a part of a large class and the next ones the rest, and a small class
    several times. Which ones an epoch shows follows from (seed, epoch). Only classes that have images count. Raises
    UserError where images have several labels.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        check_balanced(labels)
        self.n, self.seed = len(labels), seed
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def of(self, epoch: int) -> np.ndarray:
        """Give the images of an epoch (n,), not yet shuffled."""
        # The classes take turns through all epochs, as if these were one long row of places.
        classes, first = len(self._members), epoch * self.n
        drawn = np.empty(self.n, dtype=np.int64)
        for label, members in enumerate(self._members):
            places = np.arange((label - first) % classes, self.n, classes)
            drawn[places] = self._take(label, members, (first + places) // classes)
        return drawn

    def _take(self, label: int, members: np.ndarray, turns: np.ndarray) -> np.ndarray:
        first, last = (int(turn) // len(members) for turn in (turns[0], turns[-1]))
        # The last number keeps these streams apart from the order's: a seed sequence takes missing numbers for zeros.
        rounds = [_generator(self.seed, label, number, 1).permutation(members) for number in range(first, last + 1)]
        return np.concatenate(rounds)[turns - first * len(members)]


def check_balanced(labels: np.ndarray) -> None:
    """Raise UserError where images have several labels each, (n, classes): no draw can make their classes equal."""
    if labels.ndim != 1:
        raise UserError(
            "trainer.sampling is balanced, but an image of this dataset may have several labels, so that classes "
            "cannot be drawn equally often. Take trainer.sampling=plain."
        )


class PlainBatches(Sampler[list[Key]]):
    """Every image once, in its own order. Of several processes each takes every world-th image: none twice.

    `batch_size` counts the images of all processes, so that one holds no more in evaluation than in training.
    """

    def __init__(self, n: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self._indices = range(rank, n, world)
        self._size = max(1, batch_size // world)

    def __len__(self) -> int:
        return math.ceil(len(self._indices) / self._size)

    def __iter__(self) -> Iterator[list[Key]]:
        for start in range(0, len(self._indices), self._size):
            yield [(0, index) for index in self._indices[start : start + self._size]]


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))
