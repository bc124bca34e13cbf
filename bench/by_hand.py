"""The loop that a good engineer writes in plain PyTorch, over images or over what is frozen, computed once.

With `way="cached"` what is frozen is computed once and held in memory: pooled features under `freeze`, what layer1
gives under `partial`, decoded pixels under `full`.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.v2 import functional as F

from bench.images import CLASSES
from bench.networks import parts
from bench.request import BATCH, DECAY, RATE, Outcome, Request


class Pixels(Dataset[tuple[Tensor, int]]):
    """A split's images, uint8 (3, size, size)."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.items = [(str(p), i) for i, name in enumerate(CLASSES) for p in sorted((folder / name).glob("*.jpg"))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.items[index]
        image = decode_jpeg(read_file(path), mode=ImageReadMode.RGB)
        return F.center_crop(F.resize(image, [self.size], antialias=True), [self.size, self.size]), label


class Loop:
    """Two parts of a network, of which the second trains."""

    def __init__(self, request: Request) -> None:
        self.request, self.device = request, torch.device(request.device)
        self.frozen, self.trained = (part.to(self.device) for part in parts(request))
        for part in (self.frozen, self.trained):
            part.to(memory_format=torch.channels_last)
        self.frozen.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.trained.parameters(), lr=RATE, weight_decay=DECAY)
        self.mean, self.std = (
            torch.tensor(v, device=self.device)[:, None, None] * 255 for v in (request.mean, request.std)
        )
        self.phases = dict.fromkeys(("build", "train", "validate"), 0.0)
        self.steps = 0

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.request.precision == "bf16")

    def inputs(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return (pixels.float() - self.mean) / self.std

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        with self.autocast():
            return self.frozen(self.inputs(pixels))

    def train(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        self.frozen.eval()  # its BatchNorm keeps the source's statistics
        self.trained.train()
        for features, labels in batches:
            with self.autocast():
                loss = functional.cross_entropy(self.trained(features), labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.steps += 1

    @torch.no_grad()
    def accuracy(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        self.trained.eval()
        right = count = 0
        for features, labels in batches:
            with self.autocast():
                right += (self.trained(features).argmax(1) == labels).sum()
            count += len(labels)
        return float(right) / count


def work(request: Request) -> Outcome:
    loop = Loop(request)
    loaders = {split: _loader(request, split) for split in ("train", "val")}
    start = time.perf_counter()
    batches = (_cached if request.way == "cached" else _streamed)(loop, loaders)
    loop.phases["build"] = _since(start, loop.device)
    for _epoch in range(request.epochs):
        start = time.perf_counter()
        loop.train(batches("train"))
        loop.phases["train"] += _since(start, loop.device)
        start = time.perf_counter()
        accuracy = loop.accuracy(batches("val"))
        loop.phases["validate"] += _since(start, loop.device)
    trained = sum(parameter.numel() for parameter in loop.trained.parameters())
    return Outcome(accuracy, loop.steps, trained, loop.phases)


def _loader(request: Request, split: str) -> DataLoader[Any]:
    once = request.way == "cached"
    return DataLoader(
        Pixels(Path(request.images) / split, request.size),
        batch_size=BATCH,
        shuffle=split == "train" and not once,
        num_workers=os.cpu_count() or 1,
        persistent_workers=not once,
        pin_memory=request.device == "cuda",
    )


def _streamed(loop: Loop, loaders: dict[str, DataLoader[Any]]) -> Any:
    def batches(split: str) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, labels in loaders[split]:
            yield loop.features(pixels), labels.to(loop.device, non_blocking=True)

    return batches


def _cached(loop: Loop, loaders: dict[str, DataLoader[Any]]) -> Any:
    """What is frozen, done once; of `full`, decoding alone, since pixels take a quarter of the room of floats."""
    nothing = isinstance(loop.frozen, nn.Identity)
    loop.frozen.eval()
    held = {}
    for split, loader in loaders.items():
        found = [(pixels if nothing else loop.features(pixels), labels) for pixels, labels in loader]
        features, labels = (torch.cat(column) for column in zip(*found, strict=True))
        held[split] = features, labels.to(loop.device)

    def batches(split: str) -> Iterator[tuple[Tensor, Tensor]]:
        features, labels = held[split]
        order = torch.randperm(len(labels)) if split == "train" else torch.arange(len(labels))
        for chosen in order.to(features.device).split(BATCH):
            batch = features[chosen]
            if nothing:
                batch = loop.inputs(batch)
            elif batch.ndim == 4:
                batch = batch.contiguous(memory_format=torch.channels_last)
            yield batch, labels[chosen.to(labels.device)]

    return batches


def _since(start: float, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
