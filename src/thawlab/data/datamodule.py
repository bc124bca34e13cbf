"""Splits → Lightning's data loaders."""

from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from thawlab.data.augment import Augmentation, AugmentSpec
from thawlab.data.batches import ManyViews, TrainLoader, Views, as_given
from thawlab.data.images import ImageSet, Splits
from thawlab.data.order import BalancedDraws, EvenBatches, PlainBatches
from thawlab.data.preprocessing import Preprocessing


class ImageData(pl.LightningDataModule):
    """Training, validation and test batches as from `Views`; with `augment.tta`, test batches as from `ManyViews`.

    `batch_size` counts the images of one forward batch over all devices, of which `accumulate` make an optimizer step.
    Order and augmentation follow from (seed, epoch, index); `sampling` is plain or balanced. The batches are dealt out
    to the processes here, so the Trainer must be made with `use_distributed_sampler=False`. Raises UserError for a
    batch larger than the training set, and where the images do not go with `augment` or `sampling`.
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
    ) -> None:
        super().__init__()
        self.splits = splits
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.accumulate = accumulate
        self._augmentation = Augmentation(augment, preprocessing, seed) if augment.changes else None
        self._balanced = BalancedDraws(splits.train.labels, seed) if sampling == "balanced" else None
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
        """Test images in their own order, every one once, in as many views as `augment.tta` says."""
        views = self._augmentation.spec.tta if self._augmentation is not None else 0
        if self._augmentation is None or not views:
            return self._plain(self.splits.test)
        seen = ManyViews(self.splits.test, self.preprocessing, self._augmentation, views)
        # All views of an image go through the network together: no more of them at once than images in training.
        return self._in_order(seen, self.batch_size // (1 + views))

    def _order(self, rank: int, world: int) -> EvenBatches:
        n = len(self.splits.train)
        return EvenBatches(n, self.batch_size, self.seed, self._epoch, rank, world, self.accumulate, self._balanced)

    def _plain(self, images: ImageSet) -> DataLoader[Any]:
        return self._in_order(self._views(images), self.batch_size)

    def _in_order(self, seen: Views | ManyViews, batch_size: int) -> DataLoader[Any]:
        order = PlainBatches(len(seen), batch_size, *self._place())
        return DataLoader(seen, batch_sampler=order, collate_fn=as_given, **self._options())

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
