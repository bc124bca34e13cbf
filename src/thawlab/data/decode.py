"""A file → pixels, exactly as a person would see them or as a sensor gave them, or an error that says why not."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from thawlab.data.bands import NPY, UnreadableImage, bands, bands_of_tiff
from thawlab.data.jpeg import fast_jpeg, reads_well
from thawlab.data.png import refuse_broken
from thawlab.data.stores import read_file

DECODER = "2"  # counted up whenever this, `preprocessing` or `framing` give other pixels of the same file
LIBRARIES = ("pillow", "simplejpeg", "tifffile", "torch", "torchvision")
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"},
)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # what so many channels are to Pillow
# Pillow also reads PostScript, by running Ghostscript on it: a file from anywhere gets only these decoders.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})


def versions() -> str:
    """The libraries that pixels come from."""
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


def extensions(channels: int) -> frozenset[str]:
    """How the names of image files end: .npy only where RGB is not meant, as arrays may lie among photographs.

    >>> sorted(extensions(6) - extensions(3))
    ['.npy']
    """
    return EXTENSIONS if channels == 3 else EXTENSIONS | {".npy"}


def decode(path: Path, channels: int = 3) -> torch.Tensor:
    """Read a file as uint8, (channels, height, width): 1 is grey, 3 RGB, 4 RGBA, others are bands.

    The EXIF orientation is applied (torchvision's loader ignores it), 16-bit grey is scaled to 8 bits (Pillow clips
    it to a handful of values), transparency is laid on white (dropping it would show the colours that it hides), but
    kept where 4 channels are asked for: there a file without is opaque. Grey is ITU-R 601's luma. Of several pictures
    in one file the first is taken. Bands are read from TIFF and .npy, as `bands` says.
    Raises UnreadableImage, and OSError where the file cannot be read.
    """
    return decode_bytes(read_file(path), channels)


def decode_bytes(content: bytes, channels: int = 3) -> torch.Tensor:
    """Decode a file's bytes as in `decode`."""
    if not content:
        raise UnreadableImage("is empty: 0 bytes")
    if _is_bands(content, channels):
        return torch.from_numpy(bands(content, channels)).permute(2, 0, 1)
    with _opened(content) as image:
        fast = fast_jpeg(content, image, channels)
        if fast is not None:
            return fast
        pixels = _by_pillow(image, channels)
    # Left with channels last in memory: torchvision resizes bytes fastest so.
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def pictures_in(content: bytes, channels: int = 3) -> int:
    """Give the number of pictures that a file's bytes hold. Raises UnreadableImage where `decode_bytes` would."""
    if not content or _is_bands(content, channels):
        decode_bytes(content, channels)
        return 1
    with _opened(content) as image:
        # The second picture of a phone's JPEG (MPO) is a preview or a depth map, not another photo.
        pictures = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        image.seek(0)
        if not reads_well(content, image, channels):
            _by_pillow(image, channels)
    return pictures


def described(content: bytes) -> tuple[str, int]:
    """Give the format of a readable file's bytes, by Pillow's name or "NPY", and how many pictures it holds."""
    if content.startswith(NPY):
        return "NPY", 1
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return ("JPEG", 1) if image.format == "MPO" else (image.format or "", getattr(image, "n_frames", 1))
    except UnidentifiedImageError:  # bands of a kind that Pillow does not know
        return "TIFF", 1


def _is_bands(content: bytes, channels: int) -> bool:
    return content.startswith(NPY) or channels not in MODES or bands_of_tiff(content) == channels == 4


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """The file's first picture, not decoded yet; whatever Pillow raises inside becomes an UnreadableImage."""
    refuse_broken(content)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.seek(0)
            _refuse(image)
            yield image
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("is not an image of a known format") from None
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and others on broken files.
    except Exception as error:
        raise UnreadableImage(f"does not decode: {error}") from error


def _by_pillow(image: Image.Image, channels: int) -> np.ndarray:
    ImageOps.exif_transpose(image, in_place=True)
    return np.array(_in_mode(image, MODES[channels]))


def _refuse(image: Image.Image) -> None:
    """Refuse before decoding what Pillow would decode without complaint and wrongly, or at any cost in memory."""
    most = Image.MAX_IMAGE_PIXELS or math.inf
    if image.width * image.height > most:
        raise UnreadableImage(f"has {image.width} x {image.height} pixels, more than Pillow's limit of {most}")
    if image.mode == "F":
        raise UnreadableImage("holds floating-point pixels, whose white is unknown: save it as 8 or 16 bit")
    if image.mode == "I" and image.format == "TIFF":
        raise UnreadableImage("holds 32-bit whole numbers, whose white is unknown: save it as 8 or 16 bit")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in SIXTEEN_BIT or image.mode == "I":
        return _from_sixteen_bit(image).convert(mode)
    if image.has_transparency_data and mode != "RGBA":
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB").convert(mode)
    return image.convert(mode)


def _from_sixteen_bit(image: Image.Image) -> Image.Image:
    # PNG and PPM may come as mode "I", 32 bits wide, of which they fill 16.
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
