import pytest
from photos import laid_out, packed

from thawlab.data.archives import store_of
from thawlab.data.trees import ArchiveTree, FolderTree, Level, tree_of
from thawlab.errors import UserError

FILES = {"b/deep/er/1.png": b"123", "a/1.png": b"1", "a/2.png": b"", "x.txt": b"", "a/b/c.png": b""}


@pytest.mark.parametrize("ending", ["", ".zip", ".tar"])
def test_folders_and_archives_of_the_same_files_look_alike(ending, tmp_path):
    root = packed(tmp_path / f"root{ending}", FILES) if ending else laid_out(tmp_path / "root", FILES)
    tree = tree_of(str(root))
    assert tree.level("") == Level(("a", "b"), (), ("x.txt",))
    assert tree.level("a") == Level(("b",), (), ("1.png", "2.png"))
    assert tree.level("b/deep") == Level(("er",), (), ())
    assert (tree.find("b/deep/er/1.png").name, tree.find("b/deep/er/1.png").size) == ("b/deep/er/1.png", 3)
    assert tree.find("a") is tree.find("a/9.png") is tree.find("a/\0") is None
    assert {name: tree.store.read(name) for name in FILES} == FILES


def test_an_archive_from_one_of_its_folders_on(tmp_path):
    tree = ArchiveTree(store_of(packed(tmp_path / "a.zip", FILES))).below("b").below("deep")
    assert tree.level("") == Level(("er",), (), ())
    assert tree.store.read("er/1.png") == b"123"
    assert tree.find("er/1.png").name == "er/1.png"
    assert tree.store.place == str(tmp_path / "a.zip/b/deep")


def test_an_archive_of_folders_in_thousands_of_folders_is_no_danger(tmp_path):
    tree = tree_of(str(packed(tmp_path / "a.tar", {"a/" * 5000 + "1.png": b"x"})))
    assert tree.level("a/a") == Level(("a",), (), ())


def test_refuses_what_is_neither(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"x")
    with pytest.raises(UserError, match=r"a.rar', but that is a file of none of these: .zip, .tar"):
        tree_of(str(tmp_path / "a.rar"))
    with pytest.raises(UserError, match="no such folder"):
        tree_of(str(tmp_path / "a.zip"))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        FolderTree(tmp_path).level("gone")
