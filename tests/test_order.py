from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from thawlab.data.order import BalancedDraws, EvenBatches, PlainBatches
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


def spread(counts):
    return max(counts) - min(counts)


LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(np.array)


@settings(deadline=None)
@given(labels=LABELS, seed=st.integers(0, 3), first=st.integers(0, 40), epochs=st.integers(1, 6))
def test_balanced_epochs_show_classes_and_their_images_equally_often(labels, seed, first, epochs):
    balanced = BalancedDraws(labels, seed)
    drawn = [balanced.of(epoch) for epoch in range(first + epochs)]
    occurring = set(labels.tolist())
    for epoch in drawn[first:]:
        assert len(epoch) == len(labels)
        found = Counter(labels[epoch].tolist())
        assert found.keys() == occurring
        assert spread(found.values()) <= 1
    images = Counter(np.concatenate(drawn).tolist())
    assert spread([sum(images[i] for i in np.flatnonzero(labels == label)) for label in occurring]) <= 1
    for label in occurring:
        assert spread([images[int(i)] for i in np.flatnonzero(labels == label)]) <= 1, (
            "none comes again before all came"
        )
    assert all(np.array_equal(BalancedDraws(labels, seed).of(e), drawn[e]) for e in range(first, first + epochs))


def test_balanced_draws_show_a_large_class_in_other_parts_from_epoch_to_epoch():
    labels = np.array([0] * 90 + [1] * 10)
    epochs = [set(BalancedDraws(labels, 0).of(epoch).tolist()) & set(range(90)) for epoch in range(2)]
    assert len(epochs[0]) == 50
    assert len(epochs[0] | epochs[1]) == 90
    other = set(BalancedDraws(labels, 1).of(0).tolist())
    assert other & set(range(90)) != epochs[0]


@settings(deadline=None)
@given(labels=LABELS, data=st.data(), epoch=st.integers(0, 5), accumulate=st.integers(1, 2))
def test_balanced_batches_are_of_the_sizes_and_places_that_plain_ones_have(labels, data, epoch, accumulate):
    n = len(labels)
    size = data.draw(st.integers(1, n))
    assume(-(-n // (size * accumulate)) * accumulate <= n)
    plain, balanced = (
        EvenBatches(n, size, 0, lambda: epoch, accumulate=accumulate, balanced=one)
        for one in (None, BalancedDraws(labels, 0))
    )
    batches = list(balanced)
    assert [len(batch) for batch in batches] == [len(batch) for batch in plain]
    seen = [index for batch in batches for _, index in batch]
    assert sorted(seen) == sorted(BalancedDraws(labels, 0).of(epoch).tolist())
    assert {key[0] for batch in batches for key in batch} == {epoch}
    balanced.start = start = data.draw(st.integers(0, len(batches)))
    assert list(balanced) == batches[start:], "an epoch goes on where it was cut"


def test_balanced_batches_are_shuffled_and_shared_out_to_processes():
    labels = np.repeat(np.arange(4), [40, 30, 20, 10])
    ranks = [list(EvenBatches(100, 20, 0, int, rank, 2, balanced=BalancedDraws(labels, 0))) for rank in (0, 1)]
    alone = list(EvenBatches(100, 20, 0, int, balanced=BalancedDraws(labels, 0)))
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert sorted(key for part in parts for key in part) == sorted(whole)
    runs = np.diff([labels[index] for batch in alone for _, index in batch])
    assert 10 < (runs == 0).sum() < 40, "a quarter of neighbours share their class by chance"


def test_refuses_to_balance_images_of_several_labels():
    with pytest.raises(UserError, match=r"trainer.sampling is balanced, but an image .* several labels"):
        BalancedDraws(np.ones((4, 3), np.uint8), 0)


def test_refuses_batches_larger_than_the_training_set():
    with pytest.raises(UserError, match=r"trainer.batch_size makes batches of 33 images, but there are 32"):
        EvenBatches(32, 33, 0, int)


def test_refuses_more_batches_than_images():
    with pytest.raises(UserError, match=r"trainer.accumulate make 8 batches of the 5 training images"):
        EvenBatches(5, 1, 0, int, accumulate=4)


def test_refuses_batches_smaller_than_the_number_of_devices():
    with pytest.raises(UserError, match="4 devices share each batch"):
        EvenBatches(5, 4, 0, int, 0, 4)
