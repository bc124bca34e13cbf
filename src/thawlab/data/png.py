"""What a PNG file says of its own wholeness, which Pillow does not hold it to."""

import struct
import zlib

from thawlab.data.bands import UnreadableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME = 12  # bytes of a chunk besides its data: length, type, checksum


def refuse_broken(content: bytes) -> None:
    """Raise UnreadableImage for a PNG that ends before its end chunk, or of which a chunk fails its checksum.

    Pillow decodes both without a word where the pixels' own stream is whole. Chunks:
    https://www.w3.org/TR/png-3/#5Chunk-layout. Other files pass.
    """
    if not content.startswith(SIGNATURE):
        return
    start, kind, view = len(SIGNATURE), b"", memoryview(content)
    while kind != b"IEND":
        if start + _FRAME > len(content):
            raise UnreadableImage(f"is cut off: it ends after {len(content)} bytes without the end chunk of a PNG")
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + _FRAME + length
        if end > len(content):
            raise UnreadableImage(f"is cut off: it ends after {len(content)} bytes, within a chunk {_named(kind)}")
        if zlib.crc32(view[start + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            raise UnreadableImage(f"is damaged: its chunk {_named(kind)} at byte {start} fails its checksum")
        start = end


def _named(kind: bytes) -> str:
    """A chunk's type, which a damaged file may spell with any bytes.

    >>> _named(b"IDAT"), _named(b"I\\x1bAT")
    ('IDAT', 'I\\\\x1bAT')
    """
    return repr(kind)[2:-1]
