"""What is written down and shown while a run trains."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, TQDMProgressBar

from thawlab.costs import Stopwatch
from thawlab.module import TransferModule
from thawlab.scores import SCORES

Row = dict[str, float | int]


class Curves(Callback):
    """Collects one row per epoch: losses, validation scores, each stage's rate and whether it trains."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    # Lightning runs validation inside the training epoch, so that its scores are known here.
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(pl_module, TransferModule)
        row: Row = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        names = ["train/loss", *(f"val/{name}" for name in SCORES)]
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


class Timing(Callback):
    """Splits the wall clock into data (waiting for a batch), train, validate and test seconds, and counts images."""

    def __init__(self) -> None:
        self.watch = Stopwatch()
        self.images = 0
        self.images_by_epoch: list[int] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self.images_by_epoch.append(0)
        self.watch.start("data")

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: D102
        self.watch.stop("data")
        self.watch.start("train")
        self.images_by_epoch[-1] += len(batch[1]) * trainer.world_size

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:  # noqa: D102
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
        metrics = trainer.callback_metrics
        print(
            f"  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  train loss {float(metrics['train/loss']):.3f}  "
            f"val loss {float(metrics['val/loss']):.3f}  val accuracy {float(metrics['val/accuracy']):.1%}",
            flush=True,
        )


class Bar(TQDMProgressBar):
    """One bar for the whole training, a tick per epoch, with the scores that matter."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def init_train_tqdm(self) -> Any:  # noqa: D102
        bar = super().init_train_tqdm()
        bar.bar_format = "  {desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        return bar

    def init_validation_tqdm(self) -> Any:  # noqa: D102
        bar = super().init_validation_tqdm()
        bar.disable = True
        return bar

    def init_test_tqdm(self) -> Any:  # noqa: D102
        bar = super().init_test_tqdm()
        bar.disable = True
        return bar

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:  # noqa: D102
        metrics = trainer.callback_metrics
        shown = {"val/loss": "val loss", "val/accuracy": "val accuracy"}
        return {label: f"{float(metrics[name]):.3f}" for name, label in shown.items() if name in metrics}


def progress(kind: str) -> list[Callback]:
    """A bar in a terminal, lines elsewhere, as `logger.progress` says."""
    if kind == "off":
        return []
    bar = kind == "bar" or (kind == "auto" and sys.stdout.isatty())
    return [Bar() if bar else Lines()]
