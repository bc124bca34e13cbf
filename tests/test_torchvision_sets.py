import functools
import hashlib
import http.server
import pickle
import threading
from collections import Counter

import numpy as np
import pytest
import torch
import torchvision_files as files
from torchvision import datasets
from torchvision.datasets import utils

from thawlab.data.encoded import VAL_AS_TEST
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.data.torchvision_pieces import wanted_files
from thawlab.data.torchvision_sets import default_root, read_torchvision
from thawlab.data.torchvision_table import LEFT_OUT, TABLE, arguments_of, class_of, supported
from thawlab.errors import UserError

DIGITS = tuple("0123456789")
NAMED = tuple(f"thing {i}" for i in range(10))
# Data set → who writes its files, the classes that a user must see, and images in train, val and test.
SETS = {
    "CIFAR10": (files.cifar10, NAMED, (100, None, 20)),
    "CIFAR100": (files.cifar100, tuple(f"thing {i}" for i in range(100)), (600, None, 200)),
    "CLEVRClassification": (files.clevr, ("3", "10"), (12, None, 4)),
    "Caltech101": (files.caltech101, ("ant", "bass"), (12, None, None)),
    "Caltech256": (files.caltech256, ("001.ak47", "002.flag"), (12, None, None)),
    "Country211": (files.country211, ("AD", "AE"), (12, 4, 4)),
    "DTD": (files.dtd, ("banded", "dotted"), (12, 4, 4)),
    "EMNIST": (files.emnist, tuple("abcdefghijklmnopqrstuvwxyz"), (156, None, 52)),
    "EuroSAT": (files.eurosat, ("Forest", "River"), (12, None, None)),
    "FER2013": (files.fer2013, DIGITS[:7], (42, None, 14)),
    "FGVCAircraft": (files.fgvc_aircraft, ("707-320", "A300 B4"), (12, 4, 4)),
    "FashionMNIST": (files.fashion_mnist, datasets.FashionMNIST.classes, (60, None, 20)),
    "Flowers102": (files.flowers102, datasets.Flowers102.classes, (204, 102, 102)),
    "Food101": (files.food101, ("apple_pie", "waffles"), (12, None, 4)),
    "GTSRB": (files.gtsrb, ("0", "1"), (12, None, 4)),
    "INaturalist": (
        files.inaturalist,
        tuple(f"{name}_Animalia_Chordata_Mammalia_Carnivora_Canidae_Canis_{name}" for name in ("00000", "00001")),
        (12, None, 4),
    ),
    "ImageNet": (files.imagenet, ("crane (0)", "crane (1)", "maillot, tank suit"), (18, None, 6)),
    "Imagenette": (
        files.imagenette, ("tench, Tinca tinca", "English springer, English springer spaniel"), (12, None, 4)
    ),
    "KMNIST": (files.kmnist, datasets.KMNIST.classes, (60, None, 20)),
    "MNIST": (files.mnist, datasets.MNIST.classes, (60, None, 20)),
    "Omniglot": (files.omniglot, ("Greek/character01", "Greek/character02", "Latin/character01"), (18, None, None)),
    "OxfordIIITPet": (files.oxford_pet, ("Abyssinian", "American Bulldog"), (12, None, 4)),
    "PCAM": (files.pcam, ("0", "1"), (12, 4, 4)),
    "Places365": (files.places365, ("/a/airfield", "/b/barn"), (12, None, 4)),
    "QMNIST": (files.qmnist, datasets.QMNIST.classes, (60, None, 20)),
    "RenderedSST2": (files.rendered_sst2, ("negative", "positive"), (12, 4, 4)),
    "SEMEION": (files.semeion, DIGITS, (60, None, None)),
    "STL10": (files.stl10, NAMED, (60, None, 20)),
    "SUN397": (files.sun397, ("abbey", "barn/indoor"), (12, None, None)),
    "SVHN": (files.svhn, DIGITS, (60, None, 20)),
    "StanfordCars": (files.stanford_cars, ("AM General Hummer", "Acura RL"), (12, None, 4)),
    "USPS": (files.usps, DIGITS, (60, None, 20)),
}  # fmt: skip
SUBSET = {"EMNIST": "letters"}


@pytest.fixture
def accepted(monkeypatch):
    """Lets made files pass for the published ones."""
    monkeypatch.setattr(utils, "check_md5", lambda *_, **__: True)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(url, *_, **__):
        raise OSError(f"no network: {url}")

    monkeypatch.setattr(utils, "_get_redirect_url", refuse)


def spec(name, root, **values):
    return DatasetSpec(name, "torchvision", str(root), id=name, **{"subset": SUBSET.get(name), **values})


def shown(image):
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("name", SETS)
def test_reads_what_torchvision_shows(name, tmp_path, accepted):
    write, classes, counts = SETS[name]
    write(tmp_path)
    pools = read_torchvision(spec(name, tmp_path))
    found = (pools.train, pools.val, pools.test)
    assert tuple(part and len(part) for part in found) == counts
    assert pools.classes == tuple(classes)
    assert (VAL_AS_TEST in pools.notes) == (set(arguments_of(name, SUBSET.get(name))) == {"train", "val"})
    _compare(name, tmp_path, pools)


def _compare(name, root, pools):
    kind, arguments = class_of(name), arguments_of(name, SUBSET.get(name))
    if set(arguments) == {"train", "val"}:
        arguments = {"train": arguments["train"], "test": arguments["val"]}
    for part, (piece,) in arguments.items():
        theirs, ours = kind(str(root), **piece), getattr(pools, part)
        rows = [theirs[i] for i in range(len(theirs))]
        # Omniglot alone numbers its classes as the file system lists them.
        rank = sorted(theirs._characters).index if name == "Omniglot" else sorted({label for _, label in rows}).index
        told = theirs._characters.__getitem__ if name == "Omniglot" else int
        expected = Counter((shown(image).tobytes(), rank(told(label))) for image, label in rows)
        assert Counter((ours.load(i).numpy().tobytes(), ours.labels[i]) for i in range(len(ours))) == expected
        assert list(ours.names) == sorted(ours.names), "not as a file system happens to list them"
        for image, _ in rows:
            image.close()


def test_every_set_of_torchvision_is_read_or_left_out_for_a_reason():
    known = {name for name in datasets.__all__ if isinstance(getattr(datasets, name), type)}
    assert set(supported()) | set(LEFT_OUT) == known
    assert set(TABLE) <= set(supported())
    assert all(LEFT_OUT.values())
    assert set(SETS) | {"CelebA"} == set(supported()), "each is tested on files of its format"


def test_celeba_has_many_labels_for_each_image(tmp_path, accepted):
    files.celeba(tmp_path)
    pools = read_torchvision(spec("CelebA", tmp_path, task="multilabel"))
    assert pools.classes == ("Bald", "Eyeglasses", "Smiling")
    expected = [[int((i + k) % 3 > 0) for k in range(3)] for i in range(6)]
    assert pools.train.labels.tolist() == expected
    with pytest.raises(UserError, match=r"dataset.task=multilabel"):
        read_torchvision(spec("CelebA", tmp_path))


def test_extra_images_join_the_training_images(tmp_path, accepted):
    files.svhn(tmp_path)
    pools = read_torchvision(spec("SVHN", tmp_path, subset="extra"))
    assert len(pools.train) == 70
    assert np.array_equal(pools.train.load(60).numpy(), shown(datasets.SVHN(tmp_path, "extra")[0][0]))


def test_a_class_that_no_image_shows_is_left_out_and_said_so(tmp_path):
    files.emnist(tmp_path)
    (note,) = read_torchvision(spec("EMNIST", tmp_path)).notes
    assert "N/A" in note


def test_an_unreadable_file_is_named_or_left_out(tmp_path):
    files.eurosat(tmp_path)
    spoilt = tmp_path / "eurosat/2750/River/3.jpg"
    spoilt.write_bytes(spoilt.read_bytes()[:200])
    with pytest.raises(UserError, match=r"1 of 12 files .*\n.*eurosat/2750/River/3.jpg does not decode"):
        read_torchvision(spec("EuroSAT", tmp_path))
    pools = read_torchvision(spec("EuroSAT", tmp_path, bad_images="quarantine"))
    assert len(pools.train) == 11


class Trap:
    def __reduce__(self):
        return print, ("a pickle was executed",)


def test_a_pickle_is_opened_only_after_its_checksum(tmp_path, monkeypatch, capsys):
    files.cifar10(tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    for attribute in ("train_list", "test_list"):
        sums = [
            [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]
            for name, _ in getattr(datasets.CIFAR10, attribute)
        ]
        monkeypatch.setattr(datasets.CIFAR10, attribute, sums)
    meta = hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": meta})
    assert len(read_torchvision(spec("CIFAR10", tmp_path)).train) == 100
    (folder / "data_batch_3").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="cannot read it"):
        read_torchvision(spec("CIFAR10", tmp_path))
    assert "executed" not in capsys.readouterr().out


@pytest.fixture
def server(tmp_path):
    """A stand-in for the servers of data sets: gives the files of a folder."""
    folder = tmp_path / "published"
    folder.mkdir()
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_files_are_fetched_checked_and_kept(server, tmp_path, monkeypatch):
    published, address = server
    files.food101(tmp_path)
    files.zipped(tmp_path / "food-101", published / "food-101.zip")
    digest = hashlib.md5((published / "food-101.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(datasets.Food101, "_URL", f"{address}food-101.zip")
    monkeypatch.setattr(datasets.Food101, "_MD5", "0" * 32)
    with pytest.raises(UserError, match="corrupted"):
        read_torchvision(spec("Food101", tmp_path / "kept"))
    monkeypatch.setattr(datasets.Food101, "_MD5", digest)
    assert len(read_torchvision(spec("Food101", tmp_path / "kept")).train) == 12
    (published / "food-101.zip").unlink()
    assert len(read_torchvision(spec("Food101", tmp_path / "kept")).train) == 12


def test_without_network_the_folder_and_the_files_are_named(tmp_path):
    with pytest.raises(UserError) as caught:
        read_torchvision(spec("MNIST", tmp_path / "none"))
    said = str(caught.value)
    assert str(tmp_path / "none") in said
    assert "train-images-idx3-ubyte.gz" in said
    assert "no network" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"id": "cifar10"}, r"Did you mean 'CIFAR10'", id="another spelling"),
        pytest.param({"id": "Kitti"}, "objects and regions", id="detection"),
        pytest.param({"id": "EMNIST", "subset": None}, "byclass, bymerge, balanced, letters", id="no subset"),
        pytest.param({"id": "MNIST", "subset": "small"}, "leave it out", id="a subset that there is not"),
        pytest.param({"id": "MNIST", "channels": 4}, r"these images are grey\. Give 1", id="channels of an array"),
        pytest.param({"id": "MNIST", "bad_images": "quarantine"}, "read into memory", id="no file to leave out"),
        pytest.param({"id": "MNIST", "test_share": 0.3}, "nothing is drawn", id="a share of what is given"),
    ],
)
def test_refuses(values, said, tmp_path):
    files.mnist(tmp_path)
    with pytest.raises(UserError, match=said):
        read_torchvision(DatasetSpec("x", "torchvision", str(tmp_path), **values))


def test_an_array_is_given_in_the_channels_asked_for(tmp_path):
    files.mnist(tmp_path)
    grey, colour = (read_torchvision(spec("MNIST", tmp_path, channels=channels)).train.load(0) for channels in (1, 3))
    assert grey.shape == (1, 28, 28)
    assert torch.equal(colour, grey.repeat(3, 1, 1))


def test_what_a_set_is_made_from_is_found_in_its_class():
    assert "102flowers.tgz" in wanted_files(datasets.Flowers102)
    assert any(name.endswith("EuroSAT.zip") for name in wanted_files(datasets.EuroSAT))


def test_sets_are_kept_beside_torchs_own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    assert default_root() == tmp_path / "datasets"


def test_the_same_files_give_the_same_splits_as_a_folder(tmp_path):
    files.eurosat(tmp_path)
    ours = load_splits(spec("EuroSAT", tmp_path), 0)
    folder = load_splits(DatasetSpec("x", "folder", str(tmp_path / "eurosat/2750")), 0)
    for part in ("train", "val", "test"):
        first, second = getattr(ours, part), getattr(folder, part)
        assert [name.removeprefix("eurosat/2750/") for name in first.names] == list(second.names)
        assert np.array_equal(first.labels, second.labels)


@pytest.mark.slow
def test_a_run_finishes(tmp_path, command):
    files.mnist(tmp_path)
    ended = command(
        f"dataset=torchvision dataset.id=MNIST dataset.root={tmp_path} dataset.per_class=3 trainer.epochs=1 logger=none"
    )
    assert ended.status == 0, ended.err
    assert "MNIST" in ended.out
