"""Names from folders, records and networks are shown, and never obeyed: neither by a terminal nor by rich."""

import json
import re

import pytest
from photos import class_folders
from PIL import Image

from thawlab import show
from thawlab.data.decode import UnreadableImage, decode
from thawlab.errors import UserError, visible
from thawlab.record import Record
from thawlab.report.compare import compare, main
from thawlab.report.report import write_report
from thawlab.run_files import write_predictions

NAMES = {
    "clears the screen": "cat\x1b[2J",
    "writes the clipboard": "cat\x1b]52;c;eA==\x07",
    "goes back on its line": "cat\rdog",
    "C1 control": "cat\x9b2J",
    "turns the text around": "cat\u202egpj.exe",
    "half a character": "cat\udcff",
}


def is_harmless(text):
    return all(code == "\n" or (code.isprintable() and not 0x202A <= ord(code) <= 0x202E) for code in text)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_does_not_drive_the_terminal(name, capsys):
    assert is_harmless(str(UserError(f"{name} is no image.")))
    show.say(f"  {name}")
    assert is_harmless(capsys.readouterr().out)
    assert "cat" in visible(name)


def test_names_in_other_scripts_are_left_as_they_are():
    for name in ("Füchse", "猫　と犬", "кошка", "🐈‍⬛", "a b"):
        assert visible(name) == name


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_folder_of_such_a_name_is_read_and_shown(name, command, tmp_path):
    photos = class_folders(tmp_path / "photos")
    first = next(iter((photos / "train").iterdir()))
    for split in photos.iterdir():
        (split / first.name).rename(split / name)
    words = (
        "dataset=folder dataset.root=photos trainer.batch_size=4 trainer.epochs=1 logger.images=0 logger.progress=off"
    )
    ended = command(words)
    assert ended.status == 0, ended
    assert is_harmless(ended.out + ended.err)
    (record,) = tmp_path.glob("outputs/*/*/result.json")
    assert name in json.loads(record.read_text(errors="surrogateescape"))["data"]["classes"]


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/nothing]", "[link=http://evil.example]x[/link]", ":skull:"])
def test_markup_in_a_stages_name_is_text(name):
    assert name in show.plan([("stage", "share"), (name, "1")])


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", [*NAMES.values(), "[red]x[/red]", "[/nothing]"])
def test_a_sent_sweep_does_not_drive_the_terminal(name, terminal, tmp_path, capsys, monkeypatch):
    metrics = {"test/accuracy": {"value": 0.5, "n": 9}}
    for run, strategy in (("a", name), ("b", "full")):
        Record(run, "finished", {"strategy": {"name": strategy}}, metrics=metrics).write(tmp_path / run)
    Record("c", "failed", {}, reason=f"because of {name}").write(tmp_path / "c")
    assert is_harmless(compare(tmp_path))
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert main([str(tmp_path)]) == 0
    assert is_harmless(re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out))  # bold headings are our own


def test_cells_of_a_table_are_the_names_themselves(tmp_path):
    """A spreadsheet may take them for formulas: docs/security.md says how to open them. Other programs need them."""
    row = {"name": "=cmd|' /C calc'!A0", "label": "@SUM(1)", "predicted": "+1", "confidence": 0.5}
    write_predictions(tmp_path, [row])
    assert "\"=cmd|' /C calc'!A0\"" in (tmp_path / "predictions.csv").read_text()


def test_an_error_of_an_image_shows_its_text_once_decoded(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(UnreadableImage) as raised:
        decode(tmp_path / "a.png")
    assert is_harmless(str(raised.value))


@pytest.mark.parametrize(
    "name", ["<script>x</script>", '"><img src=x onerror=x>', "</svg>", r"$\frac$", *NAMES.values()]
)
def test_a_sent_sweep_puts_nothing_into_its_report(name, tmp_path):
    """In a browser: tests/test_report_browser.py."""
    metrics = {key: {"value": 0.5, "n": 9} for key in ("test/accuracy", "val/accuracy")}
    data = {"classes": [name, "b"], "train": 9, "val": 9, "test": 9}
    config = {
        "strategy": {"name": name},
        "backbone": {"name": name},
        "dataset": {"name": name},
        "optimizer": {"lr": 0.1},
    }
    record = Record("a", "finished", {**config, "seed": 0}, data=data, metrics=metrics, confusion=[[4, 1], [2, 2]])
    record.write(tmp_path / "a")
    Record("b", "failed", config, reason=f"because of {name}").write(tmp_path / "b")
    page = write_report(tmp_path).read_text()
    assert is_harmless(page)
    assert "because of" in page
    assert page.count("<script") == 1
    assert "<img" not in page.replace("&lt;img", "")
    assert page.count("<svg") == page.count("</svg>")
