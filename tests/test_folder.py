import logging
import os
import zipfile

import numpy as np
import pytest
from photos import packed
from PIL import Image

from thawlab.data import checking
from thawlab.data.encoded import VAL_AS_TEST
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError


def draw(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (12, 15, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    for label, name in enumerate(("cats", "dogs")):
        for i in range(10):
            draw(tmp_path / "photos" / name / f"{i:02d}.png", 100 * label + i)
    return tmp_path / "photos"


@pytest.fixture
def given(tmp_path):
    def make(**counts):
        for part, (split, count) in enumerate(counts.items()):
            for label, name in enumerate(("cats", "dogs")):
                for i in range(count):
                    draw(tmp_path / "given" / split / name / f"{i:02d}.jpg", 1000 * part + 100 * label + i)
        return tmp_path / "given"

    return make


def load(root, **values):
    return load_splits(DatasetSpec("mine", "folder", str(root), **values), seed=0)


def test_a_folder_of_classes_is_split_by_us(photos):
    splits = load(photos, val_share=0.25)
    assert splits.classes == ("cats", "dogs")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [12, 4, 4]
    for name, label in zip(splits.train.names, splits.train.labels, strict=True):
        assert name.startswith(splits.classes[label])
    assert splits.notes == ()
    expected = np.asarray(Image.open(photos / splits.test.names[0]))
    assert np.array_equal(splits.test.load(0).permute(1, 2, 0).numpy(), expected)


def test_given_splits_are_kept(given):
    splits = load(given(train=4, valid=2, Test=3))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [8, 4, 6]
    assert {name.split("/")[0] for name in splits.val.names} == {"valid"}
    assert {name.split("/")[0] for name in splits.test.names} == {"Test"}


def test_validation_is_drawn_from_train_where_only_test_is_given(given):
    splits = load(given(train=8, test=3), val_share=0.25)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [12, 4, 6]
    assert {name.split("/")[0] for name in splits.val.names} == {"train"}


def test_given_validation_becomes_the_test_set_where_no_test_is_given(given):
    splits = load(given(train=8, val=3), val_share=0.25)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [12, 4, 6]
    assert {name.split("/")[0] for name in splits.test.names} == {"val"}
    assert VAL_AS_TEST in splits.notes


def test_other_files_are_ignored_and_said_to_be(photos):
    (photos / "README.md").write_text("hello")
    (photos / "cats" / "Thumbs.db").write_bytes(b"x")
    (photos / "cats" / ".hidden.png").write_bytes(b"x")
    (photos / ".git").mkdir()
    draw(photos / "dogs" / "deeper" / "UPPER.PNG", 5000)
    splits = load(photos)
    assert "dogs/deeper/UPPER.PNG" in splits.train.names + splits.val.names + splits.test.names
    assert len(splits.notes) == 1
    assert "ignored 4 files" in splits.notes[0]
    assert "Thumbs.db" in splits.notes[0]


def spoil(photos):
    whole = (photos / "cats" / "00.png").read_bytes()
    (photos / "cats" / "half.png").write_bytes(whole[: len(whole) // 2])
    (photos / "cats" / "page.jpg").write_text("<html></html>")
    (photos / "dogs" / "empty.gif").write_bytes(b"")
    (photos / "dogs" / "gone.png").symlink_to(photos / "nowhere.png")


def test_bad_images_stop_the_run_with_their_names_reasons_and_count(photos):
    spoil(photos)
    with pytest.raises(UserError) as caught:
        load(photos)
    said = str(caught.value)
    assert "4 of 24 files" in said
    assert all(name in said for name in ("half.png is cut off", "page.jpg is not an image", "empty.gif is empty"))
    assert "gone.png cannot be read" in said
    assert "dataset.bad_images=quarantine" in said


def test_bad_images_are_left_out_by_name_in_quarantine(photos):
    splits = load(photos)
    spoil(photos)
    quarantined = load(photos, bad_images="quarantine")
    assert quarantined.fingerprint == splits.fingerprint, "the readable images alone count"
    assert len(quarantined.notes) == 1
    assert all(name in quarantined.notes[0] for name in ("half.png", "page.jpg", "empty.gif", "gone.png"))


def test_files_are_decoded_once_for_a_sweep_and_again_when_changed(photos, caplog):
    caplog.set_level(logging.INFO, checking.__name__)
    first = load(photos)
    assert load(photos, per_class=3).test.names == first.test.names
    assert len(caplog.records) == 1
    draw(photos / "cats" / "03.png", 77)
    os.utime(photos / "cats" / "03.png", ns=(1, 1))
    assert load(photos).fingerprint != first.fingerprint
    assert len(caplog.records) == 2


def test_a_file_spoilt_while_a_run_reads_it_is_named(photos):
    splits = load(photos)
    (photos / splits.train.names[0]).write_bytes(b"")
    with pytest.raises(UserError, match=r"has other content than when the run began\..*start it again"):
        splits.train.load(0)
    (photos / splits.train.names[1]).unlink()
    with pytest.raises(UserError, match=r"cannot be read any more: No such file or directory\..*start it again"):
        splits.train.load(1)


def test_copies_of_training_images_among_the_test_images_are_told(given):
    root = given(train=8, test=3)
    (root / "test" / "cats" / "copy.jpg").write_bytes((root / "train" / "cats" / "00.jpg").read_bytes())
    assert any("1 of 7 test images are also training or validation images" in note for note in load(root).notes)


def test_names_with_odd_characters_are_read(photos):
    draw(photos / "chats & chiens é" / "bild ñ 1.png", 9000)
    for i in range(4):
        draw(photos / "chats & chiens é" / f"{i}.png", 9001 + i)
    assert load(photos).classes == ("cats", "chats & chiens é", "dogs")


def empty_class(root):
    (root / "fish").mkdir()


def only_one_class(root):
    for path in sorted((root / "dogs").iterdir()):
        path.unlink()
    (root / "dogs").rmdir()


def loose_images(root):
    for folder in ("cats", "dogs"):
        for path in sorted((root / folder).iterdir()):
            path.rename(root / f"{folder}{path.name}")
        (root / folder).rmdir()


def small_class(root):
    for i in range(2):
        draw(root / "fish" / f"{i}.png", 70 + i)


@pytest.mark.parametrize(
    ("change", "values", "said"),
    [
        pytest.param(empty_class, {}, "without images: fish", id="an empty class folder"),
        pytest.param(only_one_class, {}, "one class, 'cats'", id="one class"),
        pytest.param(loose_images, {}, "20 images and no class folder", id="images beside no class folder"),
        pytest.param(small_class, {}, "'fish' has 2 .* needs 3", id="a class too small to split"),
        pytest.param(None, {"per_class": 8}, "per_class is 8, but class 'cats' has 7", id="too many per class"),
        pytest.param(None, {"share": 0.01}, "share is 0.01, .* none of its 7", id="too small a share"),
    ],
)
def test_refuses(change, values, said, photos):
    if change:
        change(photos)
    with pytest.raises(UserError, match=said):
        load(photos, **{"val_share": 0.15, **values})


def test_refuses_a_share_that_nothing_is_drawn_by(given):
    with pytest.raises(UserError, match=r"dataset.test_share is 0.4, .* gives these images"):
        load(given(train=8, val=3), test_share=0.4)


def test_members_of_an_archive_that_cannot_be_read_are_bad_images(photos, tmp_path):
    files = {str(path.relative_to(photos)): path.read_bytes() for path in photos.rglob("*.png")}
    with zipfile.ZipFile(packed(tmp_path / "p.zip", files, "photos/"), "a") as archive:
        link = zipfile.ZipInfo("photos/cats/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "00.png")
        archive.writestr("photos/dogs/odd.png", b"x" * 100, zipfile.ZIP_LZMA)
    with pytest.raises(UserError) as caught:
        load(tmp_path / "p.zip")
    assert "p.zip/photos/cats/link.png cannot be read: it is a link" in str(caught.value)
    assert "p.zip/photos/dogs/odd.png cannot be read: it is compressed by method 14" in str(caught.value)
    quarantined = load(tmp_path / "p.zip", bad_images="quarantine")
    assert quarantined.fingerprint == load(photos).fingerprint


def test_a_command_on_a_damaged_archive_is_refused_in_one_message(tmp_path, command):
    packed(tmp_path / "p.tgz", {"a/1.png": b"x" * 2000})
    (tmp_path / "p.tgz").write_bytes((tmp_path / "p.tgz").read_bytes()[:-20])
    ended = command("dataset=folder dataset.root=p.tgz logger=none")
    assert ended.status == 2
    assert "p.tgz is no whole tar" in ended.err
