"""The four cases: what courses recommend, held against what was measured; and depth profiles."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thawlab.report.evidence import Evidence, Group, cell_of
from thawlab.report.findings import ABOVE, CORNERS, HELD, NOT_HELD, UNCLEAR, Case, DepthPoint, Interval, Task
from thawlab.report.pairing import Paired, Reader, compare
from thawlab.report.rows import leaders
from thawlab.report.statistics import ALPHA, holm
from thawlab.study_record import FOUR_CASES, StudyRecord

_CASES = {(size, target): (number, recipe) for number, (size, target, recipe) in CORNERS.items()}
_DEPTH = re.compile(r"depth_(frozen|trained|random)_(\d+)")


def cases(evidence: Evidence, study: StudyRecord | None, reader: Reader) -> tuple[Case, ...]:
    """Every corner that a study of the four cases labels, by number; with several targets of a kind, one for each."""
    if study is None or study.kind != FOUR_CASES:
        return ()
    tasks: dict[Task, list[Group]] = {}
    for group in evidence.groups:
        tasks.setdefault(group.task, []).append(group)
    found = []
    for task, groups in tasks.items():
        config = groups[0].chosen[0].record.config
        if corner := _CASES.get((study.size_of(config) or "", study.case_of(config) or "")):
            found.append(_case(task, groups, *corner, reader))
    return tuple(sorted(found, key=lambda case: (case.number, case.task.target)))


@dataclass(frozen=True)
class _Corner:
    """A corner's strategies over the seeds that all have, the best first, and what was tested between them.

    Of several best the recipe comes first.
    """

    ranked: Sequence[Group]
    own: Group | None  # the recipe's
    found: Mapping[tuple[str, str], Paired | None]  # (strategy, another): the one minus the other
    adjusted: Mapping[tuple[str, str], float]  # their p, after Holm's correction over all of them

    @property
    def best(self) -> str:
        """The name of the best, or of all that tie, as the subject of a sentence with its verb."""
        names = [group.strategy for group in leaders(self.ranked, _mean)]
        return f"{names[0]} is the best" if len(names) == 1 else f"{_and(names)} tie for the best"

    def is_ahead(self, one: Group, other: Group) -> bool:
        """Whether one is shown to be better: the interval lies above zero, and the corrected p below 0.05."""
        return self.lies_above(one, other) and self.adjusted[one.strategy, other.strategy] < ALPHA

    def lies_above(self, one: Group, other: Group) -> bool:
        """Whether the interval of the difference alone lies above zero, whatever the correction says."""
        paired = self.found.get((one.strategy, other.strategy))
        return paired is not None and paired.tested.points.side == ABOVE


def _case(task: Task, groups: Sequence[Group], number: int, recipe: str, reader: Reader) -> Case:
    comparable, told = _over_shared_seeds(groups)
    corner = _corner(comparable, recipe, reader)
    best, own = corner.ranked[0], corner.own
    winners = tuple(one.strategy for one in corner.ranked if one is best or not corner.is_ahead(best, one))
    if own is None:
        lacks = "has too few runs" if any(group.name == recipe for group in groups) else "has no result"
        sentence = f"{recipe} {lacks} here; {corner.best} of {len(comparable)} with {_percent(best)}."
        return Case(number, task, recipe, winners, UNCLEAR, sentence + told)
    beaten = [one.strategy for one in corner.ranked if one is not own and corner.is_ahead(own, one)]
    # Of a recipe that lies behind by its own interval, and not after the correction, neither is shown.
    open_ = corner.lies_above(best, own) or not beaten
    held = NOT_HELD if own.strategy not in winners else UNCLEAR if open_ else HELD
    return Case(number, task, recipe, winners, held, _sentence(corner, own, held, beaten) + told)


def _over_shared_seeds(groups: Sequence[Group]) -> tuple[list[Group], str]:
    """The groups over the seeds that all have, and a sentence where these are not all seeds.

    Means over other seeds are means over other training images: a missing run would make the rest look better or worse.
    A strategy with fewer than half of the seeds is left out, for it would take the seeds from all the others.
    """
    most = max(len(group.chosen) for group in groups)
    kept = [group for group in groups if 2 * len(group.chosen) >= most]
    while not (shared := frozenset.intersection(*(group.seeds for group in kept))):
        kept.remove(min(kept, key=lambda group: len(group.chosen)))
    told = " One seed shows nothing of others: run more." if len(shared) == 1 and len(kept) > 1 else ""
    if any(group.seeds != shared for group in kept):
        told += f" Over the seeds that all have ({', '.join(str(seed) for seed in sorted(shared, key=str))})."
    if out := [group.strategy for group in groups if group not in kept]:
        told += f" Not compared, for want of seeds: {', '.join(out)}."
    return [group.over(shared) for group in kept], told


def _corner(groups: Sequence[Group], recipe: str, reader: Reader) -> _Corner:
    """Test the best against each other strategy, and the recipe too where it is not the best."""
    ranked = sorted(groups, key=lambda group: -_mean(group))
    tied = leaders(ranked, _mean)
    ranked[: len(tied)] = sorted(tied, key=lambda group: group.name != recipe)
    best = ranked[0]
    own = next((group for group in ranked if group.name == recipe), None)
    pairs = [(best, group) for group in ranked[1:]]
    if own is not None and own is not best:
        pairs += [(own, group) for group in ranked if group is not own and group is not best]
    found = {(one.strategy, two.strategy): compare(one, two, reader) for one, two in pairs}
    tested = {names: paired.tested.p for names, paired in found.items() if paired is not None}
    return _Corner(ranked, own, found, dict(zip(tested, holm(list(tested.values())), strict=True)))


def _sentence(corner: _Corner, own: Group, held: str, beaten: Sequence[str]) -> str:
    best, of = corner.ranked[0], len(corner.ranked)
    better = (
        f"after Holm's correction within this corner it is shown to be better than {', '.join(beaten)}"
        if beaten
        else "no strategy is shown to be worse than it after Holm's correction within this corner"
    )
    if of == 1:
        return f"{own.strategy} has {_percent(own)}, and nothing else was run here."
    if own is best:
        second = corner.ranked[1]
        if second in leaders(corner.ranked, _mean):
            return f"{corner.best} of {of} with {_percent(own)}; {better}."
        lead = _points(corner.found[own.strategy, second.strategy], _mean(own) - _mean(second))
        return f"{own.strategy} is the best of {of} with {_percent(own)}, {lead} ahead of {second.strategy}; {better}."
    first = leaders(corner.ranked, _mean)
    the = "the best" if len(first) == 1 else "a tie for the best"
    gap = _points(corner.found[best.strategy, own.strategy], _mean(best) - _mean(own))
    behind = f"{own.strategy} has {_percent(own)}, {gap} behind {_and([one.strategy for one in first])}, {the} of {of}"
    if held == NOT_HELD:
        return f"{behind}, and is shown to be worse after Holm's correction within this corner."
    if corner.lies_above(best, own):
        return f"{behind}: worse by this interval alone, not after the correction; {better}."
    return f"{behind}, which does not show that it is worse; {better}."


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _points(paired: Paired | None, difference: float) -> str:
    found = paired.tested.points if paired else Interval(difference, None, None, 1)
    text = f"{100 * found.value:.1f} points"
    if found.low is None or found.high is None:
        return text
    return f"{text} (95% interval {100 * found.low:.1f} to {100 * found.high:.1f})"


def _mean(group: Group) -> float:
    scores = [run.score or 0.0 for run in group.chosen]
    return sum(scores) / len(scores)


def _percent(group: Group) -> str:
    return f"{100 * _mean(group):.1f}%"


def depth(evidence: Evidence) -> tuple[DepthPoint, ...]:
    """The points of depth profiles. Where nothing is kept the controls are one network, run once: a point of each."""
    found = []
    for group in evidence.groups:
        if named := _DEPTH.fullmatch(group.name):
            control, kept = named[1], int(named[2])
            plan = group.chosen[0].record.plan
            stage = plan[kept - 1]["stage"] if 0 < kept <= len(plan) else "-"
            found.append(DepthPoint(group.task, control, kept, stage, cell_of(group).score))
    starts = {point.task: point for point in found if point.kept == 0}
    for task, control in sorted({(p.task, p.control) for p in found if p.kept}, key=str):
        if task in starts and starts[task].control != control:
            found.append(DepthPoint(task, control, 0, "-", starts[task].score))
    return tuple(sorted(found, key=lambda p: (p.task.source, p.task.target, p.task.size, p.control, p.kept)))
