"""The command line: compose with Hydra, refuse what cannot work before the first step, run, sum up.

Imports no torch before work starts, so that `--help` and `--cfg job` answer at once.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from thawlab import compose
from thawlab.compose import Job
from thawlab.errors import UserError
from thawlab.record import PlannedRun, Record, add_to_manifest, read_sweep
from thawlab.schema import register

_ONLY_SHOWS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--resolve", "--shell-completion", "-sc", "--version")
_ended: list[Record | BaseException] = []  # how the jobs of this process ended


def main() -> None:
    """Entry of `train.py` and of the installed command `thawlab`."""
    register()
    compose.register_resolvers()
    arguments = sys.argv[1:]
    if any(argument.split("=")[0] in _ONLY_SHOWS for argument in arguments):
        _hydra_main()
        return
    try:
        sys.exit(_work(arguments))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on with what is missing.", file=sys.stderr)
        sys.exit(130)


def _work(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; returns the exit status: 0 finished, 1 failed. UserError: refused."""
    multirun = compose.is_multirun(arguments)
    overrides = compose.overrides_of(arguments)
    jobs = compose.jobs(arguments, multirun)
    if jobs[0].config["audit"] == "only":
        return _audit(jobs)
    if not multirun:
        _hydra_main()
        return _single()
    folder = Path("outputs") / jobs[0].config["sweep"]
    _prepare_sweep(folder, overrides, jobs)
    if not any(word.startswith("sweep=") for word in overrides):
        sys.argv.append(f"sweep={jobs[0].config['sweep']}")
    _hydra_main()
    return _sum_up(folder, jobs)


def _audit(jobs: Sequence[Job]) -> int:
    from thawlab.run import audit_only

    for job in jobs:
        print(f"{job.name}\n{audit_only(job.config)}\n")
    return 0


def _prepare_sweep(folder: Path, overrides: Sequence[str], jobs: Sequence[Job]) -> None:
    """Refuse the whole sweep if any of its jobs cannot work, then write down what is planned."""
    print(f"{len(jobs)} runs -> {folder}")
    todo = [job for job in jobs if job.config["rerun"] or not compose.is_finished(folder / job.name)]
    if todo:
        from thawlab.prepare import check_all

        check_all([job.config for job in todo])
    add_to_manifest(folder, [Path(sys.argv[0]).name, *sys.argv[1:]], [PlannedRun(job.name, job.overrides) for job in jobs])


def _hydra_main() -> None:
    hydra.main(version_base="1.3", config_path=str(compose.config_folder()), config_name="config")(_task)()


def _task(config: DictConfig) -> None:
    """One job. Never raises: an error here would hide the other jobs' results; it is recorded, and told at the end."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # pyright: ignore[reportAssignmentType]
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    in_sweep = "MULTIRUN" in str(hydra_config.mode)
    if compose.is_finished(folder) and not plain["rerun"]:
        if in_sweep:
            print(f"{folder.name}: finished already, kept (rerun=true runs it again)")
            return
        _ended.append(_finished_already(folder))
        return
    _ended.append(_run_job(plain, folder))


def _run_job(config: dict[str, Any], folder: Path) -> Record | BaseException:
    from thawlab import show
    from thawlab.run import run

    try:
        record = run(config, folder)
    except UserError as error:
        return error
    show.say(show.run_end(record, os.path.relpath(folder)))
    return record


def _finished_already(folder: Path) -> UserError:
    record = Record.read(folder)
    accuracy = record.metrics["test/accuracy"]["value"]
    return UserError(
        f"This run is finished already: {os.path.relpath(folder)} (test accuracy {accuracy:.1%}, {record.ended}). "
        "To run it again: rerun=true. For another draw: seed=1."
    )


def _single() -> int:
    ended = _ended[-1] if _ended else None
    if isinstance(ended, BaseException):
        raise ended
    return 0 if ended is not None and ended.status == "finished" else 1


def _sum_up(folder: Path, jobs: Sequence[Job]) -> int:
    """Print the comparison; 0 if every planned run is finished."""
    from thawlab import show
    from thawlab.report.compare import compare

    logging.getLogger(__name__).info("sweep %s ended", folder)
    print(f"\n{compare(folder)}\n\n{show.next_steps(folder)}")
    records = {record.name: record for record in read_sweep(folder).records}
    ended = [records[job.name].status if job.name in records else "missing" for job in jobs]
    return 0 if all(status == "finished" for status in ended) else 1
