"""The report's page as text: its sections, its order, its tables, and that names in it stay text."""

import base64
import hashlib
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import made_findings as made
import pytest

from thawlab.report import tables
from thawlab.report.page import for_a_shell, page

VOID = {"meta", "link", "img", "input", "br"}


class Read(HTMLParser):
    """A page's elements; fails where they are not nested as they ought to be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text, self.scripts = [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, *tags):
        return [attrs for tag, attrs in self.elements if tag in tags]


def render(found, pictures=None):
    return page(found, {}, pictures or {})


@pytest.fixture(scope="module")
def text():
    found = made.findings()
    return render(found, dict.fromkeys(found.mistakes, b"\x89PNG"))


@pytest.fixture(scope="module")
def read(text):
    return Read(text)


def test_sections_come_in_the_order_in_which_a_reader_asks(text):
    headings = re.findall(r'<h2 id="([^"]*)"', text)
    assert headings == [
        "cases",
        "scores",
        "differences",
        "sizes",
        "cost",
        "mistakes",
        "advice",
        "runs",
        "left-out",
        "again",
    ]
    assert re.findall(r'<a href="#([^"]*)"', text) == headings


def test_the_scores_come_first_but_for_the_four_cases(text):
    parts = ("</nav>", "FEW IMAGES: 9", '<h2 id="cases">', '<h2 id="scores">', "over 3 seeds.", '<h2 id="differences">')
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    rows = tables.all_of(made.findings())["scores"].rows
    of_task = [float(row[1].split()[0]) for row in rows[: len(made.STRATEGIES)]]
    assert of_task == sorted(of_task, reverse=True)
    assert len(rows) == len(made.findings().cells)


SWEEP = ("train.py", "-m", "strategy=freeze,partial", "seed=0,1")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(
            (*SWEEP, "sweep=x"), "python train.py -m strategy=freeze,partial,scratch seed=0,1 sweep=x", id="named"
        ),
        pytest.param(
            SWEEP, "python train.py -m strategy=freeze,partial,scratch seed=0,1 sweep=four_cases", id="named by us"
        ),
        pytest.param(("thawlab", "experiment=mine", "sweep=x"), "The word <code>strategy=scratch</code>", id="a study"),
        pytest.param((), "The word <code>strategy=scratch</code>", id="nobody wrote it down"),
    ],
)
def test_without_scratch_the_page_says_so_and_what_adds_it(words, says):
    found = made.findings()
    without = replace(
        found,
        commands=(words,) if words else (),
        differences=(),
        depth=(),
        cells=tuple(cell for cell in found.cells if cell.strategy != "scratch"),
        runs=tuple(run for run in found.runs if run.strategy != "scratch"),
    )
    text = render(without)
    assert "for scratch was not run" in text
    assert says in text
    assert "Scratch was run" in render(replace(without, runs=found.runs))
    assert '<h2 id="differences">' not in render(replace(without, depth=found.depth))


def test_headings_are_in_order(read):
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_what_there_is_nothing_of_is_left_out():
    nothing = dict.fromkeys(
        ("cells", "differences", "crossings", "effective", "cases", "depth", "mistakes", "left_out", "notes", "runs",
         "sources", "reached", "pays_off"), ()
    )  # fmt: skip
    empty = replace(made.findings(), **nothing, advice={}, commands=(), versions={})
    assert re.findall(r'<h2 id="([^"]*)"', render(empty)) == ["again"]


def test_a_reader_who_hears_the_page_is_told_what_is_what(read):
    assert read.all("html") == [{"lang": "en"}]
    assert all(attrs.get("alt") for attrs in read.all("img"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in read.all("th"))
    assert len(read.all("caption")) == len(read.all("table"))
    ids = [attrs["id"] for _, attrs in read.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["aria-labelledby"] for attrs in read.all("section")} <= set(ids)
    inputs = [(tag, attrs) for tag, attrs in read.elements if tag in ("input", "select")]
    assert len(read.all("label")) == len(inputs) == 3


def test_the_four_cases_are_told_in_words(text):
    assert "Recipe: <bdi>freeze</bdi>. <strong>Held.</strong>" in text
    assert "Recipe: <bdi>truncate</bdi>. <strong>Did not hold.</strong>" in text
    assert "Recipe: <bdi>full</bdi>. <strong>Unclear.</strong>" in text


def test_winners_with_the_same_mean_are_a_tie():
    found = made.findings()
    case = found.cases[0]
    one = next(cell for cell in found.cells if (cell.task, cell.strategy) == (case.task, case.winners[0]))
    for mean, says in ((one.score.value, "Best, a tie"), (one.score.value - 0.01, "Best, not shown to be worse")):
        other = replace(one, strategy="other", score=replace(one.score, value=mean))
        winners = replace(case, winners=(one.strategy, "other"))
        text = render(replace(found, cells=(one, other), cases=(winners,)))
        assert re.findall(r"<dt>(.*?)</dt><dd><bdi>other", text) == [says]


def test_every_number_of_a_difference_is_there():
    found = made.findings()
    one = found.differences[0]
    row = tables.all_of(found)["differences"].rows[0]
    assert row == (
        "digits",
        "thawlab_demo",
        "45",
        "freeze",
        "+15.0 [+10.0, +20.0]",
        "< 0.001",
        "0.001",
        "3",
        "497",
        one.verdict,
    )
    assert any(row[-1] == "worse (negative transfer)" for row in tables.all_of(found)["differences"].rows)


def test_tables_are_as_wide_as_their_headings():
    for table in tables.all_of(made.findings()).values():
        assert table is not None
        assert all(len(row) == len(table.columns) for row in table.rows), table.caption
    for run in tables.runs(made.findings().runs):
        assert len(run["cells"]) == len(tables.RUN_COLUMNS)


def test_a_run_that_measured_nothing_has_a_row(text):
    assert "the loss was no number" in text
    assert 'data-status="failed"' in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train.py", "-m", "a=1,2", "dataset.root=my photos"), "python train.py -m a=1,2 'dataset.root=my photos'"),
        (("thawlab", "experiment=four_cases"), "thawlab experiment=four_cases"),
    ],
    ids=["the script", "installed"],
)
def test_the_command_that_runs_it_again(words, expected):
    assert for_a_shell(words) == expected
    assert shlex.split(expected)[-len(words) :] == list(words)


def test_every_command_that_made_the_sweep_is_there_and_none_is_guessed_at():
    commands = (("train.py", "-m", "seed=0,1"), ("train.py", "-m", "seed=2,3"))
    lines = "python train.py -m seed=0,1\npython train.py -m seed=2,3\n"
    assert lines in render(replace(made.findings(), commands=commands))
    assert 'aria-label="Commands"><code>python scripts/report.py' in render(replace(made.findings(), commands=()))


def test_nothing_is_loaded_and_no_script_but_the_pages_own_may_run(text, read):
    (policy,) = [m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    (script,) = read.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    addresses = [attrs[key] for _, attrs in read.elements for key in ("src", "href") if key in attrs]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "@import" not in text
    assert "url(" not in text


def test_hostile_names_make_no_element():
    made_of, clean = made.hostile(), made.findings(sizes=(45, 90))
    read = Read(render(made_of, dict.fromkeys(made_of.mistakes, b"\x89PNG")))
    assert not any(key.startswith("on") for _, attrs in read.elements for key in attrs)
    assert len(read.scripts) == 1
    assert {tag for tag, _ in read.elements} == {
        tag for tag, _ in Read(render(clean, {clean.mistakes[0]: b""})).elements
    }
    text = "".join(read.text)
    assert not any(letter in text for letter in "\x1b\u202e\r\udcff")
    assert "{{ 7 * 7 }}" in text
    for name in (
        "<script>document.title='owned'</script>",
        "</svg><h1>broken</h1>",
        r"two\nlines\r",
        r"turned\u202egpj",
    ):
        assert name in text


def test_a_thousand_runs_make_a_page_that_can_be_sent():
    found = made.findings()
    many = replace(found, runs=tuple(replace(found.runs[i % 100], name=f"run-{i}") for i in range(1000)))
    assert len(render(many)) < 3_000_000
