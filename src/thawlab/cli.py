"""The command line: compose with Hydra, refuse what cannot work before the first step, run, sum up.

Imports no torch before work starts, so that `--help` and `--cfg job` answer at once.
"""

import io
import logging
import os
import sys
import textwrap
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from thawlab import compose
from thawlab.closed_output import ends_with_its_reader
from thawlab.compose import Job
from thawlab.errors import UserError, visible
from thawlab.processes import is_main_process, speaks_for_its_machine
from thawlab.record import PlannedRun, Record, add_to_manifest, is_finished, main_metric, read_sweep
from thawlab.schema import register

_HELP = ("--help", "-h")
_ONLY_SHOWS = ("--hydra-help", "--cfg", "-c", "--info", "-i", "--resolve", "--shell-completion", "-sc", "--version")
_ended: list[Record | UserError] = []  # how the jobs of this process ended
_stale: dict[str, str] = {}  # finished runs of this sweep to be done again, and why


@ends_with_its_reader
def main() -> None:
    """Entry of `train.py` and of the installed command `thawlab`.

    Exit status: 0 finished, 1 a run failed, 2 refused, 130 interrupted.
    """
    register()
    compose.register_resolvers()
    _ended.clear()
    _stale.clear()
    arguments = sys.argv[1:] = [compose.at_home(argument) for argument in sys.argv[1:]]
    flags = {argument.partition("=")[0] for argument in arguments}
    if flags & {*_HELP, *_ONLY_SHOWS}:
        _look(arguments, flags)
    else:
        sys.exit(_status(arguments))


def _look(arguments: Sequence[str], flags: Collection[str]) -> None:
    """Let Hydra show what it is asked for; exit status 2 for a flag that would do more."""
    try:
        compose.check_looking(arguments, (*_HELP, *_ONLY_SHOWS))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    _help() if set(_HELP) & set(flags) else _hydra_main()


def _help() -> None:
    """Hydra's page, with its long lists of choices folded."""
    page = io.StringIO()
    with redirect_stdout(page), suppress(SystemExit):
        _hydra_main()
    for line in page.getvalue().splitlines():
        group, colon, _ = line.partition(":")
        indent = " " * (len(group) + 2 if colon and " " not in group else 0)
        print(textwrap.fill(line, 118, subsequent_indent=indent) if len(line) > 118 else line)


def _status(arguments: Sequence[str]) -> int:
    try:
        return _work(arguments)
    except UserError as error:
        if speaks_for_its_machine():
            print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if is_main_process():
            print("\nInterrupted. The same command, without rerun=true, goes on with what is missing.", file=sys.stderr)
        return 130


def _work(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; returns the exit status: 0 finished, 1 failed. UserError: refused."""
    multirun = compose.is_multirun(arguments)
    # Hydra's parser wants its flags before or after all settings, not among them.
    sys.argv[1:] = sorted(arguments, key=lambda word: not word.startswith("-"))
    jobs = compose.jobs(arguments, multirun)
    if any(job.config["audit"] == "only" for job in jobs):
        return _audit(jobs)
    check_outputs()
    if not multirun:
        _hydra_main()
        return _single()
    sweep = jobs[0].config["sweep"]
    folder = Path("outputs") / compose.sweep_folder(sweep)
    _prepare_sweep(folder, jobs)
    if not any(word.startswith("sweep=") for word in arguments):
        sys.argv.append(f"sweep={sweep}")
    _hydra_main()
    return _sum_up(folder, jobs) if is_main_process() else _status_of_the_others()


def check_outputs() -> None:
    """Refuse a place where nothing can be written.

    Hydra makes a run's folder before our part of the run begins, and would end in a traceback.
    """
    place = Path("outputs") if Path("outputs").exists() else Path()
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UserError(
            f"{place.absolute()} is where runs land, but nothing can be written there. Start from another folder."
        )


def _audit(jobs: Sequence[Job]) -> int:
    from thawlab.run import audit_only

    for job in jobs:
        _say(f"{job.name}\n{audit_only(job.config)}\n")
    return 0


def _prepare_sweep(folder: Path, jobs: Sequence[Job]) -> None:
    """Refuse the whole sweep if any of its jobs cannot work, then write down what is planned."""
    names = dict.fromkeys(job.name for job in jobs)
    todo = [job for job in jobs if _is_to_do(job, folder / job.name)]
    _say(f"{len(names)} runs -> {folder}")
    if todo:
        from thawlab.prepare import check_all

        check_all([job.config for job in todo])
    if is_main_process():
        command = [Path(sys.argv[0]).name, *sys.argv[1:]]
        add_to_manifest(folder, command, [PlannedRun(job.name, job.overrides) for job in jobs])


def _is_to_do(job: Job, folder: Path) -> bool:
    if job.config["rerun"] or not is_finished(folder):
        return True
    from thawlab.run import changed

    if reason := changed(job.config, folder):
        _stale[job.name] = reason
    return job.name in _stale


def _hydra_main() -> None:
    hydra.main(version_base="1.3", config_path=str(compose.config_folder()), config_name="config")(_task)()


def _task(config: DictConfig) -> None:
    """One job. Never raises: an error here would hide the other jobs' results; it is recorded, and told at the end."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # pyright: ignore[reportAssignmentType]
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    in_sweep = "MULTIRUN" in str(hydra_config.mode)
    reason = _stale.pop(folder.name, None)
    if reason is not None and not plain["rerun"]:
        _say(f"{folder.name}: finished, but made from {reason} than there are now: run again")
    if not is_finished(folder) or plain["rerun"] or reason is not None:
        _ended.append(_run_job(plain, folder, in_sweep))
    elif in_sweep:
        _say(f"{folder.name}: finished already, kept (rerun=true runs it again)")
    else:
        _ended.append(_finished_already(plain, folder))


def _say(text: str) -> None:
    if is_main_process():
        print(visible(text), flush=True)


def _run_job(config: dict[str, Any], folder: Path, in_sweep: bool) -> Record | UserError:
    from thawlab import show
    from thawlab.run import run

    try:
        record = run(config, folder)
    except UserError as error:
        if in_sweep and is_main_process():  # a single run's is told at the end
            show.say(f"{folder.name}\n  refused: {error}")
        return error
    except SystemExit:  # Lightning's answer to Ctrl-C, which would pass for a failure
        raise KeyboardInterrupt from None
    if is_main_process():
        show.say(show.run_end(record, os.path.relpath(folder)))
    return record


def _finished_already(config: dict[str, Any], folder: Path) -> UserError:
    from thawlab.run import changed

    try:
        reason = changed(config, folder)
    except UserError as error:
        return error
    if reason is not None:
        return UserError(
            f"This run is finished already, but it was made from {reason} than there are now: "
            f"{os.path.relpath(folder)}. To make it again: rerun=true."
        )
    record = Record.read(folder)
    main = main_metric(record)
    score = f"{main.replace('/', ' ').replace('_', ' ')} {record.metrics[main]['value']:.1%}"
    return UserError(
        f"This run is finished already: {os.path.relpath(folder)} ({score}, {record.ended}). "
        "To run it again: rerun=true. For another draw: seed=1."
    )


def _single() -> int:
    ended = _ended[-1] if _ended else None
    if isinstance(ended, UserError):
        raise ended
    return 0 if ended is not None and ended.status == "finished" else 1


def _status_of_the_others() -> int:
    """What `_sum_up` returns in the first process, whose record every process has of every job."""
    return 0 if all(isinstance(ended, Record) and ended.status == "finished" for ended in _ended) else 1


def _sum_up(folder: Path, jobs: Sequence[Job]) -> int:
    """Print the comparison; 0 if every planned run is finished."""
    from thawlab import show
    from thawlab.report.compare import compare

    logging.getLogger(__name__).info("sweep %s ended", folder)
    print(f"\n{compare(folder)}\n{show.next_steps(folder)}", flush=True)
    records = {record.name: record for record in read_sweep(folder).records}
    ended = [records[job.name].status if job.name in records else "missing" for job in jobs]
    return 0 if all(status == "finished" for status in ended) else 1
