"""One job of a command line: where its files go, who else does it, what of it is there already. Then the run."""

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job, setup_globals
from hydra.initialize import initialize_config_dir
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from thawlab import compose, disk
from thawlab.compose import Job
from thawlab.crashes import Ended
from thawlab.errors import UserError
from thawlab.processes import is_main_process
from thawlab.record import Record, is_finished, main_metric
from thawlab.runlock import Held, held

log = logging.getLogger(__name__)


def carry_out(job: Job, anew: bool = False) -> Ended:
    """Do one job in this process, as Hydra does: its folder, copies of the config and the log are made, then it runs.

    `anew`: a finished run is done again. Raises only what ends the process: `Stopped`, KeyboardInterrupt.
    """
    logging.raiseExceptions = False  # a log that a full disk does not take must not bury what is said of it
    compose.register_resolvers()
    setup_globals()
    sweep = job.composed.hydra.mode == RunMode.MULTIRUN
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(compose.config_folder()), job_name="train", version_base="1.3"):
        context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks(job.composed))
        places = ("hydra.sweep.dir", "hydra.sweep.subdir") if sweep else ("hydra.run.dir", None)
        try:
            return run_job(partial(_task, anew), job.composed, *places, context).return_value
        except OSError as error:  # of the folder, the log, or Hydra's copies
            return _no_disk(error, folder_of(job))


@contextmanager
def callbacks_of_a_sweep(first: Job) -> Iterator[None]:
    """Call the user's `hydra.callbacks` around a sweep, as Hydra does."""
    callbacks = Callbacks(first.composed)
    callbacks.on_multirun_start(config=first.composed, config_name="config")
    yield
    callbacks.on_multirun_end(config=first.composed, config_name="config")


def folder_of(job: Job) -> Path:
    """Where a job's files go."""
    return Path("outputs") / compose.sweep_folder(job.config["sweep"]) / job.name


def _no_disk(error: OSError, folder: Path) -> Ended:
    log.error("%s", traceback.format_exc())
    return Ended("failed", disk.fault(error, folder) or f"{type(error).__name__}: {error}")


def _task(anew: bool, config: DictConfig) -> Ended:
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # pyright: ignore[reportAssignmentType]
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        if not is_main_process():
            return _unless_finished(plain, folder, anew)
        with held(folder, tell=_say):
            return _unless_finished(plain, folder, anew)
    except Held as error:
        return Ended("held", str(error))
    except UserError as error:
        return Ended("refused", str(error))
    except OSError as error:  # its record could not be written
        return _no_disk(error, folder)
    except SystemExit:  # Lightning's answer to Ctrl-C, which would pass for a failure
        raise KeyboardInterrupt from None


def _say(line: str) -> None:
    from thawlab import show

    show.say(line)


def _unless_finished(config: dict[str, Any], folder: Path, anew: bool) -> Ended:
    """The run, unless it is finished: by an earlier command, or by who held it until now."""
    if is_finished(folder) and not anew and not config["rerun"]:
        return Ended("kept", finished_already(config, folder))
    from thawlab import show
    from thawlab.run import run

    record = run(config, folder)
    if is_main_process():
        show.say(show.run_end(record, os.path.relpath(folder)))
    return Ended(record.status, record.reason, told=True)


def finished_already(config: dict[str, Any], folder: Path) -> str:
    """What a finished run came to, and how to do it again. Raises UserError where its images are gone or others."""
    from thawlab.run import changed

    if reason := changed(config, folder):
        raise UserError(
            f"This run is finished already, but it was made from {reason} than there are now: "
            f"{os.path.relpath(folder)}. To make it again: rerun=true."
        )
    record = Record.read(folder)
    main = main_metric(record)
    score = f"{main.replace('/', ' ').replace('_', ' ')} {record.metrics[main]['value']:.1%}"
    return (
        f"This run is finished already: {os.path.relpath(folder)} ({score}, {record.ended}). "
        f"To run it again: rerun=true. For another draw: seed={config['seed'] + 1}."
    )
