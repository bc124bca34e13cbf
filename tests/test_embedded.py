import sys
from types import ModuleType

import numpy as np
import pytest
from sklearn.datasets import load_digits

from thawlab.data import embedded
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits


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
def made(monkeypatch):
    """Stand in for the tasks that the package makes, to see how they are asked for."""
    module = ModuleType("thawlab.data.made")
    calls = []

    def shapes(n, seed):
        calls.append((n, seed))
        pixels = np.random.default_rng(seed).integers(0, 255, (n, 32, 32), np.uint8)
        return pixels, np.arange(n) % 4, ("a", "b", "c", "d")

    module.shapes = shapes
    monkeypatch.setitem(sys.modules, "thawlab.data.made", module)
    monkeypatch.setattr("thawlab.data.made", module, raising=False)
    embedded._make.cache_clear()
    yield calls
    embedded._make.cache_clear()


def test_made_images_are_drawn_by_the_split_seed_and_made_once(made):
    spec = DatasetSpec("shapes", "shapes", images=200, split_seed=3)
    first = load_splits(spec, seed=0)
    second = load_splits(spec, seed=9)
    assert made == [(200, 3)]
    assert first.fingerprint == second.fingerprint
    assert len(first.test) == 40
    assert first.train.names[0].startswith("shapes/0")


def test_as_many_images_are_made_as_the_task_asks_for(made):
    load_splits(DatasetSpec("shapes", "shapes"), seed=0)
    assert made == [(4000, 0)]
