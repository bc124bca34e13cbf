"""The figures of a report, drawn by matplotlib: SVG for the page, PNG for whoever wants to show one elsewhere."""

from thawlab.report.figures import cases, confusion, cost, depth, differences, learning, plans, sizes
from thawlab.report.figures.drawn import Drawn
from thawlab.report.findings import Findings

# By section of the page.
_KINDS = {
    "cases": cases, "differences": differences, "sizes": sizes, "cost": cost, "learning": learning, "depth": depth,
    "plans": plans, "confusion": confusion,
}  # fmt: skip


def draw(findings: Findings) -> dict[str, list[Drawn]]:
    """Every figure that the findings have something for: section -> its figures."""
    return {kind: list(module.draw(findings)) for kind, module in _KINDS.items()}
