import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from thawlab.data.order import EvenBatches, PlainBatches
from thawlab.errors import UserError


@settings(deadline=None)
@given(n=st.integers(1, 200), data=st.data(), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_every_image_comes_once_in_batches_of_nearly_equal_size(n, data, seed, epoch):
    size = data.draw(st.integers(1, n))
    order = EvenBatches(n, size, seed, lambda: epoch)
    batches = list(order)
    sizes = [len(batch) for batch in batches]
    assert sorted(batches_keys := [key for batch in batches for key in batch]) == [(epoch, i) for i in range(n)]
    assert len(set(batches_keys)) == n
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == len(order) == -(-n // size)
    assert list(order) == batches


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [list(EvenBatches(50, 8, seed, lambda e=epoch: e)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    indices = [[index for batch in order for _, index in batch] for order in orders]
    assert len({tuple(order) for order in indices}) == 3


def test_the_epoch_is_asked_for_at_each_iteration():
    epochs = iter([4, 7])
    order = EvenBatches(10, 5, 0, lambda: next(epochs))
    assert {key[0] for batch in order for key in batch} == {4}
    assert {key[0] for batch in order for key in batch} == {7}


def test_start_skips_batches_once():
    order = EvenBatches(20, 5, 0, lambda: 1)
    whole = list(order)
    order.start = 3
    assert list(order) == whole[3:]
    assert list(order) == whole


@settings(deadline=None)
@given(n=st.integers(8, 100), world=st.integers(2, 4), size=st.integers(8, 24), epoch=st.integers(0, 3))
def test_processes_share_the_batches_that_one_process_would_have(n, world, size, epoch):
    size = min(size, n)
    alone = list(EvenBatches(n, size, 0, lambda: epoch))
    if min(map(len, alone)) < world:
        return
    ranks = [list(EvenBatches(n, size, 0, lambda: epoch, rank, world)) for rank in range(world)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert len({len(part) for part in parts}) == 1, "equal shares, or gradients would be weighed unequally"
        together = [key for part in parts for key in part]
        assert set(together) == set(whole[: len(whole) - len(whole) % world])


@settings(deadline=None)
@given(n=st.integers(0, 60), size=st.integers(1, 20), world=st.integers(1, 4))
def test_evaluation_sees_every_image_once_and_in_order(n, size, world):
    ranks = [PlainBatches(n, size, rank, world) for rank in range(world)]
    seen = [[index for batch in rank for _, index in batch] for rank in ranks]
    assert sorted(index for indices in seen for index in indices) == list(range(n))
    assert all(indices == sorted(indices) for indices in seen)
    assert all(len(list(rank)) == len(rank) for rank in ranks)


@settings(deadline=None)
@given(n=st.integers(4, 200), size=st.integers(1, 40), accumulate=st.integers(1, 4))
def test_batches_make_whole_optimizer_steps(n, size, accumulate):
    size = min(size, n)
    assume(-(-n // (size * accumulate)) * accumulate <= n)
    batches = list(EvenBatches(n, size, 0, int, accumulate=accumulate))
    assert len(batches) % accumulate == 0
    assert len(batches) - -(-n // size) < accumulate
    sizes = [len(batch) for batch in batches]
    assert (sum(sizes), max(sizes) - min(sizes) <= 1, max(sizes) <= size) == (n, True, True)


def test_refuses_batches_larger_than_the_training_set():
    with pytest.raises(UserError, match=r"trainer.batch_size makes batches of 33 images, but there are 32"):
        EvenBatches(32, 33, 0, int)


def test_refuses_more_batches_than_images():
    with pytest.raises(UserError, match=r"trainer.accumulate make 8 batches of the 5 training images"):
        EvenBatches(5, 1, 0, int, accumulate=4)


def test_refuses_batches_smaller_than_the_number_of_devices():
    with pytest.raises(UserError, match="4 devices share each batch"):
        EvenBatches(5, 4, 0, int, 0, 4)
