import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from thawlab.data import tars
from thawlab.data.shard_paths import braced
from thawlab.data.shards import read_shards
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError


def jpeg(seed):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 11, 3), np.uint8)).save(content, "JPEG")
    return content.getvalue()


def samples(count, start=0, **fields):
    """Two classes, alternating; `fields` are endings with a value for each class."""
    fields = fields or {"cls": (0, 1)}
    return [
        {
            "__key__": f"{start + i:05d}",
            "jpg": jpeg(start + i),
            **{end: values[i % 2] for end, values in fields.items()},
        }
        for i in range(2 * count)
    ]


def write(path, rows):
    """By the webdataset package, as its users do."""
    import webdataset  # only here: it takes a while, and collecting tests must not

    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as sink:
        for row in rows:
            sink.write(row)
    return path


def spec(root, **values):
    return DatasetSpec("mine", "shards", str(root), **values)


def test_shards_named_after_splits_are_taken_as_given(tmp_path):
    for i in range(3):
        write(tmp_path / f"train-{i:06d}.tar", samples(4, 100 * i))
    write(tmp_path / "validation-0.tar", samples(2, 500))
    write(tmp_path / "test.tar", samples(3, 600))
    pools = read_shards(spec(tmp_path))
    assert (len(pools.train), len(pools.val), len(pools.test)) == (24, 4, 6)
    assert pools.train.names[:2] == ("train-000000.tar/00000.jpg", "train-000000.tar/00001.jpg")
    assert pools.classes == ("0", "1")
    assert pools.train.labels.tolist() == [0, 1] * 12
    expected = np.asarray(Image.open(io.BytesIO(jpeg(101)))).transpose(2, 0, 1)
    assert np.array_equal(pools.train.load(9).numpy(), expected)
    assert pools.notes == ()


def test_folders_may_name_the_splits(tmp_path):
    write(tmp_path / "train/000.tar", samples(4))
    write(tmp_path / "val/000.tar", samples(2, 50))
    pools = read_shards(spec(tmp_path))
    assert (len(pools.train), pools.val, len(pools.test)) == (8, None, 4)


@pytest.mark.parametrize(
    ("pattern", "images"),
    [("s-{000..001}.tar", 8), ("s-00[12].tar", 8), ("s-*.tar", 12), ("s-001.tar", 4), ("s-{000,002}.tar", 8)],
)
def test_patterns_choose_shards(pattern, images, tmp_path, monkeypatch):
    for i in range(3):
        write(tmp_path / "data" / f"s-{i:03d}.tar", samples(2, 10 * i))
    assert len(read_shards(spec(tmp_path / "data" / pattern)).train) == images
    monkeypatch.chdir(tmp_path)
    assert (
        read_shards(spec(f"data/{pattern}")).train.names == read_shards(spec(tmp_path / "data" / pattern)).train.names
    )


@pytest.mark.parametrize("pattern", ["a-{000..012}.tar", "{x,y}/{8..11}.tar", "plain.tar", "{a,b,c}{1..2}"])
def test_braces_are_written_out_as_the_package_does(pattern):
    from braceexpand import braceexpand

    assert braced(pattern) == list(braceexpand(pattern))


def test_braces_within_braces_mean_the_same_files():
    from braceexpand import braceexpand

    pattern = "s/{train-{000..003},test-0}.tar"
    assert sorted(braced(pattern)) == sorted(braceexpand(pattern))


def test_our_samples_are_those_that_the_package_reads(tmp_path):
    from webdataset.tariterators import group_by_keys, tar_file_expander

    path = write(tmp_path / "a.tar", samples(5, cls=(1, 0)))
    pools = read_shards(spec(path))
    with path.open("rb") as file:
        theirs = list(group_by_keys(tar_file_expander([{"url": str(path), "stream": file}])))
    assert len(theirs) == len(pools.train) == 10
    for i, sample in enumerate(theirs):
        assert pools.train.names[i] == f"a.tar/{sample['__key__']}.jpg"
        assert pools.train.store.read(pools.train.names[i]) == sample["jpg"]
        assert pools.train.labels[i] == int(sample["cls"])


@pytest.mark.parametrize(
    ("fields", "values", "classes"),
    [
        pytest.param({"cls": (7, 12)}, {}, ("7", "12"), id="numbers"),
        pytest.param({"txt": ("owl", "crow")}, {}, ("crow", "owl"), id="names in .txt"),
        pytest.param({"json": ({"label": "owl"}, {"label": "crow"})}, {}, ("crow", "owl"), id="json"),
        pytest.param({"json": ({"bird": 3, "x": 1}, {"bird": 5})}, {"label_column": "bird"}, ("3", "5"), id="a key"),
        pytest.param({"txt": ("a", "b"), "cls": (3, 4)}, {}, ("3", "4"), id="a caption beside"),
        pytest.param({"kind.txt": ("a", "b"), "cls": (3, 4)}, {"label_column": "kind.txt"}, ("a", "b"), id="an ending"),
    ],
)
def test_labels_are_found(fields, values, classes, tmp_path):
    write(tmp_path / "a.tar", samples(8, **fields))
    pools = read_shards(spec(tmp_path, **values))
    assert pools.classes == classes
    assert sorted(pools.train.labels[:2].tolist()) == [0, 1]


def test_classes_are_named_in_a_file(tmp_path):
    (tmp_path / "classes.txt").write_text("owl\ncrow\n")
    write(tmp_path / "a.tar", samples(4))
    assert read_shards(spec(tmp_path)).classes == ("owl", "crow")
    (tmp_path / "classes.txt").write_text("owl\n")
    with pytest.raises(UserError, match="has the label 1, but names 1"):
        read_shards(spec(tmp_path))


def test_several_labels_of_an_image(tmp_path):
    write(tmp_path / "a.tar", samples(4, json=({"label": ["red", "wet"]}, {"label": []})))
    pools = read_shards(spec(tmp_path, task="multilabel"))
    assert pools.classes == ("red", "wet")
    assert pools.train.labels[:2].tolist() == [[1, 1], [0, 0]]
    with pytest.raises(UserError, match=r"dataset.task=multilabel for several"):
        read_shards(spec(tmp_path))


def test_a_test_shard_without_labels_is_left_out(tmp_path):
    write(tmp_path / "train.tar", samples(4))
    write(tmp_path / "test.tar", samples(2, 50, cls=(-1, -1)))
    pools = read_shards(spec(tmp_path))
    assert (pools.test, pools.notes) == (None, ("the test images have no labels and are left out",))


def test_one_image_of_several_is_chosen(tmp_path):
    rows = [{**row, "left.png": jpeg(70 + i)} for i, row in enumerate(samples(3))]
    write(tmp_path / "a.tar", rows)
    with pytest.raises(UserError, match=r"several images. Say which: dataset.image_column="):
        read_shards(spec(tmp_path))
    assert read_shards(spec(tmp_path, image_column="left.png")).train.names[0].endswith("00000.left.png")


def without(rows, number, field):
    return [{key: value for key, value in row.items() if i != number or key != field} for i, row in enumerate(rows)]


def twice(path):
    rows = samples(3)
    write(path, [*rows, rows[1]])


def cut_off(path):
    write(path, samples(3))
    path.write_bytes(path.read_bytes()[:9000])


def cut_between_two(path):
    write(path, samples(3))
    with tarfile.open(path) as tar:
        end = tar.getmembers()[3].offset
    path.write_bytes(path.read_bytes()[:end])


def not_a_tar(path):
    path.write_bytes(b"hello" * 400)


def compressed(path):
    write(path.with_name("a.tar.gz"), samples(3))


def disguised(path):
    write(path.with_name("a.tar.gz"), samples(3)).rename(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(
            lambda p: write(p, without(samples(3), 2, "cls")), "'00002' of .*a.tar has .jpg, but", id="no label"
        ),
        pytest.param(lambda p: write(p, without(samples(3), 2, "jpg")), "has .cls, but no image", id="no image"),
        pytest.param(lambda p: write(p, samples(3, json=({"kind": 1}, {}))), "dataset.label_column=kind", id="no key"),
        pytest.param(lambda p: write(p, samples(3, json=(b"{", b"{"))), "no label that can be read", id="no JSON"),
        pytest.param(twice, "has had the key '00001'", id="a key twice"),
        pytest.param(cut_off, "a.tar", id="cut off"),
        pytest.param(cut_between_two, "without the empty block", id="cut off between files"),
        pytest.param(not_a_tar, "cannot be read as a tar file", id="not a tar"),
        pytest.param(compressed, "gunzip", id="compressed"),
        pytest.param(disguised, "gunzip", id="compressed under another name"),
        pytest.param(lambda p: None, r"where there is no .tar file", id="no shard"),
        pytest.param(lambda p: write(p.with_name("test.tar"), samples(3)), "none of train", id="no training shard"),
        pytest.param(
            lambda p: (write(p, samples(3)), write(p.with_name("test.tar"), samples(3, 9))),
            "a.tar names none",
            id="mixed",
        ),
    ],
)
def test_refuses(make, said, tmp_path):
    make(tmp_path / "a.tar")
    with pytest.raises(UserError, match=said):
        read_shards(spec(tmp_path))


def test_a_missing_shard_of_a_pattern_is_named(tmp_path):
    write(tmp_path / "s-0.tar", samples(2))
    with pytest.raises(UserError, match=r"no file or folder .*s-1.tar"):
        read_shards(spec(tmp_path / "s-{0..1}.tar"))


def test_unreadable_images_are_named_or_left_out(tmp_path):
    rows = samples(4)
    rows[3]["jpg"] = rows[3]["jpg"][:100]
    write(tmp_path / "a.tar", rows)
    with pytest.raises(UserError, match=r"1 of 8 files .*\n.*a.tar/00003.jpg does not decode"):
        read_shards(spec(tmp_path))
    assert len(read_shards(spec(tmp_path, bad_images="quarantine")).train) == 7


def test_a_changed_shard_is_read_again_and_an_unchanged_one_is_not(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tar", samples(6))
    first = load_splits(spec(tmp_path), 0)
    with monkeypatch.context() as patched:
        patched.setattr(tars.tarfile, "open", lambda *_, **__: pytest.fail("indexed again"))
        assert load_splits(spec(tmp_path, per_class=2), 0).test_fingerprint == first.test_fingerprint
    write(path, samples(6, 40))
    assert load_splits(spec(tmp_path), 0).fingerprint != first.fingerprint


def test_shards_give_the_same_training_images_as_a_folder_and_travel_to_workers(tmp_path):
    names = ("crow", "owl")
    rows = [{**row, "txt": names[i // 12]} for i, row in enumerate(samples(12, txt=names))]
    write(tmp_path / "shards/a.tar", rows)
    for i, row in enumerate(rows):
        path = tmp_path / "folder" / names[i // 12] / f"{row['__key__']}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["jpg"])
    ours = load_splits(spec(tmp_path / "shards", per_class=5), 3)
    plain = load_splits(DatasetSpec("x", "folder", str(tmp_path / "folder"), per_class=5), 3)
    for part in ("train", "val", "test"):
        first, second = pickle.loads(pickle.dumps(getattr(ours, part))), getattr(plain, part)
        assert np.array_equal(first.labels, second.labels)
        assert all(np.array_equal(first.load(i), second.load(i)) for i in range(len(first)))


@pytest.mark.slow
def test_a_run_from_a_pattern_finishes(tmp_path, command):
    for i in range(2):
        write(tmp_path / f"train-{i}.tar", samples(6, 40 * i))
    write(tmp_path / "test-0.tar", samples(3, 900))
    pattern = f"'\"{tmp_path}/{{train-{{0..1}},test-0}}.tar\"'"
    ended = command(f"dataset=shards dataset.root={pattern} trainer.epochs=1 trainer.batch_size=4 logger=none")
    assert ended.status == 0, ended.err
    (result,) = tmp_path.rglob("result.json")
    assert json.loads(result.read_text())["status"] == "finished"
