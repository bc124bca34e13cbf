import logging
import os
import shlex
import sys
from dataclasses import dataclass

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import thawlab.backbones  # noqa: F401 - registers the demonstration network with timm

# Two workers of pytest on two cores: more threads only fight.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what the terminal showed."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command line in this process, as `python train.py ...` would, in an empty folder of its own."""
    from thawlab import cli, sweep

    def run(line, apart=False):
        """`apart`: the jobs of a sweep in processes of their own, which neither `monkeypatch` nor `capsys` reaches."""
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["train.py", *shlex.split(line)])
        monkeypatch.setattr(sweep, "in_processes", lambda: apart)
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(status, out, err)

    monkeypatch.chdir(tmp_path)
    yield run
    GlobalHydra.instance().clear()
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logging.FileHandler):
            logging.getLogger().removeHandler(handler)
            handler.close()
    logging.captureWarnings(False)
