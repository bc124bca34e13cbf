"""A study's settings → its jobs: one composed for each task and strategy, from it those at other rates and seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thawlab import compose
from thawlab.compose import Job
from thawlab.data.roots import check_there
from thawlab.errors import UserError
from thawlab.study.depth import Depth, depths, middle
from thawlab.study.grid import Size, Target, own_words, strategy_words
from thawlab.study.spec import StudySpec
from thawlab.study_record import DEPTH_PROFILE

Stages = Callable[[Mapping[str, Any]], Sequence[str]]  # config -> names of the stages below the head


@dataclass(frozen=True)
class Method:
    """A strategy of the study, as it records it."""

    name: str
    words: tuple[str, ...]
    control: str | None = None
    kept: int | None = None
    stage: str | None = None  # the last of those kept; of a depth profile alone


@dataclass(frozen=True)
class Choice:
    """Strategies that share the choice of a rate, on one task: their jobs, at a rate and a seed that do not matter."""

    target: Target
    size: Size
    members: tuple[Job, ...]
    searched: Job  # the member that tries the rates

    @property
    def dataset(self) -> str:
        """The target's name in records."""
        return self.searched.config["dataset"]["name"]

    @property
    def title(self) -> str:
        """Which choice this is, in words."""
        return f"{self.dataset}, {self.size}, {self.searched.config['strategy']['name']}"


@dataclass(frozen=True)
class Laid:
    """All that a study may do."""

    choices: tuple[Choice, ...]
    methods: tuple[Method, ...]
    rates: tuple[float, ...]
    search_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    earlier: tuple[float, ...] = ()  # rates that earlier launches into the same folder tried

    @property
    def candidates(self) -> tuple[float, ...]:
        """The rates that may be chosen."""
        return tuple(sorted({*self.rates, *self.earlier}))

    def search(self) -> list[Job]:
        """The jobs that try each rate, seed by seed."""
        return [job for choice in self.choices for rate in self.rates for job in self.tried(choice, rate)]

    def tried(self, choice: Choice, rate: float) -> list[Job]:
        """The jobs that try a rate."""
        return [at(choice.searched, rate, seed) for seed in self.search_seeds]

    def measured(self, choice: Choice, rate: float) -> list[Job]:
        """The jobs of all members at a rate, with every seed."""
        return [at(job, rate, seed) for job in choice.members for seed in self.seeds]

    def any(self) -> list[Job]:
        """Every job that may come about, whatever rates are chosen."""
        later = (job for choice in self.choices for rate in self.candidates for job in self.measured(choice, rate))
        return unique([*self.search(), *later])


def unique(jobs: Sequence[Job]) -> list[Job]:
    """Each job once, in the order of the first of its name."""
    return list({job.name: job for job in reversed(jobs)}.values())[::-1]


def at(job: Job, rate: float, seed: int) -> Job:
    """The job at another rate, with another seed."""
    return compose.with_values(job, {"optimizer.lr": rate, "seed": seed})


def lay(
    spec: StudySpec, words: Sequence[str], targets: Sequence[Target], sizes: Sequence[Size], sweep: str, stages: Stages
) -> Laid:
    """Compose what a study may do; `words` are as typed. Raises UserError for what no run can be made of."""

    def composed(target: Target, size: Size, strategy: Sequence[str]) -> Job:
        values = [f"optimizer.lr={spec.rates[0]!r}", f"seed={spec.search_seeds[0]}", f"sweep={sweep}", "study=none"]
        (job,) = compose.jobs([*own_words(words), *target.words, *size.words, *strategy, *values], multirun=True)
        check_there(job.config["dataset"])
        return job

    names: Sequence[str] = ()
    if spec.kind == DEPTH_PROFILE:
        names = stages(composed(targets[0], sizes[0], ["strategy=scratch"]).config)
    choices, methods = [], {}
    for target in targets:
        for size in sizes:
            for searched, strategies in _groups(spec, names):
                jobs = {words: composed(target, size, words) for words in strategies}
                choices.append(Choice(target, size, tuple(jobs.values()), jobs[searched]))
                methods |= {words: _method(job, words, names) for words, job in jobs.items()}
    _check_names(list(methods.values()))
    _check_targets(choices)
    _check_rates(choices)
    return Laid(tuple(choices), tuple(methods.values()), tuple(spec.rates), tuple(spec.search_seeds), tuple(spec.seeds))


def _groups(spec: StudySpec, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """The strategies that share a choice, and before them the one that tries the rates."""
    if spec.kind != DEPTH_PROFILE:
        for entry in spec.strategies:
            yield strategy_words(entry), [strategy_words(entry)]
        return
    for points in depths(len(names)).values():
        (searched,) = [point.words for point in points if point.kept == middle(len(names))]
        yield searched, [point.words for point in points]


def _method(job: Job, words: tuple[str, ...], names: Sequence[str]) -> Method:
    name = job.config["strategy"]["name"]
    if not names:
        return Method(name, words)
    (point,) = [one for points in depths(len(names)).values() for one in points if one.words == words]
    return _of_depth(point, names)


def _of_depth(point: Depth, names: Sequence[str]) -> Method:
    stage = names[point.kept - 1] if point.kept else None
    return Method(point.name, point.words, point.control, point.kept, stage)


def _check_names(methods: Sequence[Method]) -> None:
    """Reports know strategies and targets by their names."""
    known: dict[str, Method] = {}
    for method in methods:
        if method.name in known:
            raise UserError(
                f"study.strategies has {' '.join(method.words)!r} and {' '.join(known[method.name].words)!r}, "
                f"which are both called {method.name!r}. Name one: '... strategy.name=NAME'."
            )
        known[method.name] = method


def _check_rates(choices: Sequence[Choice]) -> None:
    """`strategy=auto` brings a rate of its own: a search would run one thing as often as there are rates."""
    if any(job.config["strategy"]["auto"] for choice in choices for job in choice.members):
        raise UserError(
            "study.strategies has auto, which chooses its rate itself, so that none can be searched for it. Leave it "
            "out, and run it beside the study: -m strategy=auto seed=0,1,2 with the same dataset words and sweep=NAME."
        )


def _check_targets(choices: Sequence[Choice]) -> None:
    known: dict[str, Target] = {}
    for choice in choices:
        if known.setdefault(choice.dataset, choice.target) != choice.target:
            raise UserError(
                f"two targets of this study are called {choice.dataset!r}: {' '.join(known[choice.dataset].words)}; "
                f"{' '.join(choice.target.words)}. Name one: [{','.join(choice.target.words)},dataset.name=NAME]."
            )
