"""Less memory for more seconds: activations are dropped after the forward pass and computed again in the backward."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from thawlab.errors import UserError
from thawlab.stages import Stage
from thawlab.tracing import Truncated


def checkpoint_activations(network: nn.Module, body: Sequence[Stage]) -> None:
    """Let a network's blocks recompute their activations: as timm does it, else one stage's modules after the other.

    The weights after training are the same to the bit: torch puts the random state of dropout and drop-path back, and
    BatchNorm counts a batch once. Raises UserError for a cut network, which stops within a block, and for an encoder
    that has its head on its pooled features.
    """
    if isinstance(network, Truncated):
        raise _refusal(network)
    if not _as_timm_does(network):
        _by_stages(network, body)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            counting = _Counting()
            module.register_forward_pre_hook(counting.stop)
            module.register_forward_hook(counting.resume, always_call=True)


def _refusal(network: Truncated) -> UserError:
    if not network.cut:
        return UserError(
            f"trainer.checkpointing is true, but {type(network.body).__name__} has no classifier: its head is put on "
            "its pooled features, and such a network's blocks are not computed again. Leave trainer.checkpointing out."
        )
    return UserError(
        "trainer.checkpointing is true, but strategy.keep cuts the network, and a cut network stops midway: its last "
        "block could not be computed again. Keep all of it (strategy.keep=1.0), or leave trainer.checkpointing out."
    )


def _as_timm_does(network: nn.Module) -> bool:
    try:
        network.set_grad_checkpointing(True)  # pyright: ignore[reportCallIssue]
    except (AttributeError, AssertionError, NotImplementedError):  # some of timm's refuse it
        return False
    return True


def _by_stages(network: nn.Module, body: Sequence[Stage]) -> None:
    for path in (path for stage in body for path in stage.modules):
        module = network.get_submodule(path)
        if any(True for _ in module.children()) and any(True for _ in module.parameters()):
            module.forward = functools.partial(_recomputed, module)


def _recomputed(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = functools.partial(type(module).forward, module)
    if not (module.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


class _Counting:
    """Leaves a BatchNorm's running statistics as they are in the backward pass: the batch is in them already.

    They must still be handed over: a recomputation has to save as many tensors as the first computation did.
    """

    def __init__(self) -> None:
        self.kept: tuple[float | None, Tensor | None] | None = None

    def stop(self, module: _BatchNorm, _: Any) -> None:
        if torch._C._current_graph_task_id() != -1:  # as torch.utils.checkpoint tells the backward pass
            self.kept = (module.momentum, module.num_batches_tracked)
            module.momentum, module._buffers["num_batches_tracked"] = 0.0, None

    def resume(self, module: _BatchNorm, *_: Any) -> None:
        if self.kept is not None:
            module.momentum, module._buffers["num_batches_tracked"] = self.kept
            self.kept = None
