"""The commands of a checkout, given to a Python that lacks the package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = ["train.py", *(f"scripts/{path.name}" for path in sorted((ROOT / "scripts").glob("*.py")))]
CALLED = [name for name in COMMANDS if "_command import" in (ROOT / name).read_text() or name == "train.py"]


@pytest.mark.parametrize("command", CALLED)
def test_a_python_without_the_package_says_so_in_one_line(command):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-S", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    said = f"{sys.executable} has no thawlab. Run `make install`, then: .venv/bin/python {command}\n"
    assert ended.stderr == said


def test_every_command_of_the_package_is_among_them():
    assert len(CALLED) >= 10
