import os

import pytest
from tqdm import tqdm

from thawlab.terminal import Terminal


@pytest.fixture
def pipe():
    """A descriptor to write to, and a function that reads what was written."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield write, lambda: os.read(read, 10_000).decode()
    os.close(read)


def test_lines_of_several_runs_pass_whole_and_marked(pipe):
    write, shown = pipe
    first, second = Terminal(write, "a | "), Terminal(write, "b | ")
    print("epoch", end=" ", file=first)
    print("one\ntwo", file=second)
    print("1/2", file=first, flush=True)
    assert shown() == "b | one\nb | two\na | epoch 1/2\n"


def test_a_bar_is_drawn_where_one_run_has_the_terminal_and_never_among_lines(pipe):
    write, shown = pipe
    for _ in tqdm(range(3), file=Terminal(write), ascii=True, mininterval=0):
        pass
    assert "\r" in shown()
    marked = Terminal(write, "a | ")
    for _ in tqdm(range(3), file=marked, ascii=True, mininterval=0, leave=False):
        pass
    print("done", file=marked)
    assert shown() == "a | done\n"


def test_a_terminal_that_is_gone_raises_nothing():
    read, write = os.pipe()
    os.close(read)
    for mark in (None, "a | "):
        print("unread", file=Terminal(write, mark))


def test_what_goes_wrong_is_kept_in_the_log_as_well(pipe, tmp_path):
    write, shown = pipe
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    print("deprecated: \udce9", file=Terminal(write, "a | ", copy=log))
    assert shown() == "a | deprecated: \\udce9\n"
    assert (tmp_path / "log").read_text() == "deprecated: \\udce9\n"


def test_it_is_a_terminal_where_its_descriptor_is_one_and_lines_are_not_marked():
    _, write = os.openpty()
    assert Terminal(write).isatty()
    assert not Terminal(write, "a | ").isatty()
    assert Terminal(write).fileno() == write
