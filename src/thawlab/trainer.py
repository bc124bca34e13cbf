"""Lightning's Trainer, set up for a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import Logger

from thawlab.errors import UserError, nearest
from thawlab.scores import LOWER_IS_BETTER, MAIN, SCORES

ACCELERATORS = ("cpu", "gpu")
SAMPLINGS = ("plain", "balanced")
AUTO = "auto"  # batch_size: as many images as memory holds; precision: as `resolved` says
LARGE = 1e8  # forward FLOPs for an image; smaller networks gain nothing from bf16 on a CPU
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class TrainerSpec:
    """How long, on what, how exactly; see `schema.TrainerConfig`."""

    accelerator: str = "cpu"
    devices: int = 1
    nodes: int = 1
    precision: str = "fp32"
    channels_last: bool = True
    epochs: int = 20
    batch_size: int | str = 32
    accumulate: int = 1
    clip_norm: float | None = None
    sampling: str = "plain"
    ema_decay: float | None = None
    checkpointing: bool = False
    early_stopping: int | None = None
    monitor: str | None = None
    workers: int = 0
    threads: int | None = None
    deterministic: bool = True

    def __post_init__(self) -> None:
        for key, value, choices in (
            ("accelerator", self.accelerator, ACCELERATORS),
            ("precision", self.precision, (AUTO, *PRECISIONS)),
            ("monitor", self.monitor, tuple(f"val/{name}" for names in SCORES.values() for name in names)),
            ("sampling", self.sampling, SAMPLINGS),
        ):
            if value is not None and value not in choices:
                raise UserError(f"trainer.{key} is {value!r}. {nearest(value, choices)}")
        for key in ("devices", "nodes", "epochs", "batch_size", "accumulate", "early_stopping", "threads"):
            value = getattr(self, key)
            if isinstance(value, int) and value < 1:
                raise UserError(f"trainer.{key} is {value}. Give 1 or more.")
        if self.workers < 0:
            raise UserError(f"trainer.workers is {self.workers}. Give 0 (load in the main process) or more.")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise UserError(
                f"trainer.clip_norm is {self.clip_norm}, but a norm is positive. Leave it out for no clipping."
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UserError(
                f"trainer.ema_decay is {self.ema_decay}, but it is the share of itself that the average keeps at each "
                "step: 0 < x < 1. Give, for instance, 0.99, or leave it out for no average."
            )
        self._check_devices()

    def _check_devices(self) -> None:
        parts = self.devices * self.nodes * self.accumulate
        if not isinstance(self.batch_size, int):
            if self.batch_size != AUTO:
                raise UserError(f"trainer.batch_size is {self.batch_size!r}. Give a number of images, or auto.")
        elif self.batch_size % parts:
            raise UserError(
                f"trainer.batch_size is {self.batch_size}, but it counts all images of a step, over {self.devices} "
                f"devices x {self.nodes} nodes x {self.accumulate} accumulated batches. Give a multiple of {parts}."
            )
        if self.accelerator == "gpu" and torch.cuda.device_count() < self.devices:
            raise UserError(
                f"trainer.accelerator is gpu with trainer.devices={self.devices}, but this machine shows "
                f"{torch.cuda.device_count()} CUDA devices. Take trainer=cpu, or fewer devices."
            )
        if self.precision == "fp16" and self.accelerator == "cpu":
            raise UserError("trainer.precision is fp16, which needs a GPU. On a CPU take trainer.precision=bf16.")

    def for_task(self, task: str) -> "TrainerSpec":
        """The same with a monitor that the task (`Splits.task`) has; UserError for one that it lacks."""
        if self.monitor is None:
            return replace(self, monitor=f"val/{MAIN[task]}")
        known = [f"val/{name}" for name in SCORES[task]]
        if self.monitor not in known:
            raise UserError(
                f"trainer.monitor is {self.monitor!r}, but the images are {task}, which has no such score. "
                f"{nearest(self.monitor, known)}"
            )
        return self

    def resolved(self, flops: Callable[[], int]) -> "TrainerSpec":
        """The same with a precision in place of `auto`; `flops` tells a network's forward FLOPs for an image.

        bf16 mixed precision where the processor has instructions for it and the network is `LARGE` enough to gain, and
        on GPUs that compute in it; else fp32.
        """
        if self.precision != AUTO:
            return self
        small = self.accelerator == "cpu" and computes_in_bf16("cpu") and flops() < LARGE
        return replace(self, precision="bf16" if computes_in_bf16(self.accelerator) and not small else "fp32")

    @property
    def monitored(self) -> str:
        """The validation score that says which epoch was best; before `for_task`, that of one class each."""
        return self.monitor or f"val/{MAIN['multiclass']}"

    @property
    def batch(self) -> int:
        """Images of one forward batch, over all devices; AssertionError where `auto` was not resolved."""
        assert isinstance(self.batch_size, int)
        return self.batch_size // self.accumulate

    @property
    def monitor_mode(self) -> str:
        """Whether the monitored score is better when `max` or `min`."""
        return "min" if self.monitored.rpartition("/")[2] in LOWER_IS_BETTER else "max"


def computes_in_bf16(accelerator: str) -> bool:
    """Whether the device has instructions for bfloat16: emulated, it is slower than float32."""
    if accelerator == "gpu":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    told = torch.cpu.get_capabilities()
    return bool(told.get("avx512_bf16") or told.get("amx_bf16"))


def build_trainer(
    spec: TrainerSpec,
    folder: Path,
    callbacks: Sequence[Callback],
    logger: Logger | None,
    plugins: Sequence[CheckpointIO] = (),
) -> pl.Trainer:
    """A Trainer. It saves nothing by itself."""
    extra: list[Callback] = []
    if spec.early_stopping is not None:
        extra.append(EarlyStopping(spec.monitored, mode=spec.monitor_mode, patience=spec.early_stopping))
    return pl.Trainer(
        accelerator=spec.accelerator,
        devices=spec.devices,
        num_nodes=spec.nodes,
        strategy=_strategy(spec),
        precision=PRECISIONS[spec.precision],  # pyright: ignore[reportArgumentType]
        max_epochs=spec.epochs,
        accumulate_grad_batches=spec.accumulate,
        gradient_clip_val=spec.clip_norm,
        deterministic=spec.deterministic,
        callbacks=[*extra, *callbacks],
        logger=logger or False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # ours deals out the global order itself
        enable_model_summary=False,
        enable_progress_bar=False,  # a bar of ours is among the callbacks
        enable_checkpointing=False,
        plugins=list(plugins),
        default_root_dir=folder,
    )


def _strategy(spec: TrainerSpec) -> Any:
    """DDP over several devices, aware of frozen parameters.

    DDP leaves what is frozen when it wraps out of its reducer, and gradients would differ between ranks after a thaw:
    the module freezes after wrapping, and DDP is told to look for parameters without a gradient.
    """
    if spec.devices * spec.nodes == 1:
        return "auto"
    from pytorch_lightning.strategies import DDPStrategy

    backend = "nccl" if spec.accelerator == "gpu" else "gloo"
    return DDPStrategy(find_unused_parameters=True, process_group_backend=backend)
