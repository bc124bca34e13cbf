"""What is written down and shown while a run trains."""

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from thawlab.caching.shortcut import Choice
from thawlab.costs import Stopwatch
from thawlab.module import TransferModule
from thawlab.scores import MAIN, SCORES

Row = dict[str, float | int]
log = logging.getLogger(__name__)


class Curves(Callback):
    """Collects one row per epoch: losses, validation scores, each stage's rate and whether it trains."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self.rows = list(state_dict["rows"])

    # Lightning runs validation inside the training epoch, so that its scores are known here.
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(pl_module, TransferModule)
        row: Row = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        names = ["train/loss", *(f"val/{name}" for name in SCORES[pl_module.task])]
        row |= {name: float(trainer.callback_metrics[name]) for name in names if name in trainer.callback_metrics}
        row |= _stage_columns(trainer, pl_module)
        self.rows.append(row)
        for logger in trainer.loggers:
            stages = {name: value for name, value in row.items() if name.startswith(("rate/", "trains/"))}
            logger.log_metrics(stages, step=trainer.global_step)


def _stage_columns(trainer: pl.Trainer, module: TransferModule) -> Row:
    """The rate that each stage's groups really have, and 1 where the stage trains."""
    rates = {group["name"].partition("/")[0]: group["lr"] for group in trainer.optimizers[0].param_groups}
    training = module.training_now()
    columns: Row = {}
    for stage in module.stages:
        trains = stage.name in training
        columns[f"rate/{stage.name}"] = rates[stage.name] if trains else 0.0
        columns[f"trains/{stage.name}"] = int(trains)
    return columns


class Best(Callback):
    """Keeps a copy of the weights of the best epoch by the monitored score: of equal epochs the first.

    In memory, and with the run's checkpoints on disk: Lightning's ModelCheckpoint writes a file of its own, not
    atomically, which after a kill may be of a later epoch than what the run goes on from. Tensors that no epoch
    changes are left out, and of a checkpoint those that none has changed so far. On a CPU, whatever the network is on.
    """

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.mode = monitor, mode
        self.epoch = -1
        self.score = math.nan
        self.tensors: dict[str, Tensor] = {}  # named as in the module's state_dict
        self._untouched: Callable[[], set[str]] = set

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(pl_module, TransferModule)
        self._untouched = pl_module.untouched
        if self.tensors:  # of a checkpoint: what it left out will be changed by the epochs to come
            self.tensors = _changing(pl_module) | self.tensors

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(pl_module, TransferModule)
        score = float(trainer.callback_metrics[self.monitor])
        better = score > self.score if self.mode == "max" else score < self.score
        if better or not self.tensors:
            self.epoch, self.score = trainer.current_epoch, score
            self.tensors = _changing(pl_module)

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        untouched = self._untouched()
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in untouched}
        return {"epoch": self.epoch, "score": self.score, "tensors": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self.epoch, self.score = state_dict["epoch"], state_dict["score"]
        self.tensors = dict(state_dict["tensors"])


def _changing(module: TransferModule) -> dict[str, Tensor]:
    """A copy of the tensors that any epoch changes."""
    constant = module.constant()
    return {name: tensor.cpu().clone() for name, tensor in module.state_dict().items() if name not in constant}


class Timing(Callback):
    """Splits the wall clock into data (waiting for a batch), train, validate and test seconds, and counts images."""

    def __init__(self) -> None:
        self.watch = Stopwatch()
        self.images = 0
        self.images_by_epoch: list[int] = []

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"seconds": dict(self.watch.seconds), "images_by_epoch": list(self.images_by_epoch)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self.watch.seconds.update(state_dict["seconds"])
        self.images_by_epoch = list(state_dict["images_by_epoch"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        if trainer.fit_loop.restarted_mid_epoch:
            self.watch.start("data")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self.images_by_epoch.append(0)
        self.watch.start("data")

    def on_train_batch_start(  # noqa: D102
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.watch.stop("data")
        self.watch.start("train")
        self.images_by_epoch[-1] += len(batch[1]) * trainer.world_size

    def on_train_batch_end(  # noqa: D102
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.watch.stop("train")
        self.watch.start("data")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self.watch.stop("data")
        self.watch.start("validate")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self.watch.stop("validate")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self.watch.start("test")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self.watch.stop("test")


def told(choice: Choice) -> None:
    """Say what was decided where there was a choice; of images not trained on, not that it was not worth trying."""
    log.info("%s", choice.line)
    if choice.frozen and (choice.split == "train" or choice.reason is None or choice.refused_by == "store"):
        tqdm.write(f"  {choice.line}", file=sys.stdout)


class Lines(Callback):
    """Progress as plain lines, for logs and pipes: at most one every two seconds, and the last epoch's."""

    def __init__(self, pause: float = 2.0) -> None:
        self.pause = pause
        self.said = 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if not trainer.is_global_zero or (time.monotonic() - self.said < self.pause and not last):
            return
        self.said = time.monotonic()
        print(
            f"  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {_scores(trainer, 'train/loss', 'val/loss')}",
            flush=True,
        )


class Bar(Callback):
    """One bar for the whole training, in a terminal: a tick per step, and the last epoch's scores.

    Lightning's own bar starts anew in every epoch, and one more for every validation: flicker where epochs are short.
    """

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        if trainer.is_global_zero and trainer.max_epochs is not None:
            form = "  {desc} {percentage:3.0f}%|{bar:16}| {elapsed}<{remaining}{postfix}"
            total = int(trainer.max_epochs * trainer.num_training_batches)
            done = trainer.fit_loop.total_batch_idx + 1  # by a run that goes on
            self.bar = tqdm(
                total=total, initial=done, bar_format=form, leave=False, dynamic_ncols=True, file=sys.stdout
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        if self.bar is not None:
            self.bar.set_description_str(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", refresh=False)

    def on_train_batch_end(  # noqa: D102
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        if self.bar is not None:
            self.bar.set_postfix_str(_scores(trainer, "val/loss"), refresh=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:  # noqa: D102
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _scores(trainer: pl.Trainer, *losses: str) -> str:
    metrics = trainer.callback_metrics
    said = [f"{name.replace('/', ' ')} {float(metrics[name]):.3f}" for name in losses]
    main = next(name for name in reversed(MAIN.values()) if f"val/{name}" in metrics)
    return "  ".join([*said, f"val {main.replace('_', ' ')} {float(metrics[f'val/{main}']):.1%}"])


def progress(kind: str) -> list[Callback]:
    """A bar in a terminal, lines elsewhere, as `logger.progress` says."""
    if kind == "off":
        return []
    bar = kind == "bar" or (kind == "auto" and sys.stdout.isatty())
    return [Bar() if bar else Lines()]
