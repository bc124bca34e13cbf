"""Splits → Lightning's data loaders."""

from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from thawlab.data.augment import Augmentation, AugmentSpec
from thawlab.data.batches import TrainLoader, Views, as_given
from thawlab.data.images import ImageSet, Splits
from thawlab.data.order import EvenBatches, PlainBatches
from thawlab.data.preprocessing import Preprocessing


class ImageData(pl.LightningDataModule):
    """Training, validation and test batches of (images float32 (n, 3, size, size), labels (n,), indices (n,)).

    `batch_size` counts the images of one forward batch over all devices, of which `accumulate` make an optimizer step.
    Order and augmentation follow from (seed, epoch, index). The batches are dealt out to the processes here, so the
    Trainer must be made with `use_distributed_sampler=False`. Raises UserError for a batch larger than the
    training set.
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
    ) -> None:
        super().__init__()
        self.splits = splits
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.accumulate = accumulate
        self._augmentation = Augmentation(augment, preprocessing, seed) if augment.changes else None
        # A wrong batch size is refused before the run begins, not at its first epoch.
        self._order(0, 1)

    def train_dataloader(self) -> TrainLoader:
        """Shuffled batches of nearly equal size; the epoch is the trainer's."""
        order = self._order(*self._place())
        return TrainLoader(self._views(self.splits.train, self._augmentation), order, **self._options())

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation images in their own order, every one once."""
        return self._plain(self.splits.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """Test images in their own order, every one once."""
        return self._plain(self.splits.test)

    def _order(self, rank: int, world: int) -> EvenBatches:
        n = len(self.splits.train)
        return EvenBatches(n, self.batch_size, self.seed, self._epoch, rank, world, self.accumulate)

    def _plain(self, images: ImageSet) -> DataLoader[Any]:
        order = PlainBatches(len(images), self.batch_size, *self._place())
        return DataLoader(self._views(images), batch_sampler=order, collate_fn=as_given, **self._options())

    def _views(self, images: ImageSet, augmentation: Augmentation | None = None) -> Views:
        # Each worker process would keep a copy of its own.
        return Views(images, self.preprocessing, augmentation, keep=self.workers == 0)

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _options(self) -> dict[str, Any]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {"num_workers": self.workers, "persistent_workers": self.workers > 0, "pin_memory": on_gpu}
