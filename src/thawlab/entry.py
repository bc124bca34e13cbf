"""Where commands begin: what they need is imported here, so that Ctrl-C ends them in one line, however early."""

import sys
from functools import partial
from importlib import import_module


def begin(module: str) -> int | None:
    """Import a module and call its `main`; exit status 130 after a Ctrl-C that it has not answered itself."""
    try:
        return import_module(module).main()
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


advise = partial(begin, "thawlab.advise")
cache = partial(begin, "thawlab.store.command")
census = partial(begin, "thawlab.census")
check_data = partial(begin, "thawlab.check_data")
compare = partial(begin, "thawlab.report.compare")
find_batch = partial(begin, "thawlab.find_batch")
find_lr = partial(begin, "thawlab.find_lr")
predict = partial(begin, "thawlab.predict")
report = partial(begin, "thawlab.report.report")
train = partial(begin, "thawlab.cli")
