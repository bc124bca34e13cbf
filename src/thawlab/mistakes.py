"""The test images that a run was surest of and wrong about, left small beside its record for reports."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from thawlab.errors import UserError
from thawlab.files import publish
from thawlab.run_files import MISTAKES, write_mistakes

MOST = 12
SIDE = 64  # pixels, the longer side at most
log = logging.getLogger(__name__)


def surest(predictions: Sequence[Mapping[str, Any]], most: int = MOST) -> list[int]:
    """The places of the wrong ones, the most confident first; of equal confidence, the first in the test set first.

    >>> rows = [("a", "a", 0.9), ("a", "b", 0.6), ("b", "a", 0.7)]
    >>> surest([dict(zip(("label", "predicted", "confidence"), row)) for row in rows])
    [2, 1]
    """
    wrong = [i for i, row in enumerate(predictions) if row["label"] != row["predicted"]]
    return sorted(wrong, key=lambda i: -(predictions[i]["confidence"] or 0.0))[:most]


def leave(folder: Path, predictions: Sequence[Mapping[str, Any]], load: Callable[[int], Any]) -> None:
    """Write the thumbnails of a run's surest mistakes and, last, which is whose: docs/record.md, `mistakes/`.

    `load` gives the test image at a place: uint8 (channels, height, width), array or tensor. An image that can no
    longer be read is left out: what was measured stands without it.
    """
    names: dict[str, str] = {}
    for place in surest(predictions):
        try:
            picture = thumbnail(np.asarray(load(place)))
        except UserError as error:
            log.warning("no thumbnail: %s", error)
            continue
        file = f"{len(names):02}.png"
        publish(folder / MISTAKES / file, lambda out, picture=picture: picture.save(out, "PNG"), synced=False)
        names[str(predictions[place]["name"])] = file
    write_mistakes(folder, names)


def thumbnail(image: np.ndarray) -> Image.Image:
    """A picture of uint8 (channels, height, width), its longer side `SIDE` at most and never enlarged.

    Of more than three channels the first three are shown as colours, of two the first in grey.
    """
    shown = image[:3].transpose(1, 2, 0) if len(image) >= 3 else image[0]
    picture = Image.fromarray(np.ascontiguousarray(shown))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=None)
    return picture
