"""The thumbnails of mistakes, read from their runs' folders as what they are: small PNGs, or nothing."""

import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from thawlab.errors import UserError
from thawlab.report.findings import Mistake
from thawlab.run_files import verify

MOST = 48  # pictures
_BYTES, _SIDE = 100_000, 256  # more than any run of ours leaves


def thumbnails(mistakes: Iterable[Mistake], folder: Path) -> dict[Mistake, bytes]:
    """The pictures of `MOST` mistakes as PNG, of as many runs as there are, each run's first ones first.

    They are made anew of their pixels: nothing else of a file gets into a page. A picture that is gone, or not as the
    run left it, or outside of the run's folder, is left out.
    """
    found: dict[Mistake, bytes] = {}
    seen: Counter[str] = Counter()
    ranked = []
    for mistake in mistakes:
        ranked.append((seen[mistake.run], mistake))
        seen[mistake.run] += 1
    for _, mistake in sorted(ranked, key=lambda pair: pair[0]):
        if len(found) == MOST:
            break
        if mistake.thumbnail and (png := _png(folder / mistake.run, mistake.thumbnail)):
            found[mistake] = png
    return found


def _png(run: Path, name: str) -> bytes | None:
    try:
        path = (run / name).resolve()
        if not path.is_relative_to(run.resolve()) or not path.is_file() or path.stat().st_size > _BYTES:
            return None
        verify(run, name)
        with Image.open(path, formats=["PNG"]) as image:
            if max(image.size) > _SIDE:
                return None
            copy = image.convert("L" if image.mode == "L" else "RGB")
    except (UserError, OSError, ValueError, SyntaxError):
        return None
    file = io.BytesIO()
    Image.frombytes(copy.mode, copy.size, copy.tobytes()).save(file, "PNG")
    return file.getvalue()
