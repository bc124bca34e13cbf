"""Pictures of what was found, to look at: pairs side by side, doubtful labels."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from thawlab.checkup.copies import Pair
from thawlab.checkup.facts import Facts
from thawlab.checkup.suspects import Suspect
from thawlab.data.images import ImageSet, Splits
from thawlab.errors import printable
from thawlab.files import publish

PAIRS, SUSPECTS = "pairs.png", "labels.png"
MOST = 48  # tiles on a sheet
ACROSS = 4  # tiles
EDGE, LINE, GAP = 128, 15, 8  # pixels
LETTERS = 44  # of a caption that fit below two pictures


def pairs_sheet(splits: Splits, pairs: Sequence[Pair], path: Path) -> None:
    """Draw the first pairs, each as two pictures with split, class and name below."""
    tiles = [_tile(splits, [pair.first, pair.second], _said_of(pair)) for pair in pairs[:MOST]]
    _publish(tiles, path)


def suspects_sheet(splits: Splits, found: Sequence[Suspect], path: Path) -> None:
    """Draw the most doubtful labels, each with its class and the likelier one."""
    tiles = [
        _tile(
            splits,
            [one.image],
            [f"{one.image.label} → {one.likelier}?", f"{one.image.part}: {Path(one.image.name).name}"],
        )
        for one in found[:MOST]
    ]
    _publish(tiles, path)


def _said_of(pair: Pair) -> list[str]:
    how = f"correlation {pair.correlation:.3f}" if pair.how == "alike" else f"the same {pair.how}"
    return [how, *(f"{one.part}: {one.label}, {Path(one.name).name}" for one in (pair.first, pair.second))]


def _tile(splits: Splits, images: Sequence[Facts], captions: Sequence[str]) -> Image.Image:
    width = len(images) * (EDGE + GAP)
    tile = Image.new("RGB", (width, EDGE + len(captions) * LINE + 2 * GAP), "white")
    for nth, one in enumerate(images):
        picture = _picture(splits, one)
        tile.paste(picture, (nth * (EDGE + GAP) + (EDGE - picture.width) // 2, (EDGE - picture.height) // 2))
    draw, font = ImageDraw.Draw(tile), _font()
    for nth, text in enumerate(captions):
        draw.text((0, EDGE + nth * LINE), _shortened(printable(text), len(images)), "black", font)
    return tile


def _picture(splits: Splits, one: Facts) -> Image.Image:
    part: ImageSet = getattr(splits, one.part)
    planes = part.load(one.index).numpy()
    shown = planes[:3] if len(planes) >= 3 else planes[:1].repeat(3, axis=0)
    picture = Image.fromarray(shown.transpose(1, 2, 0).copy())
    share = EDGE / max(picture.size)
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    return picture.resize(size, Image.Resampling.NEAREST if share > 2 else Image.Resampling.BICUBIC)


def _shortened(text: str, pictures: int) -> str:
    """Names are told by their ends."""
    most = LETTERS // 2 * pictures
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 10)


def _publish(tiles: Sequence[Image.Image], path: Path) -> None:
    width, height = tiles[0].size
    across = min(ACROSS * (1 if width > EDGE + GAP else 2), len(tiles))
    sheet = Image.new("RGB", (across * width + GAP, -(-len(tiles) // across) * height + GAP), "white")
    for nth, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + nth % across * width, GAP + nth // across * height))
    publish(path, lambda file: sheet.save(file, "PNG"))
