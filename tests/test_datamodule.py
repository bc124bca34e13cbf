import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from thawlab.data.augment import AugmentSpec
from thawlab.data.datamodule import ImageData
from thawlab.data.images import ArrayImages, Splits
from thawlab.data.mixing import Mixing
from thawlab.data.order import BalancedDraws, EvenBatches
from thawlab.data.preprocessing import Preprocessing
from thawlab.errors import UserError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning's own use of torch
]
PREPROCESSING = Preprocessing(8, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
FLIPPING = AugmentSpec("mine", flip=0.5)
MIXING = AugmentSpec("mine", mixup=0.4, cutmix=1.0)
EPOCHS = 3


class Diary(pl.LightningModule):
    """Writes down what it is shown, in which epoch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(192, 3)
        self.mixing = Mixing(MIXING, 3, seed=4)
        self.train_rows, self.val_rows, self.test_rows = [], [], []

    def note(self, rows, batch):
        images, labels, indices = batch
        # Of each image by itself: mixing leaves the sum over a batch as it was.
        sums = tuple(images.double().flatten(1).sum(dim=1).tolist())
        rows.append((self.current_epoch, tuple(indices.tolist()), sums))
        return torch.nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

    def training_step(self, batch, place):
        images, labels, indices = batch
        images, labels = self.mixing(images, labels, self.current_epoch, place, self.global_rank)
        return self.note(self.train_rows, (images, labels, indices))

    def validation_step(self, batch, _):
        self.note(self.val_rows, batch)

    def test_step(self, batch):
        self.note(self.test_rows, batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def images(name, n):
    rng = np.random.default_rng(n)
    return ArrayImages(
        rng.integers(0, 255, (n, 8, 8), np.uint8), rng.integers(0, 3, n), tuple(f"{name}/{i}" for i in range(n))
    )


def data(workers=0, batch_size=6, seed=4, augment=FLIPPING, **options):
    splits = Splits(("a", "b", "c"), images("train", 20), images("val", 9), images("test", 7), "", "")
    return ImageData(splits, PREPROCESSING, augment, batch_size, seed, workers, **options)


def test_fifty_images_in_steps_of_two_batches_leave_no_half_step():
    splits = Splits(("a", "b", "c"), images("train", 50), images("val", 9), images("test", 7), "", "")
    loader = ImageData(splits, PREPROCESSING, FLIPPING, 8, 4, accumulate=2).train_dataloader()
    assert sorted(len(labels) for _, labels, _ in loader) == [6] * 6 + [7] * 2


def train(workers, folder, *, resume=None, callbacks=()):
    diary = Diary()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    source = data(workers)
    trainer.fit(diary, source, ckpt_path=resume)
    return diary, trainer, source


class SaveEverywhere(pl.Callback):
    """Saves after every step, after each validation, and at the end of each epoch: wherever a run may be cut."""

    def __init__(self, folder):
        self.folder = folder

    def save(self, trainer, where):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / where / f"{trainer.global_step}.ckpt")

    def on_train_batch_end(self, trainer, *_):
        self.save(trainer, "step")

    def on_validation_end(self, trainer, _):
        self.save(trainer, "validated")

    def on_train_epoch_end(self, trainer, _):
        self.save(trainer, "epoch")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    diary, _, _ = train(0, folder, callbacks=[SaveEverywhere(folder)])
    return diary, folder


@pytest.mark.parametrize("workers", [0, 2])
def test_each_epoch_has_its_own_order_in_a_real_trainer(workers, whole, tmp_path):
    diary, trainer, source = train(workers, tmp_path)
    expected = [
        (epoch, tuple(index for _, index in batch))
        for epoch in range(EPOCHS)
        for batch in EvenBatches(20, 6, 4, lambda e=epoch: e)
    ]
    assert [row[:2] for row in diary.train_rows] == expected
    assert diary.train_rows == whole[0].train_rows, "workers change nothing, augmentation included"
    assert [row[1] for row in diary.val_rows[-2:]] == [(0, 1, 2, 3, 4, 5), (6, 7, 8)]
    trainer.test(diary, source, verbose=False)
    assert [row[1] for row in diary.test_rows] == [(0, 1, 2, 3, 4, 5), (6,)]


def resume_points(folder):
    return sorted(folder.glob("*/*.ckpt"))


def step_of(path):
    return int(path.stem)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_what_the_whole_run_saw(workers, whole, tmp_path):
    diary, folder = whole
    points = resume_points(folder)
    assert len(points) == 12 + 2 * EPOCHS
    for point in points if workers == 0 else [p for p in points if step_of(p) in (2, 4)]:
        resumed, _, _ = train(workers, tmp_path, resume=point)
        assert resumed.train_rows == diary.train_rows[step_of(point) :], point


@pytest.mark.parametrize("workers", [0, 2])
def test_bytes_are_normalised_where_they_are_sent_to_the_same_bits(workers, whole, tmp_path, monkeypatch):
    options, sent = ImageData._options, []

    def as_on_a_gpu(self, seen):
        found = options(self, seen)
        seen.normalise = False
        return found

    def watched(self, batch, place):
        sent.append(batch[0].dtype)
        return after(self, batch, place)

    after = ImageData.on_after_batch_transfer
    monkeypatch.setattr(ImageData, "_options", as_on_a_gpu)
    monkeypatch.setattr(ImageData, "on_after_batch_transfer", watched)
    diary, _, _ = train(workers, tmp_path)
    assert set(sent) == {torch.uint8}
    assert (diary.train_rows, diary.val_rows) == (whole[0].train_rows, whole[0].val_rows)


def test_balanced_sampling_is_in_the_training_batches_alone():
    source = data(sampling="balanced")
    labels = source.splits.train.labels
    seen = [batch[2].tolist() for batch in source.train_dataloader()]
    order = EvenBatches(20, 6, 4, int, balanced=BalancedDraws(labels, 4))
    assert seen == [[index for _, index in batch] for batch in order]
    assert sorted(np.bincount(labels[np.concatenate(seen)])) == [6, 7, 7]
    assert [i for batch in source.val_dataloader() for i in batch[2].tolist()] == list(range(9))


@pytest.mark.parametrize(("batch_size", "at_once"), [(6, 1), (13, 3), (2, 1)])
def test_test_images_come_in_many_views_but_no_more_at_once_than_in_training(batch_size, at_once):
    source = data(batch_size=batch_size, augment=AugmentSpec("mine", flip=0.5, tta=3))
    batches = list(source.test_dataloader())
    assert [i for _, _, indices in batches for i in indices.tolist()] == list(range(7))
    assert max(len(images) for images, _, _ in batches) == at_once
    assert all(images.shape[1:] == (4, 3, 8, 8) for images, _, _ in batches)
    for loader in (source.train_dataloader(), source.val_dataloader()):
        assert all(images.ndim == 4 for images, _, _ in loader)


def test_augmentation_that_is_off_leaves_training_images_as_evaluation_sees_them():
    source = data(augment=AugmentSpec())
    for pixels, _, indices in source.train_dataloader():
        expected = [PREPROCESSING(source.splits.train.load(index)) for index in indices.tolist()]
        assert torch.equal(pixels, torch.stack(expected))


class Process:
    """What `ImageData` asks of a trainer, for one process of several."""

    current_epoch, world_size = 1, 2

    def __init__(self, rank):
        self.global_rank = rank
        self.strategy = pl.strategies.SingleDeviceStrategy(torch.device("cpu"))


def test_processes_divide_the_images_between_them():
    seen = {"train": [], "val": [], "test": []}
    for rank in range(2):
        source = data()
        source.trainer = Process(rank)
        for split, indices in seen.items():
            indices += [i for batch in getattr(source, f"{split}_dataloader")() for i in batch[2].tolist()]
    # 20 images in batches of 5: one of each five is left over for two processes.
    assert len(seen["train"]) == len(set(seen["train"])) == 16
    assert sorted(seen["val"]) == list(range(9))
    assert sorted(seen["test"]) == list(range(7))


def test_refuses_a_batch_larger_than_the_training_set_before_the_run():
    with pytest.raises(UserError, match=r"trainer.batch_size .* 21 images, but there are 20"):
        data(batch_size=21)
