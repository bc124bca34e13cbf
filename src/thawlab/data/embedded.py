"""Images that need no file: scikit-learn's handwritten digits, and the tasks that the package makes itself."""

from functools import lru_cache

import numpy as np

from thawlab.data.images import ArrayImages, Pools
from thawlab.data.spec import DatasetSpec

# As in the tables of the documentation: 497 of 1,797, so that accuracies resolve to 0.2 points.
DIGITS_TESTED = 497
DEFAULT_IMAGES = {"characters": 40_000, "characters_near": 4_000, "shapes": 4_000}


def read_digits(spec: DatasetSpec) -> Pools:
    """Give scikit-learn's 1,797 real handwritten digits, 8 x 8 grey; its values 0 to 16 become 0 to 255."""
    # Here, and not above: sklearn.datasets takes a second to import, which other sources need not pay.
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(values).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = ArrayImages(pixels, np.asarray(labels, np.int64), _names("digits", len(labels)), spec.channels)
    return Pools(tuple(str(digit) for digit in range(10)), images, test_share=DIGITS_TESTED / len(labels))


def read_made(spec: DatasetSpec) -> Pools:
    """Make the images of `spec.source`; `split_seed` draws them, so that `seed` never changes the test set."""
    count = spec.images or DEFAULT_IMAGES[spec.source]
    pixels, labels, classes = _make(spec.source, count, spec.split_seed)
    images = ArrayImages(pixels, labels, _names(spec.source, len(labels)), spec.channels)
    return Pools(classes, images, test_share=spec.test_share)


@lru_cache(maxsize=2)
def _make(source: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Remembered: making 40,000 characters takes longer than many a run on them."""
    from thawlab.data import made

    pixels, labels, classes = getattr(made, source)(count, seed)
    return pixels, labels.astype(np.int64), tuple(classes)


def _names(source: str, count: int) -> tuple[str, ...]:
    width = max(4, len(str(count - 1)))
    return tuple(f"{source}/{index:0{width}d}" for index in range(count))
