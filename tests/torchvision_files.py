"""Tiny files in the true on-disk formats of torchvision's data sets; each function fills a root."""

import bz2
import csv
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch
from PIL import Image

TRAIN, TEST = 6, 2  # images of each class


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, 9, 11, 3)).save(path)
    return path


def classes_below(folder, names, count, ending, start=0):
    return [
        save(folder / name / f"{start + i}.{ending}", 1000 * place + start + i)
        for place, name in enumerate(names)
        for i in range(count)
    ]


def idx(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    code = 8 if values.dtype == np.uint8 else 12
    head = bytes((0, 0, code, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(head + values.astype(values.dtype.newbyteorder(">")).tobytes())


def labels_of(count, classes=2):
    return np.repeat(np.arange(classes, dtype=np.uint8), count)


def mnist(root, name="MNIST"):
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        labels = labels_of(count, 10)
        idx(root / name / "raw" / f"{part}-images-idx3-ubyte", pixels(count, len(labels), 28, 28))
        idx(root / name / "raw" / f"{part}-labels-idx1-ubyte", labels)


def fashion_mnist(root):
    mnist(root, "FashionMNIST")


def kmnist(root):
    mnist(root, "KMNIST")


def emnist(root):
    for part, count in (("train", TRAIN), ("test", TEST)):
        labels = labels_of(count, 26) + 1  # letters are counted from 1
        idx(root / "EMNIST/raw" / f"emnist-letters-{part}-images-idx3-ubyte", pixels(count, len(labels), 28, 28))
        idx(root / "EMNIST/raw" / f"emnist-letters-{part}-labels-idx1-ubyte", labels)


def qmnist(root):
    for part, count in (("train", TRAIN), ("test", TEST)):
        labels = labels_of(count, 10)
        rows = np.zeros((len(labels), 8), np.int32)
        rows[:, 0], rows[:, 1:] = labels, 77
        idx(root / "QMNIST/raw" / f"qmnist-{part}-images-idx3-ubyte", pixels(count, len(labels), 28, 28))
        idx(root / "QMNIST/raw" / f"qmnist-{part}-labels-idx2-int", rows)


def usps(root):
    for name, count in (("usps.bz2", TRAIN), ("usps.t.bz2", TEST)):
        lines = []
        for i, label in enumerate(labels_of(count, 10)):
            values = np.random.default_rng(i).uniform(-1, 1, 256)
            lines.append(f"{label + 1} " + " ".join(f"{k}:{v:.4f}" for k, v in enumerate(values, 1)))
        (root / name).write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))


def semeion(root):
    labels = labels_of(TRAIN, 10)
    np.savetxt(root / "semeion.data", np.hstack([pixels(3, len(labels), 256) > 127, np.eye(10)[labels]]), fmt="%.4f")


def _pickled(path, count, fields, classes, seed):
    labels = labels_of(count, classes)
    content = {"data": pixels(seed, len(labels), 3072), fields: labels.tolist()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def cifar10(root):
    folder = root / "cifar-10-batches-py"
    for i in range(1, 6):
        _pickled(folder / f"data_batch_{i}", 2, "labels", 10, i)
    _pickled(folder / "test_batch", TEST, "labels", 10, 9)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"thing {i}" for i in range(10)]}))


def cifar100(root):
    folder = root / "cifar-100-python"
    _pickled(folder / "train", TRAIN, "fine_labels", 100, 1)
    _pickled(folder / "test", TEST, "fine_labels", 100, 2)
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"thing {i}" for i in range(100)]}))


def svhn(root):
    for part, count in (("train", TRAIN), ("test", TEST), ("extra", 1)):
        labels = labels_of(count, 10)
        y = np.where(labels == 0, 10, labels)[:, None]  # the digit 0 is written as 10
        scipy.io.savemat(root / f"{part}_32x32.mat", {"X": pixels(count, 32, 32, 3, len(labels)), "y": y})


def stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir()
    for part, count in (("train", TRAIN), ("test", TEST)):
        labels = labels_of(count, 10)
        (folder / f"{part}_X.bin").write_bytes(pixels(count, len(labels), 3, 96, 96).tobytes())
        (folder / f"{part}_y.bin").write_bytes((labels + 1).tobytes())
    (folder / "unlabeled_X.bin").write_bytes(pixels(5, 1, 3, 96, 96).tobytes())
    (folder / "class_names.txt").write_text("".join(f"thing {i}\n" for i in range(10)))


def fer2013(root):
    (root / "fer2013").mkdir()
    with open(root / "fer2013/fer2013.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["emotion", "pixels", "Usage"])
        for usage, count in (("Training", TRAIN), ("PublicTest", 1), ("PrivateTest", 1)):
            for i, label in enumerate(labels_of(count, 7)):
                rows.writerow([label, " ".join(map(str, pixels(i, 48 * 48))), usage])


def pcam(root):
    (root / "pcam").mkdir()
    for part, count in (("train", TRAIN), ("valid", TEST), ("test", TEST)):
        labels = labels_of(count)
        for letter, values in (("x", pixels(count, len(labels), 96, 96, 3)), ("y", labels.reshape(-1, 1, 1, 1))):
            with h5py.File(root / "pcam" / f"camelyonpatch_level_2_split_{part}_{letter}.h5", "w") as file:
                file[letter] = values


def caltech101(root):
    for name in ("BACKGROUND_Google", "ant", "bass"):
        for i in range(1, TRAIN + 1):
            save(root / "caltech101/101_ObjectCategories" / name / f"image_{i:04d}.jpg", i)


def caltech256(root):
    for number, name in enumerate(("001.ak47", "002.flag"), 1):
        for i in range(1, TRAIN + 1):
            save(root / "caltech256/256_ObjectCategories" / name / f"{number:03d}_{i:04d}.jpg", i + 9 * number)


def eurosat(root):
    classes_below(root / "eurosat/2750", ("Forest", "River"), TRAIN, "jpg")


def sun397(root):
    for name in ("a/abbey", "b/barn/indoor"):
        for i in range(TRAIN):
            save(root / "SUN397" / name / f"sun_{i}.jpg", i)
    (root / "SUN397/ClassName.txt").write_text("/a/abbey\n/b/barn/indoor\n")


def omniglot(root):
    folder = root / "omniglot-py"
    for i in range(TRAIN):
        for name in ("Greek/character01", "Greek/character02", "Latin/character01"):
            path = save(folder / "images_background" / name / f"{i:04d}.png", i)
            Image.open(path).convert("1").save(path)
    (folder / "images_background.zip").write_bytes(b"the archive that it was unpacked from")


def country211(root):
    for part, count in (("train", TRAIN), ("valid", TEST), ("test", TEST)):
        classes_below(root / "country211" / part, ("AD", "AE"), count, "jpg")


def rendered_sst2(root):
    for part, count in (("train", TRAIN), ("valid", TEST), ("test", TEST)):
        classes_below(root / "rendered-sst2" / part, ("negative", "positive"), count, "png")


def imagenette(root):
    for part, count in (("train", TRAIN), ("val", TEST)):
        classes_below(root / "imagenette2" / part, ("n01440764", "n02102040"), count, "jpeg")


def imagenet(root):
    words = {"n01": ("crane",), "n02": ("crane",), "n03": ("maillot", "tank suit")}
    torch.save((words, []), root / "meta.bin")
    for part, count in (("train", TRAIN), ("val", TEST)):
        classes_below(root / part, tuple(words), count, "jpeg")


def flowers102(root):
    folder = root / "flowers-102"
    labels = np.tile(np.arange(1, 103), 4)
    for i in range(1, len(labels) + 1):
        save(folder / "jpg" / f"image_{i:05d}.jpg", i)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    ids = np.arange(1, len(labels) + 1).reshape(4, 102)
    scipy.io.savemat(folder / "setid.mat", {"trnid": ids[:2].reshape(1, -1), "valid": ids[2:3], "tstid": ids[3:]})


def food101(root):
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for part, count, start in (("train", TRAIN, 0), ("test", TEST, 100)):
        listed = {name: [f"{name}/{start + i}" for i in range(count)] for name in ("apple_pie", "waffles")}
        (folder / "meta" / f"{part}.json").write_text(json.dumps(listed))
        classes_below(folder / "images", tuple(listed), count, "jpg", start)


def dtd(root):
    folder = root / "dtd/dtd"
    (folder / "labels").mkdir(parents=True)
    for part, count, start in (("train", TRAIN, 0), ("val", TEST, 100), ("test", TEST, 200)):
        files = classes_below(folder / "images", ("banded", "dotted"), count, "jpg", start)
        listed = "".join(f"{file.parent.name}/{file.name}\n" for file in files)
        for partition in (1, 2):
            (folder / "labels" / f"{part}{partition}.txt").write_text(listed)


def clevr(root):
    folder = root / "clevr/CLEVR_v1.0"
    (folder / "scenes").mkdir(parents=True)
    for part, count in (("train", TRAIN), ("val", TEST)):
        scenes = []
        for i, label in enumerate(labels_of(count)):
            name = save(folder / "images" / part / f"CLEVR_{part}_{i:06d}.png", i).name
            scenes.append({"image_filename": name, "objects": [{}] * (3 + 7 * int(label))})
        (folder / "scenes" / f"CLEVR_{part}_scenes.json").write_text(json.dumps({"scenes": scenes}))


def fgvc_aircraft(root):
    folder = root / "fgvc-aircraft-2013b/data"
    number = 0
    for part, count in (("train", TRAIN), ("val", TEST), ("test", TEST)):
        lines = []
        for name in ("707-320", "A300 B4"):
            for _ in range(count):
                lines.append(f"{save(folder / 'images' / f'{number:07d}.jpg', number).stem} {name}\n")
                number += 1
        (folder / f"images_variant_{part}.txt").write_text("".join(lines))
    (folder / "variants.txt").write_text("707-320\nA300 B4\n")


def gtsrb(root):
    folder = root / "gtsrb/GTSRB"
    classes_below(folder / "Training", ("00000", "00001"), TRAIN, "ppm")
    rows = ["Filename;Width;Height;ClassId"]
    for i, label in enumerate(labels_of(TEST)):
        rows.append(f"{save(folder / 'Final_Test/Images' / f'{i:05d}.ppm', 50 + i).name};11;9;{label}")
    (root / "gtsrb/GT-final_test.csv").write_text("\n".join(rows) + "\n")


def oxford_pet(root):
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for part, count, start in (("trainval", TRAIN, 0), ("test", TEST, 100)):
        lines = []
        for label, name in enumerate(("Abyssinian", "american_bulldog"), 1):
            for i in range(count):
                image = save(folder / "images" / f"{name}_{start + i}.jpg", start + i + label)
                lines.append(f"{image.stem} {label} {label} 1\n")
        (folder / "annotations" / f"{part}.txt").write_text("".join(lines))


def stanford_cars(root):
    folder = root / "stanford_cars"
    kind = [("fname", "O"), ("class", "O")]
    for part, count, where in (
        ("train", TRAIN, "devkit/cars_train_annos"),
        ("test", TEST, "cars_test_annos_withlabels"),
    ):
        labels = labels_of(count) + 1
        names = [save(folder / f"cars_{part}" / f"{i:05d}.jpg", i).name for i in range(len(labels))]
        (folder / where).parent.mkdir(parents=True, exist_ok=True)
        rows = np.array([*zip(names, labels.tolist(), strict=True)], dtype=kind)
        scipy.io.savemat(folder / f"{where}.mat", {"annotations": rows[None]})
    names = np.array(["AM General Hummer", "Acura RL"], dtype=object)
    scipy.io.savemat(folder / "devkit/cars_meta.mat", {"class_names": names[None]})


def places365(root):
    (root / "categories_places365.txt").write_text("/a/airfield 0\n/b/barn 1\n")
    for part, file, folder, count in (
        ("train", "places365_train_standard.txt", "data_large_standard", TRAIN),
        ("val", "places365_val.txt", "val_large", TEST),
    ):
        lines = []
        for i, label in enumerate(labels_of(count)):
            save(root / folder / f"{part}_{i}.jpg", i)
            lines.append(f"/{part}_{i}.jpg {label}\n")
        (root / file).write_text("".join(lines))


def inaturalist(root):
    for part, count in (("2021_train", TRAIN), ("2021_valid", TEST)):
        names = (f"{i}_Animalia_Chordata_Mammalia_Carnivora_Canidae_Canis_{i}" for i in ("00000", "00001"))
        classes_below(root / part, tuple(names), count, "jpg")


def celeba(root):
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, 13)]
    for i, name in enumerate(names):
        save(folder / "img_align_celeba" / name, i)
    rows = [[1 if (i + k) % 3 else -1 for k in range(3)] for i in range(12)]
    lines = [f"{name} {' '.join(f'{v:2d}' for v in row)}\n" for name, row in zip(names, rows, strict=True)]
    (folder / "list_attr_celeba.txt").write_text("12\nBald Eyeglasses Smiling\n" + "".join(lines))
    for file, head, cells in (
        ("identity_CelebA.txt", "", "1"), ("list_bbox_celeba.txt", "12\nx y w h\n", "0 0 1 1"),
        ("list_landmarks_align_celeba.txt", "12\na b\n", "0 0"),
    ):  # fmt: skip
        (folder / file).write_text(head + "".join(f"{name} {cells}\n" for name in names))
    parts = [0] * 6 + [1] * 3 + [2] * 3
    (folder / "list_eval_partition.txt").write_text("".join(f"{n} {p}\n" for n, p in zip(names, parts, strict=True)))


def zipped(folder: Path, archive: Path):
    """The archive that a data set's folder is published as."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)
