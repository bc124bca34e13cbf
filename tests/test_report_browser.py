"""The report in a real browser: it renders, sorts and filters, asks for nothing, and obeys no name."""

import re
import shutil
import subprocess
from dataclasses import replace

import made_findings as made
import numpy as np
import pytest
from browser import browser
from PIL import Image

from thawlab.report.report import written


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def report(folder, found):
    """A report of few figures: what a browser does with the others is no different."""
    first = found.cells[0].task
    few = replace(found, plans={}, depth=(), confusions=dict(list(found.confusions.items())[:1]))
    few = replace(few, curves={}, differences=tuple(one for one in few.differences if one.task == first))
    for i, mistake in enumerate(few.mistakes):
        if "/" not in mistake.run:
            path = folder / mistake.run / mistake.thumbnail
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 20 * i, dtype=np.uint8)).save(path)
    return written(few, folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return report(tmp_path_factory.mktemp("plain"), made.findings(sizes=(45, 1200)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return report(tmp_path_factory.mktemp("hostile"), made.hostile())


@pytest.fixture
def shown(page, plain):
    page.open(plain)
    return page


ROWS = "Array.from(document.querySelectorAll('#runs-table tbody tr:not([hidden])'))"


def column(page, place):
    return page.run(f"{ROWS}.map(row => row.cells[{place}].textContent)")


def asks_nothing(page, path):
    return all(url.startswith("data:image/png;base64,") or url == path.as_uri() for url in page.requests)


def test_it_renders_without_a_complaint_or_a_request(page, plain):
    for width in (1280, 390):
        page.open(plain, width)
        assert page.complaints == []
        assert asks_nothing(page, plain)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run("document.querySelectorAll('svg[role=img]').length") > 4
        assert page.run(
            "Array.from(document.querySelectorAll('svg, img')).every(one => one.getBoundingClientRect().width > 20)"
        )
        assert page.run("Array.from(document.images).every(one => one.naturalWidth > 0)")


def test_it_filters_by_text_status_and_strategy(shown):
    total = len(column(shown, 0))
    assert shown.run("document.getElementById('found').textContent") == f"{total} of {total} shown"

    def choose(**values):
        for name, value in values.items():
            shown.run(f"(one => {{ one.value = {value!r}; one.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
                      f"(document.getElementById('{name}'))")  # fmt: skip
        return column(shown, 0)

    assert choose(status="failed") == ["broken-s0"]
    names = choose(status="", strategy="freeze")
    assert len(names) == 12
    assert all(name.startswith("freeze") for name in names)
    assert choose(search="SHAPES 1,200") == [f"freeze-shapes-1200-s{seed}" for seed in (0, 1, 2)]
    assert shown.run("document.getElementById('found').textContent") == f"3 of {total} shown"
    assert len(choose(search="", strategy="")) == total


def test_it_sorts_numbers_as_numbers_and_what_has_none_last(shown):
    shown.run("document.querySelectorAll('#runs-table thead button')[5].click()")
    sizes = column(shown, 5)
    assert sizes == [*["45"] * 36, *["1,200"] * 36, "0" if "0" in sizes else "-"][: len(sizes)]
    assert shown.run("document.querySelectorAll('[aria-sort]').length") == 1
    shown.run("document.querySelectorAll('#runs-table thead button')[5].click()")
    assert shown.run("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "descending"
    shown.run("document.querySelectorAll('#runs-table thead button')[2].click()")
    scores = column(shown, 2)
    assert scores[-1] == "-"
    assert [float(score) for score in scores[:-1]] == sorted(float(score) for score in scores[:-1])


def test_a_keyboard_is_enough(shown):
    shown.run("document.querySelector('#runs-table thead button').focus()")
    before = column(shown, 0)
    shown.press("Enter", "\r")
    natural = sorted(
        before, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )
    assert column(shown, 0) == natural != before
    shown.press("Enter", "\r")
    assert column(shown, 0) == natural[::-1]


def test_tab_goes_from_the_skip_link_through_all_that_can_be_used_in_the_order_of_the_page(shown):
    stops, seen = [], "document.activeElement"
    shown.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    usable = shown.run(
        "Array.from(document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]'))"
        ".filter(one => one.checkVisibility()).map((one, i) => { one.dataset.place = i; return one.textContent; })"
    )
    for _ in range(len(usable)):
        shown.press("Tab")
        stops.append(int(shown.run(f"{seen}.dataset.place ?? -1")))
        assert shown.run(f"getComputedStyle({seen}).outlineStyle") in ("solid", "auto")
    assert usable[0] == "Skip to the content"
    assert stops == list(range(len(usable)))


def test_without_its_script_it_is_a_plain_table(page, plain):
    page.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(plain)
        root = page.ask("DOM.getDocument")["root"]["nodeId"]
        found = {
            selector: len(page.ask("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"])
            for selector in ("#runs-table tbody tr", "#runs-table button", "#filters:not([hidden])")
        }
    finally:
        page.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert found == {"#runs-table tbody tr": 73, "#runs-table button": 0, "#filters:not([hidden])": 0}


def test_words_stand_out_from_the_page(shown):
    """By WCAG's formula, of every element that has text of its own."""
    poor = shown.run("""(() => {
      const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
        return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
      const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (c !== "rgba(0, 0, 0, 0)") return c; } return "rgb(255, 255, 255)"; };
      const bare = (e) => Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.data.trim());
      return Array.from(document.querySelectorAll("body *:not(script, svg, svg *)")).filter(bare).filter((e) => {
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5; }).map((e) => e.outerHTML.slice(0, 80));
    })()""")
    assert poor == []


def test_it_prints(shown):
    pdf = shown.pdf()
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 50_000
    # What was folded on the screen lies open on the paper.
    assert shown.run("document.querySelectorAll('section > details').length") > 0
    assert shown.run("Array.from(document.querySelectorAll('section > details')).every(one => one.open)")


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext, of poppler-utils, is not here")
def test_folded_tables_are_in_the_print(page, plain, tmp_path):
    page.open(plain)  # anew: nothing was printed or unfolded
    folded = "Array.from(document.querySelectorAll('section > details'))"
    assert page.run(f"{folded}.filter(one => !one.open).length") > 2
    captions = page.run(f"{folded}.map(one => one.querySelector('caption').textContent)")
    (tmp_path / "page.pdf").write_bytes(page.pdf())
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "page.pdf", "-"], check=True, capture_output=True, text=True
    )
    squeezed = "".join(text.stdout.split())
    for caption in captions:  # once in the summary that folds it, once above its table
        assert squeezed.count("".join(caption.split())) >= 2, caption


def test_hostile_names_are_inert(page, hostile):
    page.open(hostile)
    assert page.complaints == []  # a script held back by the page's policy would be one
    assert asks_nothing(page, hostile)
    assert "owned" not in page.run("document.title.replace(/document.title='owned'/g, '')")
    assert page.run("document.querySelectorAll('script').length") == 1
    assert page.run("document.querySelectorAll('h1').length") == 1
    assert page.run("document.querySelectorAll('main svg[role=img]').length") == page.run(
        "document.querySelectorAll('figure').length"
    )
    assert page.run("document.querySelector('main').contains(document.getElementById('again'))")
    assert page.run(
        "Array.from(document.querySelectorAll('*')).every("
        "one => !Array.from(one.attributes).some(attribute => /^on/i.test(attribute.name)))"
    )
    assert not page.run("/[\\u0000-\\u0008\\u000b-\\u001f\\u202a-\\u202e]/.test(document.body.textContent)")
    assert page.run(
        """document.getElementById('runs-table').textContent.includes("<script>document.title='owned'</script>")"""
    )
    page.run("document.querySelector('#runs-table thead button').click()")
    page.run(
        "document.getElementById('strategy').selectedIndex = 1;"
        "document.getElementById('filters').dispatchEvent(new Event('input'))"
    )
    assert page.complaints == []
