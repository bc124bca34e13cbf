import pytest

from thawlab.errors import UserError
from thawlab.trust import check_function, covers


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THAWLAB_TRUST", raising=False)
    (tmp_path / "nets").mkdir()
    for name in ("nets/small.py", "nets_of_others.py", "evil.py"):
        (tmp_path / name).touch()
    (tmp_path / "nets" / "link.py").symlink_to(tmp_path / "evil.py")


@pytest.mark.parametrize(("entry", "place", "trusted"), [
    pytest.param("mynets", "mynets", True, id="a package"),
    pytest.param("mynets.", "mynets.small", True, id="with its dot, what is in it"),
    pytest.param("mynets", "mynetsevil", False, id="one that begins alike"),
    pytest.param("mynets.small", "mynets", False, id="what a module lies in"),
    pytest.param("nets/small.py", "nets/small.py", True, id="a file"),
    pytest.param("./nets/small.py", "nets/../nets/small.py", True, id="the same file in other words"),
    pytest.param("nets/", "nets/small.py", True, id="a folder"),
    pytest.param("nets/", "nets_of_others.py", False, id="a file that begins as a folder"),
    pytest.param("nets/", "nets/../evil.py", False, id="out of a folder"),
    pytest.param("nets/", "nets/link.py", False, id="a link out of a folder"),
    pytest.param("nets", "nets/small.py", False, id="a folder without its slash is a package"),
    pytest.param("nets/small.py", "nets.small", False, id="a file is no module"),
    pytest.param("timm.models", "timm.models/../evil.py", False, id="a path that begins as a package"),
])  # fmt: skip
def test_an_entry_covers(entry, place, trusted):
    assert covers(entry, place) is trusted


@pytest.mark.parametrize("reference", ["timm.models.resnet:resnet18", "torchvision.models:resnet18", "no reference"])
def test_libraries_of_networks_are_trusted(reference):
    check_function(reference, "a file")


@pytest.mark.parametrize(
    "reference", ["timm.utils:x", "torchvision.datasets:x", "thawlab.cli:main", "os:getcwd", "evil.py:x"]
)
def test_anything_else_is_refused_until_it_is_trusted(reference, monkeypatch):
    place = reference.partition(":")[0]
    with pytest.raises(UserError, match=f"in run/result.json.*THAWLAB_TRUST={place}"):
        check_function(reference, "run/result.json")
    check_function(reference, "run/result.json", [place])
    monkeypatch.setenv("THAWLAB_TRUST", f" numpy , {place},")
    check_function(reference, "run/result.json")


def test_an_empty_entry_trusts_nothing(monkeypatch):
    monkeypatch.setenv("THAWLAB_TRUST", ", ,")
    with pytest.raises(UserError):
        check_function("evil.py:x", "a file", ["", " "])
