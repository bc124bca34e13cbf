"""A character's mask → a small, distorted picture of it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from thawlab.data.glyphs import FACES, glyph

SIDE = 32  # pixels of a finished image
WARPED = 64  # pixels at which a character is warped, before it is shown at its own resolution
CELLS = 3  # the warp is bent at a grid of so many cells each way


@dataclass(frozen=True)
class Distortion:
    """How far a rendering may stray; lengths are shares of half the image's side."""

    turn: float  # radians, each way
    slant: float
    perspective: float
    bend: float  # standard deviation of each grid point's own displacement
    shift: float
    fill: tuple[float, float]  # how much of the frame's height the character takes; above 1 it is cropped
    strokes: tuple[int, int]  # pixels of the em (64) taken off or added to each edge
    resolution: tuple[int, int]  # pixels that the 32 are enlarged from
    contrast: float  # the least difference between ink and ground, of 1
    noise: float  # largest standard deviation of the grain, of 1


def render(character: str, distortion: Distortion, rng: np.random.Generator) -> np.ndarray:
    """Show one character in a face, stroke, warp and resolution drawn from `rng`: uint8 (32, 32), light on dark."""
    low, high = distortion.strokes
    mask = glyph(character, FACES[rng.integers(len(FACES))], int(rng.integers(low, high + 1)))
    places = _grid(mask.size, distortion, rng)
    warped = mask.transform((WARPED, WARPED), Image.Transform.MESH, _mesh(places), Image.Resampling.BILINEAR)
    coarse, fine = distortion.resolution
    side = round(float(np.exp(rng.uniform(np.log(coarse), np.log(fine)))))
    seen = warped.resize((side, side), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _exposed(np.asarray(seen, np.float32) / 255, distortion, rng)


def _grid(size: tuple[int, int], distortion: Distortion, rng: np.random.Generator) -> np.ndarray:
    """Where in the mask each grid point of the frame looks: pixels (CELLS + 1, CELLS + 1, 2)."""
    line = np.linspace(-1, 1, CELLS + 1)
    frame = np.stack(np.meshgrid(line, line), axis=-1)
    depth = 1 + frame @ rng.uniform(-distortion.perspective, distortion.perspective, 2)
    turn = rng.uniform(-distortion.turn, distortion.turn)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    shear = np.array([[1, 0], [rng.uniform(-distortion.slant, distortion.slant), 1]])
    moved = frame + rng.uniform(-distortion.shift, distortion.shift, 2)
    bent = (moved @ rotation @ shear) / depth[..., None] + rng.normal(0, distortion.bend, frame.shape)
    return (1 + bent / _filled(size, distortion, rng)) * np.array(size) / 2


def _filled(size: tuple[int, int], distortion: Distortion, rng: np.random.Generator) -> np.ndarray:
    """Shares of the frame's width and height that the character takes; narrow ones stay narrow, up to a random pull."""
    width, height = size
    tall = rng.uniform(*distortion.fill)
    wide = tall * (width / height) ** rng.uniform(0.4, 1.0)
    fit = min(1.0, distortion.fill[1] / wide)
    return np.array([wide * fit, tall * fit])


def _mesh(places: np.ndarray) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Pair each cell of the frame with its corners in the mask: upper left, lower left, lower right, upper right."""
    edges = np.linspace(0, WARPED, CELLS + 1).round().astype(int).tolist()
    mesh = []
    for row in range(CELLS):
        for column in range(CELLS):
            box = (edges[column], edges[row], edges[column + 1], edges[row + 1])
            corners = places[[row, row + 1, row + 1, row], [column, column, column + 1, column + 1]]
            mesh.append((box, tuple(corners.ravel().tolist())))
    return mesh


def _exposed(ink: np.ndarray, distortion: Distortion, rng: np.random.Generator) -> np.ndarray:
    """Set how light ink and ground are, add grain: values 0 to 1 → uint8."""
    difference = rng.uniform(distortion.contrast, 1)
    ground = rng.uniform(0, 1 - difference)
    grain = rng.normal(0, rng.uniform(0, distortion.noise), ink.shape)
    return np.rint(np.clip(ground + difference * ink + grain, 0, 1) * 255).astype(np.uint8)
