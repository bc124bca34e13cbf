"""Runs in processes of their own, forked from this one, which has imported everything: killed, and started again."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

LONGEST = 300  # seconds that no attempt at a run takes
_FORK = multiprocessing.get_context("fork")


class Hung(Exception):
    """A process did not come to an end."""


def start(work: Callable[[], int], log: Path) -> BaseProcess:
    """Begin `work` in a process of its own; it ends with the status that `work` returns, all it prints is in `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _FORK.Process(target=_inside, args=(work, log))
    process.start()
    return process


def _inside(work: Callable[[], int], log: Path) -> None:
    os.setsid()  # with what it starts, one group to be ended
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.exit(work())


def ended(process: BaseProcess) -> int:
    """Wait for a process; its status, or minus the signal that killed it. Raises Hung, after killing it."""
    process.join(LONGEST)
    if process.is_alive():
        kill(process, everything=True)
        raise Hung(f"a run went on for more than {LONGEST} seconds")
    assert process.exitcode is not None
    return process.exitcode


def kill(process: BaseProcess, everything: bool) -> int:
    """SIGKILL a process, with all that it started or, as the kernel does for memory, alone; how it ended."""
    assert process.pid is not None
    with suppress(ProcessLookupError, PermissionError):
        (os.killpg if everything else os.kill)(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode is not None
    return process.exitcode
