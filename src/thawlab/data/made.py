"""Three tasks that the package draws itself: the source, a target near to it, and one far from it.

Each function gives `n` images, their labels and the names of the classes. Image `i` depends on (`seed`, `i`) alone, so
that a smaller `n` gives the first images of a larger one; classes take turns, so that their counts differ by one at
most.
"""

# ruff: noqa: RUF001 - letters that might be taken for others are what this is about.

from collections.abc import Callable

import numpy as np

from thawlab.data.rendering import SIDE, Distortion, render
from thawlab.data.textures import AXES, FIELDS, pattern

# Each shape once: of letters that look alike when cut to their ink (A and Greek Alpha, C and c, P and Greek rho), one.
LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghijkmnpqrtuyÆæØßÞþðŒœŁŊŋĦħŦƁƏƔƛƱƷƸɐɔɕɘɚɥɧɮɯɷɹʁʃʎʓʞ"
GREEK = "ΓΔΘΛΞΠΣΦΨΩαβγδεζλμξπςστφχω"
CYRILLIC = "БДЖЗИЙЛЦЧШЩЪЫЬЭЮЯЄЉЊЋЂѢбђ"
SOURCE = LATIN + GREEK + CYRILLIC
# Georgian letters that are unlike each other.
NEAR = "აბგდევზთლმნსფქყშჩცძწ"

STRONG = Distortion(
    turn=0.35,
    slant=0.4,
    perspective=0.3,
    bend=0.07,
    shift=0.12,
    fill=(0.72, 1.12),
    strokes=(-1, 3),
    resolution=(8, 32),
    contrast=0.5,
    noise=0.06,
)
MILD = Distortion(
    turn=0.15,
    slant=0.2,
    perspective=0.15,
    bend=0.03,
    shift=0.08,
    fill=(0.8, 1.0),
    strokes=(-1, 2),
    resolution=(12, 32),
    contrast=0.6,
    noise=0.05,
)

Made = tuple[np.ndarray, np.ndarray, tuple[str, ...]]


def characters(n: int, seed: int) -> Made:
    """Source task: characters of three alphabets, no digits, strongly distorted; uint8 (n, 32, 32).

    Broad and distorted on purpose: with 26 capitals under mild rotation, what was learnt did not help on digits.
    """
    return _made(n, seed, SOURCE, lambda label, rng: render(SOURCE[label], STRONG, rng), (SIDE, SIDE))


def characters_near(n: int, seed: int) -> Made:
    """Near target: letters of an alphabet that the source has not, mildly distorted; uint8 (n, 32, 32)."""
    return _made(n, seed, NEAR, lambda label, rng: render(NEAR[label], MILD, rng), (SIDE, SIDE))


def shapes(n: int, seed: int) -> Made:
    """Far target: five patterns, each between two pairs of colours; uint8 (n, 32, 32, 3)."""
    kinds = [(field, axis) for field in FIELDS for axis in AXES]
    names = [f"{axis} {field.__name__}" for field, axis in kinds]
    return _made(n, seed, names, lambda label, rng: pattern(*kinds[label], rng), (SIDE, SIDE, 3))


def _made(
    n: int,
    seed: int,
    classes: str | list[str],
    draw: Callable[[int, np.random.Generator], np.ndarray],
    shape: tuple[int, ...],
) -> Made:
    labels = np.arange(n, dtype=np.int64) % len(classes)
    pixels = np.empty((n, *shape), np.uint8)
    for index, label in enumerate(labels.tolist()):
        pixels[index] = draw(label, np.random.default_rng([seed, index]))
    return pixels, labels, tuple(classes)
