"""The throw-away process in which batch sizes are tried; `batch_finder` starts it, and survives whatever it dies of.

It speaks JSON, a line each way. It is sent {"config", "available", "share", "folder"}, answers {"budget", "predict"}
or {"error"}, and then, for every {"size"} that it is sent, {"peak", "images"}, {"why"} (no memory) or {"error"}.
"""

import gc
import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import torch

from thawlab.averaging import Averaging
from thawlab.costs import peak_memory, reset_peak_memory
from thawlab.halving import runs_out_of_memory
from thawlab.memory import available_memory
from thawlab.prepare import Prepared, prepare
from thawlab.quiet import quieten
from thawlab.strategy import Plan
from thawlab.trainer import build_trainer
from thawlab.training import cpu_threads, data_of, module_of

STEPS = 2  # the second has the optimizer's state beside the gradients
OVER_BUDGET = 78  # exit status
_LOOK = 0.01  # seconds between two looks at the memory
Answer = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where a run is tried: on which device, and how many bytes it may take there; None: the system does not tell."""

    prepared: Prepared
    device: torch.device
    budget: int | None
    folder: Path

    def attempt(self, size: int) -> Answer:
        """Train and evaluate with `size` images a step, shared out over devices and accumulated batches as in the run.

        On a GPU torch itself refuses what exceeds the budget; elsewhere the process ends as soon as it does.
        """
        try:
            reset_peak_memory(self.device)
            images = _train_a_little(_hungriest(self.prepared, size), self.folder)
        except (MemoryError, RuntimeError) as error:
            if not runs_out_of_memory(error):
                raise
            return {"why": "memory ran out"}
        finally:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return {"peak": peak_memory(self.device), "images": images}


def _bench(request: Mapping[str, Any]) -> Bench:
    # What the weights are changes nothing here, and the source's would be fetched or read once more.
    strategy = {**request["config"]["strategy"], "weights": "random"}
    prepared = prepare({**request["config"], "strategy": strategy})
    folder, share, available = Path(request["folder"]), request["share"], request["available"]
    if prepared.specs.trainer.accelerator == "gpu":
        free, total = torch.cuda.mem_get_info()
        budget = int(share * (available or free))
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget / total))
        return Bench(prepared, torch.device("cuda", torch.cuda.current_device()), budget, folder)
    device = torch.device("cpu")
    reset_peak_memory(device)
    left = available or available_memory()
    if left is None:
        return Bench(prepared, device, None, folder)
    # Several processes share this machine's memory; what this one holds already, the run holds as well.
    budget = peak_memory(device) + int(share * left / prepared.specs.trainer.devices)
    threading.Thread(target=_watch, args=(device, budget), daemon=True).start()
    return Bench(prepared, device, budget, folder)


def _watch(device: torch.device, budget: int) -> None:
    """End this process before it fills the machine: others would be killed as well."""
    while peak_memory(device) <= budget:
        time.sleep(_LOOK)
    os._exit(OVER_BUDGET)


def _hungriest(prepared: Prepared, size: int) -> Prepared:
    """One device's part of the run, with all training that will train in any epoch; its weights stay as they are."""
    specs, plan = prepared.specs, prepared.built.plan
    world, epochs = specs.trainer.devices * specs.trainer.nodes, specs.trainer.epochs
    awaited = [row.stage for row in plan.kept if row.turn or (row.first_epoch is not None and row.first_epoch < epochs)]
    still = tuple(replace(row, rate=0.0) for row in plan.pinned(awaited).rows)
    trainer = replace(specs.trainer, devices=1, nodes=1, batch_size=size // world, workers=0, early_stopping=None)
    return replace(
        prepared,
        specs=replace(specs, trainer=trainer),
        built=replace(prepared.built, plan=Plan(still, plan.norm)),
    )


def _train_a_little(prepared: Prepared, folder: Path) -> int:
    """Two steps, a batch of validation and one of testing; returns the images of the largest batch of a step."""
    data, accumulate = data_of(prepared), prepared.specs.trainer.accumulate
    batches = len(data.train_dataloader())
    epochs = math.ceil(STEPS * accumulate / min(batches, STEPS * accumulate))
    decay = prepared.specs.trainer.ema_decay
    averaging = [Averaging(decay)] if decay is not None else []  # a second set of weights
    trainer = build_trainer(replace(prepared.specs.trainer, epochs=epochs), folder, averaging, None)
    trainer.limit_train_batches = STEPS * accumulate
    trainer.limit_val_batches = trainer.limit_test_batches = 1
    module = module_of(prepared)
    with cpu_threads(prepared.specs.trainer.threads):
        trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data, verbose=False)
    return math.ceil(len(prepared.splits.train) / batches)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer until no more is asked. Whoever asks may be gone: then the questions end."""
    bench: Bench | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if bench is None:
                bench = _bench(request)
                answer: Answer = {"budget": bench.budget, "predict": bench.device.type == "cpu"}
            else:
                answer = bench.attempt(request["size"])
        except Exception as error:  # the run itself would fail of it: its user is told, there
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Serve the process that started this one. What libraries print goes the way of errors: answers have their own."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    quieten()
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
