"""Every strategy held against training from scratch, and corrected for how many there are."""

from thawlab.report.evidence import SCRATCH, Evidence, Group
from thawlab.report.findings import BETTER, UNCLEAR, WORSE, Difference
from thawlab.report.pairing import Paired, Reader, compare
from thawlab.report.statistics import ALPHA, holm


def differences(evidence: Evidence, reader: Reader) -> tuple[Difference, ...]:
    """Each strategy minus scratch, with Holm's correction over all of them; notes go to the reader's."""
    found = [(group, paired) for group in evidence.groups if (paired := _against_scratch(evidence, group, reader))]
    adjusted = holm([paired.tested.p for _, paired in found])
    return tuple(_difference(*one, p_holm) for one, p_holm in zip(found, adjusted, strict=True))


def _against_scratch(evidence: Evidence, group: Group, reader: Reader) -> Paired | None:
    if group.name == SCRATCH:
        return None
    scratch = evidence.scratch_of(group)
    return compare(group, scratch, reader) if scratch else None


def _difference(group: Group, paired: Paired, p_holm: float) -> Difference:
    points, p = paired.tested.points, paired.tested.p
    verdict = UNCLEAR
    if points.low is not None and points.high is not None and p_holm < ALPHA:
        verdict = BETTER if points.low > 0 else WORSE if points.high < 0 else UNCLEAR
    return Difference(group.task, group.strategy, points, paired.images, p, p_holm, verdict)


def notes_on(found: tuple[Difference, ...]) -> list[str]:
    """What must be known to read the differences aright."""
    notes = []
    if single := sum(one.points.n == 1 for one in found):
        notes.append(
            f"{single} of {len(found)} differences rest on one seed: their intervals tell of other test images, not of "
            "other seeds. Run more: seed=0,1,2."
        )
    if few := sum(1 < one.points.n < 4 for one in found):
        notes.append(
            f"{few} of {len(found)} differences rest on two or three seeds. Their intervals are wide for that, and "
            "after the correction only large differences remain; five seeds show much smaller ones."
        )
    return notes
