import multiprocessing
import os
import re
import signal
import socket
import time
from contextlib import nullcontext

import pytest

from thawlab import runlock
from thawlab.runlock import Held, held, owner_of, say_ending


def holds(folder, ready):
    with held(folder):
        ready.set()
        time.sleep(100)


@pytest.fixture
def other(tmp_path):
    """A process that does the run in tmp_path / "run"."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=holds, args=(tmp_path / "run", ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_the_second_says_who_has_the_run_and_a_killed_one_has_it_no_more(other, tmp_path):
    run = tmp_path / "run"
    begun = time.monotonic()
    with pytest.raises(Held) as refused, held(run, patience=0.5):
        pass
    assert 0.5 <= time.monotonic() - begun < 5
    said = rf"process {other.pid} on {re.escape(socket.gethostname())} since 2\d\d\d-.*T"
    assert re.search(said, str(refused.value))
    assert re.search(said, owner_of(run))

    os.kill(other.pid, signal.SIGKILL)
    with held(run, patience=5):
        assert f"process {os.getpid()} on" in owner_of(run)
    assert owner_of(run) is None


def ends(folder, ready, within, seconds):
    with held(folder):
        say_ending(folder, within)
        ready.set()
        time.sleep(seconds)


@pytest.mark.parametrize(
    ("within", "seconds", "waits"),
    [
        pytest.param(60.0, 6.0, True, id="as long as it takes to save"),
        pytest.param(1.0, 100.0, False, id="not longer than it gave itself"),
    ],
)
def test_one_that_ends_is_waited_for(within, seconds, waits, tmp_path, monkeypatch):
    context = multiprocessing.get_context("spawn")
    ready, said = context.Event(), []
    process = context.Process(target=ends, args=(tmp_path / "run", ready, within, seconds))
    process.start()
    assert ready.wait(60)
    monkeypatch.setattr(runlock, "PATIENCE", 0.5)
    try:
        with nullcontext() if waits else pytest.raises(Held), held(tmp_path / "run", tell=said.append):
            pass
        if waits:
            process.join(30)
        assert process.exitcode == (0 if waits else None)
    finally:
        process.kill()
        process.join()
    (line,) = said
    assert f"is still being saved by process {process.pid} on" in line
    assert "waits until that has ended" in line


def test_who_does_not_do_a_run_says_nothing_of_its_end(other, tmp_path):
    before = (tmp_path / "run" / ".run.owner").read_text()
    say_ending(tmp_path / "run", 60.0)
    say_ending(tmp_path / "nowhere", 60.0)
    assert (tmp_path / "run" / ".run.owner").read_text() == before
    assert not (tmp_path / "nowhere").exists()


def test_to_ask_leaves_nothing_behind(tmp_path):
    assert owner_of(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_who_waits_gets_the_run_once_it_is_free(other, tmp_path, monkeypatch):
    monkeypatch.setattr(runlock, "PATIENCE", 30.0)
    os.kill(other.pid, signal.SIGKILL)
    with held(tmp_path / "run"):
        pass


def test_where_the_file_system_knows_no_locks_the_log_says_so(tmp_path, monkeypatch, caplog):
    def none(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(runlock.FileLock, "acquire", none)
    with held(tmp_path / "run"):
        pass
    assert "the same run started twice is not noticed" in caplog.text
    (tmp_path / "run" / ".run.lock").touch()
    with pytest.raises(OSError, match="flock"):
        owner_of(tmp_path / "run")
