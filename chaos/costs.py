"""What checksums, syncing and saving take of an epoch's seconds, counted inside the run that does them."""

import functools
import hashlib
import json
import os
import shutil
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import images

from chaos import children, trials
from chaos.asked import Asked, Row
from chaos.cases import Case
from thawlab import checkpoints, files, run_files, training
from thawlab.data import images as encoded
from thawlab.record import Record
from thawlab.store import digests, writing

LIMIT = 0.05
SPENT = "spent.json"
COMMON = ("logger=none", "logger.progress=off")
TINY = Case("the demonstration network on digits", ("backbone=demo", "strategy=partial", *COMMON))
ROUNDS = 3


def test(asked: Asked) -> list[Row]:
    place = asked.work / "costs"
    shutil.rmtree(place, ignore_errors=True)
    photos = images.make(asked.work / "images", *((1024, 128) if asked.count is None else (64, 16)))
    real = (
        "backbone=resnet18", "backbone.size=96", "strategy=full", "strategy.weights=random", "trainer.epochs=2",
        "trainer.batch_size=32", "dataset=folder", f"dataset.root={photos}", *COMMON,
    )  # fmt: skip
    kinds = [Case("resnet18 on photos at 96 pixels", real), TINY]
    return [row for case in kinds for row in _rows(case, place, asked.times(ROUNDS), asked)]


def _rows(case: Case, place: Path, rounds: int, asked: Asked) -> list[Row]:
    every = Case(case.name, (*case.words, f"checkpoint.steps={_steps(case, place)}"))
    return [
        _row(case, "default checkpoints", place / "default", rounds, asked),
        _row(every, "a checkpoint each epoch", place / "every", rounds, asked),
    ]


def _steps(case: Case, place: Path) -> int:
    """Optimizer steps in an epoch."""
    _, record = _measured(Case(case.name, (*case.words, "trainer.epochs=1")), place / "steps")
    batch = record.config["trainer"]["batch_size"]
    return -(-record.data["train"] // batch)


def _row(case: Case, how: str, place: Path, rounds: int, asked: Asked) -> Row:
    checks, saving, epochs = [], [], []
    for i in range(rounds):
        spent, record = _measured(case, place / str(i))
        seconds = record.costs["seconds"]["train"] + record.costs["seconds"]["validate"]
        epochs.append(seconds / record.config["trainer"]["epochs"])
        checks.append(spent["checks"] / seconds)
        saving.append(spent["saving"] / seconds)
    share, all_of_it, epoch = (sorted(column)[len(column) // 2] for column in (checks, saving, epochs))
    figure = f"{share:.1%} of {epoch:.2f} s ({all_of_it:.1%} with all of saving)"
    asked.tell(f"  {case.name}, {how}: {figure}")
    return Row(
        f"Checksums and syncing, {case.name}, {how}", f"at most {LIMIT:.0%} of an epoch", rounds, figure,
        share <= LIMIT, () if share <= LIMIT else (f"{case.name}, {how}: {', '.join(f'{one:.1%}' for one in checks)}",),
    )  # fmt: skip


def _measured(case: Case, place: Path) -> tuple[dict[str, float], Record]:
    """Seconds of one run in checksums and syncing, and in all of saving; its record."""
    config = case.config(small=())
    place.mkdir(parents=True, exist_ok=True)
    process = children.start(functools.partial(_carry_out, config, place), place / "log")
    if (status := children.ended(process)) != 0:
        raise RuntimeError(f"{case.name} ended with {status}: {trials.log_of(place)[-2000:]}")
    spent, record = json.loads((place / SPENT).read_text()), Record.read(place / trials.RUN)
    shutil.rmtree(place)
    return spent, record


class _Clock:
    """Seconds inside what it watches; what is watched inside of that counts once."""

    def __init__(self) -> None:
        self.seconds, self._deep = 0.0, 0

    def watch(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._deep += 1
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self._deep -= 1
                if not self._deep:
                    self.seconds += time.perf_counter() - began

        return watched


def _carry_out(config: dict[str, Any], place: Path) -> int:
    checks, saving = _Clock(), _Clock()
    _watch_checks(checks)
    _watch_saving(saving)
    status = trials.carry_out(config, place)
    Path(SPENT).write_text(json.dumps({"checks": checks.seconds, "saving": saving.seconds}))
    return status


def _watch_checks(clock: _Clock) -> None:
    """Every sha256 of a file's bytes, every crc32 of rows, every sync."""
    os.fsync = clock.watch(os.fsync)
    files._sync_folder = clock.watch(files._sync_folder)
    run_files.checksum = clock.watch(run_files.checksum)
    for module in (checkpoints, files, encoded):
        module.hashlib = types.SimpleNamespace(
            sha256=lambda *start: _Timed(clock, *start), file_digest=hashlib.file_digest
        )
    writing.row_sums = clock.watch(writing.row_sums)
    digests._unlike = clock.watch(digests._unlike)


def _watch_saving(clock: _Clock) -> None:
    checkpoints.save = clock.watch(checkpoints.save)
    publish = clock.watch(files.publish)
    for module in (files, checkpoints, training):
        module.publish = publish
    run_files.checksum = clock.watch(run_files.checksum)
    writing.row_sums = clock.watch(writing.row_sums)
    digests._unlike = clock.watch(digests._unlike)


class _Timed:
    """A sha256 whose seconds count."""

    def __init__(self, clock: _Clock, *start: bytes) -> None:
        self._sum = clock.watch(hashlib.sha256)(*start)
        self.update = clock.watch(self._sum.update)
        self.digest, self.hexdigest = self._sum.digest, self._sum.hexdigest
