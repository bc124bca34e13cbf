"""What a run costs: memory, arithmetic, seconds."""

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from thawlab.dataflow import copied_to

PHASES = ("data", "cache", "train", "validate", "test")
_PROCESS = Path("/proc/self")
_CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward


def reset_peak_memory(device: torch.device) -> bool:
    """Begin to measure the peak anew: one process may make several runs.

    False where the system cannot: then `peak_memory` speaks of the whole process so far.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        (_PROCESS / "clear_refs").write_text("5")  # proc(5): resets VmHWM, and nothing else
    except OSError:
        return False
    return True


def peak_memory(device: torch.device) -> int:
    """Peak since the reset, in bytes: of torch's tensors on a CUDA device, of the process (resident) elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = (_PROCESS / "status").read_text()
    except OSError:
        return _peak_by_getrusage()
    (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak) * 1024


def _peak_by_getrusage() -> int:
    import resource  # absent on Windows, like everything that it is asked for here

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True)
class FlopCount:
    """Floating-point operations for one image, a multiplication and an addition counted as two."""

    forward: int
    backward: int

    @property
    def train(self) -> int:
        """Of one training step's share."""
        return self.forward + self.backward


def count_flops(model: nn.Module, input_shape: tuple[int, ...], trainable_names: Collection[str]) -> FlopCount:
    """Count matrix products, convolutions and attention for one image of `input_shape` (channels, height, width).

    Backward covers what is really computed when exactly the named parameters train: nothing below the lowest of
    them. Counted on shapes alone, on a copy on the meta device; a model that asks for values there (which meta
    tensors lack) is counted on real CPU tensors, with the same result. Neither the model nor the random state changes.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            return _count(copied_to("meta", model), input_shape, trainable_names)
        except RuntimeError:
            return _count(copied_to("cpu", model), input_shape, trainable_names)


def _count(model: nn.Module, input_shape: tuple[int, ...], trainable_names: Collection[str]) -> FlopCount:
    device = next(model.parameters()).device
    model.train()
    for name, parameter in model.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(name in trainable_names)
    # Two images: BatchNorm in training mode refuses a single value per channel.
    images = torch.zeros(2, *input_shape, device=device)
    counter = FlopCounterMode(display=False, custom_mapping={_CONVOLUTION_BACKWARD: _convolution_backward_flops})
    # Plain attention, whose products are counted alike on every device.
    with sdpa_kernel(SDPBackend.MATH), torch.set_grad_enabled(bool(trainable_names)), counter:
        logits = model(images)
        forward = counter.get_total_flops()
        if logits.requires_grad:
            logits.sum().backward()
    return FlopCount(forward // 2, (counter.get_total_flops() - forward) // 2)


def _convolution_backward_flops(*args: Any, **_: Any) -> int:
    """Either gradient of a convolution takes as many operations as its forward pass.

    Torch's own formula forgets the groups in the weight's gradient, and so counts a depthwise convolution
    as many times over as it has channels.
    """
    grad_shape, input_shape, weight_shape = args[:3]
    transposed, output_mask = args[7], args[10]
    places = torch.Size((input_shape if transposed else grad_shape)[2:]).numel()
    forward = 2 * input_shape[0] * places * torch.Size(weight_shape).numel()
    return forward * (output_mask[0] + output_mask[1])


@dataclass
class Stopwatch:
    """Seconds by phase. A phase begun inside another pauses it, so that the phases never add up to more than `total`.

    >>> watch = Stopwatch()
    >>> with watch("train"):
    ...     with watch("validate"):
    ...         pass
    >>> watch.total >= watch.seconds["train"] + watch.seconds["validate"]
    True
    """

    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    def __post_init__(self) -> None:
        self._running: list[str] = []
        self._born = self._turned = self.clock()

    @property
    def total(self) -> float:
        """Seconds since the watch was made, inside phases or not."""
        return self.clock() - self._born

    def start(self, phase: str) -> None:
        """Begin a phase; KeyError for one that is not in `PHASES`."""
        if phase not in self.seconds:
            raise KeyError(phase)
        self._turn()
        self._running.append(phase)

    def stop(self, phase: str) -> None:
        """End a phase and whatever an interruption left open inside it; ValueError where it is not running."""
        if phase not in self._running:
            raise ValueError(f"{phase} is stopped, but was not started")
        self._turn()
        while self._running.pop() != phase:
            pass

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Time a block."""
        self.start(phase)
        try:
            yield
        finally:
            self.stop(phase)

    def _turn(self) -> None:
        """Credit the time since the last turn to the innermost running phase."""
        now = self.clock()
        if self._running:
            self.seconds[self._running[-1]] += now - self._turned
        self._turned = now
