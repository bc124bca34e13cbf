import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thawlab.data.labels import labelled, unique, without_unlabelled
from thawlab.errors import UserError

ATOMS = st.one_of(st.integers(0, 30), st.text(min_size=1, max_size=3))


@settings(max_examples=50)
@given(st.lists(ATOMS, min_size=1), st.lists(ATOMS))
def test_every_label_finds_its_class_again(train, test):
    found = labelled("x", {"train": train, "test": test})
    for part, values in (("train", train), ("test", test)):
        for value, place in zip(values, found.places[part], strict=True):
            assert found.classes[place].startswith(str(value))
    assert len(set(found.classes)) == len({*train, *test})


@pytest.mark.parametrize(
    ("labels", "names", "classes", "places"),
    [
        pytest.param([10, 9, 10], None, ("9", "10"), (1, 0, 1), id="numbers by value"),
        pytest.param(["b", "a"], None, ("a", "b"), (1, 0), id="names alphabetically"),
        pytest.param([2, 0], ["x", "y", "z"], ("x", "z"), (1, 0), id="a class that does not occur"),
        pytest.param(["z", 0], ["x", "y", "z"], ("x", "z"), (1, 0), id="named by number and by name"),
        pytest.param([(1, 0), ()], ["x", "y"], ("x", "y"), ((1, 0), ()), id="several labels"),
    ],
)
def test_labels_become_places(labels, names, classes, places):
    found = labelled("x", {"train": labels}, names)
    assert (found.classes, found.places["train"]) == (classes, places)
    assert len(found.notes) == (classes == ("x", "z"))


@pytest.mark.parametrize("label", [3, -2, "w"])
def test_refuses_a_label_that_is_not_named(label):
    with pytest.raises(UserError, match=r"x has the label .* 3"):
        labelled("x", {"train": [0, label]}, ["a", "b", "c"])


def test_classes_of_one_name_are_told_apart():
    assert unique(["crane", "owl", "crane"]) == ("crane (0)", "owl", "crane (2)")


def test_a_split_without_labels_is_left_out_but_not_a_mixed_one():
    kept, notes = without_unlabelled("x", {"train": [0, 1], "val": [None, -1], "test": [1]}, "Mend it.")
    assert kept == {"train": [0, 1], "test": [1]}
    assert notes == ("the val images have no labels and are left out",)
    with pytest.raises(UserError, match=r"1 of the 2 test images of x .* number 1\). Mend it"):
        without_unlabelled("x", {"train": [0], "test": [1, None]}, "Mend it.")
