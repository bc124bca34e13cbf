"""Splits → Lightning's data loaders."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from thawlab.data.augment import Augmentation, AugmentSpec
from thawlab.data.batches import Loader, ManyViews, Reader, TrainLoader, Views
from thawlab.data.images import Splits
from thawlab.data.order import BalancedDraws, EvenBatches, PlainBatches
from thawlab.data.pixels import PixelStore
from thawlab.data.preprocessing import Preprocessing


class ImageData(pl.LightningDataModule):
    """Training, validation and test batches as from `Views`; with `augment.tta`, test batches as from `ManyViews`.

    `batch_size` counts the images of one forward batch over all devices, of which `accumulate` make an optimizer step.
    Order and augmentation follow from (seed, epoch, index), with `views` augmentation from (seed, epoch modulo views,
    index); `sampling` is plain or balanced. `shortcut`, once it is set, gives what is read in the place of a split's
    images. With `pixels`, image files are decoded once and kept there, when they are first needed. A GPU is sent bytes,
    and normalises them itself. The batches are dealt out to the processes here, so that the Trainer must be made with
    `use_distributed_sampler=False`. Raises UserError for a batch larger than the training set, and where the images
    do not go with `augment` or `sampling`.
    """

    def __init__(
        self,
        splits: Splits,
        preprocessing: Preprocessing,
        augment: AugmentSpec,
        batch_size: int,
        seed: int,
        workers: int = 0,
        accumulate: int = 1,
        sampling: str = "plain",
        views: int = 0,
        pixels: PixelStore | None = None,
    ) -> None:
        super().__init__()
        self.splits = splits
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.accumulate = accumulate
        self.views = views
        self.pixels = pixels
        self.shortcut: Callable[[str], Reader | None] = lambda split: None
        self._augmentation = Augmentation(augment, preprocessing, seed) if augment.changes else None
        self._balanced = BalancedDraws(splits.train.labels, seed) if sampling == "balanced" else None
        # A wrong batch size is refused before the run begins, not at its first epoch.
        self._order(0, 1)

    def train_dataloader(self) -> TrainLoader:
        """Shuffled batches of nearly equal size; the epoch is the trainer's."""
        order = self._order(*self._place())
        seen = self.seen("train", self._keeps)
        return TrainLoader(seen, order, lambda: self.shortcut("train"), **self._options(seen))

    def val_dataloader(self) -> Loader:
        """Validation images in their own order, every one once."""
        return self._in_order("val", self.seen("val", self._keeps), self.batch_size)

    def test_dataloader(self) -> Loader:
        """Test images in their own order, every one once, in as many views as `augment.tta` says."""
        views = self._augmentation.spec.tta if self._augmentation is not None else 0
        if self._augmentation is None or not views:
            return self._in_order("test", self.seen("test", self._keeps), self.batch_size)
        seen = ManyViews(self.splits.test, self.preprocessing, self._augmentation, views)
        # All views of an image go through the network together: no more of them at once than images in training.
        return self._in_order("test", seen, self.batch_size // (1 + views))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise where the batch now is, if that was not done before."""
        images, *rest = batch
        if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
            return batch
        return (self.preprocessing.normalise(images), *rest)

    def _order(self, rank: int, world: int) -> EvenBatches:
        n = len(self.splits.train)
        return EvenBatches(n, self.batch_size, self.seed, self._epoch, rank, world, self.accumulate, self._balanced)

    def seen(self, split: str, keep: bool = False) -> Views:
        """What the network sees of a split's images, training images augmented."""
        if split == "train":
            return Views(self.splits.train, self.preprocessing, self._augmentation, keep, self.views)
        return Views({"val": self.splits.val, "test": self.splits.test}[split], self.preprocessing, keep=keep)

    def _in_order(self, split: str, seen: Views | ManyViews, batch_size: int) -> Loader:
        order = PlainBatches(len(seen), batch_size, *self._place())
        return Loader(seen, order, lambda: self.shortcut(split), **self._options(seen))

    @property
    def _keeps(self) -> bool:
        # Each worker process would keep a copy of its own.
        return self.workers == 0

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _options(self, seen: Views | ManyViews) -> dict[str, Any]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        seen.normalise = not on_gpu
        opened = partial(self.open, seen)
        return {
            "opened": opened, "num_workers": self.workers, "persistent_workers": self.workers > 0, "pin_memory": on_gpu
        }  # fmt: skip

    def open(self, seen: Views | ManyViews) -> None:
        """Let views read decoded images from disk, which are decoded first where they are not there yet."""
        rows = self.pixels.open(seen.images, seen.framing) if self.pixels and isinstance(seen, Views) else None
        if rows is not None and isinstance(seen, Views):
            seen.read_from(rows)
