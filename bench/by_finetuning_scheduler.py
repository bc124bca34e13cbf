"""finetuning-scheduler with a schedule of one phase, in an environment of its own: it needs Lightning's other name."""

import lightning.pytorch as pl
from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint, FTSEarlyStopping

from bench.lightning_loop import Module, fit
from bench.request import Outcome, Request


def work(request: Request) -> Outcome:
    names = [name for name, _ in Module(pl, request).named_parameters() if name.startswith("head.")]
    callbacks = [
        FinetuningScheduler(ft_schedule={0: {"params": names}}, max_depth=0, logging_level=40, allow_untested=True),
        FTSEarlyStopping(monitor="val_loss", patience=request.epochs + 1),
        FTSCheckpoint(monitor="val_loss", save_top_k=1),
    ]
    return fit(pl, request, callbacks)
