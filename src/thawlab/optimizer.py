"""The optimizers on offer, over a plan's parameter groups: timm's whole list, of which torch's are a part."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import torch
from timm.optim import (
    create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage]
    get_optimizer_class,  # pyright: ignore[reportPrivateImportUsage]
    get_optimizer_info,  # pyright: ignore[reportPrivateImportUsage]
    list_optimizers,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from torch.nn import Parameter

from thawlab.errors import UserError, nearest

LOOKAHEAD = "lookahead_"
_COMPILES = (
    "it compiles its step anew for each shape of weight, which takes minutes and a C++ compiler, and draws random "
    "numbers that a resumed run would not draw again"
)
# Name, or the package that holds the class -> why not. tests/test_optimizer.py tries all of timm's others.
REFUSED = {
    "adahessian": "it needs second derivatives, for which every step would have to keep its graph",
    "kron": _COMPILES,
    "kronw": _COMPILES,
    "kronc": _COMPILES,
    "apex": "it is NVIDIA's apex's, which this program does not install",
    "bitsandbytes": "it is bitsandbytes', which this program does not install",
}
# timm's name -> arguments by which the name means what it means in torch: timm's "sgd" is Nesterov's.
_AS_IN_TORCH = {"sgd": {"nesterov": False}}
_OUR_KEYS = ("lr", "weight_decay", "momentum")
_OWN_RATES = ("relative_step", "warmup_init", "adamw_lr")  # of Adafactor and Muon
_COMMON = ("adamw", "sgd", "rmsprop", "lion")


@dataclass(frozen=True)
class OptimizerSpec:
    """How the weights are stepped; see `schema.OptimizerConfig`."""

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_name()
        if self.lr <= 0:
            raise UserError(f"optimizer.lr is {self.lr}, but a rate is positive. Give, for instance, 0.001.")
        if self.weight_decay < 0:
            raise UserError(
                f"optimizer.weight_decay is {self.weight_decay}, but it cannot be negative. Give 0 for none."
            )
        if not 0 <= self.momentum < 1:
            raise UserError(f"optimizer.momentum is {self.momentum}. Give 0 (none) or more, below 1.")
        if self.momentum != type(self).momentum and not get_optimizer_info(self.base).has_momentum:
            raise UserError(
                f"optimizer.momentum is {self.momentum}, but {self.name} takes none. Leave it out, or take "
                "optimizer=sgd or optimizer=rmsprop."
            )
        self._check_options()

    @property
    def base(self) -> str:
        """The optimizer's name without `lookahead_`, which wraps any (Zhang et al. 2019)."""
        return self.name.removeprefix(LOOKAHEAD)

    def _check_name(self) -> None:
        if self.base not in list_optimizers():
            close = get_close_matches(self.name, names())
            raise UserError(
                f"optimizer.name is {self.name!r}. {nearest(self.name, [*close, *_COMMON])} "
                "And what else timm.optim.list_optimizers() names."
            )
        if reason := refusal(self.base):
            raise UserError(
                f"optimizer.name is {self.name!r}, which cannot be used here: {reason}. Take adamw or lion."
            )

    def _check_options(self) -> None:
        for key in self.options:
            if key in _OUR_KEYS:
                raise UserError(f"optimizer.options.{key} is set, but it has a key of its own: set optimizer.{key}.")
            if key in _OWN_RATES:
                raise UserError(
                    f"optimizer.options.{key} is set, but {self.name} would then choose the rates itself, which the "
                    "plan gives each stage. Leave it out."
                )
            if key not in (known := arguments(self.base)):
                raise UserError(
                    f"optimizer.options.{key} is set, but {self.name} has no such argument. {nearest(key, known)}"
                )
            self._check_length(key)
        try:
            build_optimizer(self, [{"params": [Parameter(torch.zeros(1, 1))], "lr": self.lr}])
        except Exception as error:  # constructors raise whatever reading a strange value raises
            told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise UserError(
                f"optimizer.options is {dict(self.options)}, with optimizer.momentum={self.momentum}, but {self.name} "
                f"refuses: {told}. Mend the value."
            ) from error

    def _check_length(self, key: str) -> None:
        """Some optimizers unpack their numbers at the first step only."""
        value = self.options[key]
        usual = inspect.signature(get_optimizer_class(self.base, bind_defaults=False)).parameters[key].default
        if isinstance(value, list | tuple) and isinstance(usual, tuple) and len(value) != len(usual):
            raise UserError(
                f"optimizer.options.{key} is {list(value)}, but {self.name} takes {len(usual)} numbers there. Give, "
                f"for instance, {list(usual)}."
            )


def names() -> list[str]:
    """Every optimizer of timm's that can be used here."""
    return [name for name in list_optimizers() if refusal(str(name)) is None]  # pyright: ignore[reportReturnType]


def refusal(name: str) -> str | None:
    """Why one of timm's optimizers cannot be used here; None: it can."""
    kind = get_optimizer_info(name).opt_class
    package = kind.partition(".")[0] if isinstance(kind, str) else ""
    return REFUSED.get(name) or REFUSED.get(package)


def arguments(name: str) -> list[str]:
    """What an optimizer takes besides parameters and what has a key of its own in the config."""
    kind = get_optimizer_class(name, bind_defaults=False)
    return [key for key in inspect.signature(kind).parameters if key not in ("params", *_OUR_KEYS, *_OWN_RATES)]


def build_optimizer(spec: OptimizerSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """An optimizer over `groups`, each of which carries its own `lr` and `weight_decay`.

    Built by timm, which knows what each takes, but over our groups: timm's own would put the plan's rates into
    `lr_scale`, which torch's schedulers ignore.
    """
    options: dict[str, Any] = dict(_AS_IN_TORCH.get(spec.base, {}))
    options |= {key: tuple(value) if isinstance(value, list) else value for key, value in spec.options.items()}
    options |= (fused := _fused(spec, groups))
    optimizer = create_optimizer_v2(
        groups, spec.name, lr=spec.lr, weight_decay=spec.weight_decay, momentum=spec.momentum, **options
    )
    if fused:
        # A GradScaler's scaling could be undone within the step, for which Lightning refuses to clip: here none scales.
        optimizer._step_supports_amp_scaling = False  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.register_step_pre_hook(_lay_gradients)
    for group in optimizer.param_groups:
        # "Corrected" decay is lr^2 / peak lr: each stage has a peak of its own, and timm would take the head's for all.
        if "max_lr_snapshot" in group:
            group["max_lr_snapshot"] = group["lr"]
    return optimizer


def _fused(spec: OptimizerSpec, groups: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """On a CPU, torch's one-pass step where it has one: a third of the time, a thirtieth where most is frozen.

    torch takes it by itself nowhere. On a GPU its own choice stays, which works with clipping under fp16 too.
    """
    kind = get_optimizer_class(spec.base, bind_defaults=False)
    chosen = {"fused", "foreach", "differentiable"} & spec.options.keys()
    if chosen or not kind.__module__.startswith("torch.") or "fused" not in arguments(spec.base):
        return {}
    return {"fused": True} if all(_plain(weight) for group in groups for weight in group["params"]) else {}


def _plain(weight: Tensor) -> bool:
    """On the CPU, without gaps or overlaps in its memory, which the fused step walks through from end to end."""
    return weight.device.type == "cpu" and torch.empty_like(weight, device="meta").stride() == weight.stride()


def _lay_gradients(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Bring gradients to the memory format of their weights: torch's fused step takes that for granted, unchecked.

    Autograd sees to it; whoever sets a gradient by hand need not.
    """
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None and weight.grad.stride() != weight.stride():
                weight.grad = torch.empty_like(weight).copy_(weight.grad)
