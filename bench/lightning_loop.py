"""A LightningModule and its loaders as Lightning's documentation writes them, under either of Lightning's names."""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from bench.networks import parts
from bench.request import BATCH, DECAY, RATE, Outcome, Request


def Module(pl: Any, request: Request) -> Any:
    """The network in the two parts that `BackboneFinetuning` asks for."""

    class TwoParts(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = parts(request)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.backbone(images))

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            images, labels = batch
            loss = functional.cross_entropy(self(images), labels)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            images, labels = batch
            logits = self(images)
            self.log("val_loss", functional.cross_entropy(logits, labels))
            self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.head.parameters(), lr=RATE, weight_decay=DECAY)

    return TwoParts()


def fit(pl: Any, request: Request, callbacks: list[Any]) -> Outcome:
    """Train with Lightning's defaults but for the progress bar and the summary, which only print."""
    warnings.simplefilter("ignore")
    module = Module(pl, request)
    trainer = pl.Trainer(
        accelerator="gpu" if request.device == "cuda" else "cpu",
        devices=1,
        max_epochs=request.epochs,
        callbacks=callbacks,
        precision="32-true" if request.precision == "fp32" else "bf16-mixed",
        default_root_dir=request.folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=16,
    )
    trainer.fit(module, _loader(request, "train"), _loader(request, "val"))
    accuracy = float(trainer.callback_metrics["val_accuracy"])
    trained = {id(p): p.numel() for group in trainer.optimizers[0].param_groups for p in group["params"]}
    return Outcome(accuracy, trainer.global_step, sum(trained.values()))


def _loader(request: Request, split: str) -> DataLoader[Any]:
    size = request.size
    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize(request.mean, request.std)])
    return DataLoader(
        datasets.ImageFolder(str(Path(request.images) / split), transform),
        batch_size=BATCH,
        shuffle=split == "train",
        num_workers=os.cpu_count() or 1,  # Lightning warns of fewer
        persistent_workers=True,
        pin_memory=request.device == "cuda",
    )
