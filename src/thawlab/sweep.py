"""A sweep: all of its jobs checked, those that are missing carried out, and what came of them told in one place."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thawlab import job, launch
from thawlab.compose import Job
from thawlab.crashes import Ended, recorded
from thawlab.devices import Places
from thawlab.errors import UserError, visible
from thawlab.job_process import Task
from thawlab.naming import short_names
from thawlab.processes import is_main_process, launched_as_one_of_several
from thawlab.record import PlannedRun, add_to_manifest, is_finished, read_sweep
from thawlab.schema import fit_of
from thawlab.statuses import in_words
from thawlab.survey import Survey, survey

_IMPORTED_FOR = {"digits": "sklearn.datasets", "hub": "datasets", "torchvision": "torchvision.datasets"}
_GOOD = ("finished", "kept")
CHECK = 3600.0  # seconds for the check of one job: its weights may have to be fetched, its images decoded, first


def carry_out(jobs: Sequence[Job]) -> int:
    """Do what is missing of a sweep, and sum it up; the exit status: 0 if every planned run is finished, else 1.

    Raises UserError where any job cannot work, before the first starts, and `Stopped` after a signal.
    """
    jobs = list({one.name: one for one in reversed(jobs)}.values())[::-1]
    folder = job.folder_of(jobs[0]).parent
    say(f"{len(jobs)} runs -> {folder}")
    ended = do(jobs, check(jobs))
    if not is_main_process():  # every process has each job's record
        return 0 if all(one.status in _GOOD for one in ended.values()) else 1
    return _sum_up(folder, jobs, ended)


def in_processes() -> bool:
    """Whether each job gets a process of its own: not where this one is one of several that do each job together."""
    return not launched_as_one_of_several()


def check(jobs: Sequence[Job]) -> Survey:
    """Refuse all jobs if any that is missing cannot work; what was found on the way."""
    kept, missing = _kept(jobs)
    if not in_processes():
        return survey(*_to_survey(missing, kept))
    launch.get_ready(_also_imported(jobs))
    return _surveyed_apart(missing, kept)


def _kept(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """The jobs that are finished and not to be done again, and the others."""
    kept = [one for one in jobs if not one.config["rerun"] and is_finished(job.folder_of(one))]
    return kept, [one for one in jobs if one not in kept]


def do(jobs: Sequence[Job], found: Survey) -> dict[str, Ended]:
    """Write down what is planned, then carry out what is missing of jobs that were checked; how each of these ended."""
    kept, missing = _kept(jobs)
    for one in kept:
        if reason := found.changed.get(one.name):
            say(f"{one.name}: finished, but made from {reason} than there are now: run again")
        else:
            say(f"{one.name}: finished already, kept (rerun=true runs it again)")
    if is_main_process():
        command = [Path(sys.argv[0]).name, *sys.argv[1:]]
        folder = job.folder_of(jobs[0]).parent
        add_to_manifest(folder, command, [PlannedRun(one.name, one.overrides) for one in jobs])
    todo = [(one, one in kept) for one in jobs if one in missing or one.name in found.changed]
    with job.callbacks_of_a_sweep(jobs[0]):
        return _in_processes(todo, found) if in_processes() else _here(todo)


def _to_survey(missing: Sequence[Job], kept: Sequence[Job]) -> tuple[Any, Any]:
    return [(one.name, one.config) for one in missing], [(job.folder_of(one), one.config) for one in kept]


def _surveyed_apart(missing: Sequence[Job], kept: Sequence[Job]) -> Survey:
    """Survey in a process of its own. A job at which it dies or hangs is left out: as a run it costs only itself.

    Each time it begins again, since what it had found is gone with it.
    """
    named = {one.name: one for one in (*missing, *kept)}

    def limit(name: str | None) -> float:
        minutes = named[name].config["launch"]["timeout_minutes"] if name is not None else None
        return 60 * minutes if minutes is not None else CHECK

    while True:
        try:
            return launch.apart(survey, *_to_survey(missing, kept), limit=limit)
        except launch.Died as died:
            if died.at is None:
                raise UserError(f"No run was started: the process that checks them ended: {died}.") from None
            fit = fit_of(named[died.at].config)
            kept = [one for one in kept if one.name != died.at]
            alike = [one for one in missing if fit_of(one.config) == fit]
            missing = [one for one in missing if one not in alike]
            then = "what was there is kept" if not alike else "not checked, it is run all the same"
            others = f", and so are {len(alike) - 1} like it" if len(alike) > 1 else ""
            say(f"{died.at}: the check before the first run ended at it: {died}. So {then}{others}.")


def _also_imported(jobs: Sequence[Job]) -> list[str]:
    """What these jobs import beside what all do, and what takes longer than a moment."""
    sources = {one.config["dataset"]["source"] for one in jobs}
    return [module for source, module in _IMPORTED_FOR.items() if source in sources]


def _here(todo: Sequence[tuple[Job, bool]]) -> dict[str, Ended]:
    ended = {}
    for one, anew in todo:
        ended[one.name] = job.carry_out(one, anew)
        _tell(one, ended[one.name])
    return ended


def _in_processes(todo: Sequence[tuple[Job, bool]], found: Survey) -> dict[str, Ended]:
    if not todo:
        return {}
    places = Places(todo[0][0].config["launch"]["jobs"], found.gpus)
    several = places.several and len(todo) > 1
    marks = [f"{name} | " if several else None for name in _short([one for one, _ in todo])]
    tasks = [
        Task(one, job.folder_of(one).absolute(), anew, mark, found=found.found, advised=found.advised)
        for (one, anew), mark in zip(todo, marks, strict=True)
    ]
    ended: dict[str, Ended] = {}

    def tell(task: Task, end: Ended) -> None:
        ended[task.job.name] = end
        _tell(task.job, end)

    launch.launch(tasks, places, tell, say)
    return ended


def _short(jobs: Sequence[Job]) -> list[str]:
    """What tells jobs apart, as typed or, where that is too long to do so, as their folders are called."""
    typed = short_names([one.overrides for one in jobs])
    return typed if len(set(typed)) == len(typed) else [one.name.rpartition("-")[0] for one in jobs]


def _tell(one: Job, ended: Ended) -> None:
    """What a job has not said of its end itself."""
    if ended.status == "kept":
        say(f"{one.name}: finished meanwhile by another process, kept")
    elif ended.status in ("refused", "held"):
        say(f"{one.name}\n  {in_words(ended.status)}: {ended.reason}")
    elif not ended.told:
        say(f"{one.name}\n  {in_words(ended.status)}: {ended.reason}\n  log: {job.folder_of(one) / 'train.log'}")


def say(text: str) -> None:
    """Print, once for all processes."""
    if is_main_process():
        print(visible(text), flush=True)


def _sum_up(folder: Path, jobs: Sequence[Job], ended: Mapping[str, Ended]) -> int:
    """Print the comparison, and which runs have no result; 0 if every planned run is finished."""
    from thawlab import show
    from thawlab.report.compare import compare

    logging.getLogger(__name__).info("sweep %s ended", folder)
    print(f"\n{compare(folder)}\n{show.next_steps(read_sweep(folder))}", flush=True)
    return tell_unfinished(folder, jobs, ended)


def tell_unfinished(folder: Path, jobs: Sequence[Job], ended: Mapping[str, Ended]) -> int:
    """Say which runs have no result; the exit status: 0 if every planned run is finished, else 1."""
    left = [one.name for one in jobs if not is_finished(folder / one.name)]
    if left:
        print(visible(f"\n{_unfinished(folder, len(jobs), left, ended)}"), flush=True)
    return 1 if left else 0


def _unfinished(folder: Path, planned: int, left: Sequence[str], ended: Mapping[str, Ended]) -> str:
    """How many runs have no result; of those whose end could not be recorded, why."""
    lines = [
        f"{len(left)} of {planned} runs did not finish: why, and where their logs are, stands above. "
        "The same command goes on with these, and with no other."
    ]
    for name in left:
        record, end = recorded(folder / name), ended.get(name)
        if end is not None and end.status != "held" and (record is None or record.status != end.status):
            lines.append(f"  {name}\n    {in_words(end.status)}, which could not be recorded: {end.reason}")
    return "\n".join(lines)
