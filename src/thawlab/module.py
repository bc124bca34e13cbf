"""The LightningModule: a network under a plan."""

import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from thawlab.caching.reading import Stored
from thawlab.caching.shortcut import Shortcut
from thawlab.data.mixing import Mixing
from thawlab.diverging import Diverged
from thawlab.errors import UserError
from thawlab.evaluation import Predictions, evaluation
from thawlab.freezing import adapting, parameter_groups, set_modes, set_trainable
from thawlab.losses import Loss, LossSpec
from thawlab.optimizer import OptimizerSpec, build_optimizer
from thawlab.plateaus import Plateaus
from thawlab.schedule import ScheduleSpec, build_scheduler
from thawlab.scores import MeanLoss
from thawlab.stages import Stage
from thawlab.strategy import Plan
from thawlab.tta import mean_of_views

# Images (n, channels, h, w) or, in their place, what frozen stages gave for them; labels (n,) or (n, classes); indices.
Batch = tuple[Tensor | Stored, Tensor, Tensor]


class TransferModule(pl.LightningModule):
    """Trains a network as its plan says; which stages train in an epoch is computed from (plan, epoch)."""

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Stage],
        plan: Plan,
        optimizer: OptimizerSpec,
        schedule: ScheduleSpec,
        classes: int,
        loss: Loss | None = None,
        task: str = "multiclass",
        channels_last: bool = False,
        plateaus: Plateaus | None = None,
        monitor: str = "val/accuracy",
        mixing: Mixing | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.network = network
        self.task = task
        self.stages = tuple(stages)
        self.plan = plan
        self.optimizer_spec = optimizer
        self.schedule_spec = schedule
        self.loss = loss or Loss(LossSpec(), task, classes)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.plateaus = plateaus or Plateaus(patience=1, higher_is_better=True)
        self.monitor = monitor
        self.mixing = mixing
        self.shortcut: Shortcut | None = None
        self.stages_trained: set[str] = set()  # those that took part in an epoch of this fit
        self.train_loss = MeanLoss()
        self.val, self.test = (evaluation(task, classes) for _ in range(2))
        self.predictions = Predictions()
        self._loss_sum: Tensor | None = None
        self._loss_count = 0
        self.ends_where_it_diverges = True
        self._unseen: Tensor | None = None  # the last step's loss, where looking at it at once would stall a GPU

    def training_now(self) -> frozenset[str]:
        """Names of the stages that train in the current epoch."""
        epoch = self.current_epoch if self._trainer is not None else 0
        return self.plan.training(epoch, self.plateaus.epochs)

    def thaws_now(self) -> bool:
        """Whether other stages train in this epoch than in the one before."""
        before = self.plan.training(max(0, self.current_epoch - 1), self.plateaus.epochs)
        return self.training_now() != before

    def train(self, mode: bool = True) -> "TransferModule":
        """Set the mode, keeping frozen stages as the plan says: Lightning calls this more often than it seems."""
        super().train(mode)
        if mode:
            set_modes(self.network, self.stages, self.training_now(), self.plan.norm)
        return self

    def forward(self, images: Tensor | Stored) -> Tensor:
        """Logits (n, classes), float32, of images (n, channels, height, width) or of what frozen stages gave."""
        if isinstance(images, Stored):
            assert self.shortcut is not None
            return _logits(self.shortcut(images)).float()
        return _logits(self.network(images.contiguous(memory_format=self.memory_format))).float()

    def on_train_start(self) -> None:
        """Go on within an epoch, which Lightning does not begin again."""
        if self.trainer.fit_loop.restarted_mid_epoch:
            self._thaw()

    def on_train_epoch_start(self) -> None:
        """Thaw: after DDP has wrapped the model with every parameter trainable, so that its reducer knows them all."""
        self._loss_sum, self._loss_count = None, 0
        self._thaw()

    def _thaw(self) -> None:
        training = self.training_now()
        set_trainable(self.network, self.stages, training)
        self.train()
        self.stages_trained |= training
        self._begin("train", training, lambda epoch: self.plan.training(epoch, self.plateaus.epochs))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw dropout and the like from (seed, epoch, batch, rank): a run that goes on draws the same."""
        place = (self.seed, self.current_epoch, batch_idx, self.global_rank)
        drawn = int(np.random.SeedSequence(place).generate_state(1)[0])
        torch.manual_seed(drawn)
        random.seed(drawn)
        np.random.seed(drawn)

    def on_validation_start(self) -> None:
        """Read what never changed so far from disk, where that pays; the best epoch is yet to come."""
        self._begin("val", self._moved(self.current_epoch), self._moved)

    def on_test_start(self) -> None:
        """As before validation, with whatever trained in any epoch: which one was best is behind."""
        if self.shortcut is not None:
            # Another seed or head has the same test images: they are worth keeping where the others were.
            passes = 2 if any(c.split == "val" and c.reason is None for c in self.shortcut.choices) else 1
            # The current epoch is by now the one after the last.
            self.shortcut.begin("test", self.current_epoch, self._moved(self.current_epoch - 1), lambda: passes)

    def _begin(self, split: str, moving: frozenset[str], at: Callable[[int], frozenset[str]]) -> None:
        """Make ready for the epochs from now on in which the same stages move."""
        if self.shortcut is not None:
            epochs = range(self.current_epoch, self.trainer.max_epochs or 0)
            alike = takewhile(lambda epoch: at(epoch) == moving, epochs)
            self.shortcut.begin(split, self.current_epoch, moving, lambda: sum(1 for _ in alike))

    def _moved(self, epoch: int) -> frozenset[str]:
        """Stages whose tensors may be others than before the first epoch: trained so far, or with adapting norms."""
        trained = frozenset().union(*(self.plan.training(e, self.plateaus.epochs) for e in range(epoch + 1)))
        return trained | self._adapting

    @cached_property
    def _adapting(self) -> frozenset[str]:
        return frozenset(adapting(self.network, self.stages)) if self.plan.norm == "adapt" else frozenset()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: D102
        images, labels, _indices = batch
        if self.mixing is not None:
            assert isinstance(images, Tensor)
            images, labels = self.mixing(images, labels, self.current_epoch, batch_idx, self.global_rank)
        self._look()
        loss = self.loss(self._logits_in_training(images), labels)
        self._unseen = loss.detach()
        if loss.device.type == "cpu":
            self._look()
        weighted = loss.detach() * len(labels)
        # Summed here, not through self.log, which would cost more than a small network's step.
        self._loss_sum = weighted if self._loss_sum is None else self._loss_sum + weighted
        self._loss_count += len(labels)
        return loss

    def _look(self) -> None:
        """Raise Diverged where the last step's loss is no number."""
        loss, self._unseen = self._unseen, None
        if self.ends_where_it_diverges and loss is not None and not torch.isfinite(loss):
            raise Diverged(f"the loss is {loss.item()}", self.current_epoch)

    def _logits_in_training(self, images: Tensor | Stored) -> Tensor:
        """Raises UserError for one image that has come down to one pixel where BatchNorm wants a variance."""
        try:
            return self(images)
        except ValueError as error:
            n = images.n if isinstance(images, Stored) else len(images)
            if n > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                "A training batch holds one image, but this network's BatchNorm takes its statistics over a batch and "
                "needs two. Give a larger trainer.batch_size: 2 or more on each device, in each accumulated batch."
            ) from error

    def validation_step(self, batch: Batch, _: int) -> None:  # noqa: D102
        images, labels, _indices = batch
        self.val.update(self(images), labels)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's scores, the training loss too: callbacks read them before `on_train_epoch_end` comes here."""
        self._log_train_loss()
        found = _named("val", self.val.scores())
        if not np.isfinite(found["val/loss"]):
            raise Diverged(f"the validation loss is {found['val/loss']}", self.current_epoch)
        self.log_dict(found)
        self.val.reset()
        self.plateaus.observe(found[self.monitor], self.current_epoch)

    def _log_train_loss(self) -> None:
        """The mean over the epoch's images; raises Diverged where it is not finite."""
        self._look()
        assert self._loss_sum is not None
        self.train_loss.update(self._loss_sum / self._loss_count, self._loss_count)
        mean = self.train_loss.compute()
        self.train_loss.reset()
        self.log("train/loss", mean)
        if not torch.isfinite(mean):
            raise Diverged(f"the loss is {mean.item()}", self.current_epoch)

    def test_step(self, batch: Batch, _: int) -> None:  # noqa: D102, PT019
        images, labels, indices = batch
        if isinstance(images, Tensor) and images.ndim == 5:
            logits = self._logits_of_views(images, labels.ndim == 2)
        else:
            logits = self(images)
        self.test.update(logits, labels)
        self.predictions.update(logits, labels, indices)

    def _logits_of_views(self, views: Tensor, multilabel: bool) -> Tensor:
        """Logits (n, classes) of the mean probabilities over views (n, views, c, h, w)."""
        logits = self(views.flatten(0, 1))
        return mean_of_views(logits.unflatten(0, views.shape[:2]), multilabel)

    def on_test_epoch_end(self) -> None:
        """Log the scores; what was found on each class and the predictions stay in their metrics, gathered by now."""
        self.log_dict(_named("test", self.test.scores()))
        self.predictions.gather()

    def configure_optimizers(self) -> Any:
        """Every parameter, in its stage's group, at its plan's rate, from the first step."""
        groups = parameter_groups(self.network, self.stages, self.plan, self.optimizer_spec.weight_decay)
        optimizer = build_optimizer(self.optimizer_spec, groups)
        steps = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": build_scheduler(self.schedule_spec, optimizer, steps)}

    def constant(self) -> set[str]:
        """Names of the tensors that no epoch of the plan changes, as in `state_dict`."""
        kept = [
            stage for stage in self.stages if not self.plan.row(stage.name).trains and stage.name not in self._adapting
        ]
        return {f"network.{name}" for name in self.network.state_dict() if any(stage.owns(name) for stage in kept)}

    def untouched(self) -> set[str]:
        """Names of the tensors that are so far as the source has them: what a checkpoint leaves out.

        Beside `constant`, the parameters of the stages that have not trained yet. Not their buffers, which a forward
        pass may change in any mode, nor what was drawn at random, whose last bits another machine may draw otherwise.
        """
        waiting = [stage for stage in self.stages if stage.name not in self.stages_trained]
        waiting = [stage for stage in waiting if self.plan.row(stage.name).weights == "source"]
        return self.constant() | {f"network.{name}" for stage in waiting for name in stage.parameters}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is as the source has it; keep how far this epoch has come, and what was decided."""
        untouched = self.untouched()
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in untouched}
        so_far = 0.0 if self._loss_sum is None else float(self._loss_sum)
        mine = torch.tensor([so_far, self._loss_count], dtype=torch.float64, device=self.device)
        checkpoint["module"] = {
            "plateaus": asdict(self.plateaus),
            "stages_trained": sorted(self.stages_trained),
            # A row for each process: the sum of the epoch's losses so far, over how many images.
            "losses": self._of_every_process(mine).reshape(-1, 2).tolist(),
            "shortcut": self.shortcut.state_dict() if self.shortcut is not None else None,
        }

    def _of_every_process(self, mine: Tensor) -> Tensor:
        return mine if self._trainer is None else self.trainer.strategy.all_gather(mine)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Complete what was saved by what had not changed, which this network has from its source."""
        state, own = checkpoint["module"], self.state_dict()
        self.stages_trained = set(state["stages_trained"])
        missing = set(own) - set(checkpoint["state_dict"])
        assert self.constant() <= missing <= self.untouched(), missing ^ self.untouched()
        # Some modules refuse a state without the versions of their formats, which a plain mapping lacks.
        complete = OrderedDict(own | checkpoint["state_dict"])
        complete._metadata = own._metadata  # pyright: ignore[reportAttributeAccessIssue]
        checkpoint["state_dict"] = complete
        self.plateaus = Plateaus(**state["plateaus"])
        total, count = state["losses"][self.global_rank]
        self._loss_sum = torch.tensor(total, dtype=torch.float32, device=self.device) if count else None
        self._loss_count = int(count)
        if self.shortcut is not None and state["shortcut"] is not None:
            self.shortcut.load_state_dict(state["shortcut"])


def check_finite(module: TransferModule) -> None:
    """Raise Diverged where a weight that trains is no number: such a state is not worth keeping."""
    module._look()
    constant = module.constant()
    for name, tensor in module.state_dict().items():
        if name not in constant and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Diverged(f"{name.removeprefix('network.')} holds numbers that are not finite", module.current_epoch)


def _logits(output: Any) -> Tensor:
    """Logits from what a network gives: some have auxiliary heads in training, and give the main head's logits first.

    Of torchvision these are Inception v3 and GoogLeNet. timm's give a tensor: those with a distillation head average
    the two themselves, unless told to distil.
    """
    return output[0] if isinstance(output, tuple | list) else output


def _named(split: str, scores: Mapping[str, float]) -> dict[str, float]:
    return {f"{split}/{name}": value for name, value in scores.items()}
