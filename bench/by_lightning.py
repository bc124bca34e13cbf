"""Lightning's own `BackboneFinetuning`, which never unfreezes here, over torchvision's `ImageFolder`."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BackboneFinetuning

from bench.lightning_loop import fit
from bench.request import Outcome, Request


def work(request: Request) -> Outcome:
    """`full` freezes nothing, and so is Lightning's Trainer alone."""
    never = BackboneFinetuning(unfreeze_backbone_at_epoch=request.epochs + 1)
    return fit(pl, request, [] if request.task == "full" else [never])
