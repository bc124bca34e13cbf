from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thawlab.data import splits as module
from thawlab.data.images import ArrayImages, Pools
from thawlab.data.spec import DatasetSpec
from thawlab.data.splits import load_splits
from thawlab.errors import UserError

class_sizes = st.lists(st.integers(6, 40), min_size=2, max_size=6)
seeds = st.integers(0, 2**40)


def pools(sizes, shuffle=0):
    labels = np.random.default_rng(shuffle).permutation(np.repeat(np.arange(len(sizes)), sizes))
    # Each image holds its own number, so that content tells images apart.
    pixels = np.arange(len(labels), dtype="<u4").view(np.uint8).reshape(-1, 2, 2)
    names = tuple(f"made/{i}" for i in range(len(labels)))
    return Pools(tuple("abcdef"[: len(sizes)]), ArrayImages(pixels, labels.astype(np.int64), names))


def load(monkeypatch_pools, seed=0, **values):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "read", lambda spec: monkeypatch_pools)
        return load_splits(DatasetSpec("mine", "digits", **values), seed)


@settings(deadline=None)
@given(sizes=class_sizes, split_seed=seeds, data=st.data())
def test_test_and_validation_never_move_and_smaller_training_sets_lie_within_larger(sizes, split_seed, data):
    source = pools(sizes)
    whole = load(source, split_seed=split_seed)
    everything = {*whole.train.names, *whole.val.names, *whole.test.names}
    assert len(everything) == sum(sizes) == len(whole.train) + len(whole.val) + len(whole.test)
    most = int(np.bincount(whole.train.labels).min())
    seed = data.draw(seeds)
    amounts = data.draw(st.lists(st.integers(1, most), min_size=2, max_size=2).map(sorted))
    shares = data.draw(st.lists(st.floats(0.5, 1), min_size=2, max_size=2).map(sorted))
    for field, (less, more) in (("per_class", amounts), ("share", shares)):
        small, large = (load(source, seed, split_seed=split_seed, **{field: value}) for value in (less, more))
        assert set(small.train.names) <= set(large.train.names) <= set(whole.train.names)
        for chosen in (small, large):
            assert (chosen.val.names, chosen.test.names) == (whole.val.names, whole.test.names)
        if field == "per_class":
            assert np.bincount(small.train.labels).tolist() == [less] * len(sizes)
        else:
            exact = less * np.bincount(whole.train.labels)
            assert np.abs(np.bincount(small.train.labels) - exact).max() <= 0.5 + 1e-9


def test_seed_moves_the_choice_of_training_images_and_split_seed_the_test_set():
    source = pools([30, 30])
    first, other_seed, other_split = (
        load(source, 0, per_class=5),
        load(source, 1, per_class=5),
        load(source, 0, per_class=5, split_seed=1),
    )
    assert first.train.names != other_seed.train.names
    assert first.test.names == other_seed.test.names != other_split.test.names


def test_fingerprint_changes_with_content_name_label_and_split_and_with_nothing_else():
    plain = load(pools([20, 20]))
    assert load(pools([20, 20])).fingerprint == plain.fingerprint
    assert load(pools([20, 20]), seed=5).fingerprint == plain.fingerprint
    assert load(pools([20, 20]), split_seed=1).fingerprint != plain.fingerprint
    assert load(pools([20, 20]), per_class=3).fingerprint != plain.fingerprint
    changed = pools([20, 20])
    changed.train.pixels[3, 0, 0] ^= 255
    assert load(changed).fingerprint != plain.fingerprint
    renamed = pools([20, 20])
    renamed = Pools(("a", "z"), renamed.train)
    assert load(renamed).fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("sizes", "values", "said"),
    [
        pytest.param([9], {}, r"of 1 classes \(a\)", id="one class"),
        pytest.param([9, 2], {}, "Class 'b' has 2 .* needs 3", id="a class too small for three splits"),
        pytest.param([9, 0, 9], {}, "Class 'b' has 0", id="a class without images"),
        pytest.param([40, 9], {"per_class": 30}, "class 'b' has 6 training images. Give 1 to 6", id="too many"),
        pytest.param([40, 9], {"share": 0.05}, "class 'b' none of its 6 .* 0.084 or more", id="share too small"),
    ],
)
def test_refuses(sizes, values, said):
    with pytest.raises(UserError, match=said):
        load(pools(sizes), **values)


def test_refuses_a_share_that_leaves_a_class_nothing_for_validation(monkeypatch):
    monkeypatch.setattr(module, "read", lambda spec: replace(pools([40, 3]), test_share=spec.test_share))
    with pytest.raises(UserError, match="Class 'b' gets 1 for training, 0 for validation, 2 for test"):
        load_splits(DatasetSpec("mine", "shapes", test_share=0.7), 0)


def test_the_share_that_a_refusal_proposes_is_enough():
    assert np.bincount(load(pools([40, 9]), share=0.084).train.labels).min() == 1


def pools_of_several_labels(count=60):
    numbers = np.arange(count)
    rows = np.stack([numbers % 2 == 0, numbers % 3 == 0, numbers % 5 == 0], axis=1).astype(np.uint8)
    plain = pools([count]).train
    return Pools(tuple("abc"), replace(plain, labels=rows), task="multilabel")


def test_several_labels_leave_test_and_validation_where_they_are_too():
    source = pools_of_several_labels()
    whole = load(source, val_share=0.25)
    assert whole.task == "multilabel"
    assert [len(part) for part in (whole.train, whole.val, whole.test)] == [36, 12, 12]
    assert len({*whole.train.names, *whole.val.names, *whole.test.names}) == 60
    assert np.abs(whole.test.labels.sum(axis=0) - np.array([6, 4, 2.4])).max() <= 1
    for values in ({"per_class": 3}, {"share": 0.5}):
        for seed in (0, 1):
            fewer = load(source, seed, val_share=0.25, **values)
            assert (fewer.val.names, fewer.test.names) == (whole.val.names, whole.test.names)
            assert fewer.test_fingerprint == whole.test_fingerprint
            assert set(fewer.train.names) < set(whole.train.names)
    assert load(source, val_share=0.25, split_seed=1).test.names != whole.test.names


def test_the_fingerprint_changes_with_one_of_several_labels():
    changed = pools_of_several_labels()
    changed.train.labels[7, 2] ^= 1
    assert load(changed).fingerprint != load(pools_of_several_labels()).fingerprint


@settings(deadline=None, max_examples=20)
@given(rare=st.integers(1, 2), split_seed=seeds)
def test_labels_too_rare_for_three_splits_are_trained_on_and_told(rare, split_seed):
    source = pools_of_several_labels()
    source.train.labels[:, 2] = np.arange(60) < rare
    splits = load(source, split_seed=split_seed)
    assert splits.train.labels[:, 2].sum() >= 1
    unseen = {name for name in ("val", "test") if not getattr(splits, name).labels[:, 2].any()}
    assert unseen
    told = {"val": "validation", "test": "test"}
    for name, words in told.items():
        note = f"1 of 3 classes have no {words} image and no part in its scores: c"
        assert (note in splits.notes) == (name in unseen)


def test_refuses_a_label_that_no_training_image_has():
    source = pools_of_several_labels()
    source.train.labels[:, 2] = 0
    with pytest.raises(UserError, match=r"Class 'c' has 0 .* training, but needs 1\."):
        load(source)


def without(part, label):
    """A part's images but those of one class, or the same images without one label."""
    if part.labels.ndim == 1:
        return part.take(np.flatnonzero(part.labels != label))
    labels = part.labels.copy()
    labels[:, label] = 0
    return replace(part, labels=labels)


@pytest.mark.parametrize("source", [pools([12, 12, 12]), pools_of_several_labels(36)], ids=["one class", "several"])
def test_a_given_split_may_lack_classes_and_says_so(source):
    part = source.train
    given = replace(source, val=without(part, 1), test=without(part.take(range(9)), 2))
    splits = load(given)
    assert splits.notes[:2] == (
        "1 of 3 classes have no validation image and no part in its scores: b",
        "1 of 3 classes have no test image and no part in its scores: c",
    )
    assert (len(splits.val), len(splits.test)) == (len(given.val), len(given.test))
    one_drawn = load(replace(given, val=None))
    assert (
        one_drawn.val.labels.sum(axis=0) if source.task == "multilabel" else np.bincount(one_drawn.val.labels)
    ).all()


def test_a_given_split_needs_images_and_of_several_labels_one_that_is_there():
    plain = pools([12, 12])
    with pytest.raises(UserError, match="No readable image is left for test"):
        load(replace(plain, test=plain.train.take([])))
    source = pools_of_several_labels()
    bare = replace(source.train, labels=np.zeros_like(source.train.labels))
    with pytest.raises(UserError, match="None of the 60 validation images has a label"):
        load(replace(source, val=bare))
