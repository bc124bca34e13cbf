"""Fetching published weights: whether their host can be reached is found out in seconds, not in minutes."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from huggingface_hub import constants as hub

from thawlab.errors import UserError


@contextmanager
def impatient_hub() -> Iterator[None]:
    """Take timm's hub for offline where it cannot be reached: cached files are used, a missing one is told at once.

    Left to itself, huggingface_hub tries each of two files five times with growing pauses: 48 seconds.
    """
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not reachable(hub.ENDPOINT)  # pyright: ignore[reportConstantRedefinition]
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before  # pyright: ignore[reportConstantRedefinition]


def fetched(url: str) -> Mapping[str, Any]:
    """A checkpoint through torch hub, which keeps it in its cache; a cached one needs no network.

    Nothing in it is executed (`weights_only`). Raises OSError where it is neither cached nor within reach, RuntimeError
    and UnpicklingError for a broken file.
    """
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    if not cached.exists() and not reachable(url):
        raise OSError(f"{url} cannot be reached, and {cached} is not there")
    return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)


def reachable(address: str, patience: float = 5.0) -> bool:
    """Whether anything answers there, through the proxies that the environment names."""
    try:
        urlopen(Request(address, method="HEAD"), timeout=patience).close()
    except HTTPError:
        return True  # it answered, if only to refuse
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the hub's own client may know other certificates
    except OSError:
        return False
    return True


def out_of_reach(name: str, library: str, error: Exception) -> UserError:
    """What a person is told who has no network, and no file either."""
    return UserError(
        f"backbone.name is {name!r}: {library}'s pretrained weights could not be had "
        f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Without network, give a local file: "
        "backbone.weights=model.safetensors (downloaded elsewhere from the model's page on the hub), "
        "or train from random weights: strategy=scratch."
    )
