"""Every command that the documentation shows: in README.md, docs/ and the comments of conf/."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
STARTS = ("python", "python3", *SCRIPTS, "make", "tensorboard", "torchrun", "srun", "sbatch")
STARTS = (*STARTS, "pip", "uv", "bash", "curl", "wget", "mkdir", "cp", "unzip")
TRAIN = (("python", "train.py"), (".venv/bin/python", "train.py"), ("thawlab",), (".venv/bin/thawlab",))
SHELLS = ("", "sh", "bash", "shell", "console")  # a fence of another language shows no commands
FENCE = re.compile(r"^\s*```+\s*([\w-]*)")
INLINE = re.compile(r"`([^`\n]+ [^`\n]+)`")
VARIABLE = re.compile(r'^([A-Z][A-Z_]*)="?(.*?)"?$')


@dataclass(frozen=True)
class Command:
    """One command, its shell variables filled in."""

    page: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def train(self) -> list[str] | None:
        """What it tells train.py; None: it is another program."""
        for start in TRAIN:
            if self.words[: len(start)] == start:
                return list(self.words[len(start) :])
        return None

    @property
    def entry(self) -> str | None:
        """The function, as module:name, of an installed command of ours other than `thawlab` itself."""
        return SCRIPTS.get(self.words[0].removeprefix(".venv/bin/")) if self.train is None else None

    @property
    def script(self) -> str | None:
        """The Python file that it runs, other than train.py."""
        is_python = self.words[0].endswith("python") and len(self.words) > 1
        return self.words[1] if is_python and self.words[1].endswith(".py") and self.train is None else None


def pages() -> list[Path]:
    """Every page that shows commands."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "conf").rglob("*.yaml"))]


def commands_of(path: Path) -> list[Command]:
    """The commands of one page, in its order."""
    page = path.relative_to(ROOT).as_posix()
    variables: dict[str, str] = {}
    found = []
    for line in _joined(_shown(path)):
        if assigned := VARIABLE.match(line):
            variables[assigned[1]] = assigned[2]
            continue
        filled = re.sub(r"\$([A-Z][A-Z_]*)", lambda name: variables.get(name[1], name[0]), line)
        if _is_command(filled):
            found.append(Command(page, tuple(shlex.split(filled, comments=True))))
    return found


def _is_command(line: str) -> bool:
    first = line.partition(" ")[0]
    return first in STARTS or first.startswith(".venv/bin/")


def _shown(path: Path) -> Iterator[str]:
    """What a page shows as commands: lines of shell blocks, without their indent, and code amid the text."""
    text = path.read_text(encoding="utf-8")
    return _in_comments(text) if path.suffix == ".yaml" else _in_markdown(text)


def _in_comments(text: str) -> Iterator[str]:
    """`# Run:   python train.py ...`, or a line of a help page; a wide gap parts a command from what follows it."""
    for line in text.splitlines():
        for part in re.split(r"\s{3,}", line):
            if found := re.search(r"(?:^|\s\s)((?:python|tensorboard) \S.*)$", part):
                yield found[1]


def _in_markdown(text: str) -> Iterator[str]:
    fence = None
    for line in text.splitlines():
        if mark := FENCE.match(line):
            fence = mark[1] if fence is None else None
        elif fence is not None:
            yield from [line.strip().removeprefix("$ ")] * (fence in SHELLS)
        elif line.startswith("    "):
            yield line.strip().removeprefix("$ ")
        else:
            yield from INLINE.findall(line)


def _joined(lines: Iterator[str]) -> Iterator[str]:
    """Lines with those that continue them."""
    begun = ""
    for line in lines:
        if line.endswith("\\"):
            begun += line[:-1].strip() + " "
            continue
        yield begun + line
        begun = ""


def python_of(path: Path) -> list[str]:
    """The blocks of Python that a page shows."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def everything() -> list[Command]:
    """Every command of every page."""
    return [command for path in pages() for command in commands_of(path)]
