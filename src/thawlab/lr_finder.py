"""The range test: short training at a rate that rises from step to step (Smith 2017, "Cyclical learning rates").

Lightning's own finder (`Tuner.lr_find`) sets one rate on every parameter group, and so forgets which stages the plan
trains slower. Here one factor is laid over all groups, so that the plan's ratios hold at every step.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.seed import isolate_rng

from thawlab.errors import UserError
from thawlab.lr_curve import Curve
from thawlab.prepare import Prepared
from thawlab.quiet import quieten
from thawlab.schedule import ScheduleSpec
from thawlab.trainer import build_trainer
from thawlab.training import cpu_threads, data_of, module_of

Tell = Callable[[Curve], None]
_FEWEST = 20  # steps: of fewer, too little is left once both ends of the curve are cut off


@dataclass(frozen=True)
class RangeSpec:
    """Which rates are tried, as `optimizer.lr`, and which epoch's stages train."""

    start: float = 1e-7
    end: float = 10.0
    steps: int = 100
    epoch: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.start < self.end and np.isfinite(self.end)):
            raise UserError(f"--start is {self.start} and --end is {self.end}. Give 0 < start < end.")
        if self.steps < _FEWEST:
            raise UserError(f"--steps is {self.steps}, too few for a curve. Give {_FEWEST} or more.")
        if self.epoch < 0:
            raise UserError(f"--epoch is {self.epoch}, but the first epoch is 0.")

    @property
    def rates(self) -> list[float]:
        """The rate of each step: equal factors from `start` to `end`, both included."""
        return np.geomspace(self.start, self.end, self.steps).tolist()


class RangeTest(Callback):
    """Multiplies every group's planned rate, so that `optimizer.lr` would be `rates[step]`, and keeps the losses.

    As fastai's finder, a step's rate stands beside the loss of the weights before that step.
    """

    def __init__(self, rates: Sequence[float], lr: float, tell: Tell | None = None) -> None:
        self.rates, self.lr, self.tell = rates, lr, tell
        self.losses: list[float] = []
        self._planned: list[float] = []
        self._loss = 0.0

    @property
    def curve(self) -> Curve:
        """What was seen so far."""
        seen = len(self.losses)
        return Curve(tuple(self.rates[:seen]), tuple(self.losses), len(self.rates))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        self._planned = [group["lr"] for group in trainer.optimizers[0].param_groups]

    # At every batch, since the scheduler that the module brings along sets its own rate after each step.
    def on_train_batch_start(  # noqa: D102
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        factor = self.rates[len(self.losses)] / self.lr
        for group, planned in zip(trainer.optimizers[0].param_groups, self._planned, strict=True):
            group["lr"] = planned * factor

    def on_train_batch_end(  # noqa: D102
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss += float(outputs["loss"])  # already divided by the batches of a step
        if trainer.global_step == len(self.losses):
            return
        self.losses.append(self._loss)
        self._loss = 0.0
        if self.tell is not None:
            self.tell(self.curve)
        if self.curve.exploded or len(self.losses) == len(self.rates):
            trainer.should_stop = True


def range_test(prepared: Prepared, spec: RangeSpec, tell: Tell | None = None) -> Curve:
    """Train a copy of the prepared network at rising rates, with the run's own loss, order, augmentation and precision.

    One device does the work of all: the batches of several become accumulated ones, so that a step has as many images.
    Neither the prepared network nor the random state changes, and nothing is written. Raises UserError where the
    stages that train in `spec.epoch` cannot be known before training.
    """
    quieten()
    alone = _alone(prepared, spec)
    test = RangeTest(spec.rates, alone.specs.optimizer.lr, tell)
    with _undone(), cpu_threads(alone.specs.trainer.threads), TemporaryDirectory() as folder:
        pl.seed_everything(alone.specs.seed, workers=True, verbose=False)
        trainer = build_trainer(alone.specs.trainer, Path(folder), [], None)
        # Nothing is validated, so that what waits for validation has no place here.
        trainer.callbacks = [test]  # pyright: ignore[reportAttributeAccessIssue]
        trainer.limit_val_batches = 0
        module = module_of(alone)
        module.ends_where_it_diverges = False  # the curve ends there, which is what the test is to find
        trainer.fit(module, datamodule=data_of(alone))
    return test.curve


def _alone(prepared: Prepared, spec: RangeSpec) -> Prepared:
    """The run as one process does it, at constant rates, its stages those of one epoch, on a copy of its network."""
    built, specs = prepared.built, prepared.specs
    if spec.epoch and any(row.turn for row in built.plan.rows):
        raise UserError(
            f"--epoch is {spec.epoch}, but with strategy.thaw.when=plateau training alone tells what trains then. "
            "Leave it out, or give strategy.thaw.when=every."
        )
    plan = built.plan.pinned(built.plan.training(spec.epoch))
    world = specs.trainer.devices * specs.trainer.nodes
    trainer = replace(
        specs.trainer, devices=1, nodes=1, accumulate=specs.trainer.accumulate * world, epochs=spec.steps,
        early_stopping=None,
    )  # fmt: skip
    return replace(
        prepared,
        specs=replace(specs, trainer=trainer, schedule=ScheduleSpec("constant")),
        built=replace(built, network=copy.deepcopy(built.network), plan=plan),
    )


@contextmanager
def _undone() -> Iterator[None]:
    """Leave the process's random state and torch's deterministic mode as they were."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    with isolate_rng():
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
