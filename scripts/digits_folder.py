"""Write scikit-learn's 1,797 handwritten digits as a folder per class, for the tutorial: images without a download.

python scripts/digits_folder.py photos
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    digits = load_digits()
    for i, (image, target) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / NAMES[target]
        place.mkdir(parents=True, exist_ok=True)
        # Ink comes as 0 to 16.
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(place / f"{i:04}.png")
    print(f"{len(digits.images)} images in {len(NAMES)} folders below {folder}/")


if __name__ == "__main__":
    main()
