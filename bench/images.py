"""A task of eight classes that a network can learn, as JPEG files of 500 x 375 pixels, made here from a seed."""

import math
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 500, 375
CLASSES = ("disc", "ring", "square", "frame", "triangle", "cross", "bars", "stripes")
VERSION = 1  # raise it when the same numbers make other pictures
PER_CLASS_IN_TEST = 1  # thawlab wants a test split; the others have none, so it is kept to one image of each class


def make(folder: Path, train: int, val: int) -> Path:
    """`folder`/v1-TRAIN-VAL with train/, val/ and test/, each with a folder per class; made where it is not there."""
    target = folder / f"v{VERSION}-{train}-{val}"
    if (target / "complete").is_file():
        return target
    counts = {"train": train, "val": val, "test": PER_CLASS_IN_TEST * len(CLASSES)}
    todo = [(split, i) for split, count in counts.items() for i in range(count)]
    for split in counts:
        for name in CLASSES:
            (target / split / name).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_write, target), todo, chunksize=64))
    (target / "complete").touch()
    return target


def _write(target: Path, which: tuple[str, int]) -> None:
    split, number = which
    label = number % len(CLASSES)
    picture = draw(label, np.random.default_rng([VERSION, *split.encode(), number]))
    picture.save(target / split / CLASSES[label] / f"{number:05d}.jpg", quality=90)


def draw(label: int, rng: np.random.Generator) -> Image.Image:
    """A shape of any colour, size and tilt on a cloudy ground, with a camera's noise."""
    ground = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(ground).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    mask = Image.new("L", (WIDTH, HEIGHT))
    side = rng.uniform(0.35, 0.7) * HEIGHT
    middle = (WIDTH / 2 + rng.uniform(-50, 50), HEIGHT / 2 + rng.uniform(-50, 50))
    _shape(ImageDraw.Draw(mask), CLASSES[label], side / 2, middle)
    mask = mask.rotate(rng.uniform(-20, 20), center=middle)
    picture.paste(tuple(rng.integers(0, 256, 3).tolist()), mask=mask)
    noise = rng.integers(-12, 13, (HEIGHT, WIDTH, 1), dtype=np.int16)
    return Image.fromarray((np.asarray(picture, np.int16) + noise).clip(0, 255).astype(np.uint8))


def _shape(pen: ImageDraw.ImageDraw, name: str, r: float, middle: tuple[float, float]) -> None:
    x, y = middle
    box, width = (x - r, y - r, x + r, y + r), int(r / 3)
    corners = [(x + r * math.sin(a), y - r * math.cos(a)) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    thirds = [(-1, -0.6), (-0.2, 0.2), (0.6, 1)]
    match name:
        case "disc":
            pen.ellipse(box, fill=255)
        case "ring":
            pen.ellipse(box, outline=255, width=width)
        case "square":
            pen.rectangle(box, fill=255)
        case "frame":
            pen.rectangle(box, outline=255, width=width)
        case "triangle":
            pen.polygon(corners, fill=255)
        case "cross":
            pen.rectangle((x - r, y - r / 4, x + r, y + r / 4), fill=255)
            pen.rectangle((x - r / 4, y - r, x + r / 4, y + r), fill=255)
        case "bars":
            for low, high in thirds:
                pen.rectangle((x - r, y + low * r, x + r, y + high * r), fill=255)
        case "stripes":
            for low, high in thirds:
                pen.rectangle((x + low * r, y - r, x + high * r, y + r), fill=255)
