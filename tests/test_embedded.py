import numpy as np
import pytest
from sklearn.datasets import load_digits

from thawlab.data import embedded, made
from thawlab.data.remembering import remembering
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.store.rowstore import RowStore


def test_digits_are_scikit_learns_with_497_held_out_for_testing():
    splits = load_splits(DatasetSpec("digits", "digits"), seed=0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [1105, 195, 497]
    assert splits.classes == tuple("0123456789")
    assert splits.notes == ()
    originals = load_digits()
    for part in (splits.train, splits.test):
        place = int(part.names[7].removeprefix("digits/"))
        assert part.labels[7] == originals.target[place]
        assert np.abs(part.load(7)[1].numpy() / 255 * 16 - originals.images[place]).max() < 0.04


@pytest.fixture
def drawn(monkeypatch):
    """A planted task in place of the shapes: which places were drawn, time by time."""
    times = []

    class Counted(made.Task):
        def pixels(self, places, seed):
            times.append((list(places), seed))
            return super().pixels(places, seed)

    def draw(label, rng):
        return rng.integers(0, 255, (32, 32), np.uint8)

    monkeypatch.setitem(made.TASKS, "shapes", Counted(tuple("abcd"), (32, 32), draw))
    embedded._make.cache_clear()
    yield times
    embedded._make.cache_clear()


def test_made_images_are_drawn_by_the_split_seed_and_made_once(drawn):
    spec = DatasetSpec("shapes", "shapes", images=200, split_seed=3)
    first = load_splits(spec, seed=0)
    second = load_splits(spec, seed=9)
    assert drawn == [(list(range(200)), 3)]
    assert first.fingerprint == second.fingerprint
    assert len(first.test) == 40
    assert first.train.names[0].startswith("shapes/0")


def test_as_many_images_are_made_as_the_task_asks_for(drawn):
    load_splits(DatasetSpec("shapes", "shapes"), seed=0)
    assert drawn == [(list(range(4000)), 0)]


def _digests(spec, rows):
    """As a process of its own finds them, that keeps what it drew in `rows`."""
    embedded._make.cache_clear()
    with remembering(rows):
        splits = load_splits(spec, seed=0)
    return splits.fingerprint, splits.digests


def test_what_one_run_drew_the_next_one_reads(drawn, tmp_path):
    spec = DatasetSpec("shapes", "shapes", images=40)
    without = _digests(spec, None)
    store = RowStore(tmp_path, 10**8)
    assert _digests(spec, store) == without
    assert _digests(spec, RowStore(tmp_path, 10**8)) == without
    assert [places for places, _ in drawn] == [list(range(40))] * 2
    larger = DatasetSpec("shapes", "shapes", images=50)
    assert _digests(larger, store) == _digests(larger, None)
    assert [places for places, _ in drawn[2:]] == [list(range(40, 50)), list(range(50))]


def test_other_code_or_another_seed_draws_anew(drawn, tmp_path, monkeypatch):
    store = RowStore(tmp_path, 10**8)
    _digests(DatasetSpec("shapes", "shapes", images=40), store)
    _digests(DatasetSpec("shapes", "shapes", images=40, split_seed=1), store)
    monkeypatch.setattr(made, "drawn_by", lambda: "other code")
    _digests(DatasetSpec("shapes", "shapes", images=40), store)
    assert [seed for _, seed in drawn] == [0, 1, 0]
    assert all(len(places) == 40 for places, _ in drawn)


def test_images_are_drawn_where_nothing_can_be_kept(drawn, tmp_path):
    spec = DatasetSpec("shapes", "shapes", images=40)
    (tmp_path / "file").write_text("")
    assert _digests(spec, RowStore(tmp_path / "file", 10**8)) == _digests(spec, None)
    assert _digests(spec, RowStore(tmp_path / "small", 100)) == _digests(spec, None)
