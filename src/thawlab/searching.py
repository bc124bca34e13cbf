"""What the commands that look for a setting have in common: they take the words of train.py, for one run.

Imports no torch before work starts, so that `--help` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from thawlab import compose
from thawlab.closed_output import ends_with_its_reader
from thawlab.errors import UserError
from thawlab.schema import register


@ends_with_its_reader
def search(
    parser: argparse.ArgumentParser, find: Callable[[argparse.Namespace], int], argv: Sequence[str] | None
) -> int:
    """Call `find` with the options, among them `words`; exit status its own, or 2 (refused)."""
    parser.add_argument("words", nargs="*", metavar="word", help="as for train.py: group=choice, key=value")
    register()
    compose.register_resolvers()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if compose.is_multirun(words):
            compose.only_job(words)
        return find(parser.parse_intermixed_args(words))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
