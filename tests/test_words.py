"""Words as people type them, held to what Hydra's own parser makes of them."""

import os

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from thawlab.errors import UserError
from thawlab.words import spelled


def value_of(word):
    return OverridesParser.create().parse_override(spelled(word)).value()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("study.similar=[dataset=folder,dataset.root=photos]", ["dataset=folder", "dataset.root=photos"]),
        ("study.similar=[dataset=idx, dataset.root=/data/raw]", ["dataset=idx", "dataset.root=/data/raw"]),
        ("study.different=[dataset=folder,'dataset.root=my, own']", ["dataset=folder", "dataset.root=my, own"]),
        ("study.different=[dataset.root='my, own']", ["dataset.root='my, own'"]),
        ("study.strategies=[freeze,partial strategy.train=1]", ["freeze", "partial strategy.train=1"]),
        ("study.strategies=[full strategy.rates={a: 1, b: 2}]", ["full strategy.rates={a: 1, b: 2}"]),
        ("study.similar=[dataset.channels=[1,2],dataset=a]", ["dataset.channels=[1,2]", "dataset=a"]),
        ("study.similar=[]", []),
        ("study.sizes=[5,0.5]", [5, 0.5]),
    ],
)
def test_a_list_of_words_can_be_typed_without_quotes(word, expected):
    assert value_of(word) == expected


def test_a_tilde_is_the_home_folder_in_a_list_too():
    home = os.path.expanduser("~")
    assert spelled("dataset.root=~/photos") == f"dataset.root={home}/photos"
    assert value_of("study.similar=[dataset=folder,dataset.root=~/photos]")[1] == f"dataset.root={home}/photos"


@pytest.mark.parametrize("inside", ["[dataset=digits", "dataset=digits]", "a=1,,b=2", "a=1,", "a='b", "a={b", "a=b}"])
def test_a_list_that_is_malformed_is_refused_and_not_repaired(inside):
    with pytest.raises(UserError, match=r"study\.similar=.* has an empty entry, or a bracket or quote without"):
        spelled(f"study.similar=[{inside}]")


entries = st.text(
    st.characters(codec="ascii", exclude_characters="\\'\"[]{},\n\r\t~", categories=("L", "N", "P")), min_size=1
)


@given(st.lists(entries.map(lambda text: f"key={text}"), min_size=1))
def test_whatever_stands_in_it_comes_out_and_spelling_twice_changes_nothing(words):
    word = f"study.similar=[{','.join(words)}]"
    assert value_of(word) == words
    assert spelled(spelled(word)) == spelled(word)
