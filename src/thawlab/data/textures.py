"""Coloured patterns: a task in which nothing that a reader of characters knows is of much use."""

import colorsys
from collections.abc import Callable

import numpy as np

SIDE = 32
GRAIN = 0.09  # largest standard deviation of the noise on each channel, of 1

Field = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def stripes(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Parallel waves."""
    return 0.5 + 0.5 * np.sin(x * rng.uniform(4, 10) + rng.uniform(0, 6.3))


def checks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two crossing waves, multiplied."""
    pitch = rng.uniform(4, 8)
    product = np.sin(x * pitch + rng.uniform(0, 6.3)) * np.sin(y * pitch + rng.uniform(0, 6.3))
    return 0.5 + 0.5 * np.tanh(4 * product)


def dots(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Discs on a square lattice."""
    pitch = rng.uniform(4, 8)
    sum_ = np.cos(x * pitch + rng.uniform(0, 6.3)) + np.cos(y * pitch + rng.uniform(0, 6.3))
    return 0.5 + 0.5 * np.tanh(4 * (sum_ - rng.uniform(0.3, 0.8)))


def rings(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Waves around a point within the image."""
    distance = np.hypot(x - rng.uniform(-0.7, 0.7), y - rng.uniform(-0.7, 0.7))
    return 0.5 + 0.5 * np.sin(distance * rng.uniform(5, 11) + rng.uniform(0, 6.3))


def blobs(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth patches without order: a sum of waves in random directions."""
    angles, phases = rng.uniform(0, np.pi, 6), rng.uniform(0, 6.3, 6)
    pitches = rng.uniform(3, 8, 6)
    waves = [np.sin(p * (x * np.cos(a) + y * np.sin(a)) + f) for p, a, f in zip(pitches, angles, phases, strict=True)]
    return 0.5 + 0.5 * np.tanh(np.sum(waves, axis=0))


FIELDS: tuple[Field, ...] = (stripes, checks, dots, rings, blobs)
# Each pattern twice: around orange, and around blue, on a circle of 1. The spread lets the two overlap a little.
HUES = {"warm": 0.08, "cold": 0.58}
SPREAD = 0.13


def pattern(field: Field, hues: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one pattern at a random turn and pitch, between two colours of about one hue: uint8 (32, 32, 3)."""
    line = np.linspace(-1, 1, SIDE)
    turn = rng.uniform(0, np.pi)
    x, y = np.meshgrid(line, line)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    share = field(u * (1 + rng.uniform(-0.2, 0.2) * v), v, rng)
    first, second = _colours(hues, rng)
    light = 1 + rng.uniform(-0.35, 0.35) * x + rng.uniform(-0.35, 0.35) * y
    colour = (first + share[..., None] * (second - first)) * light[..., None]
    colour += rng.normal(0, rng.uniform(0.02, GRAIN), colour.shape)
    return np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)


def _colours(hues: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a dark and a light colour, (3,) each, 0 to 1, in random order; only their hues are the class's own."""
    drawn = [
        colorsys.hsv_to_rgb(rng.normal(HUES[hues], SPREAD) % 1, rng.uniform(0.3, 0.9), rng.uniform(*brightness))
        for brightness in ((0.2, 0.6), (0.6, 1.0))
    ]
    first, second = rng.permutation(2).tolist()
    return np.array(drawn[first]), np.array(drawn[second])
