"""The report's command: from a sweep's records to files, and what it says of folders that are no sweep."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted_records import Planted, known, plant

from thawlab.files import checksum
from thawlab.record import add_to_manifest
from thawlab.report import report
from thawlab.report.findings import Mistake
from thawlab.report.thumbnails import MOST, thumbnails

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = known(tmp_path_factory.mktemp("sweeps") / "known")
    report.write_report(folder)
    return folder


def test_a_report_is_a_page_its_data_and_its_figures(sweep):
    assert (sweep / "report.html").read_text().startswith("<!DOCTYPE html>")
    data = json.loads((sweep / "report.json").read_text())
    assert data["title"] == "known"
    assert data["differences"]
    assert data["curves"] == {}
    names = {path.name for path in (sweep / "figures").iterdir()}
    assert {"differences-1.svg", "differences-1.png", "plans.svg", "learning.png"} <= names
    assert {path.stem for path in (sweep / "figures").glob("*.svg")} == {
        path.stem for path in (sweep / "figures").glob("*.png")
    }


def test_the_page_says_what_the_data_says(sweep):
    page, data = (sweep / "report.html").read_text(), json.loads((sweep / "report.json").read_text())
    for run in data["runs"]:
        assert run["name"] in page
    for name, _ in data["left_out"]:
        assert name in page


def test_the_command_prints_the_pages_path(sweep, capsys, monkeypatch):
    monkeypatch.setattr(report, "write_report", lambda folder: folder / "report.html")
    assert report.main([str(sweep)]) == 0
    assert capsys.readouterr().out == f"{sweep / 'report.html'}\n"


@pytest.mark.parametrize("kind", ["nowhere", "empty", "planned"])
def test_what_is_no_sweep_gets_one_message(kind, tmp_path, capsys):
    folder = tmp_path / kind
    if kind != "nowhere":
        folder.mkdir()
    if kind == "planned":
        add_to_manifest(folder, ["train.py", "-m", "seed=0,1"], [])
    assert report.main([str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert str(folder) in said.err
    assert len(said.err.splitlines()) == 1
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("kind", ["figures is a file", "page is a folder", "data is a folder", "disk is full"])
def test_a_folder_that_takes_no_report_gets_one_message(kind, tmp_path, capsys, monkeypatch):
    plant(tmp_path, Planted())
    named = {"figures is a file": "figures", "page is a folder": "report.html", "data is a folder": "report.json"}
    if kind == "figures is a file":
        (tmp_path / "figures").write_text("")
    elif kind == "disk is full":
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr(report, "replace", lambda *_: (_ for _ in ()).throw(full))
    else:
        (tmp_path / named[kind]).mkdir()
    assert report.main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert named.get(kind, "No space left on device") in said.err


def test_help_answers_without_matplotlib():
    code = "import sys; from thawlab.report.report import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'matplotlib', 'torch', 'scipy', 'jinja2'} & set(sys.modules), 'slow'"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def mistake(name="mistakes/00.png", run="run", image="a"):
    return Mistake(run, image, "cat", "dog", 0.9, name)


def picture(path, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(side * side, dtype=np.uint8).reshape(side, side)).save(path, "PNG")
    return path


def test_a_thumbnail_keeps_its_pixels_and_nothing_else(tmp_path):
    path = picture(tmp_path / "run" / "mistakes" / "00.png")
    path.write_bytes(path.read_bytes() + b"<script>")
    (content,) = thumbnails([mistake()], tmp_path).values()
    assert b"<script>" not in content
    (tmp_path / "again.png").write_bytes(content)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again.png")), np.asarray(Image.open(path)))


def test_a_file_that_is_no_thumbnail_is_left_out(tmp_path):
    picture(tmp_path / "outside.png")
    picture(tmp_path / "run" / "mistakes" / "large.png", side=600)
    (tmp_path / "run" / "mistakes" / "text.png").write_text("<svg onload=alert(1)>")
    (tmp_path / "run" / "mistakes" / "link.png").symlink_to(tmp_path / "outside.png")
    names = (
        "../outside.png",
        "/etc/passwd",
        "mistakes/link.png",
        "mistakes/large.png",
        "mistakes/text.png",
        "mistakes/gone.png",
        None,
    )
    assert thumbnails([mistake(name) for name in names], tmp_path) == {}


def test_a_thumbnail_that_is_not_as_the_run_left_it_is_left_out(tmp_path):
    from thawlab.record import Record

    path = picture(tmp_path / "run" / "mistakes" / "00.png")
    Record("run", "finished", {}, files={"mistakes/00.png": checksum(path)}).write(tmp_path / "run")
    assert len(thumbnails([mistake()], tmp_path)) == 1
    picture(path, side=9)
    assert thumbnails([mistake()], tmp_path) == {}


def test_of_many_runs_each_shows_its_surest_first(tmp_path):
    shown = []
    for run in range(MOST - 1):
        picture(tmp_path / str(run) / "a.png")
        shown += [mistake("a.png", str(run), image=str(i)) for i in range(3)]
    found = thumbnails(shown, tmp_path)
    assert len(found) == MOST
    assert {one.run for one in found} == {str(run) for run in range(MOST - 1)}
