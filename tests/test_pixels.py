import ctypes
import gc
import hashlib
import pickle
import resource
import weakref
from dataclasses import dataclass, field, replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from photos import photo
from PIL import Image
from small_runs import carried_out, from_weights, same_bits

from thawlab.data import decode, pixels
from thawlab.data.augment import Augmentation, AugmentSpec
from thawlab.data.batches import Views
from thawlab.data.datamodule import ImageData
from thawlab.data.framing import Framing
from thawlab.data.images import ArrayImages, EncodedImages, Splits
from thawlab.data.pixels import PixelStore, key_of
from thawlab.data.preprocessing import Preprocessing
from thawlab.data.stores import FolderStore
from thawlab.errors import UserError
from thawlab.store.rowstore import RowStore

PREPROCESSING = Preprocessing(20, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear", 0.9)
FITTED = Framing(PREPROCESSING)
CROPPING = AugmentSpec("mine", scale=0.4, flip=0.5, jitter=0.2)
SIZES = [(60, 90), (33, 31), (20, 20), (7, 12), (200, 100)]
LARGE = 10**9


def encoded(folder, count=10, quality=90):
    """JPEG files of several sizes."""
    folder.mkdir(exist_ok=True)
    names = tuple(f"{i}.jpg" for i in range(count))
    for i, name in enumerate(names):
        pixels = photo(*SIZES[i % len(SIZES)], seed=i).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / name, quality=quality)
    return as_found(folder, names)


def as_found(folder, names, channels=3):
    digests = tuple(hashlib.sha256((folder / name).read_bytes()).digest() for name in names)
    return EncodedImages(FolderStore(folder), names, np.arange(len(names)) % 3, digests, channels)


@pytest.fixture
def images(tmp_path):
    return encoded(tmp_path / "images")


@pytest.fixture
def store(tmp_path):
    return PixelStore(RowStore(tmp_path / "cache", LARGE))


def test_fitted_images_are_read_back_as_they_were(images, store):
    rows = store.open(images, FITTED)
    assert (rows.built, rows.found, len(rows)) == (10, 0, 10)
    places = torch.tensor([3, 9, 3, 0])
    (read,) = rows.gather(places)
    assert torch.equal(read, torch.stack([PREPROCESSING.fit(images.load(i)) for i in places.tolist()]))


def test_whole_images_are_read_back_as_they_were_with_their_channels_last(images, store):
    framing = Framing(PREPROCESSING, 0.4)
    (read,) = store.open(images, framing).gather(torch.arange(10))
    for i, image in enumerate(read):
        assert torch.equal(image, framing(images.load(i)))
        assert image.permute(1, 2, 0).is_contiguous()
    assert read[0].shape < (3, 60, 90), "shrunk"
    assert read[3].shape == (3, 7, 12), "never enlarged"


@pytest.mark.parametrize("spec", [None, AugmentSpec("mine", flip=0.5, rotate=10), CROPPING])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_batches_are_the_same_to_the_last_bit(spec, normalise, keep, images, store):
    augment = Augmentation(spec, PREPROCESSING, seed=5) if spec else None
    plain, stored = Views(images, PREPROCESSING, augment), Views(images, PREPROCESSING, augment, keep)
    stored.read_from(store.open(images, stored.framing))
    plain.normalise = stored.normalise = normalise
    for epoch in range(2):
        keys = [(epoch, index) for index in (4, 1, 9, 0)]
        for one, other in zip(plain.__getitems__(keys), stored.__getitems__(keys), strict=True):
            assert torch.equal(one, other)
            assert one.dtype == other.dtype


def test_images_can_be_read_in_another_process(images, store):
    augment = Augmentation(CROPPING, PREPROCESSING, seed=5)
    views = Views(images, PREPROCESSING, augment)
    views.read_from(store.open(images, views.framing))
    copied = pickle.loads(pickle.dumps(views))
    keys = [(2, 3), (2, 8)]
    assert torch.equal(copied.__getitems__(keys)[0], views.__getitems__(keys)[0])


def loaders(images, store):
    splits = Splits(("a", "b", "c"), images, images.take([1, 2]), images.take([0]), "", "")
    data = ImageData(splits, PREPROCESSING, CROPPING, 4, seed=1, pixels=store)
    return data, data.train_dataloader(), data.val_dataloader()


def test_a_loader_opens_its_rows_once_and_only_to_go_over_images(images, store, monkeypatch):
    asked, opened = [], store.open
    monkeypatch.setattr(store, "open", lambda *which: asked.append(which) or opened(*which))
    data, train, val = loaders(images, store)
    assert asked == []
    read_elsewhere = Mock(gather=lambda keys: "what frozen stages gave")
    data.shortcut = lambda split: read_elsewhere
    assert {batch[0] for batch in train} == {"what frozen stages gave"}
    assert asked == []
    data.shortcut = lambda split: None
    for _ in range(2):
        assert sum(len(labels) for _, labels, _ in train) == 10
        assert sum(len(labels) for _, labels, _ in val) == 2
    assert asked == [(images, Framing(PREPROCESSING, 0.4)), (data.splits.val, FITTED)]


def test_loaders_give_the_same_with_a_store_and_without(images, store):
    for one, other in zip(loaders(images, store)[1:], loaders(images, None)[1:], strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_what_is_there_is_not_decoded_again(images, store, tmp_path, monkeypatch):
    store.open(images.take([5, 1, 2]), FITTED)
    rows = store.open(images.take([2, 7, 5]), FITTED)
    assert (rows.built, rows.found) == (1, 2)
    monkeypatch.setattr(EncodedImages, "load", None)
    again = PixelStore(RowStore(tmp_path / "cache", LARGE)).open(images.take([7, 1]), FITTED)
    assert (again.built, again.found) == (0, 2)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"size": 21}, id="size"),
        pytest.param({"interpolation": "bicubic"}, id="interpolation"),
        pytest.param({"crop": 0.8}, id="crop"),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_another_form_misses(change, scale, images, store):
    store.open(images, Framing(PREPROCESSING, scale))
    other = Framing(replace(PREPROCESSING, **change), scale)
    assert store.open(images, other).found == (10 if scale < 1 and "crop" in change else 0)


def test_another_scale_misses_and_another_normalisation_does_not(images, store):
    store.open(images, Framing(PREPROCESSING, 0.4))
    assert store.open(images, Framing(PREPROCESSING, 0.5)).found == 0
    assert store.open(images, Framing(replace(PREPROCESSING, mean=(0.1, 0.1, 0.1)), 0.4)).found == 10


def test_other_channels_miss(images, store):
    store.open(images, FITTED)
    grey = as_found(images.store.root, images.names, channels=1)
    rows = store.open(grey, Framing(Preprocessing(20, (0.5,), (0.2,), "bilinear", 0.9)))
    assert rows.found == 0
    assert rows.gather(torch.tensor([0]))[0].shape == (1, 1, 20, 20)


def test_another_decoder_and_other_libraries_miss(images, store, monkeypatch):
    known = key_of(FITTED).digest
    with monkeypatch.context() as patch:
        patch.setattr(pixels, "DECODER", "other")
        assert key_of(FITTED).digest != known
    for changed in decode.LIBRARIES:
        with monkeypatch.context() as patch:
            patch.setattr(decode, "version", lambda name, changed=changed: "other" if name == changed else "same")
            assert key_of(FITTED).digest != known
    assert key_of(FITTED).digest == known


def test_a_changed_file_alone_misses(images, store):
    store.open(images, FITTED)
    path = images.store.root / images.names[4]
    path.write_bytes(path.read_bytes() + b"\0")
    rows = store.open(as_found(images.store.root, images.names), FITTED)
    assert (rows.built, rows.found) == (1, 9)


def test_a_file_that_changed_since_it_was_checked_is_refused_and_nothing_is_kept(images, store):
    path = images.store.root / images.names[4]
    good = path.read_bytes()
    Image.new("RGB", (30, 30)).save(path)
    with pytest.raises(UserError, match=r"4\.jpg has other content than when the run began"):
        store.open(images, FITTED)
    path.write_bytes(good)
    assert store.open(images, FITTED).built == 10


def test_images_in_memory_are_not_kept(store):
    arrays = ArrayImages(np.zeros((4, 9, 9), np.uint8), np.zeros(4, np.int64), tuple("abcd"))
    assert store.open(arrays, FITTED) is None
    assert store.notes == []


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_too_little_room_is_said_once_and_nothing_is_decoded(scale, images, tmp_path, monkeypatch, capsys):
    small = PixelStore(RowStore(tmp_path / "cache", 9_000))
    monkeypatch.setattr(pixels, "_read", None)
    assert small.open(images, Framing(PREPROCESSING, scale)) is None
    assert small.open(images, Framing(PREPROCESSING, scale)) is None
    (note,) = small.notes
    assert "decoded images are not kept" in note
    assert "cache.max_gb" in note
    assert capsys.readouterr().err == f"  {note}\n"


def test_a_folder_that_cannot_be_written_is_said(images, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file stands where the folder would")
    blocked = PixelStore(RowStore(tmp_path / "cache", LARGE))
    assert blocked.open(images, FITTED) is None
    assert str(tmp_path / "cache") in blocked.notes[0]
    assert len(blocked.notes[0].splitlines()) == 1


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_the_predicted_size_is_what_is_taken(scale, images, store):
    framing = Framing(PREPROCESSING, scale)
    predicted = pixels._row_bytes(images, framing) * len(images)
    taken = sum(framing(images.load(i)).numel() for i in range(10))
    assert predicted == pytest.approx(taken, rel=1e-9)


@dataclass(frozen=True)
class Watched(Framing):
    """Remembers its results without keeping them."""

    results: list = field(default_factory=list)

    def __call__(self, image):
        framed = super().__call__(image).clone()
        self.results.append(weakref.ref(framed))
        return framed


def test_decoding_holds_few_images_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "AT_ONCE", 4)
    images, framing, most = encoded(tmp_path / "images", 40), Watched(PREPROCESSING, 0.4), 0
    for (batch,) in pixels._decoded(images, framing, list(range(40))):
        most = max(most, sum(result() is not None for result in framing.results))
        assert len(batch) == 4
        del batch
    assert len(framing.results) == 40
    assert 4 <= most <= 2 * 4, "the batch given and the one before"


def test_reading_keeps_no_copy_in_memory(tmp_path):
    store, framing = PixelStore(RowStore(tmp_path / "cache", LARGE)), Framing(replace(PREPROCESSING, size=700))
    images = encoded(tmp_path / "images", 120)
    views = Views(images, framing.preprocessing)
    views.read_from(store.open(images, framing))
    for start in range(0, 120, 5):
        if start == 20:  # by then buffers of a batch's size have been made and freed
            before = resident()
        views.__getitems__([(0, index) for index in range(start, start + 5)])
    assert 100 * 3 * 700 * 700 > 145e6
    assert resident() - before < 70e6


def resident():
    """Bytes of this process in memory now, less those that the allocator only keeps to hand them out again."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def photos_of_classes(root):
    """Class folders of JPEG files."""
    root.mkdir()
    for label in range(3):
        encoded(root / f"class{label}", 8, quality=60 + 10 * label)
    return root


FOLDER = ("dataset=folder", "dataset.per_class=null", "trainer.batch_size=5")


@pytest.mark.parametrize("augment", ["none", "light", "standard"])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_is_the_same_to_the_last_bit(augment, workers, tmp_path):
    root = photos_of_classes(tmp_path / "photos")
    words = [*from_weights(tmp_path, "resnet"), *FOLDER, f"dataset.root={root}", "strategy=full", f"augment={augment}"]
    words += [f"trainer.workers={workers}", f"cache.folder={tmp_path / 'cache'}"]
    off, first, second = (
        carried_out(tmp_path / name, *words, f"cache={mode}")
        for name, mode in (("off", "off"), ("first", "auto"), ("second", "auto"))
    )
    assert list((tmp_path / "cache").iterdir()), "nothing was kept: the test shows nothing"
    for left in (first, second):
        assert same_bits(left.weights, off.weights)
        assert left.predictions == off.predictions
        assert left.curves == off.curves
