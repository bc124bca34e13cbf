"""Runs over several processes: started here on one machine, or found started by torchrun or SLURM."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from thawlab.errors import UserError
from thawlab.record import Record
from thawlab.stopping import Stopped, by_signal

Config = Mapping[str, Any]
log = logging.getLogger(__name__)
_LAUNCHED_BY = ("TORCHELASTIC_RUN_ID", "SLURM_PROCID", "LOCAL_RANK")
_FAILURES = ("failed", "diverged", "out_of_memory")
_End = str | tuple[str, str, int] | None  # why a process refused; how it was stopped; or neither
_GRACE = 60.0  # seconds to save in
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class ProcessFailed(RuntimeError):
    """One process of a run failed; carries the reason to the process that launched it."""


def launched_here(trainer: Config) -> bool:
    """Whether this process has to start the others.

    Raises UserError for several nodes without a launcher: one machine cannot start another's processes.
    """
    if trainer["devices"] * trainer["nodes"] == 1 or any(name in os.environ for name in _LAUNCHED_BY):
        return False
    if trainer["nodes"] > 1:
        raise UserError(
            f"trainer.nodes is {trainer['nodes']}, but no launcher started this process. "
            "Start the command on every node with torchrun or srun."
        )
    return True


def launched_as_one_of_several() -> bool:
    """Whether torchrun started this process, or SLURM together with others: they do each run together."""
    alone = int(os.environ.get("SLURM_NTASKS", "1")) == 1
    return any(name in os.environ for name in _LAUNCHED_BY if not (alone and name == "SLURM_PROCID"))


def is_main_process() -> bool:
    """Whether this process writes and prints: rank 0, or the only one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def speaks_for_its_machine() -> bool:
    """Whether this process tells the errors: the first on its machine, since one machine alone may lack a file."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))) == 0


def from_main_process(conclude: Callable[[], Record]) -> Record:
    """What `conclude` returns in rank 0, in every process; what it raises there ends as a RuntimeError everywhere.

    To be called by every process, once Lightning has joined them.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return conclude()
    box: list[Record | str | None] = [None]
    if is_main_process():
        try:
            box = [conclude()]
        except Exception as error:  # the others wait for an answer, whatever it is
            log.exception("the first process could not conclude the run")
            box = [f"{type(error).__name__}: {error}"]
    dist.broadcast_object_list(box, src=0)
    if not isinstance(box[0], Record):
        raise RuntimeError(box[0])
    return box[0]


def spread(run: Callable[[Config, Path], Record], config: Config, folder: Path) -> Record:
    """Carry out `run(config, folder)` in one process per device and return what rank 0 recorded.

    Lightning's own launcher would run this command line again, which in a sweep is the whole sweep. Where a process
    fails, the others are ended, and the record says which it was and why. Raises UserError where they refused.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=config["trainer"]["devices"],
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        run_id=folder.name,
        max_restarts=0,
        monitor_interval=0.5,
    )
    earlier = _recorded(folder)
    try:
        ends = elastic_launch(launch, _worker)(run, dict(config), str(folder))
    except ChildFailedError as error:
        return _failed(folder, config, earlier, *error.get_first_failure())
    except SignalException as error:
        raise by_signal(error.sigval) from error
    for why in ends.values():  # the record does not tell: an earlier result may have been left there
        if isinstance(why, str):
            raise UserError(why)
        if why is not None:
            raise Stopped(*why)
    return Record.read(folder)


def _worker(run: Callable[[Config, Path], Record], config: Config, folder: str) -> _End:
    from torch.distributed.elastic.multiprocessing.errors import record as leaving_a_note

    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    return leaving_a_note(_work)(run, config, Path(folder))


def _end_with_the_launcher() -> None:
    """Once the process that launched this one is gone, save and end, or be ended: nobody waits for the result."""
    launcher = multiprocessing.parent_process()
    if launcher is None:
        return
    wait([launcher.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)


def _work(run: Callable[[Config, Path], Record], config: Config, folder: Path) -> _End:
    """One process's part; returns why it refused or was stopped, which `spread` raises again, or None."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=folder / "train.log", level=logging.INFO, format=_LOG_FORMAT)
    torch.set_num_threads(max(1, torch.get_num_threads() // config["trainer"]["devices"]))
    try:
        record = run(config, folder)
    except UserError as error:
        return str(error)
    except Stopped as stopped:
        return stopped.status, stopped.reason, stopped.exit_status
    if record.status in _FAILURES:
        # Whoever launched the processes must know: the others may wait for this one for ever.
        raise ProcessFailed(f"{record.status}: {record.reason}")
    return None


def _recorded(folder: Path) -> Record | None:
    try:
        return Record.read(folder)
    except UserError:
        return None


def _failed(folder: Path, config: Config, earlier: Record | None, rank: int, failure: Any) -> Record:
    """The record of a run whose process `rank` was the first to fail; written if rank 0 could not."""
    record = _recorded(folder)
    if record is None or record == earlier:
        record = Record(name=folder.name, status="running", config=dict(config))
    if record.status in _FAILURES and rank == 0:
        return record
    message = failure.message["message"] if isinstance(failure.message, dict) else failure.message
    told = message.removeprefix(f"{ProcessFailed.__name__}: ").splitlines()[0]
    status, _, reason = told.partition(": ")
    status, reason = (status, reason) if status in _FAILURES else ("failed", told)
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    record = replace(record, status=status, reason=f"process {rank} of the run failed: {reason}", ended=ended)
    record.write(folder)
    return record
