"""Command lines of the project, started as a person starts them, in a folder of their own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos.networks import BATCH
from thawlab.record import Record, read_sweep

ROOT = Path(__file__).parents[1]
NETWORKS = ROOT / "chaos" / "networks.py"
QUICK = (
    "dataset=digits", "dataset.per_class=4", "trainer.epochs=3", f"trainer.batch_size={BATCH}", "trainer.threads=1",
    "logger=none", "logger.progress=off", "cache=off", "backbone=function", "backbone.name=planted", "backbone.size=32",
    "backbone.mean=[0.5,0.5,0.5]", "backbone.std=[0.5,0.5,0.5]", "strategy=scratch",
)  # fmt: skip
SWEEP = "chaos"


def single(name: str) -> list[str]:
    """The words of a run of one network."""
    return [*QUICK, f"backbone.function={NETWORKS}:{name}"]


def several(names: Sequence[str], *words: str) -> list[str]:
    """The words of a sweep over networks."""
    functions = ",".join(f"{NETWORKS}:{name}" for name in names)
    return ["-m", *QUICK, f"backbone.function={functions}", f"sweep={SWEEP}", *words]


def start(words: Sequence[str], folder: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Begin a command in a session of its own; all it says is appended to `log`."""
    environment = {"PYTHONPATH": f"{ROOT / 'src'}", **os.environ, "PYTHONFAULTHANDLER": ""}
    with log.open("ab") as said:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *words],
            cwd=folder, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            start_new_session=True,
        )  # fmt: skip


def by_network(sweep: Path) -> dict[str, Record]:
    """The sweep's records by their network's name; what has none is left out."""
    records = read_sweep(sweep).records if sweep.is_dir() and any(sweep.glob("*/result.json")) else ()
    return {record.config["backbone"]["function"].rpartition(":")[2]: record for record in records}
