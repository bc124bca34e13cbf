"""The command that writes a sweep's report: report.html, report.json and figures/, from its records alone."""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thawlab.closed_output import ends_with_its_reader
from thawlab.errors import UserError, visible
from thawlab.files import publish, replace, write_json
from thawlab.report.findings import Findings

PAGE, DATA, FIGURES = "report.html", "report.json", "figures"


def write_report(folder: Path) -> Path:
    """Write a sweep's report into its folder; returns the page's path. Raises UserError where it is no sweep.

    Writes report.html, which needs no other file, report.json with all that it says, and its figures as SVG and PNG.
    An earlier report is replaced.
    """
    from thawlab.report.finding import find

    return written(find(folder), folder)


def written(findings: Findings, folder: Path) -> Path:
    """Write a report of these findings into a folder; returns the page's path."""
    # Here, not above: `--help` need not wait for matplotlib.
    from thawlab.report import figures
    from thawlab.report.page import page
    from thawlab.report.thumbnails import thumbnails

    drawn = figures.draw(findings)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for old in (*(folder / FIGURES).glob("*.svg"), *(folder / FIGURES).glob("*.png")):
        old.unlink()
    for one in (one for of_kind in drawn.values() for one in of_kind):
        for end, content in (("svg", one.svg.encode()), ("png", one.png)):
            publish(folder / FIGURES / f"{one.name}.{end}", lambda file, c=content: file.write(c), synced=False)
    write_json(folder / DATA, plain(findings))
    path = folder / PAGE
    replace(path, page(findings, drawn, thumbnails(findings.mistakes, folder)))
    return path


def plain(findings: Findings) -> dict[str, Any]:
    """What report.json holds: the findings but for the curves, which stand in each run's curves.csv."""
    return _plain(
        {field.name: getattr(findings, field.name) for field in dataclasses.fields(findings) if field.name != "curves"}
    )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@ends_with_its_reader
def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its path; exit status 2 where the folder is no sweep, or has no run."""
    parser = argparse.ArgumentParser(description="Write the report of a sweep, from its records: report.html.")
    parser.add_argument("sweep", type=Path, help="the sweep's folder: outputs/<sweep>")
    folder = parser.parse_args(argv).sweep
    try:
        print(visible(str(write_report(folder))))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
