"""Jobs in processes of their own, a few at a time: started, watched, and ended where they do not end themselves."""

import atexit
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from thawlab.crashes import Ended, MemoryKills, complete, crashed, recorded
from thawlab.devices import Place, Places
from thawlab.job_process import GRACE, PRELOADED, TELL_WHERE, Task, answer, started_in, work
from thawlab.record import Record
from thawlab.stopping import SIGNALS, by_signal

LATER = 30.0  # seconds past its time limit that a run has to end by itself, and then once more before it is killed
_TICK = 0.2  # seconds between two looks at the clock


def get_ready(also: Sequence[str] = ()) -> None:
    """Start the process that jobs are forked from, which imports torch, the rest, and `also` meanwhile."""
    forkserver.set_forkserver_preload([*PRELOADED, *also])
    resource_tracker.ensure_running()  # first: starting it unblocks Ctrl-C
    # Which it inherits: Ctrl-C is for the sweep, and comes to it as soon as this is done.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@atexit.register
def _leave_nothing_importing() -> None:
    """End the process that jobs are forked from: after Ctrl-C it would import to the end, and hold the output open."""
    process = forkserver._forkserver._forkserver_pid  # pyright: ignore[reportAttributeAccessIssue]
    if process is not None:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


class Died(Exception):
    """A process that was to answer ended without, or was ended; `at`: what it had said last that it begins with."""

    def __init__(self, reason: str | None, at: str | None) -> None:
        super().__init__(reason)
        self.at = at


def apart(function: Callable[..., Any], *arguments: Any, limit: Callable[[str | None], float]) -> Any:
    """What a function returns in a process of its own, started from this folder; raises the UserError that it raises.

    Its last argument is to be called with a name for each part that begins, which may take `limit` of it in seconds.
    Raises Died where the process dies, since a user's code runs in it, or where a part takes longer.
    """
    process, answers = _process("check", answer, function, arguments)
    kills, message = MemoryKills(), None
    try:
        while not isinstance(message, tuple):
            at, seconds = message, limit(message)
            if not wait([answers, process.sentinel], timeout=seconds):
                raise Died(f"it took longer than {seconds / 60:g} minutes", at)
            try:
                message = answers.recv() if answers.poll() else _nothing_more()
            except (EOFError, OSError):
                process.join()
                raise Died(crashed(process.exitcode, kills).reason, at) from None
        result, error = message
    finally:
        _kill_group(process)
        process.join()
        answers.close()
    if error is not None:
        raise error
    return result


def _nothing_more() -> None:
    raise EOFError  # its pipe is open still in what it has started


def _process(name: str, target: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Start a process in this one's folder, and the end of the pipe on which it answers."""
    context = multiprocessing.get_context("forkserver")
    answers, send = context.Pipe(duplex=False)
    process = context.Process(target=started_in, args=(os.getcwd(), target, *arguments, send), name=name)
    process.start()
    send.close()
    return process, answers


@dataclass
class Running:
    """A job whose process is there."""

    task: Task
    place: Place
    process: BaseProcess
    answers: Connection
    earlier: Record | None
    began: float = field(default_factory=time.monotonic)
    pressed: int = 0  # signals handed on to it
    why: Ended | None = None  # why it was asked to end
    kill_at: float | None = None

    def ask_to_end(self, why: Ended, grace: float, number: int = signal.SIGTERM) -> None:
        """Once: a signal, and SIGKILL to come. Again: sooner."""
        self.why = self.why or why
        kill_at = time.monotonic() + grace
        self.kill_at = kill_at if self.kill_at is None else min(kill_at, self.kill_at)
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def look_at_the_clock(self) -> None:
        """Ask it to end, or end it, where it is time."""
        now, minutes = time.monotonic(), self.task.job.config["launch"]["timeout_minutes"]
        if self.kill_at is not None and now > self.kill_at:
            _kill(self.process)
        elif minutes is not None and self.why is None:
            later = max(LATER, 6 * minutes)
            if now - self.began > 60 * minutes + later:
                reason = (
                    f"it took longer than launch.timeout_minutes={minutes:g}, did not end by itself, and was killed"
                )
                self.ask_to_end(Ended("timeout", reason), later)


def launch(
    tasks: Sequence[Task], places: Places, told: Callable[[Task, Ended], None], say: Callable[[str], None]
) -> None:
    """Carry out jobs, and tell how each ended. Raises `Stopped` after SIGINT or SIGTERM, once no job goes on.

    `say` is for the user to hear at once what a signal has begun.
    """
    kills = MemoryKills()
    waiting: list[Task] = list(tasks)
    running: list[Running] = []
    with _signals() as asked:
        try:
            while running or (waiting and not asked):
                if not asked:
                    running += _started(waiting, places)
                wait([job.process.sentinel for job in running], timeout=_TICK)
                _press(running, asked, say)  # before it is seen who has ended: that may be of the signal
                for job in [job for job in running if not job.process.is_alive()]:
                    running.remove(job)
                    places.give_back(job.place)
                    told(job.task, _conclusion(job, kills))
        finally:
            _end(running, kills)
    if asked:
        raise by_signal(asked[0])


def _started(waiting: list[Task], places: Places) -> Iterator[Running]:
    """Start the jobs that find a place, the first ones first, and take them off the list."""
    for task in list(waiting):
        place = places.take(task.job.config["trainer"])
        if place is not None:
            waiting.remove(task)
            yield _start(replace(task, environment=place.environment), place)


def _start(task: Task, place: Place) -> Running:
    earlier = recorded(task.folder)
    return Running(task, place, *_process(task.job.name, work, task), earlier)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that have come, in place of what they would do; the jobs are told one by one."""
    asked: list[int] = []
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _press(running: Sequence[Running], asked: list[int], say: Callable[[str], None]) -> None:
    """Hand on what signals have come since; each makes it more urgent."""
    if asked and running and not any(job.pressed for job in running):
        who = "1 run saves what it has" if len(running) == 1 else f"{len(running)} runs save what they have"
        say(f"\nStopping: {who}. Ctrl-C again does not wait for that.")
    for job in running:
        while asked and job.pressed < len(asked):
            stopped = by_signal(asked[job.pressed])
            grace = GRACE if job.pressed == 0 else 5.0
            job.ask_to_end(Ended(stopped.status, stopped.reason), grace, asked[job.pressed])
            job.pressed += 1
        job.look_at_the_clock()


def _conclusion(job: Running, kills: MemoryKills) -> Ended:
    """How a job ended whose process is gone: as it says, or as can be seen."""
    job.process.join()
    code = job.process.exitcode
    try:
        ended = job.answers.recv() if job.answers.poll() else None
    except (EOFError, OSError):
        ended = None
    if ended is None:
        _kill(job.process)  # what it has started, and itself where the process that forked it is gone
        ended = job.why or crashed(code, kills)
    job.answers.close()
    if ended.status in ("kept", "held"):
        return ended
    try:
        return replace(complete(job.task.folder, job.task.job.config, job.earlier, ended), told=ended.told)
    except OSError:  # the disk is full: the sweep's end tells it
        return ended


def _kill(process: BaseProcess) -> None:
    """End a job's process and all that it has started; before that it writes down where it is."""
    assert process.pid is not None
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process.pid, TELL_WHERE)
        time.sleep(_TICK)
    _kill_group(process)


def _kill_group(process: BaseProcess) -> None:
    assert process.pid is not None
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(running: Sequence[Running], kills: MemoryKills) -> None:
    """Leave no job behind, whatever ended the sweep."""
    for job in running:
        job.ask_to_end(Ended("interrupted", "the sweep ended"), GRACE)
    for job in running:
        job.process.join(max(0.0, (job.kill_at or 0.0) - time.monotonic()))
        if job.process.is_alive():
            _kill(job.process)
        _conclusion(job, kills)
