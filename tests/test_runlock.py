import multiprocessing
import os
import re
import signal
import socket
import time

import pytest

from thawlab import runlock
from thawlab.runlock import Held, held, owner_of


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
