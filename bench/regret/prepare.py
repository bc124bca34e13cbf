"""The targets' folders, made of the files that are there: of the large sets the first few images of each class."""

import gzip
import io
import shutil
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from bench.regret.tasks import ALPHABETS

TRAIN, TEST = 260, 60  # images per class taken of CIFAR-10 and Fashion-MNIST; validation is drawn from the first
_CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def prepare(sets: Path, targets: Path) -> None:
    """Make each target's folder below `targets` that is not there, from the files in `sets`."""
    targets.mkdir(parents=True, exist_ok=True)
    for name, source in (("hymenoptera.zip", "hymenoptera.zip"), ("textures.zip", "textures_dtd10.zip")):
        shutil.copyfile(sets / source, targets / name)
    for name, make in (("clothes", _clothes), ("cifar", _cifar), *((name, _alphabet) for name in ALPHABETS)):
        if not (targets / name).exists():
            part = targets / f".{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            make(sets, part)
            part.rename(targets / name)


def _clothes(sets: Path, folder: Path) -> None:
    raw = sets / "FashionMNIST" / "raw"
    for split, stem, most in (("train", "train", TRAIN), ("test", "t10k", TEST)):
        images = _idx(raw / f"{stem}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _idx(raw / f"{stem}-labels-idx1-ubyte.gz", 8)
        for label, name in enumerate(_CLOTHES):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in np.flatnonzero(labels == label)[:most]:
                Image.fromarray(images[i]).save(place / f"{i:05}.png")


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def _cifar(sets: Path, folder: Path) -> None:
    taken: Counter[Path] = Counter()
    with tarfile.open(sets / "cifar10_jpeg.tar.xz") as archive:
        for member in archive:
            path = Path(member.name)
            if not member.isfile() or path.suffix != ".jpg":
                continue
            place = folder / path.parts[-3] / path.parts[-2]
            if taken[place] < (TRAIN if path.parts[-3] == "train" else TEST):
                taken[place] += 1
                place.mkdir(parents=True, exist_ok=True)
                file = archive.extractfile(member)
                assert file is not None
                (place / path.name).write_bytes(file.read())


def _alphabet(sets: Path, folder: Path) -> None:
    """Characters of one alphabet of Omniglot, a class each."""
    with zipfile.ZipFile(sets / "omniglot_images_background_small1.zip") as archive:
        for name in archive.namelist():
            path = Path(name)
            if path.suffix == ".png" and path.parts[-3].lower() == folder.name.strip(".").removesuffix(".part"):
                place = folder / path.parts[-2]
                place.mkdir(parents=True, exist_ok=True)
                Image.open(io.BytesIO(archive.read(name))).save(place / path.name)
