import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import KEY, LAYOUT, ROW_BYTES, Network, assert_right, entry, names, opened, row, segments

from thawlab.store import Key, RowStore, StoreError, TensorLayout
from thawlab.store.layout import SIZES
from thawlab.store.reading import SMALL, Mapped, Opened

DTYPES = {name: getattr(torch, name) for name in SIZES}


def drawn(dtype, shape, seed):
    """Any bytes, NaN and infinities among them: a row is kept, not interpreted."""
    made = torch.randint(0, 256, (*shape, DTYPES[dtype].itemsize), generator=torch.Generator().manual_seed(seed))
    if dtype == "bool":
        return made[..., 0] > 127
    return made.to(torch.uint8).view(DTYPES[dtype])[..., 0]


def same_bytes(one, other):
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    as_bytes = [t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)]
    return torch.equal(*as_bytes)


@st.composite
def cases(draw):
    tensors = []
    for _ in range(draw(st.integers(1, 3))):
        ndim = draw(st.integers(0, 3))
        order = draw(st.none() | st.permutations(range(ndim)).map(tuple))
        ragged = draw(st.booleans())
        shape = tuple(draw(st.lists(st.integers(0 if ragged else 1, 4), min_size=ndim, max_size=ndim)))
        tensors.append((TensorLayout(None if ragged else shape, draw(st.sampled_from(sorted(SIZES))), order), ndim))
    n = draw(st.integers(1, 9))
    first = draw(st.lists(st.integers(0, n - 1), max_size=n))  # what another run kept before
    wanted = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=12))
    positions = draw(st.lists(st.integers(0, len(wanted) - 1), max_size=12))
    return tensors, n, first, wanted, positions, draw(st.integers(1, 4)), draw(st.sampled_from([Mapped, Opened]))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_rows_come_back_as_plain_torch_gives_them(case):
    tensors, n, first, wanted, positions, batch, kind = case
    layout = tuple(tensor for tensor, _ in tensors)
    shapes = np.random.default_rng(n).integers(0, 4, (n, 3))
    truth = [
        [drawn(t.dtype, shapes[i, :ndim].tolist() if t.shape is None else t.shape, 31 * i + j) for i in range(n)]
        for j, (t, ndim) in enumerate(tensors)
    ]

    def compute_for(numbers):
        def compute(places):
            for start in range(0, len(places), batch):
                part = [numbers[i] for i in places[start : start + batch]]
                yield tuple(
                    [all_rows[i] for i in part] if t.shape is None else torch.stack([all_rows[i] for i in part])
                    for t, all_rows in zip(layout, truth, strict=True)
                )

        return compute

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("thawlab.store.rows.SMALL", 10**9 if kind is Mapped else -1)
        store = RowStore(Path(folder), 10**9)
        store.open(KEY, names(first), layout, compute_for(first), 64)
        rows = store.open(KEY, names(wanted), layout, compute_for(wanted), 64)
        assert len(rows) == len(wanted)
        got = rows.gather(torch.tensor(positions, dtype=torch.int64))
        for t, all_rows, batch_read in zip(layout, truth, got, strict=True):
            expected = [all_rows[wanted[place]] for place in positions]
            assert len(batch_read) == len(expected)
            assert all(same_bytes(one, other) for one, other in zip(batch_read, expected, strict=True))
            if t.shape is not None and expected:
                assert batch_read.stride() == strided(torch.stack(expected), t.order).stride()


def strided(batch, order):
    """The same batch with a row's axes in memory in this order, by torch's own means."""
    if order is None:
        return batch
    axes = [0, *(1 + axis for axis in order)]
    strides, step = [0] * batch.ndim, 1
    for axis in reversed(axes):
        strides[axis], step = step, step * batch.shape[axis]
    return torch.empty_strided(batch.shape, strides, dtype=batch.dtype).copy_(batch)


def test_channels_last_stays_channels_last(tmp_path):
    made = torch.randn(5, 8, 3, 4).to(memory_format=torch.channels_last)
    layout = (TensorLayout((8, 3, 4), "float32", (1, 2, 0)),)
    rows = RowStore(tmp_path, 10**9).open(KEY, names(range(5)), layout, lambda places: [(made[places],)], 384)
    (back,) = rows.gather(torch.arange(5))
    assert back.stride() == made.stride()
    assert back.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(back, made)


def test_a_batch_is_the_callers_own(tmp_path):
    rows, _ = opened(tmp_path, range(4))
    rows.gather(torch.arange(4))[0].fill_(-1)
    assert_right(rows, range(4))


def test_only_what_is_missing_is_computed(tmp_path):
    rows, asked = opened(tmp_path, [0, 1, 2, 3])
    assert (asked, rows.built, rows.found) == ([0, 1, 2, 3], 4, 0)
    rows, asked = opened(tmp_path, [5, 3, 1, 4])
    assert (asked, rows.built, rows.found) == ([5, 4], 2, 2)
    assert_right(rows, [5, 3, 1, 4])
    rows, asked = opened(tmp_path, [4, 0, 5])
    assert (asked, rows.built, rows.found) == ([], 0, 3)
    assert_right(rows, [4, 0, 5])
    assert rows.nbytes == 3 * ROW_BYTES
    assert len(segments(tmp_path)) == 2


def test_the_order_of_samples_gives_each_image_its_own_row(tmp_path):
    opened(tmp_path, range(20))
    mixed = torch.randperm(20).tolist()
    rows, asked = opened(tmp_path, mixed)
    assert asked == []
    assert_right(rows, mixed)


def test_an_image_that_comes_twice_is_computed_once(tmp_path):
    rows, asked = opened(tmp_path, [2, 7, 2, 2])
    assert asked == [2, 7]
    assert_right(rows, [2, 7, 2, 2])


def test_an_image_with_other_bytes_is_another_item(tmp_path):
    opened(tmp_path, range(3))
    changed = [*names(range(2)), b"\x01" * 32]
    network = Network([0, 1, 2])
    RowStore(tmp_path, 10**9).open(KEY, changed, LAYOUT, network, ROW_BYTES)
    assert network.asked == [2]


@pytest.mark.parametrize("part", ["weights", "buffers", "resize", "interpolation", "mean", "dtype", "views"])
def test_every_part_of_the_key_counts(tmp_path, part):
    parts = dict.fromkeys(["weights", "buffers", "resize", "interpolation", "mean", "dtype", "views"], "a")
    opened(tmp_path, range(3), key=Key(parts))
    assert opened(tmp_path, range(3), key=Key(dict(reversed(parts.items()))))[1] == []
    assert opened(tmp_path, range(3), key=Key({**parts, part: "b"}))[1] == [0, 1, 2]
    assert opened(tmp_path, range(3), key=Key({k: v for k, v in parts.items() if k != part}))[1] == [0, 1, 2]


def test_rows_of_another_layout_are_not_taken(tmp_path):
    opened(tmp_path, range(3))
    other = (TensorLayout((4, 3), "float32", (1, 0)), LAYOUT[1])
    network = Network(range(3))
    rows = RowStore(tmp_path, 10**9).open(KEY, names(range(3)), other, network, ROW_BYTES)
    assert network.asked == [0, 1, 2]
    assert_right(rows, range(3))


def test_what_is_there_can_be_asked_without_a_trace(tmp_path):
    store = RowStore(tmp_path / "cache", 10**9)
    assert store.has(KEY, names(range(3))) == 0
    assert not (tmp_path / "cache").exists()
    opened(tmp_path / "cache", [0, 1])
    assert store.has(KEY, names([1, 1, 5, 0])) == 3


def test_no_images_are_no_rows(tmp_path):
    rows, asked = opened(tmp_path, [])
    assert (len(rows), asked) == (0, [])
    assert [tuple(t.shape) for t in rows.gather(torch.zeros(0, dtype=torch.int64))] == [(0, 4, 3), (0, 2)]


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_position_outside_is_an_error(tmp_path, wrong):
    rows, _ = opened(tmp_path, range(3))
    with pytest.raises(IndexError, match="in 3 rows"):
        rows.gather(torch.tensor([0, wrong]))


@pytest.mark.parametrize(
    ("batches", "fact"),
    [
        pytest.param([(torch.zeros(2, 4, 3), torch.zeros(2, 2, dtype=torch.uint8))], "2 rows were computed", id="few"),
        pytest.param([(torch.zeros(4, 4, 3), torch.zeros(4, 2, dtype=torch.uint8))], "3 were left", id="many"),
        pytest.param([(torch.zeros(3, 4, 3), torch.zeros(2, 2, dtype=torch.uint8))], "rows came", id="uneven"),
        pytest.param([(torch.zeros(3, 3, 4), torch.zeros(3, 2, dtype=torch.uint8))], r"\(3, 4\)", id="shape"),
        pytest.param([(torch.zeros(3, 4, 3).half(), torch.zeros(3, 2, dtype=torch.uint8))], "float16", id="dtype"),
        pytest.param([(torch.zeros(3, 4, 3),)], "1 tensors", id="tensors"),
    ],
)
def test_what_does_not_fit_the_layout_is_not_kept(tmp_path, batches, fact):
    with pytest.raises(ValueError, match=fact):
        RowStore(tmp_path, 10**9).open(KEY, names(range(3)), LAYOUT, lambda _: iter(batches), ROW_BYTES)
    assert not list(entry(tmp_path).glob("*/"))
    assert opened(tmp_path, range(3))[1] == [0, 1, 2]


def test_a_failing_network_leaves_nothing_and_is_heard(tmp_path):
    def compute(places):
        yield tuple(t[None] for t in row(0))
        raise FileNotFoundError("photo.jpg")

    with pytest.raises(FileNotFoundError, match=r"photo\.jpg"):
        RowStore(tmp_path, 10**9).open(KEY, names(range(3)), LAYOUT, compute, ROW_BYTES)
    assert not [path for path in entry(tmp_path).iterdir() if path.is_dir()]


def test_a_name_of_another_length_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="32 bytes, not 4"):
        RowStore(tmp_path, 10**9).open(KEY, [b"1234"], LAYOUT, Network([0]), ROW_BYTES)


def test_reading_what_is_there_writes_nothing(tmp_path):
    opened(tmp_path, range(3))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "used"}
    rows, asked = opened(tmp_path, range(3))
    assert asked == []
    assert_right(rows, range(3))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "used"}


def test_a_file_in_place_of_the_folder_is_said(tmp_path):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(StoreError, match="cache cannot be used"):
        opened(tmp_path / "cache", range(3))


MEMORY = """
import sys, torch
from pathlib import Path
from stored import KEY, names
from thawlab.store import RowStore, TensorLayout

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

batch = torch.ones(32, 72 * 256)
rows_of = lambda n: RowStore(Path(sys.argv[1]), 10**10).open(
    KEY, names(range(n)), (TensorLayout((72 * 256,), "float32"),),
    lambda places: ((batch[: len(places[i : i + 32])],) for i in range(0, len(places), 32)), 72 * 1024)
rows_of(64).gather(torch.arange(64))
before = peak()
rows = rows_of(int(sys.argv[2]))
for part in torch.randperm(len(rows)).split(32):
    rows.gather(part)
print(peak() - before)
"""


def grown(folder, rows):
    """MB by which writing, checking and reading so many rows of 72 KB raise a process's peak memory."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, folder, str(rows)],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_store(tmp_path):
    assert grown(tmp_path, 2_000) < 64  # 147 MB of rows


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_two_gigabytes(tmp_path):
    assert grown(tmp_path, 28_000) < 64


ELSEWHERE = """
import pickle, sys, torch
import thawlab.store.rows
thawlab.store.rows.SMALL = NUMBER
others = [open(__file__, "rb") for _ in range(40)]  # whatever number a file had elsewhere, here it is another one
rows = pickle.loads(sys.stdin.buffer.read())
sys.stdout.buffer.write(pickle.dumps([tensor.numpy() for tensor in rows.gather(torch.tensor([3, 0, 3]))]))
"""


@pytest.mark.parametrize("small", [0, SMALL], ids=["read", "mapped"])
def test_another_process_opens_the_rows_for_itself(small, tmp_path, monkeypatch):
    monkeypatch.setattr("thawlab.store.rows.SMALL", small)
    layout, truth = (TensorLayout((50_000,), "float32"),), torch.rand(4, 50_000)
    rows = RowStore(tmp_path / "store", 10**9).open(
        KEY, names(range(4)), layout, lambda at: [(truth[at],)], layout[0].row_bytes
    )
    sent = pickle.dumps(rows)
    assert len(sent) < 10_000
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE.replace("NUMBER", str(small)))
    (got,) = pickle.loads(subprocess.run([sys.executable, script], input=sent, capture_output=True, check=True).stdout)
    assert np.array_equal(got, truth[[3, 0, 3]].numpy())
