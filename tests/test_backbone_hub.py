import hashlib

import pytest
import torch

from thawlab.backbones import hub


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A checkpoint as torch hub's hosts name it, with the start of its sha256, and an empty cache."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "cache"))
    (tmp_path / "host").mkdir()
    torch.save({"weight": torch.arange(3.0)}, tmp_path / "host" / "w")
    content = (tmp_path / "host" / "w").read_bytes()
    place = tmp_path / "host" / f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    place.write_bytes(content)
    return place


def test_a_checkpoint_is_fetched_once(published):
    assert torch.equal(hub.fetched(published.as_uri())["weight"], torch.arange(3.0))
    published.unlink()
    assert torch.equal(hub.fetched(published.as_uri())["weight"], torch.arange(3.0)), "it is in the cache"


def test_a_checkpoint_that_is_not_what_its_name_says_is_refused(published):
    published.write_bytes(published.read_bytes() + b"x")
    with pytest.raises(RuntimeError, match="hash"):
        hub.fetched(published.as_uri())


def test_nothing_in_a_checkpoint_is_executed(published):
    class Trap:
        def __reduce__(self):
            return (open, (str(published.parent / "sprung"), "w"))

    trap = published.parent / "trap.pth"
    torch.save({"weight": Trap()}, trap)
    with pytest.raises(Exception, match=r"[Ww]eights.only|Unsupported"):
        hub.fetched(trap.as_uri())
    assert not (published.parent / "sprung").exists()


def test_a_host_out_of_reach_is_told_at_once(published):
    with pytest.raises(OSError, match=r"cannot be reached, and .* is not there"):
        hub.fetched((published.parent / "nowhere.pth").as_uri())
