"""What a run saves on its way, and how it goes on from there as if nothing had happened.

Saved at the end of an optimizer step, or before an epoch begins: everything of the epoch before is done by then, also
what Lightning does after its last hook. What follows from (plan, epoch) or (seed, epoch, index) is not saved.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from thawlab import checkpoints
from thawlab.checkpoints import Checkpoint
from thawlab.data.batches import TrainLoader
from thawlab.errors import UserError
from thawlab.module import TransferModule, check_finite
from thawlab.prepare import CheckpointSpec
from thawlab.stopping import Stopped, Stops

SHARE = 0.05  # of the seconds, at most, that saving by the clock may take
LAST = 10.0  # seconds of training that are saved when it ends
_GO_ON, _SAVE, _STOP = range(3)


class OtherRun(UserError):
    """A checkpoint is of another run than the one that is to go on from it."""


@dataclass
class Journey:
    """A run's way over all attempts at it: from where it goes on, and when it is to save and to end."""

    folder: Path
    spec: CheckpointSpec = field(default_factory=CheckpointSpec)
    stops: Stops = field(default_factory=Stops)
    about: dict[str, Any] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)  # digest of each tensor before the first step, by its name
    versions: dict[str, str] = field(default_factory=dict)  # of what computes, as in the record
    start: Checkpoint | None = None
    clock: Callable[[], float] = time.perf_counter
    saved: int = 0  # optimizer steps after which everything was saved, or nothing was there to be

    def __post_init__(self) -> None:
        self._began = self.clock()

    def go_on_from(self, start: Checkpoint | None) -> None:
        """Set where the run goes on from; None: from its beginning."""
        self.start, self.saved = start, 0 if start is None else start.state["global_step"]

    def begin(self, about: Mapping[str, Any], source: Mapping[str, str]) -> None:
        """Say of what run this is, and what `source` gave it: a digest for each name in the module's `state_dict`.

        Raises OtherRun where the checkpoint to go on from is of another run.
        """
        self.about, self.source = dict(about), dict(source)
        if self.start is None:
            return
        assert self.about["accumulate"] % self.start.about["accumulate"] == 0
        left_out = source.keys() - self.start.state["state_dict"].keys()
        if found := differences(self.start.about, {**about, "constant": self._digest_of(left_out)}):
            raise OtherRun(
                f"{self.start.path} is of another run: {'; '.join(found)}. Make it again as it was, or begin anew: "
                f"rerun=true, or remove {self.start.path.parent}."
            )

    @property
    def seconds(self) -> float:
        """Since the first attempt began, without what came after its checkpoint and the time in between."""
        before = self.start.about["seconds"] if self.start is not None else 0.0
        return before + self.clock() - self._began

    @property
    def purge_step(self) -> int | None:
        """The first step whose events of TensorBoard are to come again; None: none."""
        if self.start is None:
            return None
        # An epoch's scores are drawn at its last step, what its stages did one later.
        return self.start.state["global_step"] + self.start.state["position"]["between_epochs"]

    def skip_what_is_done(self, trainer: pl.Trainer) -> None:
        """Let a run whose training had ended train no more, also where it stopped early."""
        if self.start is not None and self.start.state["position"]["ended"]:
            trainer.fit_loop.max_epochs = self.start.state["loops"]["fit_loop"]["epoch_progress"]["current"][
                "completed"
            ]

    @property
    def resumed(self) -> list[dict[str, int]]:
        """From which epoch and optimizer step (from 0) the run went on, once for each time."""
        if self.start is None:
            return []
        position = {"epoch": self.start.state["epoch"], "step": self.start.state["global_step"]}
        return [*self.start.about["resumed"], position]

    def described(self, left_out: Collection[str]) -> dict[str, Any]:
        """What stands in a checkpoint made now, without the tensors named in `left_out`."""
        saved = datetime.now(UTC).isoformat(timespec="seconds")
        constant = self._digest_of(left_out)
        return {**self.about, "constant": constant, "seconds": self.seconds, "resumed": self.resumed, "saved": saved}

    def _digest_of(self, names: Collection[str]) -> str:
        lines = [f"{name.removeprefix('network.')} {self.source[name]}" for name in sorted(names)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Disk(CheckpointIO):
    """Lightning's way to a checkpoint on disk: ours. What is restored was read and held to its sum before."""

    def __init__(self, journey: Journey) -> None:
        self.journey = journey

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: D102
        checkpoints.save(self.journey.folder, checkpoint["global_step"], checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:  # noqa: D102
        start = self.journey.start
        assert start is not None
        # The tensors are Lightning's from here on, and not to be kept twice.
        light = {key: start.state[key] for key in ("epoch", "global_step", "position", "about")}
        self.journey.start = replace(start, state=light)
        return in_batches(start.state, self.journey.about["accumulate"] // start.about["accumulate"])

    def remove_checkpoint(self, path: Any) -> None:  # noqa: D102
        raise NotImplementedError("checkpoints.save removes the old ones")


def in_batches(state: dict[str, Any], times: int) -> dict[str, Any]:
    """A checkpoint's state where each optimizer step has so many times as many batches now."""
    loop = dict(state["loops"]["fit_loop"])
    batches = loop["epoch_loop.batch_progress"]
    loop["epoch_loop.batch_progress"] = {
        **batches,
        **{kind: _times(batches[kind], times) for kind in ("total", "current")},
    }
    return {**state, "loops": {**state["loops"], "fit_loop": loop}}


def _times(counts: Mapping[str, int], times: int) -> dict[str, int]:
    """Batches counted `times` over; one whose end is not reached yet stays one."""
    done = counts["processed"] * times
    open_ended = counts["processed"] - counts["completed"]
    return {**counts, "ready": done, "started": done, "processed": done, "completed": done - open_ended}


class Saving(Callback):
    """Saves in time, and ends the run where it is asked to end, after saving.

    To be called before every callback that changes its state at an epoch's start, and after every one that does at a
    batch's end and has a state.
    """

    def __init__(self, journey: Journey) -> None:
        self.journey = journey
        self._last = journey.clock()  # when a save ended
        self._took = 0.0  # seconds for it
        self._seen = journey.saved
        self._at_start = False  # whether what is saved now lies before an epoch's beginning
        self._ended = False  # or after the last epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self.journey.stops.heed()
        if trainer.fit_loop.restarted_mid_epoch:
            # Lightning made its loader before it read how far the epoch had come: to count the steps of a schedule.
            batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
            loader = trainer.train_dataloader
            assert isinstance(loader, TrainLoader)
            loader.load_state_dict({"epoch": trainer.current_epoch, "batches": batches})

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self.journey.stops.heed()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self._at_start = True
        self._act(trainer, pl_module)

    def on_train_batch_end(  # noqa: D102
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped, self._seen = trainer.global_step > self._seen, trainer.global_step
        # After an epoch's last batch come validation and what follows from it: the next epoch's start is soon enough.
        if stepped and not trainer.is_last_batch:
            self._at_start = False
            self._act(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self._at_start = self._ended = True
        self._act(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        # Lightning takes no step of a schedule by the epoch at the end of one that it went on with.
        trainer.fit_loop.restarting = False

    def on_save_checkpoint(  # noqa: D102
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        loops = checkpoint["loops"]["fit_loop"]
        if self._at_start:
            # As it stands when the epoch before has ended: from there Lightning begins the next one by itself.
            for counts in loops["epoch_progress"].values():
                counts["ready"] = counts["completed"]
        checkpoint["loops"] = {"fit_loop": loops}
        checkpoint["position"] = {"between_epochs": self._at_start, "ended": self._ended}
        assert isinstance(pl_module, TransferModule)
        checkpoint["about"] = self.journey.described(pl_module.untouched())

    def _act(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TransferModule)
        action = self._together(trainer, self._wanted(trainer, module))
        if action != _GO_ON and trainer.global_step != self.journey.saved:
            self._save(trainer, module)
        if action == _STOP:
            if trainer.is_global_zero:
                tqdm.write(f"  saved after optimizer step {trainer.global_step:,}", file=sys.stdout)
            raise self.journey.stops.pending() or Stopped("interrupted", "another process of the run was asked to end")

    def _wanted(self, trainer: pl.Trainer, module: TransferModule) -> int:
        if self.journey.stops.pending() is not None:
            return _STOP
        spec, passed = self.journey.spec, trainer.global_step - self.journey.saved
        # What a thaw leaves frozen is computed anew for the disk: long enough to be broken off without losing an epoch.
        if spec.minutes and self._at_start and module.shortcut is not None and module.thaws_now():
            return _SAVE
        if spec.steps is not None and passed >= spec.steps:
            return _SAVE
        # Testing follows, in which nothing can be saved.
        pause = LAST if self._ended else max(spec.minutes * 60, self._took / SHARE)
        return _SAVE if spec.minutes and self.journey.clock() - self._last >= pause else _GO_ON

    def _together(self, trainer: pl.Trainer, action: int) -> int:
        """The most that any process wants: they save and stop in the same step."""
        if trainer.world_size == 1:
            return action
        mine = torch.tensor(action, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(mine, reduce_op="max"))

    def _save(self, trainer: pl.Trainer, module: TransferModule) -> None:
        began = self.journey.clock()
        check_finite(module)
        trainer.save_checkpoint("checkpoint")
        self.journey.saved, self._last = trainer.global_step, self.journey.clock()
        self._took = self._last - began


def differences(about: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a checkpoint was made of that is another now, a few words each; empty: it may be gone on from."""
    found = [
        f"{key} was {there.get(key)!r}, and is {here.get(key)!r}"
        for there, here in [(_flat(about["config"]), _flat(now["config"]))]
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]
    if about["classes"] != now["classes"]:
        gone, new = (sorted({*a["classes"]} - {*b["classes"]}) for a, b in ((about, now), (now, about)))
        found.append(f"the classes were others ({_few(gone)} are gone, {_few(new)} are new)")
    elif about["fingerprint"] != now["fingerprint"]:
        counts = ", ".join(f"{now[split]} {split} ({about[split]} then)" for split in ("train", "val", "test"))
        found.append(f"the images were others: {counts}")
    if about["constant"] != now["constant"]:
        found.append("the source's weights were others")
    return found


def _few(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
