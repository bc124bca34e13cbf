import pytest
from hypothesis import given
from hypothesis import strategies as st

from thawlab.batch_search import Attempt, by_doubling, by_prediction, sizes


class Machine:
    """Takes `base` bytes and `each` per image, and notes what was tried on it."""

    def __init__(self, base, each, budget):
        self.base, self.each, self.budget = base, each, budget
        self.tried = []

    def needs(self, size):
        return self.base + self.each * size

    def attempt(self, size):
        self.tried.append(size)
        return Attempt(size, size, self.needs(size), "" if self.needs(size) <= self.budget else "full")

    def best(self, candidates):
        """The answer, by trying everything."""
        return max((size for size in candidates if self.needs(size) <= self.budget), default=None)


@pytest.mark.parametrize(
    ("parts", "most", "expected"),
    [
        (1, 1, [1]),
        (1, 50, [1, 2, 4, 8, 16, 32]),
        (1, 64, [1, 2, 4, 8, 16, 32, 64]),
        (3, 50, [3, 6, 12, 24, 48]),
        (4, 3, []),
    ],
)
def test_sizes_share_out_evenly(parts, most, expected):
    assert sizes(parts, most) == expected


MACHINES = st.builds(Machine, st.integers(0, 1000), st.integers(1, 100), st.integers(0, 20_000))
MOSTS = st.integers(1, 2000)


@given(MACHINES, MOSTS)
def test_doubling_finds_the_largest_that_fits(machine, most):
    candidates = sizes(1, most)
    best, failed = by_doubling(candidates, 1, machine.attempt)
    assert (best and best.size) == machine.best(candidates)
    if (best.size if best else 0) < candidates[-1]:
        assert failed.size == (2 * best.size if best else 1)
    assert len(machine.tried) == len(set(machine.tried))


@given(MACHINES, MOSTS)
def test_prediction_finds_the_same_and_never_tries_more_than_a_small_size_in_vain(machine, most):
    candidates = sizes(1, most)
    best, failed = by_prediction(candidates, 1, machine.attempt, machine.budget)
    assert (best and best.size) == machine.best(candidates)
    assert all(machine.needs(size) <= machine.budget for size in machine.tried if size > 16)
    assert sum(size > 16 for size in machine.tried) <= 1
    if (best.size if best else 0) < candidates[-1]:
        assert failed.size == (2 * best.size if best else 1)


def test_what_is_foreseen_wrongly_is_found_out():
    """Nothing grows up to 32 images; from there on, each takes 100."""
    machine = Machine(0, 100, 20_000)
    machine.needs = lambda size: 100 if size <= 32 else 100 * size
    best, failed = by_prediction(sizes(1, 1024), 1, machine.attempt, machine.budget)
    assert (best.size, failed.size) == (128, 256)
    assert machine.tried == [4, 16, 1024, 512, 256, 128]


def test_batches_that_fell_out_smaller_are_foreseen_at_full_size():
    """17 training images at most 16 a batch make batches of 9; of 33, the 64 would all be in one."""
    attempts = {4: Attempt(4, 4, 400), 16: Attempt(16, 9, 900)}
    best, failed = by_prediction([1, 2, 4, 8, 16, 32], 1, attempts.get, 3000)
    assert (best.size, failed.size) == (16, 32)
    assert "it would take about" in str(failed)


def test_begins_with_a_few_images_in_every_forward_pass():
    machine = Machine(0, 1, 10**6)
    by_prediction(sizes(8, 512), 8, machine.attempt, machine.budget)
    assert machine.tried == [32, 128, 512]


def test_an_attempt_says_how_it_ended():
    assert str(Attempt(1024, 1024, 3 * 2**29)) == "1,024 images: 1.50 GiB"
    assert str(Attempt(8, why="memory ran out")) == "8 images: memory ran out"
