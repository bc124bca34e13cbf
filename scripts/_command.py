"""A command of the package, or one message where this Python lacks the package."""

import sys


def call(name: str) -> int | None:
    """Call it; exit status its own, or 2 where thawlab is not installed."""
    try:
        from thawlab import entry
    except ModuleNotFoundError as error:
        if error.name != "thawlab":
            raise
        print(
            f"{sys.executable} has no thawlab. Run `make install`, then: .venv/bin/python {sys.argv[0]}",
            file=sys.stderr,
        )
        return 2
    return getattr(entry, name)()
