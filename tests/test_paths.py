import pytest
from photos import laid_out, packed

from thawlab.data.columns import open_table
from thawlab.data.paths import find_files
from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError

FILES = {"photos/a/1.png": b"1", "photos/b/2.png": b"22", "photos/b/3.heic": b"333"}


@pytest.fixture
def find(tmp_path):
    """Find paths that a table in tmp_path/labels.csv names."""

    def found(*paths, **values):
        text = tmp_path / "labels.csv"
        text.write_text("path,label\n" + "".join(f'"{path}",x\n' for path in paths))
        table = open_table(text)
        spec = DatasetSpec("mine", "table", table=str(text), **values)
        tree, files = find_files(spec, table, table.cells("path"), "path")
        return tree.store, [(file.name, file.size) for file in files]

    laid_out(tmp_path, FILES)
    return found


def test_paths_begin_at_the_tables_folder_or_at_root(find, tmp_path):
    store, files = find("photos/a/1.png", "./photos//b/../b/2.png", r"photos\b\3.heic")
    assert files == [("photos/a/1.png", 1), ("photos/b/2.png", 2), ("photos/b/3.heic", 3)]
    assert [store.read(name) for name, _ in files] == list(FILES.values())
    store, files = find("a/1.png", str(tmp_path / "photos/b/2.png"), root=str(tmp_path / "photos"))
    assert files == [("a/1.png", 1), ("b/2.png", 2)]
    assert store.place == str(tmp_path / "photos")


def test_a_relative_root_and_absolute_paths_agree(find, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find(tmp_path / "photos/a/1.png", root="photos")[1] == [("a/1.png", 1)]
    assert find("/etc/hostname", root="/")[1][0][0] == "etc/hostname"


@pytest.mark.parametrize("ending", [".zip", ".tar.xz"])
@pytest.mark.parametrize("top", ["", "archive of mine/"])
@pytest.mark.parametrize("start", ["", "photos/"])
def test_paths_in_an_archive_begin_at_its_top_or_in_the_folder_around_everything(ending, top, start, find, tmp_path):
    root = packed(tmp_path / f"x{ending}", FILES, top)
    begin = f"{top}{start}" if start else "photos/"
    store, files = find(f"{begin}a/1.png", f"{begin}b/2.png", root=str(root))
    assert [store.read(name) for name, _ in files] == [b"1", b"22"]


def test_absent_files_stop_a_run_or_are_left_to_be_quarantined(find):
    with pytest.raises(
        UserError, match=r"2 of the 3 paths in column 'path' are no files .* line 3 \('c.png'\), line 4"
    ):
        find("photos/a/1.png", "c.png", "photos")
    assert find("photos/a/1.png", "c.png", bad_images="quarantine")[1][1] == ("c.png", 0)


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        pytest.param(["photos/a/1.png", ""], r"holds no path: line 3 \(''\)", id="an empty path"),
        pytest.param(["../x.png"], r"leads out of .*: line 2 \('../x.png'\).*dataset.root", id="a path that leads out"),
        pytest.param(["/etc/hostname"], "leads out of", id="another folder's absolute path"),
        pytest.param(["photos/../.."], "leads out of", id="a path that leads out after all"),
        pytest.param(["a\0b"], "leads out of", id="a NUL"),
        pytest.param(
            ["photos/a/1.png", "photos/b/2.png", "photos//a/1.png"],
            r"names images twice: line 2 \('photos/a/1.png'\), line 4 \('photos/a/1.png'\). Keep one",
            id="an image twice",
        ),
    ],
)
def test_refuses(paths, said, find):
    with pytest.raises(UserError, match=said):
        find(*paths)


def test_refuses_a_root_that_is_not_there(find):
    with pytest.raises(UserError, match=r"dataset.root is .gone., but there"):
        find("a.png", root="gone")
