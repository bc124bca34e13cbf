"""Findings and figures → one HTML page that needs nothing else: no network, no other file."""

import base64
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from thawlab.report import tables, words
from thawlab.report.evidence import SCRATCH
from thawlab.report.figures.drawn import Drawn
from thawlab.report.findings import CORNERS, SIGNS, Findings, Mistake

_HERE = Path(__file__).parent
_STRATEGIES = re.compile(r"strategy=[\w,]+")


def page(findings: Findings, figures: Mapping[str, Sequence[Drawn]], pictures: Mapping[Mistake, bytes]) -> str:
    """The page; `figures` by section, as `figures.draw` gives them, `pictures` the mistakes' thumbnails as PNG.

    Whatever comes from findings is text in it: names cannot end an element, run a script or turn text around, and a
    policy in the page's head lets no script run but the page's own.
    """
    script, style = _text("page.js"), _text("page.css")
    return _environment().get_template("page.html.j2").render(
        findings=findings,
        figures=figures,
        tables=tables.all_of(findings),
        runs=tables.runs(findings.runs),
        run_columns=tables.RUN_COLUMNS,
        folder=shlex.quote(findings.folder),
        cases=_cases(findings),
        scratch_was_run=any(row.strategy.split(", ")[0] == SCRATCH for row in findings.runs),
        counted=sum(row.role == "measured" for row in findings.runs),
        mistakes=[(mistake, _data_uri(pictures[mistake])) for mistake in findings.mistakes if mistake in pictures],
        advice={name: _advice(found) for name, found in findings.advice.items()},
        commands=[for_a_shell(words) for words in findings.commands],
        scratch=add_scratch(findings),
        script=Markup(script),
        style=Markup(style),
        policy=_policy(script),
    )  # fmt: skip


def add_scratch(findings: Findings) -> str | None:
    """What adds runs from scratch to a sweep: its command with the strategy, and with the sweep's name.

    None where that cannot be told from the command: nobody wrote it down, or several made the sweep, or it is a
    study's, or lists no strategies.
    """
    if len(findings.commands) != 1:
        return None
    words = list(findings.commands[0])
    places = [i for i, word in enumerate(words) if _STRATEGIES.fullmatch(word)]
    if len(places) != 1 or any(word.startswith(("study", "experiment=")) for word in words):
        return None
    words[places[0]] += f",{SCRATCH}"
    named = any(word.startswith("sweep=") for word in words)
    return for_a_shell([*words, *([] if named else [f"sweep={findings.title}"])])


def for_a_shell(words: Sequence[str]) -> str:
    """A command as it is typed.

    >>> for_a_shell(["train.py", "dataset.root=my photos"])
    "python train.py 'dataset.root=my photos'"
    """
    return shlex.join(["python", *words] if words[0].endswith(".py") else words)


@cache
def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "shown": words.shown, "svg": Markup, "percent": words.percent, "score": words.score, "count": words.count,
    }  # fmt: skip
    return environment


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _cases(findings: Findings) -> list[dict[str, Any]]:
    """The square in words, in the order of its numbers."""
    cells = {(cell.task, cell.strategy): cell for cell in findings.cells}
    return [
        {
            "case": case,
            "corner": ", ".join(CORNERS[case.number][:2]),
            "sign": SIGNS.get(case.held, "?"),
            "winners": [(name, cells.get((case.task, name))) for name in case.winners],
            "recipe": cells.get((case.task, case.recipe)),
        }
        for case in sorted(findings.cases, key=lambda case: (case.task.source, case.number))
    ]


def _advice(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a run's advice; a key that its record lacks is left out."""
    close = found.get("close")
    near = [one for one in close if isinstance(one, Mapping)] if isinstance(close, Sequence) else []
    rate = found.get("rate")
    return {
        "case": found.get("case"),
        "strategy": found.get("like", found.get("name")),
        "rate": words.rate(rate) if isinstance(rate, int | float) else None,
        "reason": found.get("reason"),
        "close": [(one.get("like", one.get("name", "")), one.get("why", "")) for one in near],
    }
