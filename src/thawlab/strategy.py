"""A strategy is data. Laid over a model's stages it gives a plan: one row per stage, which everything else reads."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from thawlab.errors import UserError, nearest

WEIGHTS = ("pretrained", "random")
NORMS = ("source", "adapt")
WHEN = ("start", "every", "after", "schedule", "plateau")
Depth = int | float | str


class SizedStage(Protocol):
    """What a plan needs to know of a stage: `stages.Stage` is one."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Thaw:
    """When the trained stages start; see `schema.ThawConfig`."""

    when: str = "start"
    epochs: int = 1
    schedule: Mapping[str, int] = field(default_factory=dict)
    patience: int = 2

    def __post_init__(self) -> None:
        if self.when not in WHEN:
            raise UserError(f"strategy.thaw.when is {self.when!r}. {nearest(self.when, WHEN)}")
        for key, value in (("epochs", self.epochs), ("patience", self.patience)):
            if value < 1:
                raise UserError(f"strategy.thaw.{key} is {value}, but it counts epochs: give 1 or more.")
        if (self.when == "schedule") != bool(self.schedule):
            raise UserError(
                f"strategy.thaw.when is {self.when!r} and strategy.thaw.schedule is {dict(self.schedule)}: a schedule "
                "and when=schedule go together. As in 'strategy.thaw={when: schedule, schedule: {layer4: 3}}'."
            )
        for stage, epoch in self.schedule.items():
            if epoch < 0:
                raise UserError(f"strategy.thaw.schedule.{stage} is {epoch}, but the first epoch is 0: give 0 or more.")


@dataclass(frozen=True)
class Strategy:
    """How much of the network to keep, freeze and train; see `schema.StrategyConfig`."""

    name: str
    weights: str = "pretrained"
    keep: Depth = 1.0
    fresh: int = 0
    train: Depth = 1.0
    thaw: Thaw = Thaw()
    layer_decay: float = 1.0
    source_rate: float = 1.0
    rates: Mapping[str, float] = field(default_factory=dict)
    norm: str = "source"
    auto: bool = False  # all but norm stays to be chosen, by what is measured: see `advising`

    def __post_init__(self) -> None:
        for key, value, choices in (("weights", self.weights, WEIGHTS), ("norm", self.norm, NORMS)):
            if value not in choices:
                raise UserError(f"strategy.{key} is {value!r}. {nearest(value, choices)}")
        for key, value, of in (
            ("layer_decay", self.layer_decay, "the rate of the stage above"),
            ("source_rate", self.source_rate, "the rate of a new stage in its place"),
        ):
            if not 0 < value <= 1:
                raise UserError(f"strategy.{key} is {value}, but it is a share of {of}. Give more than 0, at most 1.")
        for stage, rate in self.rates.items():
            if rate <= 0:
                raise UserError(
                    f"strategy.rates.{stage} is {rate}, but a rate is positive. To freeze it, lower strategy.train."
                )


@dataclass(frozen=True)
class Row:
    """What happens to one stage."""

    stage: str
    kept: bool
    weights: str  # source, partly (its file has a part), fresh (random among source's), random, new (the head), cut
    first_epoch: int | None  # first epoch in which it trains; None: never, or when its turn comes
    turn: int  # plateau schedules: trains once so many plateaus were seen; 0: no plateau awaited
    rate: float  # peak rate, in the optimizer's units
    parameters: int
    share: float  # of all kept parameters
    norm: str  # how its norms run while it is frozen: source, adapt; "-" where it is never frozen or cut

    @property
    def trains(self) -> bool:
        """Whether it trains in any epoch."""
        return self.first_epoch is not None or self.turn > 0


@dataclass(frozen=True)
class Plan:
    """One row per stage, from the input to the head."""

    rows: tuple[Row, ...]
    norm: str

    @property
    def kept(self) -> tuple[Row, ...]:
        """The rows of the stages that the network has."""
        return tuple(row for row in self.rows if row.kept)

    def row(self, stage: str) -> Row:
        """The row of a stage; KeyError where there is none."""
        return {row.stage: row for row in self.rows}[stage]

    def training(self, epoch: int, plateaus: Sequence[int] = ()) -> frozenset[str]:
        """Names of the stages that train in `epoch`; `plateaus` are the epochs at which a plateau thawed a stage."""
        return frozenset(
            row.stage for row in self.kept if (start := _start(row, plateaus)) is not None and epoch >= start
        )

    def pinned(self, training: Collection[str]) -> "Plan":
        """The same plan, but with exactly the stages named in `training` training, in every epoch."""
        rows = (replace(row, first_epoch=0 if row.stage in training else None, turn=0) for row in self.rows)
        return Plan(tuple(rows), self.norm)


def _start(row: Row, plateaus: Sequence[int]) -> int | None:
    if row.turn:
        return plateaus[row.turn - 1] if row.turn <= len(plateaus) else None
    return row.first_epoch


def lay(strategy: Strategy, stages: Sequence[SizedStage], lr: float) -> Plan:
    """Lay a strategy over a model's stages (input to head; the last is the head), whose head trains at `lr`.

    Raises UserError naming the key, its value and what this backbone would accept.
    """
    assert not strategy.auto
    names = [stage.name for stage in stages]
    body = names[:-1]
    kept = _kept(strategy.keep, names)
    trained = _trained(strategy.train, body[:kept], names)
    if not 0 <= strategy.fresh <= kept:
        raise UserError(
            f"strategy.fresh is {strategy.fresh}, but {kept} stages of the backbone are kept: {_list(body[:kept])}."
        )
    present = [*range(kept), len(body)]
    trains = [i for i in present if i >= kept - trained]
    starts = _starts(strategy.thaw, [names[i] for i in reversed(trains)], names)
    sources = {i: _weights(strategy, i, kept, len(body)) for i in present}
    rates = _rates(strategy, {names[i]: sources[i] for i in present}, names, lr)
    total = sum(stages[i].size for i in present)
    rows = []
    for i, stage in enumerate(stages):
        if i not in present:
            rows.append(Row(stage.name, False, "cut", None, 0, 0.0, stage.size, 0.0, "-"))
            continue
        first, turn = starts.get(stage.name, (None, 0))
        frozen_at_first = first != 0
        norm = strategy.norm if frozen_at_first else "-"
        rows.append(
            Row(stage.name, True, sources[i], first, turn, rates[stage.name], stage.size, stage.size / total, norm)
        )
    plan = Plan(tuple(rows), strategy.norm)
    if not plan.training(0):
        raise UserError(
            f"strategy.thaw.schedule is {dict(strategy.thaw.schedule)}, so that nothing trains in epoch 0. "
            "Let a stage, for instance the head, start at 0."
        )
    return plan


def _weights(strategy: Strategy, i: int, kept: int, head: int) -> str:
    if i == head:
        return "new"
    if strategy.weights == "random":
        return "random"
    return "fresh" if i >= kept - strategy.fresh else "source"


def _kept(keep: Depth, names: Sequence[str]) -> int:
    """How many backbone stages stay, at least one."""
    body = names[:-1]
    if isinstance(keep, str):
        return _index("strategy.keep", keep, names, body) + 1
    if isinstance(keep, float) and 0 < keep <= 1:
        return max(1, round_half_up(keep * len(body)))
    if isinstance(keep, int) and 1 <= keep <= len(body):
        return keep
    raise _out_of_range("strategy.keep", keep, body, f"1 to {len(body)} stages, a share above 0 up to 1.0")


def _trained(train: Depth, kept: Sequence[str], names: Sequence[str]) -> int:
    """How many kept backbone stages train, counted from the head down."""
    if isinstance(train, str):
        if train == names[-1]:
            return 0
        return len(kept) - _index("strategy.train", train, names, kept)
    if isinstance(train, float) and 0 <= train <= 1:
        return round_half_up(train * len(kept))
    if isinstance(train, int) and 0 <= train <= len(kept):
        return train
    raise _out_of_range(
        "strategy.train", train, kept, f"0 (the head alone) to {len(kept)} stages, a share from 0.0 to 1.0"
    )


def round_half_up(x: float) -> int:
    """Round to the nearest whole number, halves up (Python rounds halves to even, so that shares would jump)."""
    return int(x + 0.5 + 1e-9)


def _index(key: str, name: str, names: Sequence[str], allowed: Sequence[str]) -> int:
    if name in allowed:
        return list(allowed).index(name)
    if name in names:
        raise UserError(f"{key} is {name!r}, a stage that this plan does not keep. Kept: {_list(allowed)}.")
    raise UserError(f"{key} is {name!r}, but no stage of this backbone is called so. {nearest(name, allowed)}")


def _out_of_range(key: str, value: Depth, stages: Sequence[str], remedy: str) -> UserError:
    return UserError(
        f"{key} is {value}, but this backbone has {len(stages)} stages below the head here: {_list(stages)}. "
        f"Give {remedy}, or a stage's name."
    )


def _list(stages: Sequence[str]) -> str:
    return ", ".join(stages)


def _starts(thaw: Thaw, from_head: Sequence[str], names: Sequence[str]) -> dict[str, tuple[int | None, int]]:
    """(first epoch, turn) of each trained stage; `from_head` begins with the head."""
    if thaw.when == "every":
        return {name: (depth * thaw.epochs, 0) for depth, name in enumerate(from_head)}
    if thaw.when == "after":
        return {name: (thaw.epochs if depth else 0, 0) for depth, name in enumerate(from_head)}
    if thaw.when == "plateau":
        return {name: (None if depth else 0, depth) for depth, name in enumerate(from_head)}
    for name in thaw.schedule:
        _trained_stage("strategy.thaw.schedule", name, names, from_head)
    return {name: (thaw.schedule.get(name, 0), 0) for name in from_head}


def _trained_stage(key: str, name: str, names: Sequence[str], allowed: Sequence[str]) -> None:
    if name not in names:
        raise UserError(f"{key} names {name!r}, but no stage of this backbone is called so. {nearest(name, allowed)}")
    if name not in allowed:
        raise UserError(
            f"{key} names {name!r}, a stage that this plan never trains. It trains: {_list(allowed)}. "
            "Raise strategy.train, or leave the stage out."
        )


def _rates(strategy: Strategy, present: Mapping[str, str], names: Sequence[str], lr: float) -> dict[str, float]:
    """The peak rate of each stage in `present`, which maps the kept stages, input to head, to their weights' origin."""
    for name in strategy.rates:
        _trained_stage("strategy.rates", name, names, list(present))
    rates = {}
    for depth, (name, weights) in enumerate(list(present.items())[::-1]):
        share = strategy.source_rate if weights == "source" else 1.0
        rates[name] = lr * share * strategy.layer_decay**depth
    return rates | dict(strategy.rates)
