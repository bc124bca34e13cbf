"""A moving average of the weights, which is what validation, the best epoch and the test see."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from thawlab.module import TransferModule


class Averaging(Callback):
    """Keeps average = decay x average + (1 - decay) x weights over the optimizer's steps, from the first weights on.

    From each validation to the next training epoch the network holds the averages, so that what is measured is what
    `Best` keeps; in between it holds the weights that train. Lightning's WeightAveraging was tried first:
    a checkpoint of weights alone lacks its averages, and its arithmetic moves what did not train in the last bit.
    Buffers are averaged as well, whole numbers copied. The state is plain tensors, for a run to go on from.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.away: dict[str, Tensor] = {}  # the averages or, while those are in the network, the weights that train
        self.shown = False  # whether the network holds the averages
        self.steps = 0
        self._untouched: Callable[[], set[str]] = set  # what has not changed is its own average, and is not saved

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        assert isinstance(pl_module, TransferModule)
        self._untouched = pl_module.untouched
        self.away = {
            name: self.away[name].to(tensor.device) if name in self.away else tensor.clone()
            for name, tensor in _tensors(pl_module.network).items()
        }

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        if self.shown:
            self._swap(_network(pl_module))

    def on_train_batch_end(  # noqa: D102
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self.steps:  # accumulated batches make one step together
            self.steps = trainer.global_step
            self._take_in(_network(pl_module))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: D102
        if self.away and not self.shown:
            self._swap(_network(pl_module))

    @contextmanager
    def trained(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network with the weights that trained, for the audit: an average must not hide what they did."""
        if not self.shown:
            yield network
            return
        self._swap(network)
        try:
            yield network
        finally:
            self._swap(network)

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        untouched = self._untouched()
        kept = {name: tensor for name, tensor in self.away.items() if f"network.{name}" not in untouched}
        return {"away": kept, "shown": self.shown, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self.away, self.shown, self.steps = dict(state_dict["away"]), state_dict["shown"], state_dict["steps"]

    @torch.no_grad()
    def _take_in(self, network: nn.Module) -> None:
        for name, tensor in _tensors(network).items():
            average = self.away[name]
            if not tensor.is_floating_point():
                average.copy_(tensor)
                continue
            moved = average.mul(self.decay).add_(tensor, alpha=1 - self.decay)
            # What did not train stays as it is to the last bit: rounding would move it.
            average.copy_(torch.where(average == tensor, tensor, moved))

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        for name, tensor in _tensors(network).items():
            if name not in self.away:  # of a run whose training had ended when it went on: what had not changed
                continue
            there = tensor.clone()
            tensor.copy_(self.away[name])
            self.away[name].copy_(there)
        self.shown = not self.shown


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """What is saved of a network, each tensor once although modules may share it: swapped twice, it would be back."""
    once = dict(network.named_parameters()) | dict(network.named_buffers())
    saved = network.state_dict().keys()
    return {name: tensor.detach() for name, tensor in once.items() if name in saved}


def _network(module: pl.LightningModule) -> nn.Module:
    assert isinstance(module, TransferModule)
    return module.network
