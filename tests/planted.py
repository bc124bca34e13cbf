"""Data sets with faults planted in them, and what has to be found."""

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

FLIPPED = 5


def scene(number, size=(120, 160)):
    """A picture like no other: soft patches of colour at places that its number draws, with some grain."""
    draw = np.random.default_rng(number)
    coarse = Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((smooth + draw.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8))


def saved(image, form="PNG", **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def put(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def clean(root, each=12):
    """train/, val/ and test/ of two classes with nothing wrong."""
    number = 0
    for part in ("train", "val", "test"):
        for name in ("cats", "dogs"):
            for i in range(each):
                put(root, f"{part}/{name}/{i:02}.png", saved(scene(number)))
                number += 1
    return root


def altered(number):
    """Ways in which a copy of a scene may differ from it, by name."""
    image = scene(number)
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    return {
        "saved as a JPEG": saved(image, "JPEG", quality=75),
        "saved as a poor JPEG": saved(image, "JPEG", quality=40),
        "half as large": saved(half),
        "half as large, as a JPEG": saved(half, "JPEG", quality=60),
        "stretched": saved(image.resize((int(image.width * 0.9), image.height))),
        "brighter": saved(image.point(lambda value: min(255, int(value * 1.1)))),
    }


def digits(root, flipped=FLIPPED, count=400):
    """Zeros and ones of scikit-learn's digits at 32 pixels, the labels of a few exchanged; gives these few's names."""
    found = load_digits(n_class=2)
    wrong = set()
    for i, (pixels, label) in enumerate(zip(found.images[:count], found.target[:count], strict=True)):
        image = Image.fromarray(np.rint(pixels * 255 / 16).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
        label = int(label)
        if i % (count // 10) == 7 and len(wrong) < flipped:
            label = 1 - label
            wrong.add(f"{label}/{i:03}.png")
        put(root, f"{label}/{i:03}.png", saved(image))
    return wrong
