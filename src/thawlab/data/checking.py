"""Every file is decoded once before anything is trained: a bad image ends a run at its start, not in its night."""

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from thawlab.data.decode import DECODER, UnreadableImage, pictures_in, versions
from thawlab.data.remembering import remembered
from thawlab.data.stores import Store
from thawlab.errors import UserError, printable
from thawlab.store.faults import StoreError
from thawlab.store.key import Key
from thawlab.store.layout import TensorLayout
from thawlab.store.rowstore import RowStore

SHOWN = 5
MANY = 256  # files; fewer are decoded in less time than their verdicts take to be found
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFile:
    """A file as it was found: `name` is its store's, such as its path below a root, with forward slashes.

    Size and time of change are part of it, so that what is remembered about a file is forgotten when it changes.
    """

    name: str
    size: int
    changed: int  # nanoseconds


@dataclass(frozen=True)
class Verdict:
    """What decoding a file showed: the sha256 of its bytes, the pictures it holds, and what is wrong with it if any."""

    digest: bytes
    pictures: int
    defect: str | None


@lru_cache(maxsize=8)
def check_files(store: Store, files: tuple[ImageFile, ...], channels: int = 3) -> tuple[Verdict, ...]:
    """Decode every file, keeping nothing but the verdicts; the jobs of a sweep in one process share the result.

    Inside `remembering`, a content that decoded in an earlier run is read and hashed, but not decoded again.
    """
    log.info("checking %d images in %s", len(files), store.place)
    with warnings.catch_warnings(), ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 2))) as pool:
        # Pillow warns of doubtful metadata and great size without naming a file; what matters is in the verdicts.
        warnings.filterwarnings("ignore", module="PIL")
        known = remembered()
        if known is not None and len(files) >= MANY:
            try:
                return _with_memory(known, pool, store, files, channels)
            except StoreError as error:
                log.info("verdicts cannot be kept: %s", error)
        return tuple(pool.map(partial(_check, store, channels), files))


def _with_memory(
    known: RowStore, pool: ThreadPoolExecutor, store: Store, files: Sequence[ImageFile], channels: int
) -> tuple[Verdict, ...]:
    digests = list(pool.map(partial(_digest, store), files))
    there = [place for place, digest in enumerate(digests) if digest is not None]
    names = [digest for digest in digests if digest is not None]

    def compute(positions: list[int]) -> Iterator[tuple[torch.Tensor]]:
        counts = pool.map(lambda i: _pictures(store, channels, files[there[i]], names[i]), positions)
        yield (torch.tensor(list(counts), dtype=torch.int32),)

    key = Key({"kind": "verdicts", "channels": str(channels), "decoder": DECODER, "versions": versions()})
    rows = known.open(key, names, (TensorLayout((), "int32"),), compute, 4)
    (pictures,) = rows.gather(torch.arange(len(there)))
    found = dict(zip(there, torch.as_tensor(pictures).tolist(), strict=True))
    # What is wrong with a file is said in words, which are not kept.
    return tuple(
        Verdict(digest, found[i], None) if digest is not None and found[i] > 0 else _check(store, channels, files[i])
        for i, digest in enumerate(digests)
    )


def _digest(store: Store, file: ImageFile) -> bytes | None:
    try:
        return hashlib.sha256(store.read(file.name)).digest()
    except OSError:
        return None


def _pictures(store: Store, channels: int, file: ImageFile, digest: bytes) -> int:
    """How many pictures a file holds; -1 where it does not decode, or is no longer the one of this digest."""
    try:
        content = store.read(file.name)
        return pictures_in(content, channels) if hashlib.sha256(content).digest() == digest else -1
    except (OSError, UnreadableImage):
        return -1


def _check(store: Store, channels: int, file: ImageFile) -> Verdict:
    try:
        content = store.read(file.name)
    except OSError as error:
        return Verdict(b"", 0, f"cannot be read: {error.strerror or error}")
    digest = hashlib.sha256(content).digest()
    try:
        return Verdict(digest, pictures_in(content, channels), None)
    except UnreadableImage as error:
        return Verdict(digest, 0, str(error))


def refuse_bad(place: str, files: Sequence[ImageFile], verdicts: Sequence[Verdict]) -> None:
    """Raise UserError naming the first few unreadable files and how many there are in all."""
    bad = [printable(f"{place}/{file.name} {v.defect}") for file, v in zip(files, verdicts, strict=True) if v.defect]
    if bad:
        more = f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise UserError(
            f"{len(bad)} of {len(files)} files in {place} cannot be read as images:\n  "
            + "\n  ".join(bad[:SHOWN])
            + f"{more}\nMend or remove them, or leave them out with dataset.bad_images=quarantine"
        )


def notes_on(files: Sequence[ImageFile], verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Say which files are left out as unreadable, and that only the first picture of several is used."""
    both = list(zip(files, verdicts, strict=True))
    bad = [printable(f"{file.name} ({verdict.defect})") for file, verdict in both if verdict.defect]
    several = [printable(file.name) for file, verdict in both if verdict.pictures > 1]
    notes: list[str] = []
    if bad:
        notes.append(f"left out {len(bad)} unreadable files (dataset.bad_images=quarantine): {'; '.join(bad)}")
    if several:
        shown = ", ".join(several[:SHOWN])
        notes.append(f"{len(several)} files hold several pictures, of which only the first is used: {shown}")
    return tuple(notes)
