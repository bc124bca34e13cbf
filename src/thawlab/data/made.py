"""Three tasks that the package draws itself: the source, a target near to it, and one far from it.

Image `i` depends on (`seed`, `i`) alone, so that of a task of fewer images each is one of a larger; classes take turns,
so that their counts differ by one at most.
"""

# ruff: noqa: RUF001 - letters that might be taken for others are what this is about.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from thawlab.data import glyphs, rendering, textures
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

_PATTERNS = [(field, axis) for field in FIELDS for axis in AXES]


@dataclass(frozen=True)
class Task:
    """Images that are drawn one by one: `draw` gives one of a label, uint8 of `shape`."""

    classes: tuple[str, ...]
    shape: tuple[int, ...]
    draw: Callable[[int, np.random.Generator], np.ndarray]

    def labels(self, n: int) -> np.ndarray:
        """Of the first `n` images: int64 (n,)."""
        return np.arange(n, dtype=np.int64) % len(self.classes)

    def pixels(self, places: Sequence[int], seed: int) -> np.ndarray:
        """The images at these places: uint8 (n, *shape)."""
        found = np.empty((len(places), *self.shape), np.uint8)
        for row, place in enumerate(places):
            found[row] = self.draw(place % len(self.classes), np.random.default_rng([seed, place]))
        return found


# Strongly distorted characters of three alphabets, no digits. Broad and distorted on purpose: with 26 capitals under
# mild rotation, what was learnt did not help on digits.
CHARACTERS = Task(tuple(SOURCE), (SIDE, SIDE), lambda label, rng: render(SOURCE[label], STRONG, rng))
# Letters of an alphabet that the source has not, mildly distorted.
CHARACTERS_NEAR = Task(tuple(NEAR), (SIDE, SIDE), lambda label, rng: render(NEAR[label], MILD, rng))
# Five patterns, each between two pairs of colours.
SHAPES = Task(
    tuple(f"{axis} {field.__name__}" for field, axis in _PATTERNS),
    (SIDE, SIDE, 3),
    lambda label, rng: pattern(*_PATTERNS[label], rng),
)
TASKS = {"characters": CHARACTERS, "characters_near": CHARACTERS_NEAR, "shapes": SHAPES}


@cache
def drawn_by() -> str:
    """What pixels depend on besides task, seed and place: a digest over the code that draws, and the libraries."""
    files = [Path(module.__file__ or "") for module in (glyphs, rendering, textures)]
    code = sha256(b"".join(file.read_bytes() for file in (Path(__file__), *files))).hexdigest()
    return ", ".join([code, *(f"{name} {version(name)}" for name in ("matplotlib", "numpy", "pillow"))])
