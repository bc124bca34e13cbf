"""A file → RGB pixels, exactly as a person would see them, or an error that says why not."""

import io
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"},
)
# Pillow also reads PostScript, by running Ghostscript on it: a file from anywhere gets only these decoders.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})


class UnreadableImage(ValueError):
    """A file that does not decode to an image; the message says what is wrong with it, without naming it."""


def decode(path: Path, channels: int = 3) -> torch.Tensor:
    """Read a file as uint8, (channels, height, width): 3 are RGB. Raises UnreadableImage.

    The EXIF orientation is applied (torchvision's loader ignores it), 16-bit grey is scaled to 8 bits (Pillow clips
    it to a handful of values), transparency is laid on white (dropping it would show the colours that it hides). Of
    several pictures in one file the first is taken.
    """
    return decode_bytes(path.read_bytes(), channels)[0]


def decode_bytes(content: bytes, channels: int = 3) -> tuple[torch.Tensor, int]:
    """Decode a file's bytes as in `decode`; also give the number of pictures that the file holds."""
    if not content:
        raise UnreadableImage("is empty: 0 bytes")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            # The second picture of a phone's JPEG (MPO) is a preview or a depth map, not another photo.
            pictures = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            image.seek(0)
            _refuse(image)
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _as_rgb(image)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("is not an image of a known format") from None
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and others on broken files.
    except Exception as error:
        raise UnreadableImage(f"does not decode: {error}") from error
    # Left with channels last in memory: torchvision resizes bytes fastest so.
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1), pictures


def _refuse(image: Image.Image) -> None:
    """Refuse before decoding what Pillow would decode without complaint and wrongly, or at any cost in memory."""
    most = Image.MAX_IMAGE_PIXELS or math.inf
    if image.width * image.height > most:
        raise UnreadableImage(f"has {image.width} x {image.height} pixels, more than Pillow's limit of {most}")
    if image.mode == "F":
        raise UnreadableImage("holds floating-point pixels, whose white is unknown: save it as 8 or 16 bit")
    if image.mode == "I" and image.format == "TIFF":
        raise UnreadableImage("holds 32-bit whole numbers, whose white is unknown: save it as 8 or 16 bit")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT or image.mode == "I":
        return _from_sixteen_bit(image).convert("RGB")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return image.convert("RGB")


def _from_sixteen_bit(image: Image.Image) -> Image.Image:
    # PNG and PPM may come as mode "I", 32 bits wide, of which they fill 16.
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
