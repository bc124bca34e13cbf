import os
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from thawlab import entry

ROOT = Path(__file__).parents[1]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
SCRIPTS = sorted(path for path in (ROOT / "scripts").glob("*.py") if "from _command import call" in path.read_text())
# Python runs this first of all (the manual, `site`): Ctrl-C comes when the named module is looked for.
INTERRUPTS = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("target", COMMANDS.values(), ids=COMMANDS)
def test_each_installed_command_calls_its_own_main_and_answers_ctrl_c(target, monkeypatch, capsys):
    module, name = target.split(":")
    assert module == "thawlab.entry"
    command = getattr(entry, name)
    work = import_module(command.args[0])
    monkeypatch.setattr(work, "main", lambda: 7)
    assert command() == 7

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "main", interrupted)
    assert command() == 130
    assert capsys.readouterr() == ("", "\nInterrupted.\n")


def test_the_scripts_are_the_installed_commands():
    of_scripts = {path.stem.replace("_", "-") for path in SCRIPTS} - {"census"}
    assert of_scripts == {name.removeprefix("thawlab-") for name in COMMANDS} - {"thawlab"}


@pytest.mark.parametrize(
    ("words", "module"),
    [
        pytest.param([ROOT / "train.py", "--help"], "hydra", id="train.py"),
        pytest.param(["-m", "thawlab", "--help"], "hydra", id="the package"),
        pytest.param([ROOT / "scripts" / "report.py", "--help"], "thawlab.report.report", id="report.py"),
        pytest.param([ROOT / "scripts" / "advise.py", "--help"], "omegaconf", id="advise.py"),
    ],
)
def test_ctrl_c_while_libraries_are_imported_is_one_line(words, module, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS.format(module=module))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (ended.returncode, ended.stderr) == (130, "\nInterrupted.\n"), ended
