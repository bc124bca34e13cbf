import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from thawlab.data.stratified import hold_out


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(6, 40), min_size=2, max_size=6), share=st.floats(0.01, 0.99), seed=st.integers(0, 2**40)
)
def test_held_out_images_are_disjoint_cover_all_and_are_stratified(sizes, share, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rest, held = hold_out(labels, share, np.random.SeedSequence(seed))
    assert sorted([*rest, *held]) == list(range(len(labels)))
    for label, size in enumerate(sizes):
        count = (labels[held] == label).sum()
        assert abs(count - share * size) < 1
        assert 1 <= count < size
    bounds = sum(max(1, int(share * size)) for size in sizes)
    if all(1 <= share * size <= size - 1 for size in sizes):
        assert len(held) == max(round(share * len(labels)), bounds)
