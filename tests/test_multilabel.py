import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thawlab.data.multilabel import choose, hold_out
from thawlab.data.spec import DatasetSpec
from thawlab.errors import UserError

seeds = st.integers(0, 2**40)


@st.composite
def label_rows(draw):
    """Labels of very different frequency that come together at random, with some images that have none."""
    n, labels = draw(st.integers(30, 200)), draw(st.integers(2, 8))
    generator = np.random.default_rng(draw(seeds))
    rows = (generator.random((n, labels)) < generator.uniform(0.05, 0.6, labels)).astype(np.uint8)
    rows[:3] = 1
    return rows


def chosen(rows, seed, **values):
    spec = DatasetSpec("mine", "table", table="l.csv", task="multilabel", **values)
    return choose(spec, rows, "abcdefgh"[: rows.shape[1]], np.random.SeedSequence(seed))


def furthest(rows, some, share):
    """How many images the worst label is off its share; having none counts as a label."""
    every = np.column_stack([rows, ~rows.any(axis=1)]).astype(int)
    return np.abs(every[some].sum(axis=0) - share * every.sum(axis=0)).max()


@settings(deadline=None)
@given(rows=label_rows(), share=st.floats(0.1, 0.9), seed=seeds)
def test_held_out_images_are_disjoint_cover_all_and_hold_every_label_in_proportion(rows, share, seed):
    rest, held = hold_out(rows, share, np.random.SeedSequence(seed))
    assert sorted([*rest, *held]) == list(range(len(rows)))
    assert len(held) == round(share * len(rows))
    assert furthest(rows, held, share) <= 3.5
    again = hold_out(rows, share, np.random.SeedSequence(seed))
    assert all(np.array_equal(*both) for both in zip((rest, held), again, strict=True))


def test_many_labels_are_held_nearer_to_their_shares_than_chance_holds_them():
    generator = np.random.default_rng(3)
    rows = (generator.random((1000, 60)) < generator.uniform(0.005, 0.2, 60)).astype(np.uint8)
    rows[:3] = 1
    rest, held = hold_out(rows, 0.2, np.random.SeedSequence(0))
    assert (rows[held].any(axis=0) & rows[rest].any(axis=0)).all()
    by_chance = [furthest(rows, generator.permutation(1000)[:200], 0.2) for _ in range(50)]
    assert furthest(rows, held, 0.2) <= 1.5 < 5 < min(by_chance)


@settings(deadline=None, max_examples=20)
@given(rows=label_rows(), seed=seeds, data=st.data())
def test_less_lies_within_more_and_keeps_every_label_in_proportion(rows, seed, data):
    shares = data.draw(st.lists(st.floats(0.5, 1), min_size=2, max_size=2).map(sorted))
    less, more = (chosen(rows, seed, share=share) for share in shares)
    assert set(less) <= set(more)
    assert [len(less), len(more)] == [round(share * len(rows)) for share in shares]
    assert max(furthest(rows, some, len(some) / len(rows)) for some in (less, more)) <= 5
    least = int(rows.sum(axis=0).min())
    amounts = data.draw(st.lists(st.integers(1, least), min_size=2, max_size=2).map(sorted))
    less, more = (chosen(rows, seed, per_class=amount) for amount in amounts)
    assert set(less) <= set(more)
    for some, amount in ((less, amounts[0]), (more, amounts[1])):
        assert rows[some].sum(axis=0).min() >= amount
        unlabelled = (~rows.any(axis=1)).sum()
        assert (~rows[some].any(axis=1)).sum() == min(amount, unlabelled)


def test_no_image_is_taken_that_every_label_could_do_without():
    rows = np.repeat(np.eye(4, dtype=np.uint8), 10, axis=0)
    assert rows[chosen(rows, 0, per_class=3)].sum(axis=0).tolist() == [3, 3, 3, 3]


def test_refuses_more_images_than_a_label_has_and_a_share_that_leaves_it_none():
    rows = np.repeat(np.eye(3, dtype=np.uint8), [30, 30, 4], axis=0)
    with pytest.raises(UserError, match=r"per_class is 5, but label 'c' has 4 training images. Give 1 to 4"):
        chosen(rows, 0, per_class=5)
    with pytest.raises(UserError, match=r"share is 0.03, .* label '.' none .* Give (0\.\d+) or more") as caught:
        chosen(rows, 0, share=0.03)
    enough = float(str(caught.value).split("Give ")[1].split(" ")[0])
    assert rows[chosen(rows, 0, share=enough)].any(axis=0).all()


@settings(deadline=None, max_examples=20)
@given(rows=label_rows(), seed=seeds, share=st.floats(0.1, 0.9), only=st.integers(1, 30))
def test_the_only_image_of_a_label_is_kept(rows, seed, share, only):
    alone = np.eye(len(rows), dtype=np.uint8)[:, :only]
    rest, held = hold_out(np.column_stack([rows, alone]), share, np.random.SeedSequence(seed))
    assert set(range(only)) <= set(rest)
    assert len(held) == min(round(share * len(rows)), len(rows) - only)
