import os
import subprocess
import sys
from pathlib import Path

import pytest
from stored import KEY, entry, opened, segments

from thawlab.store import Key
from thawlab.store.command import main
from thawlab.store.locks import builder

SCRIPT = Path(__file__).parents[1] / "scripts" / "cache.py"
IMAGES = Key({"kind": "images", "size": "224"})
DAY = 86400


@pytest.fixture
def cache(tmp_path):
    """Two entries: images last used yesterday, activations three days ago."""
    folder = tmp_path / "cache"
    for key, rows, days in ((KEY, [range(3), range(5)], 3), (IMAGES, [range(1000)], 1)):
        for numbers in rows:
            opened(folder, numbers, key=key)
        at = 1_700_000_000 - days * DAY
        os.utime(entry(folder, key) / "used", (at, at))
    return folder


def call(capsys, folder, *words):
    status = main([*words, "--folder", str(folder)])
    out, err = capsys.readouterr()
    return status, out, err


def cells(line):
    return line.split()


def test_list_shows_what_each_entry_is_of(cache, capsys, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    status, out, err = call(capsys, cache, "list")
    header, images, boundary, _, total = out.splitlines()
    assert (status, err) == (0, "")
    assert cells(header) == ["entry", "kind", "backbone", "segments", "rows", "MB", "last", "used"]
    assert cells(images)[:5] == [IMAGES.digest[:12], "images", "-", "1", "1,000"]
    assert cells(images)[5] == "0.1"  # 1,000 rows of 50 bytes, names of 32, sums of 8
    assert cells(boundary)[:5] == [KEY.digest[:12], "features", "resnet18", "2", "5"]
    assert "2 entries" in total


def test_the_script_lists_without_torch(cache):
    words = [sys.executable, "-X", "importtime", SCRIPT, "--folder", cache]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert KEY.digest[:12] in done.stdout
    assert " torch" not in done.stderr


def test_verify_says_what_is_bad_and_repair_drops_it(cache, capsys):
    status, out, _ = call(capsys, cache, "verify")
    assert status == 0
    assert "all as they were written" in out
    (segment,) = segments(cache, IMAGES)
    path = segment / "tensor0.bin"
    content = bytearray(path.read_bytes())
    content[48 * 7] ^= 1
    path.write_bytes(content)
    status, out, _ = call(capsys, cache, "verify")
    assert status == 1
    assert "row 7 of tensor0.bin is not as it was written" in out.splitlines()[0]
    assert segment.exists()
    assert call(capsys, cache, "verify", "--repair")[0] == 1
    assert not segment.exists()
    assert call(capsys, cache, "verify")[0] == 0
    assert len(segments(cache, KEY)) == 2


def test_repair_leaves_what_is_being_written(cache, capsys):
    (entry(cache, IMAGES) / "key.json").write_text("{}")
    with builder(cache, IMAGES.digest):
        status, out, _ = call(capsys, cache, "verify", "--repair")
    assert status == 1
    assert "a run is writing" in out
    assert (entry(cache, IMAGES) / "key.json").exists()


@pytest.mark.parametrize(
    ("words", "left"),
    [
        pytest.param(["--all"], [], id="all"),
        pytest.param(["--max-gb", "0"], [], id="to nothing"),
        pytest.param(["--max-gb", "0.000092"], [IMAGES], id="what was used longest ago"),
        pytest.param(["--max-gb", "1"], [KEY, IMAGES], id="nothing is too much"),
        pytest.param(["--older-than", "2"], [IMAGES], id="old"),
        pytest.param(["--older-than", "5"], [KEY, IMAGES], id="nothing is so old"),
    ],
)
def test_prune_removes(cache, capsys, monkeypatch, words, left):
    monkeypatch.setattr("thawlab.store.command.time.time", lambda: 1_700_000_000)
    status, out, _ = call(capsys, cache, "prune", *words)
    assert status == 0
    assert [key for key in (KEY, IMAGES) if entry(cache, key).exists()] == left
    assert f"{2 - len(left)} entr" in out.splitlines()[-1]


def test_prune_leaves_what_is_being_written(cache, capsys):
    with builder(cache, KEY.digest):
        status, out, _ = call(capsys, cache, "prune", "--all")
    assert status == 0
    assert entry(cache, KEY).exists()
    assert not entry(cache, IMAGES).exists()
    assert "a run is writing to it" in out


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["prune"], "Give --max-gb, --older-than or --all."),
        (["list", "--all"], "Use it with prune."),
        (["prune", "--all", "--max-gb", "1"], "Give one of the two."),
        (["prune", "--max-gb", "-1"], "--max-gb is -1"),
        (["prune", "--older-than", "nan"], "--older-than is nan"),
        (["list", "--repair"], "Use it with verify."),
    ],
)
def test_bad_words_are_refused_in_one_line(cache, capsys, words, fact):
    status, out, err = call(capsys, cache, *words)
    assert (status, out) == (2, "")
    assert fact in err
    assert len(err.splitlines()) == 1


def test_a_missing_folder_is_refused(tmp_path, capsys):
    status, _, err = call(capsys, tmp_path / "none", "list")
    assert status == 2
    assert "there is no such folder" in err


def test_an_unknown_action_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["destroy"])
    assert refused.value.code == 2


def test_a_folder_without_a_cache_is_said(tmp_path, capsys):
    (tmp_path / "photo.jpg").touch()
    assert call(capsys, tmp_path, "list") == (0, f"{tmp_path} holds nothing of a cache.\n", "")
