import os
import subprocess
import sys
from pathlib import Path

import pytest

from thawlab.record import Record

ROOT = Path(__file__).parents[1]
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
MUCH = """
from thawlab.closed_output import ends_with_its_reader

@ends_with_its_reader
def main():
    for _ in range({lines}):
        print("y" * 99)
    return 0

raise SystemExit(main())
"""


def read_by_nobody(*command):
    """Run a command whose output nobody reads any more."""
    words = [sys.executable, *map(str, command)]
    with subprocess.Popen(words, env=BUFFERED, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        errors = process.stderr.read()
        return process.wait(), errors


@pytest.mark.parametrize("lines", [1, 10_000], ids=["found out at the end", "found out midway"])
def test_an_output_closed_early_ends_a_command_without_a_word(lines):
    assert read_by_nobody("-c", MUCH.format(lines=lines)) == (1, "")


def test_an_exit_status_is_kept():
    done = subprocess.run([sys.executable, "-c", MUCH.format(lines=1)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "y" * 99 + "\n")


@pytest.mark.parametrize(
    "command",
    [
        "train.py --help",
        "scripts/compare.py .",
        "scripts/predict.py --help",
        "scripts/census.py test_resnet --jobs=1",
        "scripts/cache.py list --folder .",
    ],
)
def test_the_commands_end_so(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Record("a", "failed", {}, reason="it broke").write(tmp_path / "a")
    script, *words = command.split()
    assert read_by_nobody(ROOT / script, *words) == (1, "")
