"""What is weighed, held to a count that walks through the epochs image by image."""

from hypothesis import given
from hypothesis import strategies as st

from thawlab.caching.pictures import Pictures
from thawlab.caching.worth import LEAST, PER_BYTE, Offer, refusal

stretches = st.fixed_dictionaries(
    {
        "n": st.integers(1, 6),
        "views": st.integers(0, 9),
        "first": st.integers(0, 12),
        "epochs": st.integers(1, 12),
        "there": st.sets(st.tuples(st.integers(0, 8), st.integers(0, 5))),  # (view, image)
    }
)


def pictures_of(n, views):
    """Images whose content is their number; loaded, they are the keys they were asked by."""
    return Pictures([bytes([i]) * 32 for i in range(n)], load=list, views=views)  # pyright: ignore[reportArgumentType]


def walked(n, views, first, epochs, there):
    """Every (view, image) that the stretch shows, as often as it shows it; and those of them that are not there."""
    shown = [(epoch % views if views else 0, i) for epoch in range(first, first + epochs) for i in range(n)]
    return shown, set(shown) - there


@given(stretches)
def test_exactly_the_views_that_the_epochs_show_have_a_place_each(stretch):
    shown, _ = walked(**stretch)
    everything = pictures_of(stretch["n"], stretch["views"])
    some = everything.of(range(stretch["first"], stretch["first"] + stretch["epochs"]))
    assert len(some) == len(some.items) == len(set(some.items)) == len(set(shown))
    assert set(some.at(range(len(some)))) == set(shown)
    for key in shown:
        assert list(some.at([some.place(key)])) == [key]
        assert some.items[some.place(key)] == everything.items[everything.place(key)], "rows are shared by all runs"


@given(
    stretches,
    st.sampled_from([1e3, 1e6, 1e9, 5e10, 1e13]),
    st.sampled_from([4, 400, 4e4, 4e6, 4e8]),
    st.sampled_from(["cpu", "cuda"]),
)
def test_keeping_is_refused_unless_it_spares_more_than_it_costs(stretch, flops, nbytes, device):
    shown, missing = walked(**stretch)
    done = spent = 0.0
    kept = set(shown) - missing
    for picture in shown:
        if picture not in kept:  # computed, written and checked
            done += flops
            spent += 2 * nbytes
            kept.add(picture)
        spent += nbytes  # read
    spared = flops * len(shown) - done
    pays = spared >= max(LEAST[device], spent * PER_BYTE[device])
    found = refusal(Offer(flops, nbytes, len(shown), len(missing), device))
    assert (found is None) == pays
    if len(shown) == len(missing):
        assert found == "nothing of it would be used twice"
