"""Runs over several processes: started here on one machine, or found started by torchrun or SLURM."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thawlab.errors import UserError
from thawlab.record import Record

Config = Mapping[str, Any]
_LAUNCHED_BY = ("TORCHELASTIC_RUN_ID", "SLURM_PROCID", "LOCAL_RANK")


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


def is_main_process() -> bool:
    """Whether this process writes and prints: rank 0, or the only one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def spread(run: Callable[[Config, Path], Record], config: Config, folder: Path) -> Record:
    """Carry out `run(config, folder)` in one process per device and return what rank 0 recorded.

    Lightning's own launcher would run this command line again, which in a sweep is the whole sweep.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory() as logs:
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
        del logs
        elastic_launch(launch, _worker)(run, dict(config), str(folder))
    record = Record.read(folder)
    if record.status == "refused":
        raise UserError(record.reason or "refused")
    return record


def _worker(run: Callable[[Config, Path], Record], config: Config, folder: str) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        run(config, Path(folder))
    except UserError:
        return  # recorded by rank 0, and raised again by `spread`
