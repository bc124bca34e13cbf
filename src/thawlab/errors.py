"""What goes wrong on the user's side, said in one message."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

_LONGEST = 400  # characters of a library's words: what says more is a page of its own
# What drives a terminal or turns text around, and halves of characters, which no stream can write. Lines may end.
_UNSEEN = (*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*_UNSEEN, *range(0xD800, 0xE000)) if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    r"""Text for a terminal: control characters, which names of files and classes may hold, are shown and not obeyed.

    >>> visible("cat\x1b[2J")
    'cat\\x1b[2J'
    """
    return text.translate(_ESCAPES)


class UserError(ValueError):
    """Something that the user can mend: the command ends with this message alone and exit status 2.

    The message names the key or the file, its value, the fact that stands against it, and the remedy.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


def nearest(name: str, choices: Iterable[str]) -> str:
    """Name the valid choices, nearest first, as a sentence to end an error message with.

    >>> nearest("frezee", ["full", "freeze"])
    "Did you mean 'freeze'? Valid: freeze, full."
    """
    known = sorted(set(choices))
    close = get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{hint}Valid: {', '.join(known)}."


def in_words(error: BaseException | None) -> str:
    """What a library says of an error, in one line without a full stop: whole or, where it is long, its kind alone.

    >>> in_words(OSError("no such   host."))
    'OSError: no such host'
    >>> in_words(RuntimeError("size mismatch " * 99))
    'RuntimeError'
    """
    text = " ".join(str(error).split()).removesuffix(".")
    return f"{type(error).__name__}: {text}" if 0 < len(text) <= _LONGEST else type(error).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, what that was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def printable(text: str) -> str:
    """Text from elsewhere, as a file's name, made unable to break, colour or turn round a line: that is escaped.

    Bytes that are no UTF-8, which Python holds as lone surrogates, are written as bytes.

    >>> printable("caf\u00e9\\n\\x1b[31m\\udcff")
    'caf\u00e9\\\\n\\\\x1b[31m\\\\xff'
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    byte = ord(letter) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else letter.encode("unicode_escape").decode()
