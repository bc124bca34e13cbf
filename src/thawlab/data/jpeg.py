"""JPEG files → pixels, faster than with Pillow and the same to the last bit."""

import numpy as np
import simplejpeg
import torch
from PIL import ExifTags, Image

SPACES = {"L": "GRAY", "RGB": "RGB"}  # of a file as Pillow names it -> as simplejpeg does


def fast_jpeg(content: bytes, image: Image.Image, channels: int) -> torch.Tensor | None:
    """Decode a file that Pillow has opened, upright: uint8 (channels, height, width), channels last in memory.

    simplejpeg and Pillow both have libjpeg-turbo decode, but simplejpeg's pixels need not be copied twice: about 1.5
    times as many images/s. Gives None for whatever is Pillow's to decode or to refuse: no JPEG, inks, colour wanted as
    grey, and every file that libjpeg has a word of complaint about.
    """
    if not _is_fast(image, channels):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(content, SPACES[image.mode], strict=True)
    except ValueError:
        return None
    turned = upright(pixels, image.getexif().get(ExifTags.Base.Orientation, 1))
    filled = turned.repeat(channels // turned.shape[2], axis=2) if turned.shape[2] != channels else turned
    return torch.from_numpy(np.ascontiguousarray(filled)).permute(2, 0, 1)


def reads_well(content: bytes, image: Image.Image, channels: int) -> bool:
    """Whether `fast_jpeg` would decode the file: every byte is read, but only an eighth of the size computed."""
    if not _is_fast(image, channels):
        return False
    try:
        simplejpeg.decode_jpeg(content, SPACES[image.mode], strict=True, min_height=1, min_width=1, min_factor=1)
    except ValueError:
        return False
    return True


def _is_fast(image: Image.Image, channels: int) -> bool:
    known = image.format in ("JPEG", "MPO") and image.mode in SPACES
    return known and channels in {1 if image.mode == "L" else 3, 3}


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror (height, width, c) as EXIF's orientation says, 1 to 8; others change nothing.

    In numpy: torch would start threads of its own from each thread that decodes.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    flipped = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation)
    return np.flip(pixels, flipped) if flipped else pixels
