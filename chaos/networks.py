"""Networks that go wrong in their first training step, or do not: backbone.function=chaos/networks.py:segfaults.

Each job that trains says so in a line of `starts` in the folder where its command was started.
"""

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

STARTS = "starts"
SOUND = tuple(f"sound_{i:02d}" for i in range(18))
BATCH = 10  # images in a training step
STEP = 0.05  # seconds that a training step takes at least


class Network(nn.Module):
    """A small network; what it does in a training step is up to `act`, which is given the images."""

    def __init__(self, name: str, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.fc = nn.Linear(4, 10)
        self.name, self.act, self.began = name, act, False

    def forward(self, x: Tensor) -> Tensor:
        # Not where a network is only looked at, which takes an image or two.
        if self.training and torch.is_grad_enabled() and len(x) == BATCH:
            self.say()
            x = self.act(x)
        return self.fc(self.conv(x).relu().mean((2, 3)))

    def say(self) -> None:
        """One write of one line: several processes append."""
        if not self.began:
            self.began = True
            line = json.dumps({"job": self.name, "process": os.getpid(), "at": time.time()})
            handle = os.open(STARTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(handle, line.encode() + b"\n")
            os.close(handle)


def started(folder: Path) -> list[tuple[str, float]]:
    """What `starts` says: job, and seconds since 1970."""
    path = folder / STARTS
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(line["job"], line["at"]) for line in lines]


def _slowly(x: Tensor) -> Tensor:
    time.sleep(STEP)
    return x


def _raise(x: Tensor) -> Tensor:
    raise RuntimeError("planted")


def _hang(x: Tensor) -> Tensor:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(10_000)
    return x


def _kill(x: Tensor) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def _exit(x: Tensor) -> Tensor:
    os._exit(3)


def _segfault(x: Tensor) -> Tensor:
    ctypes.string_at(0)
    return x


def raises() -> Network:
    return Network("raises", _raise)


def exits() -> Network:
    return Network("exits", _exit)


def segfaults() -> Network:
    return Network("segfaults", _segfault)


def killed() -> Network:
    return Network("killed", _kill)


def hangs() -> Network:
    return Network("hangs", _hang)


def diverges() -> Network:
    return Network("diverges", lambda x: x * float("nan"))


def _sound(name: str) -> Callable[[], Network]:
    return lambda: Network(name, _slowly)


globals().update({name: _sound(name) for name in SOUND})
