import errno
import os
import shutil
from collections import namedtuple

import pytest
import torch
from stored import LAYOUT, ROW_BYTES, Network, assert_right, entry, names, opened, row, segments

from thawlab.store import Key, RowStore, StoreError, TooLarge
from thawlab.store.entry import Entry, folder_bytes
from thawlab.store.locks import builder
from thawlab.store.space import predicted

KEYS = [Key({"weights": str(i)}) for i in range(5)]


def used(folder, key, seconds):
    os.utime(entry(folder, key) / "used", (seconds, seconds))


def room_for(folder, more, layout=LAYOUT):
    """A limit that leaves room for `more` rows beside what is there."""
    return folder_bytes(folder) + predicted(more, ROW_BYTES, layout)


@pytest.mark.parametrize("n", [1, 100, 3000])
def test_the_size_is_predicted(tmp_path, n):
    opened(tmp_path, range(n))
    size = Entry(tmp_path, next(tmp_path.glob("?" * 64)).name).written()
    assert size <= predicted(n, ROW_BYTES, LAYOUT) <= size + 5 * 4096


def test_what_does_not_fit_is_refused_before_it_is_computed(tmp_path):
    network = Network(range(1000))
    with pytest.raises(TooLarge, match=r"cache\.max_gb=1e-05") as refused:
        opened(tmp_path, range(1000), max_bytes=10_000, network=network)
    assert network.asked == []
    assert refused.value.needed >= 1000 * ROW_BYTES
    assert 9_000 < refused.value.allowed <= 10_000
    assert len(str(refused.value).splitlines()) == 1
    assert not segments_of_all(tmp_path)


def segments_of_all(folder):
    return list(folder.glob("?" * 64 + "/*/"))


def test_what_was_used_longest_ago_goes_first(tmp_path):
    for seconds, key in zip((30, 10, 20), KEYS, strict=False):
        opened(tmp_path, range(100), key=key)
        used(tmp_path, key, seconds)
    limit = room_for(tmp_path, 0)
    opened(tmp_path, range(100), key=KEYS[3], max_bytes=limit)
    assert [entry(tmp_path, key).exists() for key in KEYS[:4]] == [True, False, True, True]
    used(tmp_path, KEYS[3], 40)
    opened(tmp_path, range(100), key=KEYS[4], max_bytes=limit)
    assert [entry(tmp_path, key).exists() for key in KEYS] == [True, False, False, True, True]


def test_what_a_run_reads_makes_no_room_for_more_of_the_same(tmp_path):
    limit = predicted(250, ROW_BYTES, LAYOUT)
    run = RowStore(tmp_path, limit)
    run.open(KEYS[0], names(range(200)), LAYOUT, Network(range(200)), ROW_BYTES)
    more = names(range(200, 300))
    with pytest.raises(TooLarge):
        run.open(KEYS[0], more, LAYOUT, Network(range(200, 300)), ROW_BYTES)
    assert run.has(KEYS[0], names(range(200))) == 200
    # Another run does not read them.
    rows = RowStore(tmp_path, limit).open(KEYS[0], more, LAYOUT, Network(range(200, 300)), ROW_BYTES)
    assert rows.built == 100


def test_a_refusal_says_which_room_is_short_in_a_unit_that_shows_it(tmp_path):
    with pytest.raises(TooLarge, match=r"0\.\d\d kB left of cache\.max_gb=1e-06$"):
        opened(tmp_path, range(1000), max_bytes=1_000)


def test_opening_counts_as_use(tmp_path):
    for seconds, key in ((10, KEYS[0]), (20, KEYS[1])):
        opened(tmp_path, range(100), key=key)
        used(tmp_path, key, seconds)
    opened(tmp_path, range(3), key=KEYS[0])
    opened(tmp_path, range(100), key=KEYS[2], max_bytes=room_for(tmp_path, 0))
    assert [entry(tmp_path, key).exists() for key in KEYS[:3]] == [True, False, True]


def test_the_folder_never_grows_past_its_limit(tmp_path):
    limit = predicted(250, ROW_BYTES, LAYOUT)
    for i in range(12):
        opened(tmp_path, range(20 * i, 20 * i + 100), key=KEYS[i % 5], max_bytes=limit)
        assert sum(folder_bytes(path) for path in tmp_path.glob("?" * 64)) <= limit


def test_an_entry_being_written_is_not_evicted(tmp_path):
    opened(tmp_path, range(100), key=KEYS[0])
    with builder(tmp_path, KEYS[0].digest), pytest.raises(TooLarge):
        opened(tmp_path, range(100), key=KEYS[1], max_bytes=room_for(tmp_path, 0))
    assert opened(tmp_path, range(100), key=KEYS[0])[1] == []


def test_the_entry_being_opened_keeps_what_is_wanted_and_gives_up_the_rest(tmp_path):
    opened(tmp_path, range(100))
    opened(tmp_path, range(100, 200))
    limit = room_for(tmp_path, 0)
    rows, asked = opened(tmp_path, [*range(50), *range(200, 250)], max_bytes=limit)
    assert asked == list(range(200, 250))
    assert_right(rows, [*range(50), *range(200, 250)])
    assert opened(tmp_path, range(100))[1] == []
    assert opened(tmp_path, range(100, 200))[1] == list(range(100, 200))


def test_a_reader_goes_on_when_its_entry_is_evicted(tmp_path):
    reader, _ = opened(tmp_path, range(100), key=KEYS[0])
    opened(tmp_path, range(100), key=KEYS[1], max_bytes=room_for(tmp_path, 0))
    assert not entry(tmp_path, KEYS[0]).exists()
    assert_right(reader, range(100))


def test_a_reader_of_large_files_goes_on_when_its_entry_is_evicted(tmp_path, monkeypatch):
    monkeypatch.setattr("thawlab.store.rows.SMALL", 0)
    reader, _ = opened(tmp_path, range(100))
    shutil.rmtree(tmp_path)
    assert_right(reader, range(100))


def test_the_disk_keeps_a_reserve(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("thawlab.store.space.shutil.disk_usage", lambda _: usage(10**12, 0, 1_000_050_000))
    opened(tmp_path, range(10), key=KEYS[0], max_bytes=10**12)
    with pytest.raises(TooLarge, match="free disk") as refused:
        opened(tmp_path, range(1000), key=KEYS[1], max_bytes=10**12)
    assert refused.value.allowed <= 60_000


def test_rows_larger_than_was_guessed_are_reckoned_again(tmp_path):
    with pytest.raises(TooLarge):
        RowStore(tmp_path, 20_000).open(KEYS[0], names(range(1000)), LAYOUT, Network(range(1000)), 0.001)
    assert not segments_of_all(tmp_path)
    limit = predicted(1000, 1.2 * ROW_BYTES, LAYOUT)
    rows = RowStore(tmp_path, limit).open(KEYS[0], names(range(1000)), LAYOUT, Network(range(1000)), 0.001)
    assert rows.built == 1000


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, TooLarge), (errno.EDQUOT, TooLarge), (errno.EACCES, StoreError)]
)
@pytest.mark.parametrize("step", ["_write", "_sync", "_write_manifest"])
def test_a_disk_that_refuses_leaves_nothing(tmp_path, monkeypatch, number, kind, step):
    opened(tmp_path, range(3))

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(f"thawlab.store.writing.SegmentWriter.{step}", refuse)
        with pytest.raises(StoreError, match=os.strerror(number)) as refused:
            opened(tmp_path, range(6))
    assert type(refused.value) is kind
    assert len(str(refused.value).splitlines()) == 1
    assert len(list(tmp_path.glob("*/*/"))) == 1
    rows, asked = opened(tmp_path, range(6))
    assert asked == [3, 4, 5]
    assert_right(rows, range(6))


def test_what_a_dead_builder_left_is_removed_by_the_next(tmp_path):
    opened(tmp_path, range(2))
    left = entry(tmp_path) / ".building-1-dead"
    left.mkdir()
    (left / "tensor0.bin").write_bytes(b"half")
    (left / "reserved").write_text(str(10**15))
    rows, asked = opened(tmp_path, range(3))
    assert asked == [2]
    assert not left.exists()
    assert torch.equal(rows.gather(torch.tensor([2]))[0][0], row(2)[0])


def test_what_another_is_writing_counts_as_taken(tmp_path):
    opened(tmp_path, range(2), key=KEYS[0])
    with builder(tmp_path, KEYS[0].digest):
        half = entry(tmp_path, KEYS[0]) / ".building-1-alive"
        half.mkdir()
        (half / "reserved").write_text("900000")
        with pytest.raises(TooLarge):
            opened(tmp_path, range(2000), key=KEYS[1], max_bytes=10**6)
        assert len(segments(tmp_path, KEYS[0])) == 2
