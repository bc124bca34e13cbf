"""`full`, per optimizer step: thawlab against a hand-written PyTorch loop, same work, side by side in one run.

    python bench/step.py [--rounds 5] [--device cpu|cuda]

Both train all of resnet18 on about 500 made images at 96 pixels, batches of 32, AdamW, with the same precision and
memory format. The two take turns; a round's ratio compares neighbours in time, and the median is given.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytorch_lightning as pl
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from thawlab import compose, training
from thawlab.prepare import Prepared, prepare
from thawlab.schema import register

OVERRIDES = [
    "backbone=resnet18", "backbone.size=96", "strategy=full", "dataset=shapes", "dataset.images=640",
    "dataset.per_class=null", "dataset.test_share=0.1", "dataset.val_share=0.1", "logger=none", "logger.progress=off",
    "schedule=constant", "trainer.epochs=2", "trainer.batch_size=32",
]  # fmt: skip


class EpochClock(pl.Callback):
    """Seconds of each training epoch, validation left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.steps = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = _now()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(_now() - self._start)
        self.steps = trainer.num_training_batches


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def ours(prepared: Prepared) -> float:
    """Seconds per step of the second epoch, when everything is warm."""
    clock = EpochClock()
    module, data = training._module(prepared), training._data(prepared)
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = training._trainer(prepared, Path(folder), [clock], None)
        trainer.fit(module, datamodule=data)
    return clock.seconds[1] / clock.steps


def by_hand(prepared: Prepared, device: torch.device) -> float:
    """The loop that anyone would write, over the same preprocessed images."""
    built, spec = prepared.built, prepared.specs.trainer
    images = torch.stack(
        [built.preprocessing(prepared.splits.train.load(i)) for i in range(len(prepared.splits.train))]
    )
    labels = torch.as_tensor(prepared.splits.train.labels)
    loader = DataLoader(TensorDataset(images, labels), batch_size=spec.batch_size, shuffle=True, drop_last=True)
    network = built.network.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _epoch in range(spec.epochs):
        start = _now()
        for batch, target in loader:
            batch = batch.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
                logits = network(batch)
                loss = functional.cross_entropy(logits, target.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = _now() - start
    return seconds / len(loader)


def measure(rounds: int, device: str, precision: str, weights: Path) -> dict[str, float]:
    """Medians over the rounds, in milliseconds a step, and the ratio's range."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    overrides = [
        *OVERRIDES,
        f"trainer.precision={precision}",
        f"trainer.accelerator={accelerator}",
        "trainer.deterministic=false",
    ]
    (job,) = compose.jobs([*overrides, f"backbone.weights={weights}"], multirun=False)
    pairs = []
    for round_ in range(rounds + 1):
        ours_seconds = ours(prepare(job.config))
        hand_seconds = by_hand(prepare(job.config), torch.device(device))
        if round_:  # the first warms caches and clocks
            pairs.append((ours_seconds, hand_seconds))
    return {
        "ours_ms": 1000 * statistics.median(pair[0] for pair in pairs),
        "by_hand_ms": 1000 * statistics.median(pair[1] for pair in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        "lowest": min(a / b for a, b in pairs),
        "highest": max(a / b for a, b in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    register()
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {os.cpu_count()} cores"
    print(f"{device}, torch {torch.__version__}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}")
    print("full, resnet18, 96 px, batch 32: milliseconds per step, median of", arguments.rounds, "rounds")
    with tempfile.TemporaryDirectory() as folder:
        # Which weights a step starts from does not change its cost; a file of random ones needs no network.
        weights = Path(folder) / "resnet18.safetensors"
        save_file(timm.create_model("resnet18").state_dict(), weights)
        results = {p: measure(arguments.rounds, arguments.device, p, weights) for p in ("fp32", "bf16")}
    for precision, found in results.items():
        print(
            f"  {precision}  thawlab {found['ours_ms']:7.1f}   by hand {found['by_hand_ms']:7.1f}   "
            f"ratio {found['ratio']:.3f} ({found['lowest']:.3f} to {found['highest']:.3f})"
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
