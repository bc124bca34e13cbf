"""A network that the user's own function builds."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from thawlab.errors import UserError, in_words


def built_by_user(reference: str) -> nn.Module:
    """Call `file.py:function` or `package.module:function`, without arguments. Raises UserError for what it raises."""
    function = _user_function(reference)
    try:
        model = function()
    except Exception as error:  # a user's code raises anything
        raise UserError(
            f"backbone.function is {reference!r}, but calling it without arguments raised {in_words(error)}. "
            "It must build the network by itself: mend it, or give its arguments defaults."
        ) from error
    if not isinstance(model, nn.Module):
        raise UserError(
            f"backbone.function is {reference!r}, but it returned a {type(model).__name__}: return an nn.Module."
        )
    return model


def _user_function(reference: str) -> Callable[[], Any]:
    place, _, name = reference.rpartition(":")
    if not place:
        raise UserError(f"backbone.function is {reference!r}. Give file.py:function or package.module:function.")
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:  # a user's code raises anything
        raise UserError(
            f"backbone.function is {reference!r}, but {place} cannot be imported: {in_words(error)}. "
            "Mend the file, or give another."
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"backbone.function is {reference!r}, but {place} has no function {name!r}.")
    return function


def _module_of_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}")
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
