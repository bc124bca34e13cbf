"""Coloured patterns: a task in which nothing that a reader of characters knows is of much use."""

from collections.abc import Callable

import numpy as np

SIDE = 32
GRAIN = 0.08  # largest standard deviation of the noise on each channel, of 1
LIGHT = 0.4  # largest difference in brightness across an image
STRENGTH = (0.15, 0.4)  # distance of a pattern's two colours from grey

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
# Each pattern twice, by the colours that it lies between: directions in which red + green + blue stays the same, so
# that a network that was trained on grey images alone, and adds the three up, sees next to nothing of it.
AXES = {"red-cyan": np.array([2, -1, -1]) / 6**0.5, "green-blue": np.array([0, 1, -1]) / 2**0.5}
STRAY = 0.35  # radians that a pair of colours may lie off its axis


def pattern(field: Field, axis: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one pattern in colour, at a random turn and pitch, under an uneven light: uint8 (32, 32, 3).

    The light is uneven in patches, as strong as the pattern itself: it is grey, and tells nothing of the class.
    """
    line = np.linspace(-1, 1, SIDE)
    x, y = np.meshgrid(line, line)
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    share = field(u * (1 + rng.uniform(-0.2, 0.2) * v), v, rng)
    light = rng.uniform(0.4, 0.6) + rng.uniform(0, LIGHT) * (blobs(x, y, rng) - 0.5)
    colour = light[..., None] + (2 * share[..., None] - 1) * rng.uniform(*STRENGTH) * _direction(axis, rng)
    colour += rng.normal(0, rng.uniform(0.02, GRAIN), colour.shape)
    return np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)


def _direction(axis: str, rng: np.random.Generator) -> np.ndarray:
    """Give a unit vector (3,) near an axis or its opposite, its sum 0."""
    along, across = AXES[axis], AXES["green-blue" if axis == "red-cyan" else "red-cyan"]
    stray = rng.uniform(-STRAY, STRAY)
    return rng.choice([-1, 1]) * (np.cos(stray) * along + np.sin(stray) * across)
