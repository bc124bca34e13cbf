"""Single characters in the DejaVu faces that matplotlib carries, as masks."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# Sans, Mono and Serif, each upright and slanted, each regular and bold: all twelve draw every character used here.
FACES = (
    *("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Oblique", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic"),
)
EM = 64  # pixels; characters are shown at 32 and less, so that warping them loses nothing
# A code point that Unicode leaves without a character for ever: a font draws its sign for "missing" in its place.
NO_CHARACTER = "\uffff"


@cache
def glyph(character: str, face: str, stroke: int = 0) -> Image.Image:
    """Draw one character, light on dark, cut to its ink.

    `stroke` pixels are added to every edge, or taken off where it is negative; a stroke that would leave no ink is
    left as it is.
    """
    drawn = _drawn(face, character)
    box = drawn.getbbox()
    assert box is not None, f"{face} draws nothing for {character!r}"
    # One dark pixel at least around the ink, or the filter would take the cut for more ink.
    margin = max(stroke, 1)
    changed = _restroked(drawn.crop((box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)), stroke)
    inner = changed.getbbox()
    return drawn.crop(box) if inner is None else changed.crop(inner)


def draws(face: str, character: str) -> bool:
    """Tell whether a face has a drawing of its own for a character, and not the sign for a missing one."""
    drawn = _drawn(face, character)
    return drawn.getbbox() is not None and drawn.tobytes() != _drawn(face, NO_CHARACTER).tobytes()


def _drawn(face: str, character: str) -> Image.Image:
    image = Image.new("L", (3 * EM, 3 * EM))
    ImageDraw.Draw(image).text((EM, EM), character, font=_font(face), fill=255)
    return image


@cache
def _font(face: str) -> ImageFont.FreeTypeFont:
    # The basic layout: with the other, what is drawn would depend on whether libraqm is installed.
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    return ImageFont.truetype(str(path), EM, layout_engine=ImageFont.Layout.BASIC)


def _restroked(image: Image.Image, stroke: int) -> Image.Image:
    narrow = ImageFilter.MaxFilter(3) if stroke > 0 else ImageFilter.MinFilter(3)
    for _ in range(abs(stroke)):
        image = image.filter(narrow)
    return image
