"""A sweep in which jobs go wrong in every way, and whose own process is killed: what is there at its end?"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from chaos import commands, networks
from chaos.asked import Asked, Row

KILLS = 3
LONGEST = 900  # seconds for a launch
EXPECTED = {  # network -> status, what its reason must say
    "raises": ("failed", "planted"),
    "exits": ("failed", r"\b3\b"),
    "segfaults": ("failed", "SIGSEGV|[Ss]egmentation"),
    "killed": ("failed|out_of_memory", "SIGKILL"),
    "diverges": ("diverged", "nan|NaN|finite|number"),
    "hangs": ("timeout", "timeout_minutes"),
}


def test(asked: Asked) -> list[Row]:
    place = (asked.work / "sweep").resolve()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    few = asked.count is not None and asked.count < 18
    sound = networks.SOUND[: asked.count] if few else networks.SOUND
    faulty = list(EXPECTED)[: asked.count] if few else list(EXPECTED)
    order = [*sound, *(name for name in faulty if name != "hangs")]
    random.Random(asked.seed).shuffle(order)
    # Last, since each launch waits for it anew until its time is over.
    order += ["hangs"] if "hangs" in faulty else []
    launches = _Launches(place, commands.several(order, "launch.timeout_minutes=0.5"))
    kills = min(KILLS, len(sound) - 1)
    for i in range(kills):
        launches.killed_after((i + 1) * len(sound) // (kills + 1))
        asked.tell(f"  driver killed with {len(launches.finished())} jobs finished")
    launches.to_the_end()
    return [_row(launches, sound, faulty, kills, asked)]


class _Launches:
    """The same command again and again, and what its jobs left."""

    def __init__(self, place: Path, words: list[str]) -> None:
        self.place, self.words = place, words
        self.sweep = place / "outputs" / commands.SWEEP
        self.log = place / "driver.log"
        self.known: dict[str, float] = {}  # finished job -> when a launch found it so
        self.status: int | None = None

    def finished(self) -> list[str]:
        records = commands.by_network(self.sweep)
        return sorted(name for name, record in records.items() if record.status == "finished")

    def _start(self) -> "subprocess.Popen[bytes]":
        self.known |= {name: time.time() for name in self.finished() if name not in self.known}
        self.log.unlink(missing_ok=True)
        return commands.start(self.words, self.place, self.log)

    def killed_after(self, jobs: int) -> None:
        """Launch, and kill the driver alone once so many jobs are finished in all."""
        driver, until = self._start(), time.monotonic() + LONGEST
        while driver.poll() is None and time.monotonic() < until and len(self.finished()) < jobs:
            time.sleep(0.3)
        if driver.poll() is not None:
            raise RuntimeError(f"the sweep ended with {driver.returncode}: {self.log.read_text()[-2000:]}")
        driver.kill()
        driver.wait()

    def to_the_end(self) -> None:
        driver = self._start()
        try:
            self.status = driver.wait(LONGEST)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()

    def done_twice(self) -> list[str]:
        """Jobs that began again after a launch had found them finished."""
        starts = networks.started(self.place)
        return sorted({job for job, at in starts if at > self.known.get(job, float("inf"))})


def _row(launches: _Launches, sound: tuple[str, ...], faulty: list[str], kills: int, asked: Asked) -> Row:
    records, said = commands.by_network(launches.sweep), launches.log.read_text(errors="replace")
    finished = [name for name in sound if name in records and records[name].status == "finished"]
    faults = [f"{name} is not finished" for name in sound if name not in finished]
    named = []
    for name in faulty:
        status, reason = EXPECTED[name]
        record = records.get(name)
        if record is None:
            faults.append(f"{name} left no record")
        elif not re.fullmatch(status, record.status) or not re.search(reason, record.reason or ""):
            faults.append(f"{name} is {record.status}: {record.reason}")
        elif record.name not in said:
            faults.append(f"{name} is not named at the end")
        else:
            named.append(name)
    twice = launches.done_twice()
    faults += [f"{name} was done twice" for name in twice]
    if launches.status != 1:
        faults.append(f"the last launch ended with {launches.status}, not 1")
    figure = f"{len(finished)} finished, {len(named)} named rightly, {len(twice)} done twice"
    asked.tell(f"  {figure}: {'; '.join(faults) or 'as asked'}")
    jobs = len(sound) + len(faulty)
    return Row(
        f"A sweep of {jobs} jobs, {len(faulty)} of which go wrong in as many ways, its driver killed {kills} times",
        f"{len(sound)} finished, {len(faulty)} named rightly, none done twice", jobs,
        figure, not faults, tuple(faults),
    )  # fmt: skip
