"""Where a download may be needed: telling at once that the network is out of reach, and using what is cached."""

import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants as hub

PATIENCE = 20.0  # seconds that a server may stay silent
_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def without_network() -> Iterator[None]:
    """Take every host for out of reach: what is cached is used, and nothing fetched."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


@contextmanager
def impatient_hub() -> Iterator[None]:
    """Take Hugging Face's hub for offline where it cannot be reached: what is cached is used, the rest told at once.

    Left to itself, huggingface_hub tries each of two files five times with growing pauses: 48 seconds. The library
    `datasets` keeps a copy of the setting, made when it was imported.
    """
    modules = [hub, *([found] if (found := sys.modules.get("datasets.config")) else [])]
    before = [module.HF_HUB_OFFLINE for module in modules]
    offline = any(before) or not reachable(hub.ENDPOINT)
    for module in modules:
        module.HF_HUB_OFFLINE = offline  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value  # pyright: ignore[reportAttributeAccessIssue]


def reachable(address: str, patience: float = 5.0) -> bool:
    """Whether anything answers there, through the proxies that the environment names."""
    if _alone.get():
        return False
    try:
        urlopen(Request(address, method="HEAD"), timeout=patience).close()
    except HTTPError as error:
        error.close()
        return True  # it answered, if only to refuse
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the hub's own client may know other certificates
    except OSError:
        return False
    return True


@contextmanager
def impatient_sockets(patience: float = PATIENCE) -> Iterator[None]:
    """Give up on a silent server after `patience` seconds in code that sets no limit, as torchvision's downloads."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(patience)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
