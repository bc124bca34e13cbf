"""How many images judge, what one of them is worth, and a warning where that leaves much to chance."""

ENOUGH = 100  # images: of fewer, one is worth more than a point of accuracy


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
