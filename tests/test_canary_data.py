"""Data made to run code, to write elsewhere or to fill the memory: none does, and what cannot be read is named."""

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import hostile
import numpy as np
import pytest
import torchvision_files
from photos import class_folders, named_pngs, packed, png
from PIL import EpsImagePlugin, Image
from torchvision.datasets import utils

from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """Where a payload leaves its mark; the folder of the test is the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "marker"


def refused(said, source, root=None, **values):
    with pytest.raises(UserError, match=said):
        load_splits(DatasetSpec("mine", source, root and str(root), **values), 0)


def tried(source, root=None, **values):
    """What is read, or in which words it is refused."""
    try:
        return load_splits(DatasetSpec("mine", source, root and str(root), **values), 0)
    except UserError as error:
        return str(error)


# Images


def eps(marker):
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\n(x) run\nshowpage\n%%EOF\n"


def array_of_objects(marker):
    content = io.BytesIO()
    np.save(content, np.array([hostile.payload(marker)], dtype=object), allow_pickle=True)
    return content.getvalue()


def arrays_of_objects(marker):
    content = io.BytesIO()
    np.savez(content, a=np.array([hostile.payload(marker)], dtype=object), allow_pickle=True)
    return content.getvalue()


def header_of_code(marker):
    """NumPy reads an array's header by literal_eval."""
    text = f"__import__('os').mkdir({str(marker)!r})".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def text_bomb(marker):
    """A comment of 200 MB in 200 kB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    whole = png(1)
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 * 2**20)))
    return whole[:33] + bomb + whole[33:]


def tiff_bomb(marker):
    """A tag that claims 4 billion values."""
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "TIFF")
    data = bytearray(content.getvalue())
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        struct.pack_into("<I", data, entry + 4, 2**32 - 1)
    return bytes(data)


IMAGES = {
    "EPS": (eps, 3),
    "SVG with a script": (lambda marker: b"<svg xmlns='http://www.w3.org/2000/svg'><script>x</script></svg>", 3),
    "a pickle": (lambda marker: pickle.dumps(hostile.payload(marker)), 3),
    "an array of objects": (array_of_objects, 5),
    "several arrays of objects": (arrays_of_objects, 5),
    "an array's header of code": (header_of_code, 5),
    "a PNG's text of 200 MB": (text_bomb, 3),
    "a TIFF's tags of 16 GB": (tiff_bomb, 3),
}


@pytest.mark.parametrize(("make", "channels"), IMAGES.values(), ids=IMAGES)
def test_an_image_runs_nothing(make, channels, marker, monkeypatch):
    fake_ghostscript(marker, monkeypatch)
    photos = class_folders(marker.parent / "photos")
    ending = "npy" if channels == 5 else "png"
    if channels == 5:
        for path in photos.rglob("*.*"):
            np.save(path.with_suffix(".npy"), np.zeros((4, 4, 5), np.uint8))
            path.unlink()
    first = sorted(path for path in photos.joinpath("train").rglob("*.*"))[0]
    first.unlink()
    bad = first.with_suffix(f".{ending}")
    bad.write_bytes(make(marker))
    refused(bad.name, "folder", photos, channels=channels)
    assert not marker.exists()


def fake_ghostscript(marker, monkeypatch):
    gs = marker.with_name("gs")
    gs.write_text(f"#!/bin/sh\nmkdir -p {marker}\n")
    gs.chmod(0o755)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", str(gs))


def test_those_images_would_fire(marker, monkeypatch):
    fake_ghostscript(marker, monkeypatch)
    with pytest.raises(OSError, match=r"\w"):
        Image.open(io.BytesIO(eps(marker))).load()  # the fake leaves no picture behind
    assert marker.is_dir()
    for make in (array_of_objects, arrays_of_objects):
        marker.rmdir()
        loaded = np.load(io.BytesIO(make(marker)), allow_pickle=True)
        _ = loaded["a"] if make is arrays_of_objects else None
        assert marker.is_dir()


# Archives and shards


def tar_with(path, *members):
    packed(path, named_pngs())
    with tarfile.open(path, "a") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


TARS = {
    "above": (member("../marker"), png(1), "leads out"),
    "below and above": (member("cats/../../marker"), png(1), "leads out"),
    "absolute": (member("/tmp/marker"), png(1), "leads out"),
}
LINKS = {
    "a symbolic link": member("cats/link.png", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": member("cats/link.png", tarfile.LNKTYPE, "../../etc/passwd"),
    "a device": member("cats/zero.png", tarfile.CHRTYPE),
    "a pipe": member("cats/pipe.png", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize(("info", "content", "said"), TARS.values(), ids=TARS)
def test_a_tar_writes_nothing(info, content, said, marker):
    path = tar_with(marker.with_name("photos.tar"), (info, content))
    before = set(marker.parent.iterdir())
    refused(said, "folder", path)
    assert set(marker.parent.iterdir()) == before
    assert not Path("/tmp/marker").exists()


@pytest.mark.parametrize("info", LINKS.values(), ids=LINKS)
def test_a_tars_links_and_devices_are_not_followed(info, marker):
    path = tar_with(marker.with_name("photos.tar"), (info, b""))
    found = tried("folder", path)
    if isinstance(found, str):
        assert path.name in found
    else:
        assert info.name not in {*found.train.names, *found.val.names, *found.test.names}


@pytest.mark.parametrize("name", ["../marker", "cats/../../marker", "/tmp/marker", "..\\marker"])
def test_a_zip_writes_nothing(name, marker):
    path = packed(marker.with_name("photos.zip"), {**named_pngs(), name: png(1)})
    refused("leads out", "folder", path)
    assert not marker.exists()


def test_a_zip_that_swells_is_refused(marker):
    path = packed(marker.with_name("photos.zip"), named_pngs())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cats/bomb.png", png(1))
        archive.infolist()[-1].file_size = 2**40
    refused("bomb|whole", "folder", path)


def shard(path, **more):
    """Samples as WebDataset has them, each with members besides the image and the class."""
    files = {}
    for i in range(20):
        files |= {f"{i:04d}.png": png(i), f"{i:04d}.cls": str(i % 2).encode()}
        files |= {f"{i:04d}.{ending.replace('_', '.')}": content for ending, content in more.items()}
    path.parent.mkdir(exist_ok=True)
    return packed(path, files)


@pytest.mark.parametrize("ending", ["pyd", "pickle", "pkl", "pth", "npy", "npz", "pt"])
def test_a_shards_pickles_are_left_alone(ending, marker):
    shard(marker.with_name("shards") / "data-000.tar", **{ending: pickle.dumps(hostile.payload(marker))})
    splits = load_splits(DatasetSpec("mine", "shards", str(marker.with_name("shards"))), 0)
    assert len(splits.classes) == 2
    splits.train.load(0)
    assert not marker.exists()


@pytest.mark.parametrize("asked", ["pyd", "pkl"])
def test_a_pickle_that_is_asked_for_as_an_image_or_label_is_none(asked, marker):
    shard(marker.with_name("shards") / "data-000.tar", **{asked: pickle.dumps(hostile.payload(marker), 0)})
    shards = marker.with_name("shards")
    refused(f"[.]{asked}|not an image", "shards", shards, image_column=asked)
    refused("are of 1 classes", "shards", shards, label_column=asked)  # its text is taken for a name
    assert not marker.exists()


# Tables and sets of others


def test_a_parquet_files_types_are_not_unpickled(marker):
    import pyarrow as pa
    from pyarrow import parquet

    class_folders(marker.with_name("photos"))
    paths = [str(path) for path in sorted(marker.with_name("photos").rglob("*.*"))]
    evil = pickle.dumps(hostile.payload(marker))
    told = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil}
    fields = [
        pa.field("path", pa.string()), pa.field("label", pa.string(), metadata=told),
        pa.field("split", pa.string()),
    ]  # fmt: skip
    columns = [paths, [Path(path).parent.name for path in paths], [Path(path).parts[-3] for path in paths]]
    schema = pa.schema(fields, metadata={b"pandas": evil, b"huggingface": b'{"info": {"features": 7}}'})
    parquet.write_table(pa.table(columns, schema=schema), "labels.parquet")
    splits = load_splits(DatasetSpec("mine", "table", table="labels.parquet"), 0)
    assert len(splits.classes) == 3
    assert not marker.exists()


def hub_folder(folder):
    import datasets

    rows = {"image": [{"bytes": png(i), "path": None} for i in range(20)], "label": [i % 2 for i in range(20)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    (folder / "data").mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "data" / "train-00000.parquet"))


HUB = {
    "a loading script": ("{name}.py", "import os\nos.mkdir('marker')\n"),
    "a script called dataset": ("dataset.py", "import os\nos.mkdir('marker')\n"),
    "auto_map": ("config.json", '{"auto_map": {"AutoModel": "evil.Model"}, "trust_remote_code": true}'),
    "a README that asks for a script": (
        "README.md",
        "---\nconfigs:\n- config_name: default\n  data_files: data/*.parquet\n  builder_name: evil\n"
        "  script: evil.py\n  trust_remote_code: true\n---\n",
    ),
    "a README of YAML objects": ("README.md", "---\nx: !!python/object/apply:os.mkdir [marker]\n---\n"),
    "an old dataset_infos": ("dataset_infos.json", '{"default": {"builder_name": "evil", "features": null}}'),
}


@pytest.fixture
def _cached_here(tmp_path_factory, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()


@pytest.mark.usefixtures("_cached_here")
@pytest.mark.parametrize(("name", "text"), HUB.values(), ids=HUB)
def test_a_hub_folders_script_is_not_run(name, text, marker):
    folder = marker.with_name("theirs")
    hub_folder(folder)
    (folder / "evil.py").write_text("import os\nos.mkdir('marker')\nclass Model: pass\n")
    (marker.parent / "evil.py").write_text("import os\nos.mkdir('marker')\nclass Model: pass\n")
    (folder / name.format(name=folder.name)).write_text(text)
    found = tried("hub", id=str(folder))
    assert "theirs" in found if isinstance(found, str) else found.classes == ("a", "b")
    assert not marker.exists()


@pytest.mark.usefixtures("_cached_here")
@pytest.mark.parametrize("name", ["train.pkl", "train.pickle", "train.joblib", "train.npy", "train.pyd", "train.h5"])
def test_a_hub_folder_of_pickles_is_refused(name, marker):
    folder = marker.with_name("theirs")
    folder.mkdir()
    (folder / name).write_bytes(pickle.dumps(hostile.payload(marker)))
    refused("theirs", "hub", id=str(folder))
    assert not marker.exists()


def test_no_source_of_ours_asks_for_remote_code():
    sources = Path(__file__).parents[1] / "src"
    for path in sources.rglob("*.py"):
        assert "trust_remote_code" not in path.read_text(), path


@pytest.mark.parametrize(("name", "file"), [
    ("CIFAR10", "cifar-10-batches-py/data_batch_1"), ("CIFAR10", "cifar-10-batches-py/batches.meta"),
    ("CIFAR100", "cifar-100-python/train"), ("CIFAR100", "cifar-100-python/meta"),
])  # fmt: skip
def test_torchvisions_pickles_are_read_with_their_checksum_alone(name, file, marker, monkeypatch):
    getattr(torchvision_files, name.lower())(marker.parent)
    (marker.parent / file).write_bytes(pickle.dumps(hostile.payload(marker)))
    monkeypatch.setattr(utils, "_urlretrieve", no_network)
    refused(name, "torchvision", marker.parent, id=name)
    assert not marker.exists()


def no_network(*_, **__):
    raise OSError("no network in tests")


def test_an_archive_that_torchvision_unpacks_stays_in_its_folder(marker, monkeypatch):
    root = marker.with_name("sets")
    root.mkdir()
    with tarfile.open(root / "fgvc-aircraft-2013b.tar.gz", "w:gz") as archive:
        info = member("../marker")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    monkeypatch.setattr(utils, "_urlretrieve", no_network)
    refused("OutsideDestination|outside the destination", "torchvision", root, id="FGVCAircraft")
    assert not marker.exists()
