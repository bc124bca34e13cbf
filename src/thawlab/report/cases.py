"""The four cases: what courses recommend, held against what was measured; and depth profiles."""

import re
from collections.abc import Sequence

from thawlab.report.evidence import Evidence, Group, cell_of
from thawlab.report.findings import Case, DepthPoint, Interval, Task
from thawlab.report.pairing import Paired, Reader, compare
from thawlab.study_record import StudyRecord

HELD, NOT_HELD, UNCLEAR = "held", "did not hold", "unclear"
# (size, target) -> the case and its recipe.
CORNERS = {
    ("small", "similar"): (1, "freeze"),
    ("small", "different"): (2, "truncate"),
    ("large", "similar"): (3, "full"),
    ("large", "different"): (4, "scratch"),
}
_DEPTH = re.compile(r"depth_(frozen|trained|random)_(\d+)")


def cases(evidence: Evidence, study: StudyRecord | None, reader: Reader) -> tuple[Case, ...]:
    """Every corner that a study labels, by number; with several targets of a kind, one for each."""
    tasks: dict[Task, list[Group]] = {}
    for group in evidence.groups:
        tasks.setdefault(group.task, []).append(group)
    found = []
    for task, groups in tasks.items():
        config = groups[0].chosen[0].record.config
        corner = CORNERS.get((study.size_of(config) or "", study.case_of(config) or "")) if study else None
        if corner:
            found.append(_case(task, groups, *corner, reader))
    return tuple(sorted(found, key=lambda case: (case.number, case.task.target)))


def _case(task: Task, groups: Sequence[Group], number: int, recipe: str, reader: Reader) -> Case:
    ranked = sorted(groups, key=lambda group: -_mean(group))
    best = ranked[0]
    to_best = {group.strategy: compare(best, group, reader) for group in ranked[1:]}
    winners = [best.strategy, *(name for name, paired in to_best.items() if not _is_ahead(paired))]
    own = next((group for group in ranked if group.name == recipe), None)
    if own is None:
        sentence = f"{recipe} has no result here; {best.strategy} is the best of {len(ranked)} with {_percent(best)}."
        return Case(number, task, recipe, tuple(winners), UNCLEAR, sentence)
    beaten = [group.strategy for group in ranked if group is not own and _is_ahead(compare(own, group, reader))]
    held = NOT_HELD if own.strategy not in winners else HELD if beaten else UNCLEAR
    sentence = _sentence(own, ranked, to_best, held, beaten)
    return Case(number, task, recipe, tuple(winners), held, sentence)


def _is_ahead(paired: Paired | None) -> bool:
    """Whether the whole interval of a difference lies above zero."""
    return paired is not None and paired.tested.points.low is not None and paired.tested.points.low > 0


def _sentence(
    own: Group, ranked: Sequence[Group], to_best: dict[str, Paired | None], held: str, beaten: Sequence[str]
) -> str:
    best, of = ranked[0], len(ranked)
    better = (
        f"it is shown to be better than {', '.join(beaten)}" if beaten else "no strategy is shown to be worse than it"
    )
    if of == 1:
        return f"{own.strategy} has {_percent(own)}, and nothing else was run here."
    if own is best:
        second = ranked[1]
        lead = _points(to_best[second.strategy], _mean(own) - _mean(second))
        return f"{own.strategy} is the best of {of} with {_percent(own)}, {lead} ahead of {second.strategy}; {better}."
    gap = _points(to_best[own.strategy], _mean(best) - _mean(own))
    behind = f"{own.strategy} has {_percent(own)}, {gap} behind {best.strategy}, the best of {of}"
    return f"{behind}." if held == NOT_HELD else f"{behind}, which does not show that it is worse; {better}."


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
