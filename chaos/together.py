"""Eight processes that start the same at once: is it done once?"""

import shutil
import time
from pathlib import Path

from chaos import commands, networks
from chaos.asked import Asked, Row

FULL = 8
LONGEST = 900  # seconds


def test(asked: Asked) -> list[Row]:
    count = max(2, asked.times(FULL))
    jobs = networks.SOUND[:3]
    place = (asked.work / "together").resolve()
    run = _at_once(count, commands.single(jobs[0]), place / "run")
    sweep = _at_once(count, commands.several(jobs), place / "sweep")
    return [
        _row(f"The same run started by {count} processes at once", count, run, place / "run", jobs[:1], asked),
        _row(f"The same sweep of 3 jobs started by {count} at once", count, sweep, place / "sweep", jobs, asked),
    ]


def _at_once(count: int, words: list[str], folder: Path) -> list[int | None]:
    """Start a command so often; how each ended (None: it had to be killed)."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = [commands.start(words, folder, folder / f"said-{i}.log") for i in range(count)]
    until = time.monotonic() + LONGEST
    while any(one.poll() is None for one in started) and time.monotonic() < until:
        time.sleep(0.5)
    statuses = [one.poll() for one in started]
    for one in started:
        one.kill()
        one.wait()
    return statuses


def _row(test: str, count: int, statuses: list[int | None], folder: Path, jobs: tuple[str, ...], asked: Asked) -> Row:
    starts = [job for job, _ in networks.started(folder)]
    sweeps = [path for path in (folder / "outputs").glob("[!.]*") if path.is_dir()]
    records = commands.by_network(sweeps[0]) if sweeps else {}
    faults = [f"{job} was begun {starts.count(job)} times" for job in jobs if starts.count(job) != 1]
    faults += [f"{job} is not finished" for job in jobs if job not in records or records[job].status != "finished"]
    for i, status in enumerate(statuses):
        said = (folder / f"said-{i}.log").read_text(errors="replace")
        if status is None or status < 0 or "Traceback" in said:
            faults.append(f"process {i} ended with {status}: {said[-300:]!r}")
    if 0 not in statuses:
        faults.append(f"none of the processes ended with 0: {statuses}")
    asked.tell(f"  {test}: {len(starts)} begun for {len(jobs)}, statuses {statuses}: {'; '.join(faults) or 'as asked'}")
    figure = f"{len(starts)} begun, {len(records)} left a record, for {len(jobs)} to be done"
    return Row(test, "each job done once", count, figure, not faults, tuple(faults))
