"""Where reading images may keep what it found out, so that the next run need not find it out again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from thawlab.store.rowstore import RowStore

_remembered: ContextVar[RowStore | None] = ContextVar("remembered", default=None)


def remembered() -> RowStore | None:
    """Where to keep it; None outside `remembering`."""
    return _remembered.get()


@contextmanager
def remembering(rows: RowStore | None) -> Iterator[None]:
    """Let what reads images keep on disk which files decode, and what was drawn."""
    token = _remembered.set(rows)
    try:
        yield
    finally:
        _remembered.reset(token)
