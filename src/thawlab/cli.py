"""The command line: compose with Hydra, refuse what cannot work before the first step, run, sum up.

Imports no torch before work starts, so that `--help` and `--cfg job` answer at once.
"""

import io
import os
import sys
import textwrap
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path

import hydra

from thawlab import __version__, compose, disk
from thawlab.closed_output import ends_with_its_reader
from thawlab.compose import Job
from thawlab.data.roots import check_there
from thawlab.errors import UserError, visible
from thawlab.processes import is_main_process, speaks_for_its_machine
from thawlab.schema import register
from thawlab.stopping import Stopped
from thawlab.words import spelled

_HELP = ("--help", "-h")
_ONLY_SHOWS = ("--hydra-help", "--cfg", "-c", "--info", "-i", "--resolve", "--shell-completion", "-sc", "--version")


@ends_with_its_reader
def main() -> None:
    """Entry of `train.py` and of the installed command `thawlab`.

    Exit status: 0 all is finished; 1 a run is not; 2 refused; 130 or 143 after Ctrl-C or SIGTERM.
    """
    register()
    compose.register_resolvers()
    arguments = sys.argv[1:] = [spelled(argument) for argument in sys.argv[1:]]
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
    if set(_HELP) & set(flags):
        _help()
    elif "--version" in flags:  # Hydra's own would name Hydra's
        print(f"thawlab {__version__}")
    else:
        _hydra_main()


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
        return _interrupted(130, arguments)
    except Stopped as stopped:
        if stopped.status == "interrupted":
            return _interrupted(stopped.exit_status, arguments)
        if is_main_process():
            print(stopped.reason, file=sys.stderr)
        return stopped.exit_status


def _interrupted(status: int, arguments: Sequence[str]) -> int:
    if is_main_process():
        anew = next((f" without {word}" for word in arguments if word.startswith("rerun=")), "")
        print(f"\nInterrupted. The same command{anew} goes on where it stopped.", file=sys.stderr)
    return status


def _work(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; returns the exit status: 0 finished, 1 not. UserError: refused."""
    multirun = compose.is_multirun(arguments)
    jobs = compose.jobs(arguments, multirun)
    for job in jobs:
        check_there(job.config["dataset"])
    if any(job.config["study"]["kind"] != "none" for job in jobs):
        from thawlab.study.command import carry_out

        check_outputs(Path("outputs") / compose.sweep_folder(jobs[0].config["sweep"]))
        return carry_out(arguments, jobs[0], multirun)
    if any(job.config["audit"] == "only" for job in jobs):
        return _audit(jobs)
    check_outputs(Path("outputs") / compose.sweep_folder(jobs[0].config["sweep"]))
    if multirun:
        from thawlab import sweep

        return sweep.carry_out(jobs)
    return _single(jobs[0])


def check_outputs(folder: Path) -> None:
    """Refuse a place where nothing can be written: of a sweep's folder, or of the nearest above it that is there.

    A run's folder is made before our part of the run begins, and would end in a traceback.
    """
    place = next(place for place in (folder, *folder.parents) if place.exists() or place.is_symlink())
    if not place.is_dir():
        raise UserError(f"{place} is no folder, but runs are to land there. Move it away, or give another sweep=NAME.")
    if not os.access(place, os.W_OK):
        raise UserError(
            f"{place.absolute()} is where runs land, but nothing can be written there. Start from another folder."
        )
    disk.check_writable(place)


def _audit(jobs: Sequence[Job]) -> int:
    from thawlab.run import audit_only

    for job in jobs:
        if is_main_process():
            print(visible(f"{job.name}\n{audit_only(job.config)}\n"), flush=True)
    return 0


def _single(job: Job) -> int:
    from thawlab.job import carry_out

    ended = carry_out(job)
    if ended.status in ("refused", "held"):
        raise UserError(ended.reason)
    if ended.status == "kept":
        if is_main_process():
            print(visible(ended.reason or ""), flush=True)
        return 0
    if not ended.told and is_main_process():
        print(f"{ended.status}: {ended.reason}", file=sys.stderr)
    return 0 if ended.status == "finished" else 1


def _hydra_main() -> None:
    """Let Hydra show what it was asked to show; it runs no job."""
    hydra.main(version_base="1.3", config_path=str(compose.config_folder()), config_name="config")(lambda _: None)()
