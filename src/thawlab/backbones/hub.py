"""Fetching published weights: whether their host can be reached is found out in seconds, not in minutes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from thawlab.errors import UserError, in_words
from thawlab.offline import reachable


def fetched(url: str) -> Mapping[str, Any]:
    """A checkpoint through torch hub, which keeps it in its cache; a cached one needs no network.

    Nothing in it is executed (`weights_only`). Raises OSError where it is neither cached nor within reach, RuntimeError
    and UnpicklingError for a broken file.
    """
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    if not cached.exists() and not reachable(url):
        raise OSError(f"{url} cannot be reached, and {cached} is not there")
    return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)


def out_of_reach(name: str, library: str, place: str, error: Exception) -> UserError:
    """What a person is told who has no network, and no file either; `place`: where there is one to be had."""
    return UserError(
        f"backbone.name is {name!r}: {library}'s pretrained weights could not be had "
        f"({in_words(error)}). Without network, give a local file: backbone.weights=FILE (downloaded elsewhere from "
        f"{place}), or train from random weights: strategy=scratch."
    )
