"""The source files of a user's own network: there a constant can change that no graph and no attribute shows.

Hashed are the files of its modules' classes and of the classes that these derive from, the file of the function that
built it, and what any of these imports, and so on, as far as it is the user's: torch, torchvision and timm are told by
their versions, and other installed packages only by the files of the classes themselves. Not seen is what is imported
by a name made while the program runs, what is read from elsewhere (a data file, the environment), and classes that were
typed in, in a notebook, say.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import FunctionType

from torch import nn

_TOLD = ("torch", "torchvision", "timm", "builtins")  # whose code is told by a version
_PACKAGES = {"site-packages", "dist-packages"}
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
_OURS = Path(__file__).resolve().parents[1]

Source = tuple[Path, str]  # a file, and the package that its relative imports start from


def code_of(modules: Iterable[nn.Module]) -> str:
    """A digest over the files behind these modules' classes."""
    kinds = {kind for module in modules for kind in type(module).__mro__}
    return _digest(source for kind in kinds if kind.__module__.partition(".")[0] not in _TOLD for source in _of(kind))


def code_of_function(reference: str | None) -> str:
    """A digest over the files behind `file.py:function` or `package.module:function`, which was called already."""
    place = (reference or "").rpartition(":")[0]
    return _digest([(Path(place).resolve(), "")] if place.endswith(".py") else _named(place))


def _of(kind: type) -> Iterator[Source]:
    """Where a class's functions were written: the file that built a network need not be known to `sys.modules`."""
    yield from _named(kind.__module__)
    for value in vars(kind).values():
        if isinstance(value, FunctionType):
            yield Path(value.__code__.co_filename).resolve(), value.__globals__.get("__package__") or ""


def _named(name: str) -> Iterator[Source]:
    module = sys.modules.get(name)
    if (file := getattr(module, "__file__", None)) is not None:
        yield Path(file).resolve(), getattr(module, "__package__", None) or ""


def _digest(sources: Iterable[Source]) -> str:
    """Over what the files hold, wherever they lie."""
    found: dict[Path, str] = {}
    waiting = list(sources)
    while waiting:
        file, package = waiting.pop()
        if file not in found:
            content = file.read_bytes() if file.is_file() else b"typed in"
            found[file] = hashlib.sha256(content).hexdigest()
            if _is_users(file):
                waiting += [source for source in _imported(content, package) if _is_users(source[0])]
    return hashlib.sha256(" ".join(sorted(found.values())).encode()).hexdigest()


def _is_users(file: Path) -> bool:
    installed = not _PACKAGES.isdisjoint(file.parts)
    return not (installed or file.is_relative_to(_STDLIB) or file.is_relative_to(_OURS))


def _imported(content: bytes, package: str) -> Iterator[Source]:
    """What a file imports anywhere in it, as far as that was imported."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # compiled, or edited since it was imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                yield from _named(".".join(parts[:depth]))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    try:
        return resolve_name("." * node.level + (node.module or ""), package)
    except ImportError:  # beyond the topmost package
        return node.module or ""
