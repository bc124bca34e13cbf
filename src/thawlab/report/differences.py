"""Every strategy held against training from scratch, and corrected for how many there are."""

from dataclasses import replace

from thawlab.report.evidence import SCRATCH, Evidence, Group
from thawlab.report.few import ENOUGH_SEEDS
from thawlab.report.findings import ABOVE, ACROSS, BELOW, BETTER, UNCLEAR, WORSE, Difference
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
    found = Difference(group.task, group.strategy, points, paired.images, p, p_holm, UNCLEAR)
    shown = {ABOVE: BETTER, BELOW: WORSE, ACROSS: UNCLEAR}[found.side] if p_holm < ALPHA else UNCLEAR
    return replace(found, verdict=shown)


def notes_on(found: tuple[Difference, ...]) -> list[str]:
    """What must be known to read the differences aright."""
    notes = []
    if single := sum(one.points.n == 1 for one in found):
        notes.append(
            f"{single} of {len(found)} differences rest on one seed: their intervals tell of other test images, not of "
            "other seeds, so that nothing is shown. Run more: seed=0,1,2."
        )
    if few := sum(1 < one.points.n < ENOUGH_SEEDS for one in found):
        notes.append(
            f"{few} of {len(found)} differences rest on two or three seeds. Their intervals are wide for that, and "
            "after the correction only large differences remain; five seeds show much smaller ones."
        )
    if short := sum(one.verdict == UNCLEAR and one.side != ACROSS for one in found):
        notes.append(
            f"{short} of {len(found)} differences lie wholly above or below scratch by their own interval, but not "
            "after the correction: among so many, some would by chance."
        )
    return notes
