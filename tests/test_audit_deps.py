"""What is made of pip-audit's findings; whether the database is reached is another matter."""

import runpy
import subprocess
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "audit_deps.py"))
verdict = SCRIPT["verdict"]


def package(name="torch", *vulns):
    return {"name": name, "version": "1.0", "vulns": list(vulns)}


def finding(number="PYSEC-1", fixed=("2.0",), aliases=()):
    return {"id": number, "fix_versions": list(fixed), "aliases": list(aliases), "description": ""}


UNKNOWN = {"name": "numpy", "skip_reason": "Dependency not found on PyPI and could not be audited: numpy (2.5)"}


@pytest.mark.parametrize(("found", "ignored", "status", "said"), [
    pytest.param([package()], {}, 0, "1 packages looked up", id="nothing found"),
    pytest.param([package("torch", finding())], {}, 1, "torch 1.0: PYSEC-1, mended in 2.0", id="mended elsewhere"),
    pytest.param([package("torch", finding(fixed=()))], {}, 0, "no version mends it yet", id="not to be mended"),
    pytest.param([package("torch", finding())], {"PYSEC-1": "not used"}, 0, "not used", id="ignored"),
    pytest.param([package("a", finding(aliases=["CVE-1"]))], {"CVE-1": "not used"}, 0, "not used", id="by its alias"),
    pytest.param([package("a", finding(), finding("B"))], {"PYSEC-1": "no"}, 1, "B, mended", id="another is ignored"),
    pytest.param([UNKNOWN], {}, 0, "NOT AUDITED", id="no network"),
    pytest.param([UNKNOWN, package("torch", finding())], {}, 1, "Not looked up (1): numpy", id="some not known"),
])  # fmt: skip
def test_a_finding_that_can_be_mended_fails(found, ignored, status, said):
    code, lines = verdict(found, ignored)
    assert code == status
    assert said in "\n".join(lines)


@pytest.mark.parametrize("output", ["", "ERROR: no connection", "{}"])
def test_without_an_answer_nothing_is_claimed(output, monkeypatch, capsys):
    ended = subprocess.CompletedProcess([], 1, output, "broken")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert SCRIPT["main"]() == 0
    assert "NOT AUDITED" in capsys.readouterr().out


def test_every_ignored_finding_has_a_reason():
    assert all(len(reason) > 20 for reason in SCRIPT["IGNORED"].values())
