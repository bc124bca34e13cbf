"""Files that go wrong, or nearly, each made here with what becomes of it; docs/howto/check-data.md shows the table.

Expected pixels are built apart from any decoder: from the arrays that were saved, by the formats' own definitions.
"""

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

TAKEN, REFUSED, IGNORED = "taken", "refused", "ignored"
SEEN = np.random.default_rng(5).integers(0, 256, (6, 9, 3), dtype=np.uint8)  # no symmetry, no two pixels alike
DEEP = (np.arange(6 * 9, dtype=np.uint16) * 1200).reshape(6, 9)
FLAT = (200, 40, 90)  # a colour that no subsampling or ringing of a JPEG changes
CUT_OFF, NO_IMAGE = "is cut off: it ends after", "is not an image of a known format"


@dataclass(frozen=True)
class Hostile:
    """One thing that may lie in a class folder: its name, its content or what makes it, and what becomes of it.

    `said` is what the message says of a refused file, or why it is ignored. `pixels` (height, width[, 3]) are what a
    taken one shows, each value at most `off` away. `told`: what a note says of a file that is taken nevertheless.
    """

    case: str
    name: str
    content: bytes | Callable[[Path], object]
    outcome: str
    said: str = ""
    pixels: np.ndarray | None = None
    off: int = 0
    told: str = ""

    def lay(self, folder: Path) -> Path:
        """Put it into a folder; give its path."""
        path = folder / self.name
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path

    @property
    def row(self) -> str:
        """Its row in the documentation."""
        said = f"*{self.said}*" if self.outcome == REFUSED else self.said
        return f"| {self.case} | {self.outcome}: {said} |"


def saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def turned(orientation: int) -> np.ndarray:
    """SEEN as it has to be stored for EXIF to turn it upright: its tag says where row 0 and column 0 are shown.

    TIFF 6.0, p. 36: 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right bottom, 8
    left bottom.
    """
    bottom, right = SEEN.shape[0] - 1, SEEN.shape[1] - 1
    shown = {
        1: lambda r, c: (r, c),
        2: lambda r, c: (r, right - c),
        3: lambda r, c: (bottom - r, right - c),
        4: lambda r, c: (bottom - r, c),
        5: lambda r, c: (c, r),
        6: lambda r, c: (c, right - r),
        7: lambda r, c: (bottom - c, right - r),
        8: lambda r, c: (bottom - c, r),
    }[orientation]
    height, width = SEEN.shape[:2] if orientation < 5 else SEEN.shape[1::-1]
    return np.array([[SEEN[shown(r, c)] for c in range(width)] for r in range(height)])


def with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(turned(orientation)), "PNG", exif=exif)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.rint(colours * share + 255 * (1 - share))


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels, one bit each: kilobytes as a file."""
    packed = zlib.compressobj(9)
    row = bytes(1 + -(-side // 8))
    data = b"".join([*(packed.compress(row) for _ in range(side)), packed.flush()])
    chunks = [(b"IHDR", struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def with_bad_checksum(png: bytes) -> bytes:
    start = png.index(b"IDAT")
    (length,) = struct.unpack_from(">I", png, start - 4)
    place = start + 4 + length
    return png[:place] + bytes([png[place] ^ 1]) + png[place + 1 :]


def unreadable(path: Path) -> None:
    path.write_bytes(PNG)
    path.chmod(0)


def folder_of_one(path: Path) -> None:
    path.mkdir()
    (path / "readme.txt").write_text("no image")


PNG = saved(Image.fromarray(SEEN), "PNG")
PHOTO = saved(Image.fromarray(np.random.default_rng(1).integers(0, 255, (70, 90, 3), np.uint8)), "JPEG")
SMOOTH = saved(Image.new("RGB", (64, 48), FLAT), "JPEG", quality=95)
ALPHA = (np.arange(54).reshape(6, 9) * 4).astype(np.uint8)
INKS = np.random.default_rng(6).integers(0, 256, (6, 9, 4), dtype=np.uint8)
PALETTE = Image.fromarray(np.where(SEEN[..., 0] > 99, 1, 0).astype(np.uint8), "P")
PALETTE.putpalette([10, 20, 30, 200, 100, 0])
CLEAR = np.where(SEEN[..., :1] > 99, (200, 100, 0), (255, 255, 255))  # where the palette's first colour is clear
FRAMES = [Image.fromarray(np.full((6, 9, 3), value, np.uint8)) for value in (10, 200, 90)]
SECOND = {"save_all": True, "append_images": FRAMES[1:]}
FIRST = np.full((6, 9, 3), 10, np.uint8)
BITS = np.where(SEEN[..., 0] > 99, 255, 0).astype(np.uint8)
STRIP = np.random.default_rng(7).integers(0, 256, (1, 5000, 3), dtype=np.uint8)
PRINTED = (INKS[..., :3] ^ 255).astype(float) * (INKS[..., 3:] ^ 255) / 255  # what ink leaves of white light
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="6"><rect width="9" height="6" fill="red"/></svg>'
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
SEVERAL = "hold several pictures, of which only the first is used"
PLAIN = "the pixels as saved"

CORPUS = (
    Hostile("zero bytes", "empty.jpg", b"", REFUSED, "is empty: 0 bytes"),
    Hostile("the header of a JPEG alone", "header.jpg", PHOTO[:20], REFUSED, NO_IMAGE),
    Hostile("half a JPEG", "half.jpg", PHOTO[: len(PHOTO) // 2], REFUSED, "does not decode: image file is truncated"),
    Hostile("a JPEG two bytes short", "short.jpg", PHOTO[:-2], REFUSED, "does not decode: image file is truncated"),
    Hostile("a smooth JPEG two bytes short", "s.jpg", SMOOTH[:-2], REFUSED, "does not decode: image file is truncated"),
    Hostile("half a PNG", "half.png", PNG[: len(PNG) // 2], REFUSED, CUT_OFF),
    Hostile("a PNG without its end", "endless.png", PNG[:-12], REFUSED, CUT_OFF),
    Hostile("a PNG with a bad checksum", "crc.png", with_bad_checksum(PNG), REFUSED, "is damaged: its chunk IDAT"),
    Hostile("HTML named .jpg", "page.jpg", HTML, REFUSED, NO_IMAGE),
    Hostile("SVG named .png", "drawing.png", SVG, REFUSED, NO_IMAGE),
    Hostile("SVG", "drawing.svg", SVG, IGNORED, "by its name, and counted in a note"),
    Hostile("PNG named .jpg", "named.jpg", PNG, TAKEN, "by its content; `check_data` says so", SEEN),
    Hostile(
        "10,000 x 10,000 pixels",
        "10k.png",
        bomb(10_000),
        REFUSED,
        "has 10000 x 10000 pixels, more than Pillow's limit of 89478485",
    ),
    Hostile(
        "15,000 x 15,000 pixels",
        "15k.png",
        bomb(15_000),
        REFUSED,
        "does not decode: Image size (225000000 pixels) exceeds limit",
    ),
    *(
        Hostile("EXIF orientations 1 to 8", f"exif{k}.png", with_orientation(k), TAKEN, "upright", SEEN)
        for k in range(1, 9)
    ),
    Hostile(
        "CMYK TIFF",
        "inks.tif",
        saved(Image.fromarray(INKS, "CMYK"), "TIFF"),
        TAKEN,
        "as RGB, inks multiplied",
        PRINTED,
        1,
    ),
    Hostile(
        "CMYK JPEG",
        "inks.jpg",
        saved(Image.new("CMYK", (64, 48), (0, 200, 100, 50)), "JPEG", quality=95),
        TAKEN,
        "as RGB, inks multiplied",
        np.full((48, 64, 3), (205, 44.2, 124.6)),
        3,
    ),
    Hostile(
        "palette with a transparent colour",
        "palette.png",
        saved(PALETTE, "PNG", transparency=0),
        TAKEN,
        "laid on white",
        CLEAR,
    ),
    Hostile(
        "palette with a transparent colour, GIF",
        "palette.gif",
        saved(PALETTE, "GIF", transparency=0),
        TAKEN,
        "laid on white",
        CLEAR,
    ),
    Hostile(
        "grey with alpha (LA)",
        "la.png",
        saved(Image.merge("LA", [Image.fromarray(SEEN[..., 0]), Image.fromarray(ALPHA)]), "PNG"),
        TAKEN,
        "laid on white",
        on_white(SEEN[..., [0]].repeat(3, 2), ALPHA),
        1,
    ),
    Hostile(
        "RGBA",
        "rgba.png",
        saved(Image.fromarray(np.dstack([SEEN, ALPHA])), "PNG"),
        TAKEN,
        "laid on white",
        on_white(SEEN, ALPHA),
        1,
    ),
    Hostile(
        "1 bit",
        "bits.png",
        saved(Image.fromarray(BITS).convert("1"), "PNG"),
        TAKEN,
        "black 0, white 255",
        BITS[..., None].repeat(3, 2),
    ),
    Hostile(
        "16-bit grey",
        "deep.png",
        saved(Image.fromarray(DEEP), "PNG"),
        TAKEN,
        "65,535 becomes 255",
        np.rint(DEEP / 257)[..., None].repeat(3, 2),
    ),
    Hostile(
        "float TIFF",
        "float.tif",
        saved(Image.fromarray(DEEP.astype(np.float32)), "TIFF"),
        REFUSED,
        "holds floating-point pixels, whose white is unknown",
    ),
    Hostile(
        "animated GIF",
        "moving.gif",
        saved(FRAMES[0], "GIF", **SECOND),
        TAKEN,
        "its first picture, with a note",
        FIRST,
        0,
        SEVERAL,
    ),
    Hostile(
        "animated WebP",
        "moving.webp",
        saved(FRAMES[0], "WEBP", lossless=True, **SECOND),
        TAKEN,
        "its first picture, with a note",
        FIRST,
        0,
        SEVERAL,
    ),
    Hostile(
        "1 x 1 pixel",
        "dot.png",
        saved(Image.new("RGB", (1, 1), FLAT), "PNG"),
        TAKEN,
        f"{PLAIN}; `check_data` says so",
        np.array([[FLAT]]),
    ),
    Hostile(
        "1 x 5,000 pixels",
        "strip.png",
        saved(Image.fromarray(STRIP), "PNG"),
        TAKEN,
        f"{PLAIN}, cut down about its centre before it is enlarged; `check_data` says so",
        STRIP,
    ),
    Hostile(
        "a link to nowhere",
        "gone.png",
        lambda path: path.symlink_to("nowhere.png"),
        REFUSED,
        "cannot be read: No such file or directory",
    ),
    Hostile(
        "a named pipe", "pipe.png", os.mkfifo, REFUSED, "cannot be read: it is no file but a folder, a pipe or a device"
    ),
    Hostile(
        "a folder named .jpg",
        "folder.jpg",
        folder_of_one,
        IGNORED,
        "images in it are its class's, other files counted in a note",
    ),
    Hostile("a file without permission", "locked.png", unreadable, REFUSED, "cannot be read: Permission denied"),
    Hostile(
        "a name that is no UTF-8", os.fsdecode(b"caf\xe9.png"), PNG, TAKEN, f"{PLAIN}; shown as `caf\\xe9.png`", SEEN
    ),
    Hostile("a name of 255 bytes", "n" * 251 + ".png", PNG, TAKEN, PLAIN, SEEN),
    Hostile("a name with a line break", "two\nlines.png", PNG, TAKEN, f"{PLAIN}; shown as `two\\nlines.png`", SEEN),
    Hostile(
        "a name that colours a terminal", "\x1b[31mred.png", PNG, TAKEN, f"{PLAIN}; shown as `\\x1b[31mred.png`", SEEN
    ),
)


def bytes_of(one: Hostile) -> bytes | None:
    """Its content where it is a file like any other."""
    return one.content if isinstance(one.content, bytes) else None
