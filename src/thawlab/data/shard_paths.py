"""Which tar files a folder, a glob or a brace pattern means, and which split each belongs to."""

import glob
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from thawlab.data.listing import SPLIT_NAMES
from thawlab.data.shard_files import Shard, found
from thawlab.errors import UserError

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def list_shards(pattern: str) -> tuple[dict[str, tuple[Shard, ...]], Path]:
    """Find the shards of each split, sorted by path, and the folder that they all lie under."""
    paths = sorted(set(_matching(pattern)))
    if not paths:
        raise UserError(
            f"dataset.root is {pattern!r}, where there is no .tar file. Give a folder of shards, a glob such as "
            "'shards/*.tar', or a pattern such as 'shards/train-{000000..000003}.tar', in quotes."
        )
    squeezed = [path for path in paths if path.name.endswith(COMPRESSED)]
    if squeezed:
        raise UserError(
            f"dataset.root holds compressed shards, such as {squeezed[0]}: no image in them can be read without all "
            "before it, and images are compressed by themselves. Decompress them, as by gunzip, and give the .tars."
        )
    splits = {path: _split_of(path) for path in paths}
    unsaid = [path for path, split in splits.items() if split is None]
    if unsaid and len(unsaid) < len(paths):
        said = next(path for path in paths if path not in unsaid)
        raise UserError(
            f"Of the shards in dataset.root {pattern!r}, {said.name} names its split, but {unsaid[0].name} names none. "
            "Let every name begin with train, val or test, or none."
        )
    parts = {
        part: tuple(found(path) for path in paths if (splits[path] or "train") == part)
        for part in ("train", "val", "test")
        if part == "train" or part in splits.values()
    }
    if not parts["train"]:
        raise UserError(
            f"dataset.root {pattern!r} holds shards of {', '.join(part for part in parts if parts[part])}, but none of "
            "train. Add them, or give a pattern that finds them."
        )
    return parts, _common(paths)


def _matching(pattern: str) -> Iterator[Path]:
    """Files of a folder and its folders, of a glob, or each file of a brace pattern."""
    for one in braced(str(Path(pattern).expanduser())):
        if Path(one).is_dir():
            yield from (path for path in Path(one).rglob("*") if path.name.endswith((".tar", *COMPRESSED)))
        elif glob.has_magic(one):
            yield from (Path(name) for name in glob.glob(one, recursive=True) if Path(name).is_file())
        elif Path(one).is_file():
            yield Path(one)
        else:
            raise UserError(f"dataset.root is {pattern!r}, but there is no file or folder {one}. Mend the pattern.")


def braced(pattern: str) -> list[str]:
    """Write out braces as a shell does, within braces too: numbers keep their width; nothing comes twice.

    >>> braced("{train,val}-{08..10}.tar")[2:4]
    ['train-10.tar', 'val-08.tar']
    """
    pieces = re.split(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    choices = [_choices(piece) if i % 2 else [piece] for i, piece in enumerate(pieces)]
    written = ["".join(chosen) for chosen in itertools.product(*choices)]
    return [pattern] if written == [pattern] else list(dict.fromkeys(inner for one in written for inner in braced(one)))


def _choices(inner: str) -> Sequence[str]:
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inner)
    if not span:
        return inner.split(",")
    first, last = span.groups()
    return [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]


def _split_of(path: Path) -> str | None:
    begin = re.match(r"[a-z]*", path.name.lower())
    own = SPLIT_NAMES.get(begin.group()) if begin else None
    return own or SPLIT_NAMES.get(path.parent.name.lower())


def _common(paths: Sequence[Path]) -> Path:
    folders = [path.absolute().parent for path in paths]
    shared = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*(f.parts for f in folders), strict=False))
    relative = not paths[0].is_absolute()
    common = Path(*(names[0] for names in shared))
    return common.relative_to(Path.cwd()) if relative and common.is_relative_to(Path.cwd()) else common
