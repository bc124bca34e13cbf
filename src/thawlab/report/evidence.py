"""Records → runs and cells: who can be compared with whom, and at which learning rate."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thawlab.rates import choose_rate, validation_score
from thawlab.record import Record, Sweep, main_metric
from thawlab.report.costs import flops_alone
from thawlab.report.findings import Cell, Interval, RunRow, Task
from thawlab.report.rows import labels_of, mean_and_half_width, mean_cost, mean_of_all, score_of, settings
from thawlab.study_record import StudyRecord

MEASURED, SEARCHED, NOT_COUNTED, NO_RESULT = "measured", "searched", "not counted", "no result"
SCRATCH = "scratch"  # the strategy that every other is held against
# What a cell averages over, searches, or is told by its size.
_NO_LABEL = ("optimizer.lr", "dataset.per_class", "dataset.share")


@dataclass(frozen=True)
class Run:
    """A record, and where it belongs."""

    record: Record
    task: Task | None
    name: str  # strategy.name
    others: str  # the further settings that tell strategies of this name apart, as ", key=value"

    @property
    def strategy(self) -> str:
        """What the report calls its strategy."""
        return self.name + self.others

    @property
    def seed(self) -> int | None:
        """The run's seed."""
        return self.record.config.get("seed")

    @property
    def asked(self) -> float | None:
        """The head's peak learning rate in the config: what a search varies."""
        value = self.record.config.get("optimizer", {}).get("lr")
        return None if value is None else float(value)

    @property
    def rate(self) -> float | None:
        """The head's peak learning rate that the run had: with strategy=auto what was advised."""
        advised = (self.record.advice or {}).get("rate")
        return self.asked if advised is None else float(advised)

    @property
    def score(self) -> float | None:
        """The main test score."""
        return score_of(self.record)


@dataclass(frozen=True)
class Group:
    """A strategy on a task: a run for each seed at the chosen rate, and those at other rates."""

    task: Task
    name: str
    others: str
    rate: float
    searched: Mapping[float, float]
    chosen: tuple[Run, ...]  # sorted by seed
    unchosen: tuple[Run, ...]

    @property
    def strategy(self) -> str:
        """What the report calls the strategy."""
        return self.name + self.others

    @property
    def seeds(self) -> frozenset[int | None]:
        """Those of the runs at the chosen rate."""
        return frozenset(run.seed for run in self.chosen)

    def over(self, seeds: Collection[int | None]) -> "Group":
        """The same with the runs of these seeds alone."""
        return replace(self, chosen=tuple(run for run in self.chosen if run.seed in seeds))


@dataclass(frozen=True)
class Evidence:
    """What a sweep's records say, put in order."""

    metric: str
    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]

    def scratch_of(self, group: Group) -> Group | None:
        """The runs from scratch that a strategy is held against: on the same task, with the same further settings."""
        found = [one for one in self.groups if one.task == group.task and one.name == SCRATCH]
        same = [one for one in found if one.others == group.others]
        return same[0] if same else found[0] if len(found) == 1 else None


def gather(sweep: Sweep, study: StudyRecord | None = None) -> Evidence:
    """Put the records of a sweep in order; `study`, where it was one, says which rates it chose."""
    runs = _runs(sweep.records)
    metrics = [main_metric(run.record) for run in runs if run.score is not None]
    metric = max(dict.fromkeys(metrics), key=metrics.count) if metrics else "test/accuracy"
    notes: list[str] = []
    if other := sorted({one for one in metrics if one != metric}):
        notes.append(f"Runs that are judged by {', '.join(other)} are left out: this report is of {metric}.")
    apart: dict[tuple[Task, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.task is not None and main_metric(run.record) == metric:
            apart[run.task, run.name, run.others].append(run)
    groups = [_group(*key, members, study, notes) for key, members in apart.items()]
    found = sorted((one for one in groups if one is not None), key=_order)
    return Evidence(metric, runs, tuple(found), tuple(notes))


def _order(group: Group) -> tuple[Any, ...]:
    return group.task.source, group.task.target, group.task.size, group.strategy


def _runs(records: Sequence[Record]) -> tuple[Run, ...]:
    """Tell tasks and strategies apart. A setting that the task and the strategy's name imply is in no label."""
    tasks = [_task(record) for record in records]
    configs = [settings(record) for record in records]
    placed = [i for i, task in enumerate(tasks) if task is not None]
    varying = _varying([(tasks[i], configs[i]) for i in placed])
    kept = ("strategy.name", *varying)
    labels = dict(zip(placed, labels_of([{k: configs[i].get(k, "-") for k in kept} for i in placed]), strict=True))
    names = [config.get("strategy.name", "-") for config in configs]
    return tuple(
        Run(record, tasks[i], names[i], labels.get(i, names[i]).removeprefix(names[i]))
        for i, record in enumerate(records)
    )


def _task(record: Record) -> Task | None:
    size = record.data.get("train")
    if size is None:
        return None
    target, source = (str(record.config.get(group, {}).get("name") or "-") for group in ("dataset", "backbone"))
    return Task(target, source, size)


def _varying(runs: Sequence[tuple[Task | None, Mapping[str, str]]]) -> list[str]:
    """Settings that differ between runs of one task and one strategy's name."""
    first: dict[tuple[Any, ...], Mapping[str, str]] = {}
    varying: dict[str, None] = {}
    for task, config in runs:
        other = first.setdefault((task, config.get("strategy.name")), config)
        varying |= dict.fromkeys(
            k for k in (*config, *(k for k in other if k not in config)) if config.get(k) != other.get(k)
        )
    return [key for key in varying if key not in _NO_LABEL]


def _group(
    task: Task, name: str, others: str, members: Sequence[Run], study: StudyRecord | None, notes: list[str]
) -> Group | None:
    """Choose the rate of a cell; None where it has no result."""
    finished = [run for run in members if run.score is not None]
    if not finished:
        return None
    where = f"{name}{others}, {task.target}, {task.size} images"
    found = _rate(finished, study, where, notes)
    if found is None:
        return None
    rate, searched = found
    at_rate = sorted(
        (run for run in finished if (run.asked or 0.0) == rate), key=lambda run: (run.seed or 0, run.record.name)
    )
    once = {run.seed: run for run in reversed(at_rate)}
    if len(once) < len(at_rate):
        twice = ", ".join(run.record.name for run in at_rate if once[run.seed] is not run)
        notes.append(f"{where}: a seed was run twice; not counted: {twice}.")
    chosen = tuple(once[seed] for seed in sorted(once, key=lambda seed: seed or 0))
    unchosen = tuple(run for run in members if (run.asked or 0.0) != rate)
    had = dict.fromkeys(run.rate or 0.0 for run in chosen)
    if len(had) > 1:
        notes.append(f"{where}: advised rates differ by seed ({', '.join(f'{one:g}' for one in had)}).")
    return Group(task, name, others, next(iter(had)), searched, chosen, unchosen)


def _rate(
    finished: Sequence[Run], study: StudyRecord | None, where: str, notes: list[str]
) -> tuple[float, Mapping[float, float]] | None:
    """The rate of a cell and the score of each candidate: the study's own choice, else what validation images prefer.

    None, and a note, where neither chooses one.
    """
    told = study.choice_of(finished[0].record.config) if study else None
    try:
        best = choose_rate([run.record for run in finished])
    except ValueError as error:
        rates = {run.asked or 0.0 for run in finished}
        if told is None and len(rates) > 1:
            notes.append(f"{where}: no rate can be chosen on validation images ({error}), so it is left out.")
            return None
        best = rates.pop(), {}
    if told is None:
        return best
    rate = told["rate"]
    if rate is None:
        notes.append(f"{where}: no rate came through the study's search, so it is left out, as in the study.")
        return None
    if all(run.asked != rate for run in finished):
        notes.append(f"{where}: no run at the study's rate ({rate:g}) is there; {best[0]:g} is shown.")
        return best
    if rate != best[0]:
        notes.append(
            f"{where}: the study chose the rate {rate:g}; by the validation scores of all runs that are here it "
            f"would be {best[0]:g}. The study's is shown."
        )
    return rate, dict(told["scores"])


def cell_of(group: Group) -> Cell:
    """A group as the report shows it."""
    records = [run.record for run in group.chosen]
    scores = [run.score for run in group.chosen if run.score is not None]
    mean, half = mean_and_half_width(scores)
    bounds = (None, None) if half is None else (mean - half, mean + half)
    return Cell(
        group.task,
        group.strategy,
        group.rate,
        tuple(sorted(group.searched.items())),
        tuple(record.name for record in records),
        tuple(run.seed or 0 for run in group.chosen),
        Interval(mean, *bounds, len(scores)).cut(0, 1),
        records[0].data.get("test", 0),
        mean_cost(records, "seconds", "total"),
        mean_of_all([flops_alone(record) for record in records]),
        mean_of_all([record.costs.get("images") for record in records]),
        _search(group.unchosen),
    )


def _search(runs: Sequence[Run]) -> tuple[float, float, float] | None:
    """Seconds, FLOPs and images of the runs at other rates, as far as they are recorded; None without such runs."""
    if not runs:
        return None
    seconds = sum(run.record.costs.get("seconds", {}).get("total") or 0.0 for run in runs)
    flops = sum(flops_alone(run.record) or 0.0 for run in runs)
    return seconds, flops, float(sum(run.record.costs.get("images") or 0 for run in runs))


def rows_of(evidence: Evidence) -> tuple[RunRow, ...]:
    """The runs as the report lists them."""
    roles = {run.record.name: SEARCHED for group in evidence.groups for run in group.unchosen}
    roles |= {run.record.name: MEASURED for group in evidence.groups for run in group.chosen}
    return tuple(
        _row(run, NO_RESULT if run.score is None else roles.get(run.record.name, NOT_COUNTED)) for run in evidence.runs
    )


def _row(run: Run, role: str) -> RunRow:
    record = run.record
    return RunRow(
        record.name,
        run.task,
        run.strategy,
        run.rate,
        run.seed,
        record.status,
        record.reason,
        role,
        run.score,
        validation_score(record),
        record.costs.get("seconds", {}).get("total"),
        flops_alone(record),
        record.costs.get("images"),
        record.costs.get("parameters", {}).get("trained_share"),
    )


def notes_on_rates(cells: Sequence[Cell]) -> list[str]:
    """Where a search of rates may have ended too early: the best of them lies at its edge."""
    searched = [(cell, sorted(rate for rate, _ in cell.searched)) for cell in cells if len(cell.searched) > 2]
    edges = {"highest": [cell for cell, rates in searched if cell.rate == rates[-1]]}
    edges["lowest"] = [cell for cell, rates in searched if cell.rate == rates[0]]
    return [
        f"In {len(found)} of {len(searched)} cells validation images chose the {edge} rate that was tried "
        f"({', '.join(dict.fromkeys(cell.strategy for cell in found))}): one beyond it may do better."
        for edge, found in edges.items()
        if found
    ]
