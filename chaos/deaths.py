"""Where a run dies of SIGKILL by its own hand: at a hook of Lightning's, or inside the writing of a file."""

import os
import signal
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from thawlab import checkpoints, files, training

HOOKS = (
    "on_train_epoch_start", "on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end",
    "on_validation_start", "on_validation_end", "on_train_epoch_end",
)  # fmt: skip
MOMENTS = ("created", "written in part", "written", "synced", "renamed", "done")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class AtHook:
    """Dies at the n-th call (from 0) of a hook in an epoch; an epoch that this attempt does not reach kills nobody."""

    hook: str
    epoch: int
    call: int = 0

    def arm(self) -> None:
        fit, death = pl.Trainer.fit, self

        def watched(trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
            trainer.callbacks.append(_killer(death))
            fit(trainer, *args, **kwargs)

        pl.Trainer.fit = watched


def _killer(death: AtHook) -> Callback:
    calls = 0

    def hook(_: Callback, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        if trainer.current_epoch == death.epoch and not trainer.sanity_checking:
            if calls == death.call:
                die()
            calls += 1

    return type("Killer", (Callback,), {death.hook: hook})()


@dataclass(frozen=True)
class InWrite:
    """Dies in the n-th file (from 0) that is published, at a moment of it; `share` of its bytes have been written.

    With `only`, those count alone whose name begins so.
    """

    count: int
    moment: str
    share: float = 0.5
    only: str = ""

    def arm(self) -> None:
        publish, left = files.publish, self.count

        def watched(path: Any, write: Any) -> None:
            nonlocal left
            mine = path.name.startswith(self.only)
            if not mine or left:
                left -= mine
                publish(path, write)
                return
            self._die_in(lambda: publish(path, write), write)

        for module in (files, checkpoints, training):
            module.publish = watched

    def _die_in(self, publish: Any, write: Any) -> None:
        rename = os.replace
        if self.moment == "created":
            files.open = lambda *_: die()
        elif self.moment == "written in part":
            allowed = self._bytes(write)
            files.open = lambda handle, mode: _Dying(os.fdopen(handle, mode), allowed)
        elif self.moment == "written":
            os.fsync = lambda _: die()
        elif self.moment == "synced":
            os.replace = lambda *_: die()
        elif self.moment == "renamed":
            os.replace = lambda *names: (rename(*names), die())
        publish()
        die()

    def _bytes(self, write: Any) -> int:
        counted = _Counted()
        write(counted)
        return int(counted.total * self.share)


class _Counted:
    """A file that keeps nothing but how long it would be."""

    total = 0

    def write(self, data: bytes) -> int:
        self.total += len(data)
        return len(data)

    def flush(self) -> None:
        pass


class _Dying:
    """A file that takes so many bytes; then its writer dies."""

    def __init__(self, file: Any, allowed: int) -> None:
        self.file, self.left = file, allowed

    def write(self, data: bytes) -> int:
        if len(data) > self.left:
            self.file.write(bytes(data)[: self.left])
            self.file.flush()
            die()
        self.left -= len(data)
        return self.file.write(data)

    def __enter__(self) -> "_Dying":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
