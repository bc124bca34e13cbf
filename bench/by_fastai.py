"""fastai, in an environment of its own: `fit_one_cycle` over its `ImageDataLoaders`."""

import warnings
from typing import Any

import torch
from fastai.vision.all import (
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    accuracy,
    params,
    set_seed,
)
from torch import nn

from bench.networks import parts
from bench.request import BATCH, DECAY, RATE, Outcome, Request


def work(request: Request) -> Outcome:
    """fastai's Adam decouples its weight decay: it is AdamW."""
    warnings.simplefilter("ignore")
    set_seed(request.seed)
    data = ImageDataLoaders.from_folder(
        request.images,
        train="train",
        valid="val",
        item_tfms=Resize(request.size),
        batch_tfms=Normalize.from_stats(request.mean, request.std),
        bs=BATCH,
        device=torch.device(request.device),
    )
    frozen, trained = parts(request)
    learner = Learner(
        data,
        nn.Sequential(frozen, trained),
        loss_func=CrossEntropyLossFlat(),
        metrics=accuracy,
        splitter=lambda model: [params(part) for part in model if params(part)],
        wd=DECAY,
        path=request.folder,
    )
    if request.task != "full":
        learner.freeze()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(request.epochs, RATE)
    steps = len(learner.recorder.losses)
    return Outcome(float(learner.recorder.values[-1][-1]), steps, _count(trained))


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
