import hashlib
from dataclasses import dataclass, field

import pytest
from PIL import Image

from thawlab.data import checking
from thawlab.data.checking import ImageFile, check_files, notes_on, refuse_bad
from thawlab.data.remembering import remembering
from thawlab.data.stores import FolderStore
from thawlab.errors import UserError
from thawlab.store.rowstore import RowStore


@pytest.fixture
def files(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    pages = [Image.new("L", (9, 9), value) for value in (1, 2)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for i in range(7):
        (tmp_path / f"bad{i}.png").write_bytes(b"")
    names = ["good.png", "pages.tif", *(f"bad{i}.png" for i in range(7)), "missing.png"]
    return tuple(ImageFile(name, 0, 0) for name in names)


def test_every_file_has_a_verdict_in_order(files, tmp_path):
    verdicts = check_files(FolderStore(tmp_path), files)
    assert verdicts[0].defect is None
    assert verdicts[0].digest == hashlib.sha256((tmp_path / "good.png").read_bytes()).digest()
    assert [verdict.pictures for verdict in verdicts[:2]] == [1, 2]
    assert [verdict.defect for verdict in verdicts[2:9]] == ["is empty: 0 bytes"] * 7
    assert verdicts[9].defect == "cannot be read: No such file or directory"


def test_a_picture_too_large_to_be_meant_is_a_defect_and_no_warning(files, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    assert "9 x 9 pixels" in str(check_files(FolderStore(tmp_path), (ImageFile("good.png", 1, 1),))[0].defect)


def test_refusal_names_five_of_many_and_the_remedy(files, tmp_path):
    with pytest.raises(UserError) as caught:
        refuse_bad(str(tmp_path), files, check_files(FolderStore(tmp_path), files))
    said = str(caught.value)
    assert "8 of 10 files" in said
    assert said.count("is empty") == 5
    assert "and 3 more" in said
    assert "dataset.bad_images=quarantine" in said


def test_good_files_pass_without_a_word(files, tmp_path):
    verdicts = check_files(FolderStore(tmp_path), files[:1])
    refuse_bad(str(tmp_path), files[:1], verdicts)
    assert notes_on(files[:1], verdicts) == ()


def test_notes_name_every_file_left_out_and_files_of_several_pictures(files, tmp_path):
    left_out, several = notes_on(files, check_files(FolderStore(tmp_path), files))
    assert left_out.startswith("left out 8 unreadable files")
    assert all(f"bad{i}.png (is empty" in left_out for i in range(7))
    assert "pages.tif" in several


@pytest.fixture
def decoded(monkeypatch):
    """How many contents are decoded, however few the files."""
    seen = []
    original = checking.pictures_in

    def watched(content, channels):
        seen.append(content)
        return original(content, channels)

    monkeypatch.setattr(checking, "pictures_in", watched)
    monkeypatch.setattr(checking, "MANY", 1)
    return seen


def checked(root, names, store):
    check_files.cache_clear()  # as in another process
    with remembering(store):
        return check_files(FolderStore(root), tuple(ImageFile(name, 0, 0) for name in names))


def test_what_decoded_in_an_earlier_run_is_not_decoded_again(files, tmp_path, decoded):
    names = [file.name for file in files]
    store = RowStore(tmp_path / "store", 10**6)
    check_files.cache_clear()
    expected = check_files(FolderStore(tmp_path), files)
    decoded.clear()
    assert checked(tmp_path, names, store) == expected
    assert len(set(decoded)) == 3  # one good, one of several pages, one empty content
    decoded.clear()
    assert checked(tmp_path, names, store) == expected
    assert set(decoded) == {b""}, "what is wrong with a file is said in words, which are not kept"
    Image.new("RGB", (9, 9), "red").save(tmp_path / "good.png")
    decoded.clear()
    checked(tmp_path, names, store)
    assert (tmp_path / "good.png").read_bytes() in decoded


def test_a_store_that_cannot_be_used_changes_no_verdict(files, tmp_path, decoded):
    (tmp_path / "store").write_text("a file where the folder should be")
    names = [file.name for file in files]
    found = checked(tmp_path, names, RowStore(tmp_path / "store", 10**6))
    check_files.cache_clear()
    assert found == check_files(FolderStore(tmp_path), files)


@dataclass(frozen=True)
class Shifting(FolderStore):
    """A folder in which, from its second reading on, a file's content is that of `other`."""

    other: str = ""
    read_so_far: list = field(default_factory=list, compare=False)

    def read(self, name):
        self.read_so_far.append(name)
        return super().read(self.other if self.read_so_far.count(name) > 1 else name)


@pytest.mark.parametrize(("first", "other", "pictures"), [("bad0.png", "pages.tif", 2), ("pages.tif", "good.png", 1)])
def test_a_file_that_changes_meanwhile_has_one_verdict_and_its_content_another(
    first, other, pictures, files, tmp_path, decoded
):
    rows = RowStore(tmp_path / "store", 10**6)
    check_files.cache_clear()
    (was,) = check_files(FolderStore(tmp_path), (ImageFile(first, 0, 0),))
    check_files.cache_clear()
    with remembering(rows):
        (now,) = check_files(Shifting(tmp_path, other), (ImageFile(first, 0, 0),))
    assert now.digest == hashlib.sha256((tmp_path / other).read_bytes()).digest(), "of the bytes that were decoded"
    assert (now.pictures, now.defect) == (pictures, None)
    assert checked(tmp_path, [first], rows) == (was,), "nothing false was remembered of the first content"
