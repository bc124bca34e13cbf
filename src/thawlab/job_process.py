"""What goes on in the process of one job of a sweep, beside the job: who watches it, and where its output goes.

`PRELOADED` is imported once, in the process that those of the jobs are forked from.
"""

import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from thawlab import disk
from thawlab.compose import Job
from thawlab.crashes import Ended
from thawlab.errors import UserError
from thawlab.runlock import say_ending
from thawlab.stopping import Stopped

PRELOADED = ["thawlab.job_process", "thawlab.preloaded"]
GRACE = 120.0  # seconds that a run has to save, once it is asked to end
TELL_WHERE = signal.SIGUSR2  # has a process write to its log where each of its threads is
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A job, and what its process must know."""

    job: Job
    folder: Path  # absolute
    anew: bool = False  # it is finished, but to be done again
    mark: str | None = None  # what its lines begin with, where several jobs share the terminal
    environment: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)  # what trainer.batch_size=auto came to
    advised: Mapping[str, Any] = field(default_factory=dict)  # what strategy=auto came to


def started_in(folder: str, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a folder: that of the process that all are forked from may be another."""
    os.chdir(folder)
    function(*arguments)


def work(task: Task, answers: Connection) -> None:
    """Carry out a job, and send how it ended; a process that dies sends nothing."""
    os.setsid()  # a terminal's Ctrl-C is for the sweep, which tells its jobs; and all that a job starts can be ended
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.environ.update(task.environment)
    threading.Thread(target=_end_with_the_sweep, args=(task.folder,), daemon=True).start()
    try:
        _keep_output(task)
        ended = _carried_out(task)
    except OSError as error:
        ended = Ended("failed", disk.fault(error, task.folder) or f"{type(error).__name__}: {error}")
    with suppress(BrokenPipeError):  # the sweep is gone
        answers.send(ended)


def answer(function: Callable[..., Any], arguments: Sequence[Any], answers: Connection) -> None:
    """Send what a function returns, or the UserError or other error that it raises; before that, what it begins."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    try:
        result = function(*arguments, answers.send), None
    except UserError as error:
        result = None, error
    except Exception as error:
        traceback.print_exc()
        result = None, RuntimeError(f"{type(error).__name__}: {error}")
    with suppress(BrokenPipeError):
        answers.send(result)


def _carried_out(task: Task) -> Ended:
    from thawlab import advising, batch_finder
    from thawlab.job import carry_out

    batch_finder.remember(task.found)
    advising.remember(task.advised)
    try:
        return carry_out(task.job, task.anew)
    except Stopped as stopped:
        return Ended(stopped.status, stopped.reason)
    except KeyboardInterrupt:
        return Ended("interrupted", "asked to end")
    except Exception as error:
        log.error("%s", traceback.format_exc())
        return Ended("failed", f"{type(error).__name__}: {error}")


def _end_with_the_sweep(folder: Path | None = None) -> None:
    """No run goes on unwatched: once the sweep's process is gone, this one is asked to end, and then made to.

    In `folder` it leaves word of that, for the sweep to be started again at once.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    if folder is not None:
        say_ending(folder, GRACE)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def _keep_output(task: Task) -> None:
    """Send what Python prints to the terminal; what libraries write past it, or a crash leaves, to the run's log."""
    from thawlab.terminal import Terminal

    task.folder.mkdir(parents=True, exist_ok=True)
    log_file = os.open(task.folder / "train.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    sys.stdout = Terminal(os.dup(1), task.mark)
    sys.stderr = Terminal(os.dup(2), task.mark, copy=log_file)
    if task.job.config["trainer"]["devices"] == 1:  # of several, the process that speaks inherits this
        os.dup2(log_file, 1)
    os.dup2(log_file, 2)
    faulthandler.enable(log_file)
    faulthandler.register(TELL_WHERE, log_file)
