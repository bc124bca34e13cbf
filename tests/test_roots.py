import pytest

from thawlab.data.roots import check_there
from thawlab.errors import UserError


def dataset(source, root=None, table=None):
    return {"source": source, "root": root, "table": table}


@pytest.mark.parametrize(
    ("source", "root", "table"),
    [
        pytest.param("folder", "photos", None, id="a folder"),
        pytest.param("folder", "~/photos", None, id="at home"),
        pytest.param("folder", "photos.zip", None, id="an archive"),
        pytest.param("idx", "photos", None, id="idx"),
        pytest.param("table", None, "labels.csv", id="a table beside its images"),
        pytest.param("table", "photos", "labels.csv", id="a table of images elsewhere"),
        pytest.param("shards", "photos", None, id="a folder of shards"),
        pytest.param("shards", "gone-{0..3}.tar", None, id="a pattern, for who reads it"),
        pytest.param("torchvision", "gone", None, id="a folder that would be made"),
        pytest.param("digits", None, None, id="nothing to be read"),
    ],
)
def test_what_is_there_passes(source, root, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    for name in ("photos.zip", "labels.csv"):
        (tmp_path / name).touch()
    check_there(dataset(source, root, table))


@pytest.mark.parametrize("source", ["folder", "table", "idx", "shards"])
@pytest.mark.parametrize("root", ["gone", "~nobody/photos", "a\0b"])
def test_a_root_that_is_not_there_is_refused(source, root):
    with pytest.raises(UserError, match=r"dataset.root is .* but there is no such folder. Give "):
        check_there(dataset(source, root))


@pytest.mark.parametrize(
    ("table", "fact"), [("gone.csv", "there is no such file"), ("images.txt", "that ends in '.txt'")]
)
def test_a_table_that_is_none_is_refused(table, fact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images.txt").touch()
    with pytest.raises(UserError, match=f"dataset.table is '{table}', but {fact}"):
        check_there(dataset("table", table=table))
