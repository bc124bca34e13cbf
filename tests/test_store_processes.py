"""Processes that ask for the same rows, wait for each other, and die."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stored import entry, segments

SCRIPT = Path(__file__).parent / "store_processes.py"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")


def run(what, folder, number):
    done = subprocess.run(
        [sys.executable, SCRIPT, what, folder, str(number)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_eight_processes_asking_at_once_build_once(tmp_path):
    answers, said = run("eight", tmp_path, 8)
    assert len(answers) == 8
    assert sorted(asked for asked, _, _ in answers) == [0] * 7 + [30]
    assert sorted(found for _, found, _ in answers) == [0] + [30] * 7
    assert [wrong for _, _, wrong in answers] == [[]] * 8
    assert len(segments(tmp_path)) == 1
    assert len(said.splitlines()) == 7
    assert "waiting for process" in said


def test_who_waits_says_for_whom_and_reads(tmp_path):
    (first, asked), said = run("waits", tmp_path, 6)
    assert asked == []
    (line,) = said.splitlines()
    assert line.startswith(f"cache: waiting for process {first} on {os.uname().nodename}, which writes")


@pytest.mark.parametrize("count", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_a_build_killed_at_any_moment_gives_no_bad_read(tmp_path, count):
    found, said = run("kills", tmp_path, count)
    assert found["amiss"] == []
    assert said == ""  # nothing half was there to be noticed as damaged
    assert found["killed"] == count
    if count == 100:  # else they were all killed before they began
        assert found["half"] > count // 4


def test_a_disk_that_runs_full_is_said_and_leaves_nothing(tmp_path):
    (said, left), _ = run("full", tmp_path, 10_000)
    assert "File too large" in said
    assert len(said.splitlines()) == 1
    assert left == []
    assert entry(tmp_path).exists()
