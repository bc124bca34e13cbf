"""One run: from its beginning to its end, or to its death; what it came to."""

import functools
import json
import os
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import sklearn.datasets  # noqa: F401 - like all the rest, imported before processes are forked

from chaos import children, outcome
from chaos.cases import Case
from chaos.deaths import HOOKS, MOMENTS, AtHook, InWrite
from thawlab.errors import UserError
from thawlab.run import run

RUN = Path("outputs/chaos/run")  # below a place of its own for each trial, with a cache of its own


class Death(Protocol):
    """A way to die by one's own hand."""

    def arm(self) -> None: ...


@dataclass(frozen=True)
class Reference:
    """A run that nobody killed."""

    case: Case
    config: Mapping[str, Any]
    seconds: float
    came_to: Mapping[str, Any]


@dataclass(frozen=True)
class Killed:
    """A trial: how often its run was killed and where, and in which parts it came to something else."""

    case: Case
    deaths: tuple[str, ...]
    differs: tuple[str, ...]


def reference(case: Case, place: Path) -> Reference:
    """Carry out a case from beginning to end."""
    config = case.config()
    began = time.perf_counter()
    process = attempt(config, place)
    status = children.ended(process)
    if status != 0:
        raise RuntimeError(f"{case.name} ended with {status}: {log_of(place)[-2000:]}")
    return Reference(case, config, time.perf_counter() - began, came_to(place))


def attempt(config: Mapping[str, Any], place: Path, death: Death | None = None) -> Any:
    """Begin a run, or go on with it."""
    place.mkdir(parents=True, exist_ok=True)
    return children.start(functools.partial(carry_out, config, place, death), place / "log")


def carry_out(config: Mapping[str, Any], place: Path, death: Death | None = None) -> int:
    """Carry out a run below `place` in this process; 0 where it is finished."""
    os.chdir(place)
    fit = pl.Trainer.fit

    def watched(trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        fit(trainer, *args, **kwargs)
        Path(outcome.STATE).write_text(json.dumps(outcome.digest_of_state(trainer)))

    pl.Trainer.fit = watched
    if death is not None:
        death.arm()
    return 0 if run(config, RUN).status == "finished" else 1


def came_to(place: Path) -> dict[str, Any]:
    """What a finished run came to."""
    return outcome.of(place / RUN, place / outcome.STATE)


def log_of(place: Path) -> str:
    """All that the attempts said."""
    return (place / "log").read_text(errors="replace") if (place / "log").exists() else ""


def killed(known: Reference, place: Path, draw: random.Random) -> Killed:
    """Kill a run once or more, go on with it until it ends, and compare; its place is removed where all is the same."""
    deaths, status = [], -9
    while not deaths:  # a run that was faster than its death is begun again
        shutil.rmtree(place, ignore_errors=True)
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            how, status = one_death(known, place, draw)
            if status != -9:
                break
            deaths.append(how)
    return finished(known, place, deaths, status)


def finished(known: Reference, place: Path, deaths: Sequence[str], status: int = -9) -> Killed:
    """Go on with a killed run to its end, unless it came there, and compare."""
    try:
        status = children.ended(attempt(known.config, place)) if status == -9 else status
        differs = outcome.differences(came_to(place), known.came_to) if status == 0 else [f"it ended with {status}"]
    except (children.Hung, UserError, OSError) as error:
        differs = [f"{type(error).__name__}: {error}"]
    if not differs:
        shutil.rmtree(place)
    return Killed(known.case, tuple(deaths), tuple(differs))


def one_death(known: Reference, place: Path, draw: random.Random) -> tuple[str, int]:
    """Begin or go on, and kill: how, and the status that the attempt ended with; -9 unless it was faster."""
    kind = draw.choice(("clock", "clock", "hook", "write"))
    if kind == "clock":
        after, everything = draw.uniform(0, known.seconds), draw.random() < 0.5
        process = attempt(known.config, place)
        time.sleep(after)
        return f"after {after:.2f} s", children.kill(process, everything)
    epochs = known.config["trainer"]["epochs"]
    death = (
        AtHook(draw.choice(HOOKS), draw.randrange(epochs), draw.randrange(2))
        if kind == "hook"
        else InWrite(draw.randrange(12), draw.choice(MOMENTS), draw.random())
    )
    return str(death), children.ended(attempt(known.config, place, death))
