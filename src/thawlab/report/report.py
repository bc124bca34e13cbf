"""The command that writes a sweep's report: report.html, report.json and figures/, from its records alone."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from thawlab.closed_output import ends_with_its_reader
from thawlab.disk import fault
from thawlab.errors import UserError, visible
from thawlab.files import publish, replace
from thawlab.report.findings import Findings

PAGE, DATA, FIGURES = "report.html", "report.json", "figures"


def write_report(folder: Path) -> Path:
    """Write a sweep's report into its folder; returns the page's path. Raises UserError where it is no sweep.

    Writes report.html, which needs no other file, report.json with all that it says, and its figures as SVG and PNG.
    An earlier report is replaced.
    """
    from thawlab.report.finding import find

    findings = find(folder)
    if not findings.runs:
        raise UserError(f"{folder} holds no run: nothing has been measured. Launch the sweep, and ask again.")
    return written(findings, folder)


def written(findings: Findings, folder: Path) -> Path:
    """Write a report of these findings into a folder; returns the page's path. UserError where it cannot be written."""
    try:
        return _written(findings, folder)
    except OSError as error:
        raise UserError(fault(error, folder) or _in_the_way(error, folder)) from None


def _in_the_way(error: OSError, folder: Path) -> str:
    named = error.filename2 or error.filename
    what = f" ({named})" if named else ""
    return (
        f"The report cannot be written into {folder}: {error.strerror or error}{what}. {PAGE} and {DATA} must be files "
        f"or not there, {FIGURES} a folder: move away what bears such a name, and ask again."
    )


def _written(findings: Findings, folder: Path) -> Path:
    # Here, not above: `--help` need not wait for matplotlib.
    from thawlab.report import figures
    from thawlab.report.finding import to_json
    from thawlab.report.page import page
    from thawlab.report.thumbnails import thumbnails

    drawn = figures.draw(findings)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for old in (*(folder / FIGURES).glob("*.svg"), *(folder / FIGURES).glob("*.png")):
        old.unlink()
    for one in (one for of_kind in drawn.values() for one in of_kind):
        for end, content in (("svg", one.svg.encode()), ("png", one.png)):
            publish(folder / FIGURES / f"{one.name}.{end}", lambda file, c=content: file.write(c), synced=False)
    # The curves stand in each run's curves.csv, and would be most of the file.
    replace(folder / DATA, to_json(dataclasses.replace(findings, curves={})))
    path = folder / PAGE
    replace(path, page(findings, drawn, thumbnails(findings.mistakes, folder)))
    return path


@ends_with_its_reader
def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its path; exit status 2 where the folder is no sweep, has no run, or takes no file."""
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
