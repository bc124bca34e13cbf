"""How many images and seeds judge, what one image is worth, and a warning where that leaves much to chance."""

from collections.abc import Sequence

from thawlab.report.findings import Cell, Interval

ENOUGH = 100  # images: of fewer, one is worth more than a point of accuracy
ENOUGH_SEEDS = 4  # of fewer an interval is wide for that alone: by Student's t, 12.7, 4.3 and 3.2 for 2, 3 and 4

NO_WIDTH = 1e-9  # of an interval: less is what adding up leaves


def worth(images: int) -> str:
    """What one of so many images is worth in an accuracy.

    >>> worth(9), worth(497), worth(10_000)
    ('11.1 points', '0.2 points', '0.01 points')
    """
    points = 100 / images
    return f"{points:.1f} points" if points >= 0.1 else f"{points:.1g} points"


def warning(test: int, val: int | None, metric: str) -> str | None:
    """What must be known of a comparison by few images; None of enough. `val` is None or 0 where nobody counted.

    >>> warning(9, 5, "test/accuracy")
    'FEW IMAGES: 9 test images, one of them 11.1 points; 5 validation images, which choose the epoch, one of them 20.0 points. So few leave much to chance.'
    """  # noqa: E501
    kinds = ((test, "test images"), (val, "validation images, which choose the epoch"))
    found = [told(images, kind, metric) for images, kind in kinds if images and images < ENOUGH]
    return f"FEW IMAGES: {'; '.join(found)}. So few leave much to chance." if found else None


def told(images: int, kind: str, metric: str) -> str:
    """So many images, and what one is worth where the metric is a share of them."""
    return f"{images:,} {kind}" + (f", one of them {worth(images)}" if metric == "test/accuracy" else "")


def notes_on_seeds(cells: Sequence[Cell]) -> list[str]:
    """Where so few seeds were run that a score says little of others."""
    single = sum(cell.score.n == 1 for cell in cells)
    several = sum(1 < cell.score.n < ENOUGH_SEEDS for cell in cells)
    notes = [f"FEW SEEDS: {single} of {len(cells)} scores rest on one: they have no interval."] if single else []
    if several:
        notes.append(f"FEW SEEDS: {several} of {len(cells)} scores rest on two or three: wide intervals.")
    if equal := sum(cell.score.n > 1 and _width(cell.score) < NO_WIDTH for cell in cells):
        notes.append(
            f"{equal} of {len(cells)} intervals have no width: their seeds agree to the image. Others need not."
        )
    return notes


def _width(score: Interval) -> float:
    return (score.high or 0.0) - (score.low or 0.0)
