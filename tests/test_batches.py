import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from thawlab.data import batches
from thawlab.data.augment import Augmentation, AugmentSpec
from thawlab.data.batches import ManyViews, TrainLoader, Views, as_given
from thawlab.data.images import ArrayImages
from thawlab.data.order import EvenBatches
from thawlab.data.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(12, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear", 0.9)
STEADY = AugmentSpec("mine", flip=0.5, rotate=10, shift=0.1, jitter=0.2, randaugment=2, erase=0.5)
CROPPING = AugmentSpec("mine", scale=0.5, flip=0.5, randaugment=1, erase=0.5)


class Counted(ArrayImages):
    loads: ClassVar[list[int]] = []

    def load(self, index):
        self.loads.append(index)
        return super().load(index)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    Counted.loads.clear()
    return Counted(rng.integers(0, 255, (20, 9, 10), np.uint8), rng.integers(0, 3, 20), tuple(map(str, range(20))))


def augmented(spec):
    return Augmentation(spec, PREPROCESSING, seed=5) if spec else None


@pytest.mark.parametrize("keep", [False, True])
def test_a_batch_without_augmentation_is_what_evaluation_sees(keep, images):
    views = Views(images, PREPROCESSING, keep=keep)
    for keys in ([(0, 3), (0, 11)], [(1, 11), (1, 4)]):
        pixels, labels, indices = views.__getitems__(keys)
        assert indices.tolist() == [index for _, index in keys]
        assert labels.tolist() == [images.labels[index] for _, index in keys]
        assert torch.equal(pixels, torch.stack([PREPROCESSING(images.load(index)) for _, index in keys]))
    image, label, index = views[(0, 4)]
    assert torch.equal(image, PREPROCESSING(images.load(4)))
    assert (label, index) == (images.labels[4], 4)


@pytest.mark.parametrize("spec", [None, STEADY, CROPPING], ids=["plain", "steady", "cropping"])
def test_keeping_images_changes_no_value(spec, images):
    kept, fresh = (Views(images, PREPROCESSING, augmented(spec), keep=keep) for keep in (True, False))
    for epoch in range(2):
        keys = [(epoch, index) for index in range(20)]
        assert torch.equal(kept.__getitems__(keys)[0], fresh.__getitems__(keys)[0])


def test_kept_images_are_loaded_once_and_a_batch_may_be_changed_in_place(images):
    views = Views(images, PREPROCESSING, keep=True)
    first = views.__getitems__([(0, 1), (0, 2)])[0]
    before = first.clone()
    first.zero_()
    assert torch.equal(views.__getitems__([(1, 1), (1, 2)])[0], before)
    assert images.loads == [1, 2]


def test_images_are_not_kept_beyond_the_limit_or_before_a_drawn_crop(images, monkeypatch):
    monkeypatch.setattr(batches, "MEMORY_LIMIT", 20 * 3 * 12 * 12 - 1)
    beyond = Views(images, PREPROCESSING, keep=True)
    monkeypatch.undo()
    for views in (beyond, Views(images, PREPROCESSING, augmented(CROPPING), keep=True)):
        images.loads.clear()
        views.__getitems__([(0, 1)])
        views.__getitems__([(1, 1)])
        assert images.loads == [1, 1]


def test_several_labels_become_rows_of_zeros_and_ones(images):
    several = np.eye(4, dtype=np.uint8)[images.labels]
    views = Views(ArrayImages(images.pixels, several, images.names), PREPROCESSING)
    _, labels, _ = views.__getitems__([(0, 3), (0, 5)])
    assert labels.dtype == torch.float32
    assert labels.tolist() == several[[3, 5]].tolist()
    assert views[(0, 3)][1].tolist() == several[3].tolist()


@pytest.mark.parametrize("spec", [STEADY, CROPPING], ids=["steady", "cropping"])
def test_many_views_are_the_plain_one_and_those_of_epochs_before_the_first(spec, images):
    many = ManyViews(images, PREPROCESSING, augmented(spec), 3)
    keys = [(0, index) for index in (2, 7, 11)]
    seen, labels, indices = many.__getitems__(keys)
    assert seen.shape == (3, 4, 3, 12, 12)
    plain = Views(images, PREPROCESSING)
    expected = [plain.__getitems__(keys)]
    single = Views(images, PREPROCESSING, augmented(spec))
    expected += [single.__getitems__([(-view, index) for _, index in keys]) for view in (1, 2, 3)]
    assert all(torch.equal(seen[:, view], expected[view][0]) for view in range(4))
    assert torch.equal(labels, expected[0][1])
    assert indices.tolist() == [2, 7, 11]
    assert len(many) == 20
    for mine, theirs in zip(loaded(many, 0), loaded(many, 2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def loaded(views, workers):
    order = EvenBatches(20, 6, 0, lambda: 3)
    return list(DataLoader(views, batch_sampler=order, collate_fn=as_given, num_workers=workers))


@pytest.mark.parametrize("spec", [STEADY, CROPPING], ids=["steady", "cropping"])
def test_augmented_batches_are_the_same_with_workers(spec, images):
    alone = loaded(Views(images, PREPROCESSING, augmented(spec), keep=True), 0)
    for mine, theirs in zip(alone, loaded(Views(images, PREPROCESSING, augmented(spec)), 2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_views_can_be_sent_to_another_process(images):
    plain = ArrayImages(images.pixels, images.labels, images.names)
    views = Views(plain, PREPROCESSING, augmented(STEADY))
    copied = pickle.loads(pickle.dumps(views))
    assert torch.equal(copied[(2, 3)][0], views[(2, 3)][0])


def train_loader(images, epoch):
    return TrainLoader(Views(images, PREPROCESSING), EvenBatches(20, 6, 0, lambda: epoch[0]))


def indices(batch):
    return batch[2].tolist()


def test_a_loader_asks_for_the_epoch_when_its_first_batch_is_fetched(images):
    epoch = [0]
    iterator = iter(train_loader(images, epoch))
    epoch[0] = 2
    expected = [[index for _, index in batch] for batch in EvenBatches(20, 6, 0, lambda: 2)]
    assert list(map(indices, iterator)) == expected


@pytest.mark.parametrize("done", [0, 1, 3, 4])
def test_a_loader_goes_on_within_an_epoch_and_starts_the_next_whole(done, images):
    loader = train_loader(images, [1])
    whole = list(map(indices, loader))
    iterator = iter(loader)
    for _ in range(done):
        next(iterator)
    state = loader.state_dict() if done else {"epoch": 1, "batches": 0}
    resumed = train_loader(images, epoch := [1])
    resumed.load_state_dict(state)
    assert list(map(indices, resumed)) == whole[done:]
    assert list(map(indices, resumed)) == whole
    resumed.load_state_dict(state)
    epoch[0] = 2
    assert len(list(resumed)) == 4


def resident():
    return int(re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def test_room_for_images_takes_no_memory_before_they_come():
    """Deterministic mode has torch fill what it allocates."""
    n = 3000
    images = ArrayImages(np.zeros((1, 8, 8), np.uint8).repeat(n, 0), np.zeros(n, np.int64), tuple(map(str, range(n))))
    torch.use_deterministic_algorithms(True)
    try:
        before = resident()
        views = Views(images, replace(PREPROCESSING, size=160), keep=True)
        assert views._kept is not None
        assert views._kept.nbytes > 70e6
        assert resident() - before < 50
    finally:
        torch.use_deterministic_algorithms(False)
