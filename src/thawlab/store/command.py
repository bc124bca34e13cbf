"""The command that shows, checks and empties the cache. Imports no torch."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from thawlab.aligned import aligned
from thawlab.closed_output import ends_with_its_reader
from thawlab.errors import UserError
from thawlab.store.entry import Entry, entries
from thawlab.store.faults import Damaged, StoreError, keeping
from thawlab.store.locks import if_free
from thawlab.store.segment import Segment
from thawlab.store.space import evict
from thawlab.store.writing import remove

_HEADER = ("entry", "kind", "backbone", "segments", "rows", "MB", "last used")
_KINDS = {
    "boundary": "features",
    "pixels": "decoded images",
    "verdicts": "files checked",
    "similarity": "measures",
    "drawn": "drawn images",
}


@ends_with_its_reader
def main(argv: Sequence[str] | None = None) -> int:
    """List, verify or prune; exit status 0, 1 (something is damaged), 2 (refused)."""
    options = _parser().parse_args(argv)
    try:
        _check(options)
        with keeping(options.folder):
            return {"list": _list, "verify": _verify, "prune": _prune}[options.action](options)
    except (UserError, StoreError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Show, check and empty the cache that runs share.")
    add = parser.add_argument
    add("action", nargs="?", default="list", choices=("list", "verify", "prune"), help="(default: %(default)s)")
    add("--folder", type=Path, default=Path("outputs/.cache"), help="cache.folder of the runs (default: %(default)s)")
    add("--repair", action="store_true", help="verify: drop what is damaged; the next run computes it again")
    add("--max-gb", type=float, help="prune: what was used longest ago goes until no more than this is left")
    add("--older-than", type=float, metavar="DAYS", help="prune: what was not used for so many days goes")
    add("--all", action="store_true", help="prune: everything goes")
    return parser


def _check(options: argparse.Namespace) -> None:
    if not options.folder.is_dir():
        raise UserError(
            f"--folder is {str(options.folder)!r}, but there is no such folder. Give the runs' cache.folder."
        )
    rules = {"--max-gb": options.max_gb, "--older-than": options.older_than, "--all": options.all or None}
    given = {name: value for name, value in rules.items() if value is not None}
    for name, value in given.items():
        if options.action != "prune":
            raise UserError(f"{name} says what to remove, but the action is {options.action}. Use it with prune.")
        if not value >= 0:
            what = "an age" if name == "--older-than" else "a size"
            raise UserError(f"{name} is {value:g}, but it is {what}. Give 0 or more.")
    if options.all and len(given) > 1:
        raise UserError(f"--all removes everything, and {' '.join(given)} name a part of it. Give one of the two.")
    if options.action == "prune" and not given:
        raise UserError("prune does not know what to remove. Give --max-gb, --older-than or --all.")
    if options.repair and options.action != "verify":
        raise UserError(f"--repair drops what is damaged, but the action is {options.action}. Use it with verify.")


def _list(options: argparse.Namespace) -> int:
    found = list(reversed(entries(options.folder)))
    if not found:
        print(f"{options.folder} holds nothing of a cache.")
        return 0
    for line in aligned([_HEADER, *map(_row, found)], words=3):
        print(line)
    print(f"\n{options.folder}: {_count(len(found), 'entry', 'entries')}, {_mb(sum(e.nbytes() for e in found))} MB")
    return 0


def _row(entry: Entry) -> tuple[str, ...]:
    parts = entry.parts()
    segments = [segment for _, segment in entry.segments() if isinstance(segment, Segment)]
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used()))
    kind = parts.get("kind", "-")
    rows = f"{sum(map(len, segments)):,}"
    named = (_KINDS.get(kind, kind), parts.get("backbone", "-"))
    return (entry.digest[:12], *named, str(len(segments)), rows, _mb(entry.nbytes()), used)


def _verify(options: argparse.Namespace) -> int:
    started, nbytes, bad = time.monotonic(), 0, 0
    found = entries(options.folder)
    for entry in found:
        nbytes += entry.written()
        for path, fact in damages(entry):
            bad += 1
            done = f". {_drop(entry, path)}" if options.repair else ""
            print(f"{path.relative_to(options.folder)}: {fact}{done}")
    seconds = max(time.monotonic() - started, 1e-9)
    result = f"{bad} damaged" if bad else "all as they were written"
    print(f"{_count(len(found), 'entry', 'entries')}, {_mb(nbytes)} MB in {seconds:.1f} s: {result}")
    if bad and not options.repair:
        print("A run that needs what is damaged drops it and computes it again; --repair drops it now.")
    return 1 if bad else 0


def damages(entry: Entry) -> Iterator[tuple[Path, str]]:
    """Read every byte of an entry: what is not as it was written, and why."""
    if not entry.key_is_right():
        yield entry.folder / "key.json", "is not what the entry was named after; its rows are not touched by that"
    for path, segment in entry.segments():
        try:
            if isinstance(segment, Damaged):
                raise segment
            segment.check(np.arange(len(segment)))
        except Damaged as damaged:
            if path.exists():
                yield path, str(damaged)


def _drop(entry: Entry, path: Path) -> str:
    with if_free(entry.root, entry.digest) as free:
        if not free:
            return "Left: a run is writing to this entry"
        if path.is_dir():
            remove(path)
        else:
            path.unlink(missing_ok=True)
        return "Dropped"


def _prune(options: argparse.Namespace) -> int:
    removed = 0
    found = entries(options.folder)
    total = sum(entry.nbytes() for entry in found)
    for entry in found:
        age = (time.time() - entry.last_used()) / 86400
        too_old = options.older_than is not None and age > options.older_than
        too_much = options.max_gb is not None and total > options.max_gb * 1e9
        if not (options.all or too_old or too_much):
            continue
        size = entry.nbytes()
        if evict(entry):
            removed, total = removed + 1, total - size
            print(f"removed {entry.digest[:12]}, {_mb(size)} MB, last used {age:.1f} days ago")
        else:
            print(f"left    {entry.digest[:12]}, {_mb(size)} MB: a run is writing to it")
    print(f"{_count(removed, 'entry', 'entries')} removed, {_mb(total)} MB left in {options.folder}")
    return 0


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.1f}"


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


if __name__ == "__main__":
    sys.exit(main())
