"""Words of a command line as people type them, put in the form that Hydra's grammar takes."""

import os
import re

# Lists whose entries are words themselves, or several: Hydra would take `=` and spaces only in quotes.
LISTS_OF_WORDS = ("study.similar", "study.different", "study.strategies")
_ENTRY = re.compile(r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\[[^\]]*\]|\{[^}]*\}|[^,'"\[{])+""")


def spelled(argument: str) -> str:
    """`dataset.root=~/photos` as the shell would expand `~/photos`; the entries of a list of words in quotes.

    >>> spelled("study.similar=[dataset=folder,dataset.root=photos]")
    "study.similar=['dataset=folder','dataset.root=photos']"
    """
    key, equals, value = argument.partition("=")
    if key.lstrip("+") in LISTS_OF_WORDS and value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(map(_quoted, _ENTRY.findall(value[1:-1])))}]"
    return f"{key}={os.path.expanduser(value)}" if equals and value.startswith("~/") else argument


def _quoted(entry: str) -> str:
    entry = entry.strip()
    if not entry or _is_quoted(entry):
        return entry
    escaped = spelled(entry).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _is_quoted(entry: str) -> bool:
    return len(entry) > 1 and entry[0] == entry[-1] and entry[0] in "'\""
