"""Apply a plan to a network at an epoch: what trains, how norms run, which rate each parameter has."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from thawlab.stages import Stage
from thawlab.strategy import Plan


def set_trainable(network: nn.Module, stages: Sequence[Stage], training: Collection[str]) -> None:
    """Let exactly the parameters of the stages named in `training` require gradients."""
    parameters = dict(network.named_parameters())
    for stage in stages:
        for name in stage.parameters:
            parameters[name].requires_grad_(stage.name in training)


def set_modes(network: nn.Module, stages: Sequence[Stage], training: Collection[str], norm: str) -> None:
    """Put trained stages in training mode and frozen ones in evaluation mode, dropout included.

    A frozen stage is a fixed function of the image. Its norms keep the source's statistics: `requires_grad=False`
    alone lets BatchNorm's running statistics drift. With `norm="adapt"` frozen BatchNorms alone stay in training
    mode and take the target's statistics. `nn.Module.train()` undoes this, so it is called after each.
    """
    for stage in stages:
        for name in stage.modules:
            module = network.get_submodule(name)
            module.train(stage.name in training)
            if stage.name not in training and norm == "adapt":
                for part in module.modules():
                    if isinstance(part, _BatchNorm):
                        part.train()


def adapting(network: nn.Module, stages: Sequence[Stage]) -> list[str]:
    """Names of the stages with BatchNorms, which `norm="adapt"` moves although the stage is frozen."""
    return [
        stage.name
        for stage in stages
        if any(isinstance(m, _BatchNorm) for name in stage.modules for m in network.get_submodule(name).modules())
    ]


def optimized(network: nn.Module, stages: Sequence[Stage], groups: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Names of the stages of which every parameter is in an optimizer's `groups`, compared by identity.

    By value, a norm's weight of ones would pass for another's.
    """
    known = {id(parameter) for group in groups for parameter in group["params"]}
    parameters = dict(network.named_parameters())
    return frozenset(s.name for s in stages if all(id(parameters[name]) in known for name in s.parameters))


def parameter_groups(
    network: nn.Module, stages: Sequence[Stage], plan: Plan, weight_decay: float
) -> list[dict[str, Any]]:
    """Every parameter in its stage's group from the first step, at the plan's rate; norms and biases without decay.

    Groups made later break schedulers and resuming. A frozen parameter has no gradient, so that the optimizer
    leaves it bit-identical and keeps no state for it. The rate stands in `lr` itself: torch's schedulers ignore
    timm's `lr_scale`.
    """
    parameters = dict(network.named_parameters())
    groups = []
    for stage in stages:
        own = [parameters[name] for name in stage.parameters]
        for suffix, decays, decay in (("", True, weight_decay), ("/no_decay", False, 0.0)):
            members = [p for p in own if (p.ndim > 1) == decays]
            if members:
                rate = plan.row(stage.name).rate
                groups.append({"name": stage.name + suffix, "params": members, "lr": rate, "weight_decay": decay})
    return groups
