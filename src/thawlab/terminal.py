"""What a run in a process of its own says to the terminal: whole lines, marked with the run's name."""

import io
import os


class Terminal(io.TextIOBase):
    """Text to a file descriptor. With a `mark`, whole lines alone, each behind it, in one write.

    Without one, text passes as it comes, a progress bar too. A terminal that is gone costs no run its result: what
    cannot be written is dropped. `copy`: another descriptor that gets the text as it is.
    """

    def __init__(self, handle: int, mark: str | None = None, copy: int | None = None) -> None:
        self._handle = handle
        self._mark = mark
        self._copy = copy
        self._rest = ""

    @property
    def encoding(self) -> str:  # noqa: D102  # pyright: ignore[reportIncompatibleVariableOverride]
        return "utf-8"

    def fileno(self) -> int:  # noqa: D102
        return self._handle

    def isatty(self) -> bool:  # noqa: D102
        return self._mark is None and os.isatty(self._handle)

    def writable(self) -> bool:  # noqa: D102
        return True

    def write(self, text: str) -> int:  # noqa: D102
        if self._copy is not None:
            _put(self._copy, text)
        if self._mark is None:
            _put(self._handle, text)
            return len(text)
        *lines, rest = (self._rest + text).split("\n")
        self._rest = _last_drawn(rest)
        _put(self._handle, "".join(f"{self._mark}{_last_drawn(line)}\n" for line in lines))
        return len(text)


def _put(handle: int, text: str) -> None:
    left = text.encode("utf-8", "backslashreplace")
    try:
        while left:
            left = left[os.write(handle, left) :]
    except OSError:
        pass


def _last_drawn(line: str) -> str:
    """What a terminal would show of a line that was drawn over."""
    return line.rpartition("\r")[2]
