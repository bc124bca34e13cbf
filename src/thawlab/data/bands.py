"""Images whose channels are bands of a sensor rather than colours: TIFF and NumPy's .npy."""

import io
import math

import numpy as np
import tifffile
from PIL import Image

NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# tifffile's letters for axes: samples and channels within a picture; else what several pictures in a file make.
_BAND_AXES = "SCQIZT"


class UnreadableImage(ValueError):
    """A file that does not decode to an image; the message says what is wrong with it, without naming it."""


def bands(content: bytes, channels: int) -> np.ndarray:
    """Read uint8 (height, width, channels) from the bytes of a TIFF or .npy file. Raises UnreadableImage.

    A .npy file holds (height, width, bands), or (height, width) for one; a TIFF its bands within one picture or in one
    picture each. 16 bits are scaled to 8, so that 65,535 becomes 255.
    """
    if not content.startswith((NPY, *_TIFF)):
        raise UnreadableImage(f"is neither a TIFF nor a .npy file, which alone can hold {channels} channels")
    pixels = _from_npy(content) if content.startswith(NPY) else _from_tiff(content)
    if pixels.shape[2] != channels:
        raise UnreadableImage(f"holds {pixels.shape[2]} bands, but dataset.channels is {channels}")
    if pixels.dtype == np.uint16:
        pixels = (pixels.astype(np.uint32) + 128) // 257
    elif pixels.dtype != np.uint8:
        raise UnreadableImage(f"holds {pixels.dtype} values, whose white is unknown: save it as uint8 or uint16")
    return np.ascontiguousarray(pixels, np.uint8)


def bands_of_tiff(content: bytes) -> int | None:
    """How many bands a TIFF's first picture has that are no inks (CMYK); None for another file, or a broken one."""
    if not content.startswith(_TIFF):
        return None
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            return None if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else page.samplesperpixel
    except Exception:  # whatever it is, decoding it will say
        return None


def _from_npy(content: bytes) -> np.ndarray:
    try:
        pixels = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # ValueError, EOFError, and what a damaged header brings
        raise UnreadableImage(f"does not decode: {error}") from error
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or not pixels.size:
        raise UnreadableImage(f"holds an array of shape {pixels.shape}, where (height, width, bands) is wanted")
    return pixels


def _from_tiff(content: bytes) -> np.ndarray:
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            series = file.series[0]
            _refuse_huge(series.shape)
            axes, pixels = series.axes, series.asarray()
    except UnreadableImage:
        raise
    except Exception as error:  # tifffile raises many kinds; for some compressions it asks for another package
        raise UnreadableImage(f"does not decode: {error}") from error
    if axes == "YX":
        return pixels[:, :, None]
    band = next((axis for axis in _BAND_AXES if axis in axes), None)
    if band is None or sorted(axes) != sorted(f"YX{band}"):
        raise UnreadableImage(
            f"holds an array of axes {axes} and shape {pixels.shape}, where bands of one size are wanted"
        )
    return pixels.transpose([axes.index(axis) for axis in f"YX{band}"])


def _refuse_huge(shape: tuple[int, ...]) -> None:
    most = Image.MAX_IMAGE_PIXELS or math.inf
    if math.prod(shape) > 3 * most:
        raise UnreadableImage(f"holds {' x '.join(map(str, shape))} values, more than Pillow's limit of {most} pixels")
