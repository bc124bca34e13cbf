"""How many images a step may have: as many as memory holds, tried in a process that may die of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from thawlab.batch_search import Attempt, by_doubling, by_prediction, gibibytes, sizes
from thawlab.errors import UserError
from thawlab.processes import launched_here
from thawlab.schema import GROUPS

Config = Mapping[str, Any]
Tell = Callable[[Attempt], None]
SHARE = 0.8  # of the free memory: other programs take some too, and a run a little more than two of its steps
MOST = 1024  # images a step
_CHILD = (sys.executable, "-P", "-m", "thawlab.batch_trial")
_OVER_BUDGET = 78  # batch_trial's exit status
_NO_MATTER = ("logger", "schedule", "checkpoint", "launch", "study")  # groups that change no size of anything
_GIVE_A_NUMBER = "Give a number, such as trainer.batch_size=16."


@dataclass(frozen=True)
class Limits:
    """How far to go."""

    share: float = SHARE
    most: int = MOST
    available: int | None = None  # bytes taken for free; None: what the system says

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"--memory-share is {self.share}, but it is a share of the free memory: 0 < x <= 1.")
        if self.most < 1:
            raise UserError(f"--max is {self.most}. Give 1 or more.")
        if self.available is not None and self.available <= 0:
            raise UserError(f"--memory is {self.available / 2**30:g} GiB. Give more than 0.")


@dataclass(frozen=True)
class Found:
    """How many images a step has, over all devices and accumulated batches, and why not more."""

    size: int
    reason: str

    @property
    def line(self) -> str:
        """Both, as they are told."""
        return f"batch size {self.size:,}: {self.reason}"


_known: dict[str, Found] = {}  # what was found in this process, by what decides it


def known() -> dict[str, Found]:
    """Everything found in this process so far, to hand on to another."""
    return dict(_known)


def remember(found: Mapping[str, Found]) -> None:
    """Take over what another process found."""
    _known.update(found)


def batch_size(config: Config, images: int) -> Found:
    """What `trainer.batch_size=auto` comes to, found once in a process for all runs that need the same memory.

    Raises UserError where a launcher started several processes: they would all try at once.
    """
    key = _key(config, images)
    if key not in _known:
        trainer = config["trainer"]
        if trainer["devices"] * trainer["nodes"] > 1 and not launched_here(trainer):
            raise UserError(
                "trainer.batch_size is auto, but a launcher started several processes of this run, which would all try "
                "sizes at once. Find it before, with find_batch.py and the same settings, and give the number."
            )
        tell = None if config["logger"]["progress"] == "off" else _say
        _known[key] = find(config, images, Limits(), tell)
    return _known[key]


def _key(config: Config, images: int) -> str:
    """What decides the memory. Neither the seed nor the rates do."""
    groups = {group: dict(config[group]) for group in GROUPS if group not in _NO_MATTER}
    for name in ("lr", "weight_decay"):
        groups["optimizer"].pop(name)
    return json.dumps([groups, images], sort_keys=True)


def _say(attempt: Attempt) -> None:
    print(f"  trainer.batch_size=auto: tried {attempt}", flush=True)


def find(config: Config, images: int, limits: Limits, tell: Tell | None = None) -> Found:
    """Try sizes for a run with `images` training images; `config`'s own batch size does not matter.

    Raises UserError where not even the smallest size fits, or where a step fails of something else.
    """
    trainer = config["trainer"]
    parts = trainer["devices"] * trainer["nodes"] * trainer["accumulate"]
    tried = sizes(parts, min(images, limits.most))
    if not tried:
        raise UserError(
            f"trainer.batch_size is auto, but {parts} devices x nodes x accumulated batches share a step of at most "
            f"{min(images, limits.most)} images. Take fewer devices, or a smaller trainer.accumulate."
        )
    smallest = {**config, "trainer": {**trainer, "batch_size": tried[0]}}
    with TrialProcess(smallest, limits) as process:

        def attempt(size: int) -> Attempt:
            made = process.attempt(size)
            if tell is not None:
                tell(made)
            return made

        if process.predicts:
            best, failed = by_prediction(tried, parts, attempt, process.budget)
        else:
            best, failed = by_doubling(tried, parts, attempt)
    if best is None:
        raise UserError(
            f"trainer.batch_size is auto, but not even {failed} fits. Take a smaller network or backbone.size, "
            "strategy.train lower, or trainer.checkpointing=true."
        )
    if best.size < tried[-1]:
        return Found(best.size, f"all that memory allows ({failed})")
    few = f"all that the {images:,} training images allow"
    return Found(best.size, few if images < 2 * best.size else f"no more than {limits.most:,} are taken")


class TrialProcess:
    """A child process that tries sizes; where it dies, the next attempt is made by another."""

    def __init__(self, config: Config, limits: Limits) -> None:
        self._start = {"config": config, "share": limits.share, "available": limits.available}
        self._process: subprocess.Popen[str] | None = None
        self.budget = 0
        self.predicts = False  # whether sizes are foreseen, or tried until one fails

    def __enter__(self) -> "TrialProcess":
        self._folder = TemporaryDirectory()
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._folder.cleanup()

    def attempt(self, size: int) -> Attempt:
        """Try one size. Raises UserError where it fails of something else than memory or a death."""
        if self._process is None:
            self._begin()
        answer = self._asked({"size": size})
        if answer is None:
            return Attempt(size, why=self._death())
        if "error" in answer:
            raise UserError(
                f"trainer.batch_size is auto, but a step of {size} images fails: {answer['error']}. {_GIVE_A_NUMBER}"
            )
        return Attempt(size, answer.get("images", 0), answer.get("peak", 0), answer.get("why", ""))

    def _begin(self) -> None:
        path = {"PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
        with (Path(self._folder.name) / "errors").open("w") as errors:
            self._process = subprocess.Popen(
                _CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=os.environ | path,
            )  # fmt: skip
        answer = self._asked({**self._start, "folder": self._folder.name})
        if answer is None or "error" in answer:
            reason = self._death() if answer is None else answer["error"]
            raise UserError(f"trainer.batch_size is auto, but trying sizes failed: {reason}. {_GIVE_A_NUMBER}")
        if answer["budget"] is None:
            raise UserError(
                "trainer.batch_size is auto, but this system does not tell how much memory is free. "
                "Run find_batch.py with --memory=GIGABYTES, or give a number."
            )
        self.budget = answer["budget"]
        self.predicts = answer["predict"]

    def _asked(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """The child's answer; None: it died over it."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            return None
        return json.loads(line) if line.endswith("\n") else None

    def _death(self) -> str:
        """What the child died of, in words; another will take its place."""
        assert self._process is not None
        # One that dies closes its pipe a moment before it is gone.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        status = self._end()
        if status == _OVER_BUDGET:
            return f"it took more than {gibibytes(self.budget)}"
        if status < 0:
            return f"its process was ended by signal {-status} ({signal.strsignal(-status)})"
        last = (Path(self._folder.name) / "errors").read_text().strip().splitlines()[-1:]
        return "".join([f"its process ended with status {status}", *(f": {line}" for line in last)])

    def _end(self) -> int:
        """End the child, if it has not ended by itself, and return its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()
        return process.returncode
