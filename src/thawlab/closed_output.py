"""Commands whose reader may go before they end, as under `| head -1`."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def ends_with_its_reader(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command's function end the process with status 1, without a traceback, once nobody reads its output.

    What is buffered is written before it returns. Python would write the rest at exit, fail again and tell that:
    hence os.devnull in the output's place, as in its documentation's note on SIGPIPE.
    """

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            try:
                return command(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    return guarded
