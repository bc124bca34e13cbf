import socket
import time

import pytest

from thawlab import offline
from thawlab.offline import hub, impatient_hub, impatient_sockets, reachable


@pytest.fixture
def silent():
    """A server that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_closed_port_and_a_silent_server_are_out_of_reach(silent):
    began = time.perf_counter()
    assert not reachable("http://127.0.0.1:9")
    assert not reachable(silent, patience=0.2)
    assert time.perf_counter() - began < 3


def test_a_hub_that_answers_with_a_refusal_is_within_reach(monkeypatch):
    def refuse(request, timeout):
        raise offline.HTTPError(request.full_url, 405, "no HEAD here", {}, None)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(offline, "urlopen", refuse)
    assert reachable("https://hub.example")


def test_a_silent_hub_is_out_of_reach(monkeypatch):
    def silent(request, timeout):
        raise TimeoutError

    monkeypatch.setattr(offline, "urlopen", silent)
    assert not reachable("https://hub.example")


def test_every_copy_of_the_setting_is_changed_and_put_back(monkeypatch):
    config = pytest.importorskip("datasets").config
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    with impatient_hub():
        assert hub.HF_HUB_OFFLINE
        assert config.HF_HUB_OFFLINE
    assert not hub.HF_HUB_OFFLINE
    assert not config.HF_HUB_OFFLINE


def test_sockets_give_up_for_a_while_only(silent):
    where = ("127.0.0.1", int(silent.rpartition(":")[2]))
    with impatient_sockets(0.1), socket.create_connection(where) as waiting, pytest.raises(TimeoutError):
        waiting.recv(1)
    assert socket.getdefaulttimeout() is None
