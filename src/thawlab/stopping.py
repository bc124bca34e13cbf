"""How a run is ended before its time: by a signal or by the clock, at a moment at which nothing is lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# SLURM sends the last one when a job's time is nearly over, if it was submitted with --signal=USR1@120.
SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGUSR1,) if "SLURM_JOB_ID" in os.environ else ()))


class Stopped(BaseException):
    """A run ends before its time. No Exception: nothing on the way may take it for a failure of its own.

    `status` is the record's, `exit_status` the process's: 128 and the signal's number, as shells have it.
    """

    def __init__(self, status: str, reason: str, exit_status: int = 1) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.exit_status = exit_status


def by_signal(number: int) -> Stopped:
    """Why a run ends that was sent this signal."""
    name = signal.Signals(number).name
    asked = "Ctrl-C" if number == signal.SIGINT else "asked to end"
    return Stopped("interrupted", f"{asked} ({name})", 128 + number)


class Stops:
    """Whether the run is to end. A signal raises `Stopped` at once, unless `deferred`: then `pending` tells of it.

    A second signal raises at once in any case.
    """

    def __init__(self, timeout_minutes: float | None = None) -> None:
        self._pid = os.getpid()  # worker processes inherit the handler, and must not act on it
        self._asked: Stopped | None = None
        self._signals = 0
        self._deferred = False
        self._minutes = timeout_minutes
        self._began = time.monotonic()
        self.handlers: dict[signal.Signals, Any] = {}  # those that were there before; empty where none is heeded

    def heed(self) -> None:
        """Take the signals, again where a library has taken them since.

        Lightning's handler broadcasts from within the signal, which blocks where processes are at different places.
        """
        for number in self.handlers:
            signal.signal(number, self.ask)

    def pending(self) -> Stopped | None:
        """Why the run is to end now; None: it is not."""
        if self._asked is None and self._minutes is not None and time.monotonic() - self._began > self._minutes * 60:
            self._asked = Stopped("timeout", f"it took longer than launch.timeout_minutes={self._minutes:g}")
        return self._asked

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While training: whoever steps asks `pending` in between, and saves before it raises."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What may be broken off at any moment, within `deferred`."""
        before, self._deferred = self._deferred, False
        try:
            if (asked := self.pending()) is not None:
                raise asked
            yield
        finally:
            self._deferred = before

    def ask(self, number: int, _: FrameType | None = None) -> None:
        """Take note of a signal, or end at once; where time was up before it came, that is why."""
        if os.getpid() != self._pid:
            return
        self._signals += 1
        self._asked = self.pending() or by_signal(number)
        if self._signals > 1 or not self._deferred:
            raise self._asked


@contextmanager
def heeding(timeout_minutes: float | None = None) -> Iterator[Stops]:
    """Heed Ctrl-C and SIGTERM, and the clock, while a run goes on; in any but the main thread the clock alone."""
    stops = Stops(timeout_minutes)
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return
    stops.handlers = {number: signal.getsignal(number) for number in SIGNALS}
    stops.heed()
    try:
        yield stops
    finally:
        for number, handler in stops.handlers.items():
            signal.signal(number, handler)
