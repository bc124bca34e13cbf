"""Predict an image, or the images of a folder, with a finished run, or with the best run of a sweep.

Prints a table: the image's path, the class, and the highest probability given to any. Files that cannot be read as
images are told, and left out.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from thawlab.closed_output import ends_with_its_reader
from thawlab.errors import UserError, visible
from thawlab.record import RESULT
from thawlab.use import images_below, leaders, load


@ends_with_its_reader
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit status 2 where there is no run, or no image that can be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder, or a sweep's: its best run by validation accuracy")
    parser.add_argument("images", type=Path, help="a folder of images, or one image file")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PLACE",
        help="a .py file, a folder/ or a package whose function may build the network, where the run names one",
    )
    given = parser.parse_args(argv)
    try:
        model = load(_chosen(given.run), given.trust)
        found = images_below(given.images, model.channels)
        if not found:
            raise UserError(f"{given.images} holds no image files. Give a folder of images, or an image file.")
        predicted = model.predict(found, _tell)
        if len(predicted) < len(found):
            count = f"{len(found) - len(predicted):,} of {len(found):,}"
            print(f"{count} files cannot be read as images, and were left out.", file=sys.stderr)
        if not predicted:
            return 2
        # A terminal obeys control characters in names; a program that reads the table wants the names as they are.
        shown = visible if sys.stdout.isatty() else str
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(("image", "predicted", "probability"))
        for said in predicted:
            likeliest = max(said.probabilities)
            rows.writerow((shown(str(said.path)), shown("|".join(said.labels)), f"{likeliest:.3f}"))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _chosen(place: Path) -> Path:
    """The run's folder; of a sweep's its best run's, which is told."""
    if (place / RESULT).exists():
        return place
    run, *others = leaders(place)
    tie = f" ({len(others)} more have its score; its loss is the lowest)" if others else ""
    print(f"With {run}, the best of its sweep on validation images{tie}:", file=sys.stderr)
    return run


def _tell(path: Path, fact: str) -> None:
    print(visible(f"Left out: {path} {fact}"), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
