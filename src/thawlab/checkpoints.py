"""A run's checkpoints on disk: two at most, each whole or not there, each known to be sound before it is used.

A checkpoint is what `torch.save` makes of plain containers, tensors, numbers and text, and after it one line with its
sha256. It is read with `weights_only=True`, never in another way.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from thawlab.files import publish

FOLDER = "checkpoints"
KEPT = 2
ASIDE = ".unsound"
FORMAT = 1
_MARK = b"\nthawlab sha256 "
_TRAILER = len(_MARK) + 64 + 1
_CHUNK = 2**20  # bytes
_PLAIN = (str, int, float, bool, type(None))
log = logging.getLogger(__name__)


class Unsound(Exception):
    """A file is no whole checkpoint; the message says what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A sound checkpoint: `state` is what Lightning restores, `about` what it was made of."""

    path: Path
    state: dict[str, Any]

    @property
    def about(self) -> dict[str, Any]:
        """Of what run it is; see `saving.about`."""
        return self.state["about"]


class _Hashing:
    """A file to write to that keeps the sha256 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def save(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write a run's state after optimizer step `step`, then remove all but the last two.

    A reader sees the whole file or none. TypeError for what is no plain container, tensor, number or text; OSError
    where the disk does not take it: then the earlier ones are still there.
    """
    content = {**plain(state), "format": FORMAT}

    def write(file: IO[bytes]) -> None:
        hashing = _Hashing(file)
        torch.save(content, hashing)  # pyright: ignore[reportArgumentType]
        file.write(_MARK + hashing.sha256.hexdigest().encode() + b"\n")

    path = folder / FOLDER / f"step-{step:09d}.ckpt"
    publish(path, write)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def newest(folder: Path, tell: Callable[[str], None] = log.warning) -> Checkpoint | None:
    """The newest sound checkpoint of a run's folder; None where there is none.

    `tell` hears of those that are not, which are renamed, so that they stand in nobody's way.
    """
    found = _newest_first(folder)
    for path in found:
        try:
            return Checkpoint(path, _read(path))
        except Unsound as unsound:
            aside = path.with_suffix(ASIDE)
            with suppress(OSError):  # another process of the run may have been faster
                path.replace(aside)
            tell(f"  {path} {unsound}: it is set aside as {aside.name}")
            if path == found[-1]:
                tell("  no sound checkpoint is left: the run begins anew")
    return None


def exist(folder: Path) -> bool:
    """Whether a run's folder has checkpoints, sound or not."""
    return bool(_newest_first(folder))


def clear(folder: Path, aside: bool = True) -> None:
    """Remove a run's checkpoints, and what a killed writer left of one; what else lies there stays.

    Those that were set `aside` as well, or not.
    """
    place = folder / FOLDER
    if place.is_dir() and not place.is_symlink():
        for pattern in ("step-*.ckpt", ".step-*", *((f"step-*{ASIDE}",) if aside else ())):
            for path in place.glob(pattern):
                path.unlink()
        with suppress(OSError):  # somebody else's files
            place.rmdir()


def plain(value: Any) -> Any:
    """A copy in dict, list and tuple, tensors detached. TypeError names the first thing that is not plain."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else [*map(plain, value)]
    if type(value) in _PLAIN:
        return value
    raise TypeError(f"a checkpoint keeps plain values, but there is {value!r:.60}, a {type(value).__name__}, in it")


def _newest_first(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("step-*.ckpt"), reverse=True)


def _read(path: Path) -> dict[str, Any]:
    """Raises Unsound."""
    try:
        with path.open("rb") as file:
            _verify(file, path.stat().st_size)
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Unsound(f"cannot be read ({error.strerror or error})") from error
    except Unsound:
        raise
    except Exception as error:  # of another maker's file with a sum of its own: the unpickler raises whatever it likes
        raise Unsound(f"holds more than plain values ({type(error).__name__})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or not isinstance(state.get("about"), dict):
        raise Unsound(f"is no checkpoint of this program's format {FORMAT}")
    return state


def _verify(file: IO[bytes], size: int) -> None:
    total = hashlib.sha256()
    for chunk in _chunks(file, max(0, size - _TRAILER)):
        total.update(chunk)
    if file.read() != _MARK + total.hexdigest().encode() + b"\n":
        raise Unsound(f"is damaged ({size:,} bytes that do not go with their checksum)")


def _chunks(file: IO[bytes], count: int) -> Iterator[bytes]:
    while count > 0 and (chunk := file.read(min(_CHUNK, count))):
        count -= len(chunk)
        yield chunk
