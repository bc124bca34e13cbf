"""A run's way past its frozen stages: what they give is read from disk, where that may be and pays."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import Any

import torch

from thawlab.caching.pictures import Pictures
from thawlab.caching.reading import Frozen, Reading, Stored, Work, frozen_part, read
from thawlab.caching.worth import LEAST, Offer, refusal
from thawlab.costs import count_flops
from thawlab.splitting import CannotSplit, Cut
from thawlab.stages import Stage
from thawlab.store.faults import StoreError
from thawlab.store.rowstore import RowStore
from thawlab.store.spec import CacheSpec


@dataclass(frozen=True)
class Choice:
    """What was decided of a split from an epoch on, for the record; `reason` is why nothing is read from disk."""

    split: str
    epoch: int
    frozen: tuple[str, ...]  # stages that lie wholly before the cut; where nothing is read, those that do not change
    reason: str | None = None
    images: int = 0  # rows: images, or the views of them that these epochs show
    nbytes: int = 0  # of them, on disk
    built: int = 0  # of them, those that were not there yet, whichever process computed them
    seconds: float = 0.0  # for making ready, building included
    flops: int = 0  # of the frozen part's forward pass, for one image
    rows: str = "images"  # or views
    refused_by: str = ""  # cut: it could not be split; store: it could not be kept; else it was not tried

    @property
    def line(self) -> str:
        """It in words."""
        start = f"cache, {self.split}" + (f" from epoch {self.epoch + 1}" if self.split != "test" else "")
        if self.reason is not None:
            return f"{start}: not used, {self.reason}"
        stages = " to ".join(dict.fromkeys([*self.frozen[:1], *self.frozen[-1:]])) or "a part of the first stage"
        read = self.images - self.built
        return (
            f"{start}: {stages} computed for {self.built:,} {self.rows}, read from disk for {read:,}, in "
            f"{self.seconds:.1f} s, {self.nbytes / 1e6:.3g} MB"
        )


def recorded(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """The choices as plain values."""
    return [{**asdict(choice), "frozen": list(choice.frozen)} for choice in choices]


class _Refused(Exception):
    """Reading from disk is ruled out, or would not pay; the message says why."""


@dataclass
class Shortcut:
    """Decides at the start of each stretch of epochs, for each split, and keeps what it decided.

    `pictures` are those of train, val and test; `agree` says whether every process says yes, `total` sums over the
    processes; `timed` times what making ready takes, `said` is told each choice.
    """

    work: Work
    spec: CacheSpec
    store: RowStore
    pictures: Mapping[str, Pictures]
    agree: Callable[[bool], bool] = bool
    total: Callable[[int], int] = int
    timed: Callable[[], AbstractContextManager[Any]] = nullcontext
    said: Callable[[Choice], None] = lambda choice: None
    choices: list[Choice] = field(default_factory=list)
    _moving: dict[str, tuple[frozenset[str], bool]] = field(default_factory=dict)
    _before: dict[str, tuple[frozenset[str], bool]] = field(default_factory=dict)  # as _moving, of a run gone on from
    _readings: dict[str, Reading] = field(default_factory=dict)

    def begin(self, split: str, epoch: int, moving: Collection[str], passes: Callable[[], int]) -> None:
        """Make ready for an epoch in which the stages `moving` change; `passes` counts the epochs of the kind.

        The network's modules are in the modes in which they will run. Where nothing changed since the epoch before,
        what was decided stays.
        """
        state = (frozenset(moving), self.work.network.training)
        if self._moving.get(split) == state:
            return
        self._moving[split] = state
        if self._before.pop(split, None) == state and self._goes_on(split, epoch, moving, passes):
            return
        self._readings.pop(split, None)
        choice = Choice(split, epoch, self._frozen(moving))
        reading: Reading | None = None
        with self.timed(), torch.inference_mode(False), torch.no_grad():
            try:
                reading, choice = self._decided(choice, moving, passes())
            except (CannotSplit, StoreError, _Refused) as refused:
                kind = {CannotSplit: "cut", _Refused: ""}.get(type(refused), "store")
                choice = replace(choice, reason=str(refused), refused_by=kind)
        if not self.agree(reading is not None) and reading is not None:
            reading, choice = None, replace(choice, reason="another process cannot read it")
        choice = replace(choice, built=self.total(choice.built))
        if reading is not None:
            self._readings[split] = reading
        self.choices.append(choice)
        self.said(choice)

    def _goes_on(self, split: str, epoch: int, moving: Collection[str], passes: Callable[[], int]) -> bool:
        """Whether what was decided before a restart holds; then the rows are read again, or the images as before."""
        choice = next(choice for choice in reversed(self.choices) if choice.split == split)
        if choice.reason is not None:
            return True
        reading: Reading | None = None
        with self.timed(), torch.inference_mode(False), torch.no_grad(), suppress(CannotSplit, StoreError):
            pictures = self.pictures[split].of(range(epoch, epoch + passes()))
            frozen = frozen_part(self.work, moving, pictures, getattr(torch, self.spec.dtype), split == "train")
            reading = read(self.work, split, pictures, frozen, self.store)
        if not self.agree(reading is not None) or reading is None:
            return False
        self._readings[split] = reading
        return True

    def state_dict(self) -> dict[str, Any]:
        """What was decided, in plain values."""
        known = {**self._before, **self._moving}  # a split may not have begun again since the last restart
        states = {split: [sorted(moving), mode] for split, (moving, mode) in known.items()}
        return {"choices": recorded(self.choices), "states": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold to what was decided before a restart, for as long as it would have held."""
        self.choices[:] = [Choice(**{**choice, "frozen": tuple(choice["frozen"])}) for choice in state["choices"]]
        self._before = {split: (frozenset(moving), mode) for split, (moving, mode) in state["states"].items()}

    def reading(self, split: str) -> Reading | None:
        """Where the split's rows are read; None: its images go through the whole network."""
        return self._readings.get(split)

    def __call__(self, stored: Stored) -> Any:
        """What the network gives for the images that the rows are of."""
        return self._readings[stored.split].suffix(stored.tensors, stored.n)

    def _decided(self, choice: Choice, moving: Collection[str], passes: int) -> tuple[Reading, Choice]:
        pictures = self.pictures[choice.split].of(range(choice.epoch, choice.epoch + passes))
        shown = len(pictures.digests) * passes
        self._allow(choice, pictures, shown)
        trains = choice.split == "train"
        frozen = frozen_part(self.work, moving, pictures, getattr(torch, self.spec.dtype), trains)
        if self.spec.mode == "auto":
            missing = len(pictures) - self.store.has(frozen.key, pictures.items)
            self._weigh(frozen, shown, missing)
        reading = read(self.work, choice.split, pictures, frozen, self.store)
        rows = reading.rows
        choice = replace(choice, rows="views" if pictures.views else "images")
        found = replace(choice, images=len(pictures), nbytes=rows.nbytes, built=rows.built, seconds=rows.seconds)
        return reading, replace(found, flops=frozen.folding.flops, frozen=_wholly_before(frozen.cut, self.work.stages))

    def _allow(self, choice: Choice, pictures: Pictures, shown: int) -> None:
        if not choice.frozen:
            raise _Refused("no stage is frozen from the input on")
        if pictures.changing is not None:
            raise _Refused(pictures.changing)
        if self.spec.mode == "auto" and (most := self._flops * shown) < LEAST[self.work.device.type]:
            raise _Refused(f"too little to gain: the whole network takes {most / 1e9:.2g} GFLOPs for all epochs")

    def _weigh(self, frozen: Frozen, shown: int, missing: int) -> None:
        offer = Offer(frozen.folding.flops, frozen.row_bytes, shown, missing, self.work.device.type)
        if (reason := refusal(offer)) is not None:
            raise _Refused(reason)

    def _frozen(self, moving: Collection[str]) -> tuple[str, ...]:
        names = [stage.name for stage in self.work.stages]
        return tuple(names[: next((i for i, name in enumerate(names) if name in moving), len(names))])

    @cached_property
    def _flops(self) -> int:
        return count_flops(self.work.network, self.work.shape, ()).forward


def _wholly_before(cut: Cut, stages: Sequence[Stage]) -> tuple[str, ...]:
    """The first stages of which no step lies behind the boundary: none that reads of it, none inside its modules."""
    behind = [i for i, before in enumerate(cut.before) if not before]
    arounds = cut.flow.around()
    read = {name for i in behind for name in cut.flow.steps[i].reads}
    entered = {path for i in behind for path in arounds[i]}
    clear = takewhile(lambda stage: read.isdisjoint(stage.parameters) and entered.isdisjoint(stage.modules), stages)
    return tuple(stage.name for stage in clear)
