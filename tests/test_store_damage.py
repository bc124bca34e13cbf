import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import KEY, assert_right, entry, names, opened, segments

from thawlab.store import RowStore, TensorLayout
from thawlab.store.command import damages, main
from thawlab.store.entry import Entry

RAGGED = (TensorLayout(None, "int16"),)


def ragged(places):
    for place in places:
        yield ([torch.full((place + 1, 2), place, dtype=torch.int16)],)


def open_ragged(folder):
    return RowStore(folder, 10**9).open(KEY, names(range(3)), RAGGED, ragged, 12)


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def files(folder):
    """Every file of the one segment, with its size."""
    (segment,) = segments(folder)
    return {path.name: path.stat().st_size for path in sorted(segment.iterdir())}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    opened(folder, range(4))
    return folder


@pytest.fixture(scope="module")
def sound_ragged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ragged")
    open_ragged(folder)
    return folder


def test_every_byte_of_a_segment_counts(sound, sound_ragged, tmp_path):
    seen = set()
    for source in (sound, sound_ragged):
        shutil.copytree(source, tmp_path / source.name)
        (segment,) = segments(tmp_path / source.name)
        found = Entry(tmp_path / source.name, KEY.digest)
        for name, size in files(source).items():
            seen.add(name)
            for place in range(size):
                flip(segment / name, place, bit=place % 8)
                assert [path for path, _ in damages(found)] == [segment], f"byte {place} of {name}"
                flip(segment / name, place, bit=place % 8)
        assert not list(damages(found))
    assert seen == {"manifest.json", "items.bin", "sums.bin", "tensor0.bin", "tensor1.bin", "shapes0.bin"}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_is_noticed_and_its_rows_are_built_again(sound, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped") / "cache"
    shutil.copytree(sound, folder)
    sizes = files(folder)
    name = data.draw(st.sampled_from(sorted(sizes)))
    (segment,) = segments(folder)
    flip(segment / name, data.draw(st.integers(0, sizes[name] - 1)), data.draw(st.integers(0, 7)))
    rows, asked = opened(folder, [2, 0, 3, 1])
    assert sorted(asked) == [0, 1, 2, 3]
    assert_right(rows, [2, 0, 3, 1])
    assert opened(folder, range(4))[1] == []
    assert main(["verify", "--folder", str(folder)]) == 0


def test_damage_is_said_in_one_line(tmp_path, capsys):
    opened(tmp_path, range(4))
    opened(tmp_path, range(8))
    for segment in segments(tmp_path):
        flip(segment / "tensor0.bin", 50)
    rows, asked = opened(tmp_path, range(8))
    assert asked == list(range(8))
    assert_right(rows, range(8))
    (line,) = capsys.readouterr().err.splitlines()
    assert "of tensor0.bin is not as it was written (and 1 more). It is dropped" in line


def test_only_the_damaged_segment_is_built_again(tmp_path):
    opened(tmp_path, range(4))
    (first,) = segments(tmp_path)
    opened(tmp_path, range(8))
    flip(first / "tensor1.bin", 0)
    rows, asked = opened(tmp_path, range(8))
    assert asked == [0, 1, 2, 3]
    assert_right(rows, range(8))


@pytest.mark.parametrize("name", ["manifest.json", "items.bin", "sums.bin", "tensor0.bin"])
@pytest.mark.parametrize("harm", ["cut", "gone", "longer"])
def test_a_file_of_another_length_is_noticed(tmp_path, name, harm, capsys):
    opened(tmp_path, range(4))
    (segment,) = segments(tmp_path)
    path = segment / name
    content = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes(content[:-1] if harm == "cut" else content + b"\0")
    rows, asked = opened(tmp_path, range(4))
    assert asked == [0, 1, 2, 3]
    assert_right(rows, range(4))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_damaged_row_that_is_not_wanted_is_left_alone(tmp_path):
    opened(tmp_path, range(4))
    (segment,) = segments(tmp_path)
    flip(segment / "tensor0.bin", 0)  # row 0
    rows, asked = opened(tmp_path, [1, 2])
    assert asked == []
    assert_right(rows, [1, 2])


def test_a_damaged_key_is_written_again(tmp_path):
    opened(tmp_path, range(2))
    flip(entry(tmp_path) / "key.json", 5)
    assert main(["verify", "--folder", str(tmp_path)]) == 1
    opened(tmp_path, range(3))
    assert (entry(tmp_path) / "key.json").read_text() == KEY.text


def test_a_segment_that_vanishes_while_it_is_opened_is_a_miss(tmp_path, monkeypatch, capsys):
    from thawlab.store import segment as module

    opened(tmp_path, range(3))
    read, first = module.read, [True]

    def read_late(folder):
        if first:
            first.clear()
            shutil.rmtree(folder)
        return read(folder)

    monkeypatch.setattr(module, "read", read_late)
    rows, asked = opened(tmp_path, range(3))
    assert asked == [0, 1, 2]
    assert_right(rows, range(3))
    assert capsys.readouterr().err == ""


def test_a_row_is_checked_once_in_a_process(tmp_path, monkeypatch):
    from thawlab.store import digests

    opened(tmp_path, range(4))
    read, calls = digests._read, []
    monkeypatch.setattr(digests, "_read", lambda *place: calls.append(place) or read(*place))
    store = RowStore(tmp_path, 10**9)
    opened(tmp_path, [0, 1], store=store)
    assert len(calls) == 2  # of each tensor, both rows together
    opened(tmp_path, [1, 0], store=store)
    assert len(calls) == 2
    opened(tmp_path, range(4), store=store)
    assert len(calls) == 4
