"""The command that looks for the largest batch that memory holds, for the run that the same words would start.

Imports no torch before work starts, so that `--help` answers at once.
"""

import argparse
from collections.abc import Sequence

from thawlab import compose
from thawlab.searching import search

_DESCRIPTION = """\
Find the largest batch that memory holds. The words are those of train.py, as strategy=full backbone=resnet18. Sizes are
tried in a process of its own, so that running out of memory costs nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the batch size and what bounds it; exit status 0, 2 (refused)."""
    return search(_parser(), _find, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=_DESCRIPTION)
    add = parser.add_argument
    add("--memory-share", type=float, default=0.8, help="share of the free memory to fill (default: %(default)s)")
    add("--memory", type=float, metavar="GIB", help="take so many GiB for free, in place of what the system says")
    add("--max", type=int, default=1024, help="no more images than these (default: %(default)s)")
    return parser


def _find(options: argparse.Namespace) -> int:
    job = compose.only_job([*options.words, "trainer.batch_size=auto"])
    from thawlab.advice import applied
    from thawlab.batch_finder import Limits, find
    from thawlab.prepare import checked

    available = None if options.memory is None else int(options.memory * 2**30)
    limits = Limits(options.memory_share, options.max, available)
    prepared = checked(job.config)
    images = len(prepared.splits.train)
    print(f"{job.name}\n  {images:,} training images", flush=True)
    found = find(
        applied(job.config, prepared.advice), images, limits, lambda attempt: print(f"  tried {attempt}", flush=True)
    )
    print(f"\n  {found.line}\n  trainer.batch_size={found.size}")
    print("  More images a step want another rate: see docs/howto/batch-size.md, or find_lr.py with the same words.")
    return 0
