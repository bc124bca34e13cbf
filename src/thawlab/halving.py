"""When memory does not hold a batch: half of it at a time, and twice as many for each optimizer step."""

import gc
import math
import re
import signal
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning.utilities.memory import is_oom_error

from thawlab.advice import recorded
from thawlab.checkpoints import Checkpoint
from thawlab.errors import causes
from thawlab.prepare import Found, Prepared, prepare

LEAST = 2  # images in a batch: BatchNorm's statistics over one are none
# Nobody but the kernel ends a worker with SIGKILL; SIGBUS says that /dev/shm is full.
_LOST = r"DataLoader worker \(pid \d+\) is killed by signal: (Killed|Bus error)"
_OF_MEMORY = frozenset({-signal.SIGKILL, -signal.SIGBUS})


def runs_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the CPU's or a GPU's, did not hold something."""
    return isinstance(error, MemoryError) or is_oom_error(error)


def lost_a_worker(error: BaseException) -> bool:
    """Whether a worker that loads images was killed for want of memory, or of the part that processes share.

    Batches are the smaller part of what workers take, each a process: halving would not mend it. torch names the
    signal, but not always: where it finds the worker gone before the system has told, its exit code alone is left.
    """
    return any(re.search(_LOST, str(cause)) or not _OF_MEMORY.isdisjoint(_exit_codes(cause)) for cause in causes(error))


def _exit_codes(error: BaseException) -> Iterator[int | None]:
    """Of the workers that were read from where an error was raised."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for worker in getattr(frame.f_locals.get("self"), "_workers", ()):
            yield getattr(worker, "exitcode", None)


def halved(prepared: Prepared) -> int | None:
    """How many batches make a step when each is half as large as now; None where that cannot be.

    Of several processes one alone runs out of memory, and the others wait for it: there nothing is halved.
    """
    trainer, images = prepared.specs.trainer, len(prepared.splits.train)
    assert isinstance(trainer.batch_size, int)
    parts = 2 * trainer.accumulate
    if trainer.devices * trainer.nodes > 1 or trainer.batch_size % parts:
        return None
    smallest = images // (math.ceil(images / trainer.batch_size) * parts)
    return parts if smallest >= LEAST else None


def prepared_for(config: Mapping[str, Any], start: Checkpoint | None, parts: int | None) -> Prepared:
    """As `prepare`, with `parts` batches for each step, or as many as there were before the checkpoint `start`.

    In the precision that there was then, whatever trainer.precision=auto would come to now, and as was advised then.

    A note says where these are more than `config` asks for. Raises UserError as `prepare` does.
    """
    found = start.about["found"] if start is not None else None
    advice = recorded(start.about.get("advice", {})) if start is not None else None
    asked = config["trainer"]["accumulate"]
    parts = parts or (start.about["accumulate"] if start is not None else asked)
    precision = start.about["precision"] if start is not None else config["trainer"]["precision"]
    changed = {**config, "trainer": {**config["trainer"], "accumulate": parts, "precision": precision}}
    prepared = prepare(changed, Found(**found) if found is not None else None, advice)
    if parts == asked:
        return prepared
    batch = prepared.specs.trainer.batch
    line = f"memory held no more than {batch} images: {parts} batches of {batch} for each optimizer step"
    return replace(prepared, splits=replace(prepared.splits, notes=(*prepared.splits.notes, line)))


def release() -> None:
    """Give back what the failed attempt held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
