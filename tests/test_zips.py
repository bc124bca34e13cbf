import stat
import struct
import zipfile

import pytest
from photos import named_pngs, packed

from thawlab.data.members import LARGEST, BadArchive
from thawlab.data.zips import ZipArchive


def test_members_are_given_as_they_were_packed(tmp_path):
    files = named_pngs(2)
    archive = ZipArchive(packed(tmp_path / "a.zip", files))
    assert {name: archive.read(name) for name in archive.index.files} == files
    assert {name: member.size for name, member in archive.index.files.items()} == {k: len(v) for k, v in files.items()}


def test_folders_links_and_names_from_windows(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("cats")
        archive.writestr("dogs\\deep\\1.png", b"x")
        link = zipfile.ZipInfo("cats/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "../secret")
    index = ZipArchive(tmp_path / "a.zip").index
    assert (list(index.files), index.folders, index.others) == (["dogs/deep/1.png"], {"cats"}, ("cats/link.png",))
    assert ZipArchive(tmp_path / "a.zip").read("dogs/deep/1.png") == b"x"


def changed_in_headers(path, field, value):
    """Write another value into the last member's central directory, at `field` (PKWARE's APPNOTE, 4.3.12)."""
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02")
    size = struct.calcsize(value[0])
    content[at + field : at + field + size] = struct.pack(*value)
    path.write_bytes(content)
    return path


FLAGS, METHOD, FULL_SIZE = 8, 10, 24


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        pytest.param(FLAGS, ("<H", 1), "encrypted", id="encrypted"),
        pytest.param(METHOD, ("<H", 14), "compressed by method 14", id="LZMA"),
        pytest.param(FULL_SIZE, ("<I", LARGEST + 1), "claims 1073741825 bytes", id="a claim of more than 1 GiB"),
        pytest.param(FULL_SIZE, ("<I", 5), "CRC", id="a claim of less than there is"),
        pytest.param(FULL_SIZE, ("<I", 5000), "ends after 1000 of 5000", id="a claim of more than there is"),
    ],
)
def test_a_member_that_is_not_safe_to_read_is_an_error_of_that_file(field, value, said, tmp_path):
    path = changed_in_headers(
        packed(tmp_path / "a.zip", {"a.png": b"good", "b.png": b"0123456789" * 100}), field, value
    )
    archive = ZipArchive(path)
    assert archive.read("a.png") == b"good"
    with pytest.raises(OSError, match=said):
        archive.read("b.png")


def test_flipped_bytes_are_noticed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.png", b"unique content")
    path = tmp_path / "a.zip"
    path.write_bytes(path.read_bytes().replace(b"unique", b"Unique"))
    with pytest.raises(OSError, match="CRC"):
        ZipArchive(path).read("a.png")


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_refuses_a_zip_that_is_cut_off(kept, tmp_path):
    path = packed(tmp_path / "a.zip", named_pngs(2))
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(BadArchive, match="no whole zip"):
        ZipArchive(path)
