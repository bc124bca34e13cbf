"""Networks that go wrong once they train, in the process of their job alone: backbone.function=faults.py:segfaults."""

import ctypes
import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch
from torch import nn

from thawlab import checkpoints


class Faulty(nn.Module):
    """A small network; its first training step in a job's process calls `fault`."""

    def __init__(self, fault) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.fc = nn.Linear(4, 10)
        self.fault = fault

    def forward(self, x):
        if self.training and torch.is_grad_enabled() and multiprocessing.parent_process() is not None:
            self.fault()
        return self.fc(self.conv(x).relu().mean((2, 3)))


def good():
    return Faulty(lambda: None)


def raises():
    def fault():
        raise RuntimeError("planted: no luck")

    return Faulty(fault)


def exits():
    return Faulty(lambda: os._exit(3))


def exits_well():
    return Faulty(lambda: os._exit(0))


def segfaults():
    return Faulty(lambda: ctypes.string_at(0))


def aborts():
    def fault():
        ctypes.CDLL(None).printf(b"said by C\n")
        ctypes.CDLL(None).fflush(None)
        os.write(2, b"terminate called after throwing\n")
        os.abort()

    return Faulty(fault)


def killed():
    return Faulty(lambda: os.kill(os.getpid(), signal.SIGKILL))


def killed_for_memory():
    def fault():
        kills = Path("memory.events")  # the kernel's account, as the test has it
        kills.write_text(f"oom_kill {int(kills.read_text().split()[1]) + 1}\n")
        os.kill(os.getpid(), signal.SIGKILL)

    return Faulty(fault)


def hangs():
    def fault():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)

    return Faulty(fault)


def when_built(fault):
    """`fault`, and no network, in the process of a check or of a job."""
    if multiprocessing.parent_process() is not None:
        fault()
    return good()


def built_exits():
    return when_built(lambda: os._exit(4))


def built_segfaults():
    return when_built(lambda: ctypes.string_at(0))


def built_hangs():
    return when_built(lambda: time.sleep(1000))


def slow():
    def fault():
        Path("begun").touch()
        time.sleep(0.2)

    return Faulty(fault)


def saves_slowly():
    """Does not end saving until there is a file `saved`."""
    save = checkpoints.save

    def slowly(*arguments):
        Path("saving").touch()
        while not Path("saved").exists():
            time.sleep(0.1)
        return save(*arguments)

    checkpoints.save = slowly
    return slow()


def mended():
    """Dies until there is a file `mended`."""
    return Faulty(lambda: None if Path("mended").exists() else os._exit(5))
