import io
import os
import tarfile

import pytest
from photos import named_pngs, packed

from thawlab.data import tars
from thawlab.data.members import BadArchive
from thawlab.data.tars import TarArchive


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_members_are_given_as_they_were_packed(ending, tmp_path):
    files = {**named_pngs(2), f"{'long/' * 60}name.png": b"x", "empty.png": b""}
    archive = TarArchive(packed(tmp_path / f"a{ending}", files))
    assert {name: archive.read(name) for name in archive.index.files} == files


def add(archive, name, kind, target="", content=b""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, len(content)
    archive.addfile(member, io.BytesIO(content))


def test_a_hard_link_is_the_file_itself_and_other_links_and_pipes_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "./cats", tarfile.DIRTYPE)
        add(archive, "./cats/1.png", tarfile.REGTYPE, content=b"one")
        add(archive, "dogs/1.png", tarfile.LNKTYPE, "./cats/1.png")
        add(archive, "dogs/2.png", tarfile.SYMTYPE, "../cats/1.png")
        add(archive, "dogs/3.png", tarfile.LNKTYPE, "nowhere.png")
        add(archive, "dogs/4.png", tarfile.FIFOTYPE)
    archive = TarArchive(tmp_path / "a.tar")
    assert {name: archive.read(name) for name in archive.index.files} == {"cats/1.png": b"one", "dogs/1.png": b"one"}
    assert archive.index.others == ("dogs/2.png", "dogs/3.png", "dogs/4.png")
    assert archive.index.folders == {"cats"}


def test_refuses_a_tar_that_is_cut_off_anywhere(tmp_path):
    path = packed(tmp_path / "a.tar", named_pngs(2))
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        ends = [member.offset for member in archive] + [archive.offset]
    for size in {0, 100, *ends, *(end + 100 for end in ends[1:]), *(end - 700 for end in ends[1:])}:
        path.write_bytes(whole[:size])
        with pytest.raises(BadArchive, match=r"no whole tar|damaged or cut off"):
            TarArchive(path)
    path.write_bytes(whole[: ends[-1] + tarfile.BLOCKSIZE])
    assert len(TarArchive(path).index.files) == 4


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.bz2", ".tar.xz"])
def test_refuses_a_compressed_tar_that_is_cut_off_or_damaged(ending, tmp_path):
    path = packed(tmp_path / f"a{ending}", named_pngs(2))
    whole = path.read_bytes()
    for content in (whole[:-30], whole[: len(whole) // 2], whole[:500] + bytes(40) + whole[540:], b"no tar" * 400):
        path.write_bytes(content)
        with pytest.raises(BadArchive, match=r"no whole tar|damaged or cut off"):
            TarArchive(path)


def test_refuses_a_compressed_tar_that_swells(tmp_path, monkeypatch):
    path = packed(tmp_path / "a.tar.gz", {"a.png": bytes(2**20)})
    assert TarArchive(path).read("a.png") == bytes(2**20)
    monkeypatch.setattr(tars, "LARGEST", 2**16)
    with pytest.raises(BadArchive, match="swells from"):
        TarArchive(path)
    with pytest.raises(OSError, match="claims 1048576 bytes"):
        TarArchive(packed(tmp_path / "a.tar", {"a.png": bytes(2**20)})).read("a.png")


def test_nothing_stays_open_and_nothing_stays_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    archive = TarArchive(packed(tmp_path / "a.tgz", named_pngs(1)))
    assert list((tmp_path / "temporary").iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del archive
    assert len(os.listdir("/proc/self/fd")) == before
