import argparse

import pytest

from thawlab.errors import UserError
from thawlab.searching import search


def refused(_):
    raise UserError("no such thing.")


@pytest.mark.parametrize(
    ("find", "status", "says"),
    [
        pytest.param(lambda options: 0, 0, "", id="found"),
        pytest.param(lambda options: 1, 1, "", id="nothing found"),
        pytest.param(refused, 2, "no such thing.\n", id="refused"),
    ],
)
def test_the_exit_status_says_how_it_ended(find, status, says, capsys):
    assert search(argparse.ArgumentParser(), find, []) == status
    assert capsys.readouterr() == ("", says)


def test_options_may_stand_among_the_words():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int)
    seen = []
    search(parser, lambda options: seen.append((options.words, options.steps)) or 0, ["a=1", "--steps=3", "b=2"])
    assert seen == [(["a=1", "b=2"], 3)]


def test_a_sweep_is_refused_before_its_options_are_read(capsys):
    assert search(argparse.ArgumentParser(), lambda options: 0, ["-m", "strategy=freeze,full"]) == 2
    assert "-m makes a run of each value" in capsys.readouterr().err
