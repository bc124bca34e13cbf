"""What it cost: the source network, coming to a score, and after how many targets the source has paid for itself.

FLOPs are those of a run by itself (`costs`). Costs of an unfinished training are its epochs' share of the whole, but
for what is computed once, which stands in the epoch that needs it first; where stages thaw one after another, early
epochs cost less than that.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from thawlab.rates import validation_score
from thawlab.report.costs import flops_until, seconds_until
from thawlab.report.evidence import SCRATCH, Evidence, Group, Run
from thawlab.report.findings import PaysOff, Reached, SourceCost, Task
from thawlab.report.rows import mean_of_all

Rows = Sequence[Mapping[str, float | None]]  # of curves.csv
SHARE_OF_BEST = 0.9


def sources(evidence: Evidence, told: Mapping[str, Any] | None) -> tuple[SourceCost, ...]:
    """The cost of each source network; `told`: the study's word on one of them."""
    names = dict.fromkeys(group.task.source for group in evidence.groups)
    return tuple(_source(name, told if told and told["name"] == name else None) for name in names)


def _source(name: str, told: Mapping[str, Any] | None) -> SourceCost:
    if told is None:
        return SourceCost(name, None, None, None, "nobody told what it cost")
    return SourceCost(name, told["seconds"], told["flops"], told["images"], told["told_by"])


def reached(evidence: Evidence, curves: Mapping[str, Rows]) -> tuple[Reached, ...]:
    """What each strategy took to come to two validation scores of its task: scratch's, and 0.9 of the best.

    Scratch's is the score that each of its seeds came to: their lowest.
    """
    name = evidence.metric.replace("test/", "val/", 1)
    found = []
    for groups in _by_task(evidence).values():
        for score in thresholds(groups):
            found += [_reached(group, score, curves, name) for group in groups]
    return tuple(found)


def _by_task(evidence: Evidence) -> dict[Task, list[Group]]:
    tasks: dict[Task, list[Group]] = defaultdict(list)
    for group in evidence.groups:
        tasks[group.task].append(group)
    return tasks


def thresholds(groups: Sequence[Group]) -> list[float]:
    """The validation scores that a task's strategies are asked to come to, those of scratch first."""
    floors = [floor for group in groups if group.name == SCRATCH and (floor := _floor(group)) is not None]
    means = [sum(values) / len(values) for group in groups if (values := _validation(group))]
    best = [SHARE_OF_BEST * max(means)] if means else []
    return list(dict.fromkeys([*floors, *best]))


def _floor(group: Group) -> float | None:
    """The score that each of its seeds came to."""
    return min(_validation(group), default=None)


def _validation(group: Group) -> list[float]:
    return [score for run in group.chosen if (score := validation_score(run.record)) is not None]


def _reached(group: Group, score: float, curves: Mapping[str, Rows], name: str) -> Reached:
    costs = [_cost_to(run, score, curves.get(run.record.name, ()), name) for run in group.chosen]
    whole = [cost for cost in costs if cost is not None]
    if len(whole) < len(costs):
        return Reached(group.task, group.strategy, score, None, None, None)
    return Reached(group.task, group.strategy, score, *(mean_of_all(one) for one in zip(*whole, strict=True)))


def _cost_to(run: Run, score: float, rows: Rows, name: str) -> tuple[float | None, ...] | None:
    """Seconds, FLOPs and images until the first epoch whose validation score is no lower; None where there is none."""
    # A record keeps doubles of what curves.csv has: the last digits may differ.
    done = next((i for i, row in enumerate(rows, start=1) if (row.get(name) or 0.0) >= score - 1e-9), None)
    if done is None:
        return None
    record, of = run.record, len(rows)
    images = record.costs.get("images")
    return (
        seconds_until(record, done, of),
        flops_until(record, done, of),
        None if images is None else images * done / of,
    )


def pays_off(evidence: Evidence, found: Sequence[Reached], costs: Sequence[SourceCost]) -> tuple[PaysOff, ...]:
    """After how many such targets the source network is paid, where each saves what it saves on this one.

    Both come to the same validation score, scratch's. Searching the rates is not in it: both sides had the same search.
    """
    flops = {cost.source: cost.flops for cost in costs}
    by_key: dict[tuple[Task, str], list[Reached]] = defaultdict(list)
    for one in found:
        by_key[one.task, one.strategy].append(one)
    answers = []
    for group in evidence.groups:
        scratch = evidence.scratch_of(group)
        if group.name != SCRATCH and scratch:
            both = by_key[group.task, group.strategy], by_key[group.task, scratch.strategy]
            answers.append(_pays(group, *both, _floor(scratch), flops.get(group.task.source)))
    return tuple(answers)


def _pays(
    group: Group, own: Sequence[Reached], scratch: Sequence[Reached], floor: float | None, source: float | None
) -> PaysOff:
    beyond = _beyond_scratch(own, scratch)
    mine, other = (next((one.flops for one in side if one.score == floor), None) for side in (own, scratch))
    if mine is None or other is None:
        side = "the strategy never comes to scratch's score" if mine is None else "scratch's cost is not known"
        return PaysOff(group.task, group.strategy, None, None, side + beyond)
    saved = other - mine
    if saved <= 0:
        return PaysOff(group.task, group.strategy, saved, None, "it costs no less than scratch: it never pays" + beyond)
    if source is None:
        note = "nobody told what the source cost" + beyond
        return PaysOff(group.task, group.strategy, saved, None, note)
    return PaysOff(group.task, group.strategy, saved, source / saved, beyond.removeprefix("; "))


def _beyond_scratch(own: Sequence[Reached], scratch: Sequence[Reached]) -> str:
    """The scores that the strategy comes to and scratch never."""
    never = [one for one, two in zip(own, scratch, strict=True) if one.flops is not None and two.flops is None]
    return "".join(f"; it comes to {one.score:.1%} on validation images, which scratch does not" for one in never)
