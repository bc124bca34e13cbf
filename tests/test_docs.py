"""The documentation: every command in it works, and its site builds without network and holds what it should."""

import csv
import hashlib
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser

import pytest
import yaml
from docs_commands import ROOT, commands_of, everything, pages, python_of
from docs_world import look_with_tensorboard, make_world, prepared, run_entry, run_script

from thawlab import compose
from thawlab.prepare import specs_of
from thawlab.schema import Config, register

# What is not run as it stands: a pattern of the command, and why. Of these, what tells train.py settings is composed.
NOT_RUN = {
    r"\.\.\.|…|\[group=choice\]|SWEEP|FOLDER\b": "a pattern for many commands, none of them",
    r"^make [\w-]+$": "a target of the Makefile: looked up there",
    r"^python3? -m venv|pip install|^uv ": "needs the package registry; `make demo` does it on a bare machine in CI",
    r"=/data/": "a folder of the reader's machine",
    r"trainer\.devices=\d|trainer=ddp": "several processes: tests/test_processes.py runs those",
    r"scripts/pretrain_demo\.py|experiment=demo_source": "three minutes, and replaces the shipped weights",
    r"experiment=(four_cases|depth_profile)|study=(four_cases|depth_profile)": "minutes; tests/test_study_command.py",
    r"^python -m bench": "a measurement; tests/test_bench.py runs it on tiny work",
    r"^python -m chaos": "an hour and a half; tests/test_chaos.py does a little of it",
}  # fmt: skip
ONLY_SHOW = ("--help", "--cfg", "--version")


def why(command):
    """Why a command is not run as it stands; empty: it is."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, command.text)), "")


COMMANDS = everything()
BY_PAGE = defaultdict(list)
for path in pages():
    # The choices of a group stand in one place as a page does.
    BY_PAGE[path.parent if path.suffix == ".yaml" else path].append(path)


@pytest.fixture(scope="module", autouse=True)
def _hydra():
    register()
    compose.register_resolvers()


def test_each_command_can_be_run_or_is_listed():
    for one in COMMANDS:
        known = one.train is not None or one.script or one.entry or one.words[0].endswith("tensorboard")
        assert known or why(one), f"{one.page} shows {one.text!r}: let test_docs.py run it, or list it in NOT_RUN"


def test_what_is_listed_is_there():
    for pattern in NOT_RUN:
        assert any(re.search(pattern, command.text) for command in COMMANDS), f"{pattern} matches no command any more"


def settings_of_all():
    """What the pages tell train.py, once each; the files in conf/ have a test of their own (test_conf.py)."""
    for words, page in {
        tuple(one.train): one.page for one in COMMANDS if one.train and "pattern" not in why(one)
    }.items():
        if not page.startswith("conf/") and not any(word.startswith(ONLY_SHOW) for word in words):
            yield pytest.param(list(words), id=f"{page}: {' '.join(words)}"[:120])


@pytest.mark.parametrize("words", list(settings_of_all()))
def test_each_training_command_composes(words):
    gpu = "trainer.accelerator=cpu" if {"trainer=gpu", "trainer=ddp"} & set(words) else "seed=0"
    for job in compose.jobs([*words, gpu], multirun=compose.is_multirun(words)):
        assert specs_of(job.config)


def test_targets_and_files_that_commands_name_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for command in COMMANDS:
        if command.words[0] == "make":
            assert re.search(rf"^{command.words[1]}:", makefile, re.MULTILINE), command.text
        if command.script:
            assert (ROOT / command.script).is_file(), command.text


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")  # of other programs, run here in one process
@pytest.mark.parametrize("page", BY_PAGE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_run_one_after_the_other(page, command, tmp_path, monkeypatch):
    shown = [found for path in BY_PAGE[page] for found in commands_of(path) if not why(found)]
    blocks = [block for path in BY_PAGE[page] if path.suffix == ".md" for block in python_of(path)]
    if not shown and not blocks:
        pytest.skip("shows no commands")
    make_world(tmp_path, monkeypatch)
    board = any(one.words[0].endswith("tensorboard") for one in shown)
    for one in shown:
        assert status(one, command, monkeypatch, board) == 0, one.text
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})


def status(shown, command, monkeypatch, board):
    """Run a command; its exit status. Events are written for a page that looks at them."""
    if shown.train is not None:
        only_shows = any(word.startswith(ONLY_SHOW) for word in shown.train)
        also = [] if board else ["logger.tensorboard=false"]
        ended = command(shlex.join(shown.train if only_shows else prepared(shown.train, also)))
        sys.stdout.write(ended.out + ended.err)
        return ended.status
    if shown.script:
        return run_script(list(shown.words), monkeypatch)
    if shown.words[0].endswith("tensorboard"):
        return look_with_tensorboard(list(shown.words))
    return run_entry(shown.entry, list(shown.words), monkeypatch)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder


class Page(HTMLParser):
    """What a page fetches, and its text."""

    def __init__(self, path):
        super().__init__()
        self.fetched, self.without_alt, self.text = [], [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.fetched.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(values.get("href") or "")
        if tag == "img" and not values.get("alt"):
            self.without_alt.append(values.get("src"))

    def handle_data(self, data):
        self.text += data


def test_the_built_site_fetches_nothing_from_elsewhere(site):
    built = sorted(site.rglob("*.html"))
    assert len(built) > 20
    for path in built:
        page = Page(path)
        assert not [place for place in page.fetched if re.match(r"(\w+:)?//", place)], path
        assert not page.without_alt, path
    for path in site.rglob("*.css"):
        assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]*", path.read_text(encoding="utf-8")), path


def test_every_page_of_docs_is_built(site):
    for path in (ROOT / "docs").rglob("*.md"):
        assert (site / path.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), path


def keys_of(kind, place=""):
    for name, field in kind.__dataclass_fields__.items():
        inner = field.type if isinstance(field.type, type) and hasattr(field.type, "__dataclass_fields__") else None
        yield from keys_of(inner, f"{place}{name}.") if inner else [f"{place}{name}"]


def test_every_key_of_the_schema_stands_in_the_site(site):
    shown = {path.stem: Page(path).text for path in (site / "config").glob("*.html")}
    keys = list(keys_of(Config))
    assert "strategy.thaw.when" in keys
    for key in keys:
        assert key in shown[key.partition(".")[0] if "." in key else "index"], key


def test_every_choice_stands_in_the_site_with_what_it_sets(site):
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        text = Page(site / "config" / f"{path.parent.name}.html").text
        assert f"{path.parent.name}={path.stem}" in text
        for line in path.read_text(encoding="utf-8").splitlines():
            assert line in text, path


def test_what_a_key_is_without_a_word_said_is_what_a_run_gets(site):
    (job,) = compose.jobs([], multirun=False)
    for group in compose.GROUPS:
        page = (site / "config" / f"{group}.html").read_text(encoding="utf-8")
        rows = dict(re.findall(r"<td><code>([\w.]+)</code></td>\s*<td>.*?</td>\s*<td>(.*?)</td>", page))
        assert rows
        for key, shown in rows.items():
            value = job.config
            for part in key.split("."):
                value = value[part]
            assert yaml.safe_load(re.sub("<.*?>", "", shown)) == value, key


TABLE = re.compile(
    r"^(\w+)(?:, (\S+))?\s*\|\s*(\d+)\s*\|\s*([\d.]+) ± ([\d.]+)\s*\|\s*([\d.]+)\s*\|\s*([\d.]+)$", re.MULTILINE
)


def test_the_figures_show_the_tables_of_the_results():
    data = ROOT / "docs" / "data" / "results.csv"
    with data.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for block in re.split(r"^(?=[\w-]+: \d+ runs measured)", results, flags=re.MULTILINE):
        found += [[block.partition(":")[0], *map(str, groups)] for groups in TABLE.findall(block)]
    assert [list(row.values()) for row in rows] == found
    assert {row["sweep"] for row in rows} == {"hymenoptera", "fashion-mnist", "digits", "sizes"}
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    for sweep in {row["sweep"] for row in rows}:
        drawn = (ROOT / "docs" / "img" / f"{sweep}.svg").read_text(encoding="utf-8")
        assert digest in drawn, f"draw {sweep}.svg again: python scripts/plot_results.py"
