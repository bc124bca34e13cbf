"""Words of a command line as people type them, put in the form that Hydra's grammar takes."""

import os
import re

from thawlab.errors import UserError

# Lists whose entries are words themselves, or several: Hydra would take `=` and spaces only in quotes.
LISTS_OF_WORDS = ("study.similar", "study.different", "study.strategies")
_ENTRY = re.compile(r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\[[^\]]*\]|\{[^}]*\}|[^,'"\[\]{}])+""")


def spelled(argument: str) -> str:
    """`dataset.root=~/photos` as the shell would expand `~/photos`; the entries of a list of words in quotes.

    >>> spelled("study.similar=[dataset=folder,dataset.root=photos]")
    "study.similar=['dataset=folder','dataset.root=photos']"

    UserError for such a list with an empty entry, or a bracket or quote that is not closed.
    """
    key, equals, value = argument.partition("=")
    if key.lstrip("+") in LISTS_OF_WORDS and value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(map(_quoted, _entries(argument, value[1:-1])))}]"
    return f"{key}={os.path.expanduser(value)}" if equals and value.startswith("~/") else argument


def _entries(argument: str, text: str) -> list[str]:
    found = _ENTRY.findall(text)
    if ",".join(found) != text:
        raise UserError(
            f"{argument} has an empty entry, or a bracket or quote without its other one. "
            "Write key=[word,word], with an entry that has such a sign in it in quotes."
        )
    return found


def _quoted(entry: str) -> str:
    entry = entry.strip()
    if not entry or _is_quoted(entry):
        return entry
    escaped = spelled(entry).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _is_quoted(entry: str) -> bool:
    return len(entry) > 1 and entry[0] == entry[-1] and entry[0] in "'\""
