"""The strategies of a sweep side by side, from its records alone."""

import argparse
import io
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from thawlab.closed_output import ends_with_its_reader
from thawlab.errors import UserError, visible
from thawlab.record import Sweep, read_sweep
from thawlab.report import few
from thawlab.report.rows import Row, leaders, rows, unmeasured
from thawlab.shares import percent

LOG = "train.log"
WIDTH = 100  # columns where there is no terminal
_HEADERS = {"test/accuracy": "test accuracy %", "test/mean_average_precision": "test mAP %"}
_MEANING = {
    "test/accuracy": "Test accuracy",
    "test/mean_average_precision": "Test mAP (mean over the labels of the average precision)",
}


def notes(found: Sequence[Row]) -> list[str]:
    """What must be known to read the table aright."""
    checks = (_note_on_ties, _note_on_interval, _note_on_images, _note_on_test_sets, _note_on_seeds)
    return [note for check in checks for note in check(found)]


def _note_on_ties(found: Sequence[Row]) -> Iterator[str]:
    for metric in dict.fromkeys(row.metric for row in found):
        first = leaders([row for row in found if row.metric == metric], lambda row: row.score)
        if len(first) > 1:
            yield f"A tie for the first place: {'; '.join(row.label for row in first)}."


def _note_on_interval(found: Sequence[Row]) -> Iterator[str]:
    for metric in dict.fromkeys(row.metric for row in found if row.n > 1):
        yield f"{_MEANING[metric]}: mean over n seeds, ± half the width of its 95% t-interval."
    if any(row.half_width is not None and row.half_width < few.NO_WIDTH for row in found):
        yield "± 0.0 where the seeds agree to the image: by chance, others need not."
    if any(_leaves_the_range(row) for row in found):
        yield "Where that would pass 0 or 100%: [its bounds, cut there], since no score lies beyond."
    if single := [row.label for row in found if row.n == 1]:
        which = "every row" if len(single) == len(found) else "; ".join(single)
        yield f"No interval where n is 1 ({which}): one run says nothing about the spread. Run more seeds: seed=0,1,2."


def _note_on_images(found: Sequence[Row]) -> Iterator[str]:
    for metric in dict.fromkeys(row.metric for row in found):
        of_metric = [row for row in found if row.metric == metric]
        test = {images for row in of_metric for images in row.test_images}
        val = {images for row in of_metric for images in row.val_images}
        if len(test) == 1 and min(test) >= few.ENOUGH:  # of several `_note_on_test_sets` tells
            yield f"{few.told(min(test), 'test images', metric)}."
        if warning := few.warning(min(test), min(val, default=None), metric):
            yield warning


def _note_on_test_sets(found: Sequence[Row]) -> Iterator[str]:
    kinds: dict[tuple[frozenset[str], tuple[int, ...]], list[str]] = defaultdict(list)
    for row in found:
        kinds[row.test_sets, row.test_images].append(row.label)
    if len(kinds) > 1:
        sets = ". ".join(
            f"Test set {i} ({'/'.join(map(str, counts))} images): {', '.join(map(repr, labels))}"
            for i, ((_, counts), labels) in enumerate(kinds.items(), start=1)
        )
        yield f"NOT COMPARABLE: the rows were tested on different images. Compare only within one. {sets}."


def _note_on_seeds(found: Sequence[Row]) -> Iterator[str]:
    for row in found:
        if len(set(row.seeds)) < row.n:
            seeds = ", ".join(map(str, sorted(row.seeds)))
            yield f"{row.label}: a seed was run twice ({seeds}), so its interval is too narrow."


def _leaves_the_range(row: Row) -> bool:
    return row.half_width is not None and not row.half_width <= row.score <= 1 - row.half_width


def _score(row: Row) -> str:
    mean, half = 100 * row.score, 100 * (row.half_width or 0)
    if _leaves_the_range(row):
        return f"{mean:5.1f} [{max(mean - half, 0):.1f}, {min(mean + half, 100):.1f}]"
    return f"{mean:5.1f}" + ("" if row.half_width is None else f" ± {half:.1f}")


def _table(found: Sequence[Row], plain: bool) -> Table:
    """The rows of one metric."""
    table = Table(box=box.ASCII2 if plain else box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("strategy", overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column(_HEADERS[found[0].metric], no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("trained %", justify="right", no_wrap=True)
    for row in found:
        seconds = "-" if row.seconds is None else f"{row.seconds:.1f}"
        trained = "-" if row.trained_share is None else percent(row.trained_share)
        table.add_row(Text(visible(row.label)), str(row.n), _score(row), seconds, trained)
    return table


def show(sweep: Sweep, console: Console, plain: bool) -> None:
    """Print the table, the notes on it, and the runs that it leaves out."""
    found = rows(sweep)
    left_out = unmeasured(sweep)
    measured = sum(row.n for row in found)
    console.print(
        Text(
            visible(
                f"{sweep.folder.resolve().name}: {measured} run{'s' * (measured != 1)} measured, {len(left_out)} not"
            )
        )
    )
    console.print()
    for metric in dict.fromkeys(row.metric for row in found):
        console.print(_table([row for row in found if row.metric == metric], plain))
        console.print()
    for note in notes(found):
        console.print(Text(visible(note)))
    if left_out:
        console.print(Text("\nNot counted:" if found else "Not counted:"))
    for name, reason in left_out:
        console.print(Padding(Text(visible(f"{name}: {reason}")), (0, 0, 0, 2)))
        log = sweep.folder / name / LOG
        if log.exists():
            console.print(Text(visible(f"    log: {log}")), soft_wrap=True)  # a path in one piece can be copied


def compare(folder: Path | str) -> str:
    """Give the comparison as plain text, at most `WIDTH` columns; UserError for a folder that is no sweep."""
    text = io.StringIO()
    show(read_sweep(folder), Console(file=text, width=WIDTH, color_system=None, legacy_windows=False), plain=True)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


@ends_with_its_reader
def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison of a sweep; exit status 2 where the folder is no sweep."""
    parser = argparse.ArgumentParser(description="Compare the strategies of a sweep, from its records.")
    parser.add_argument("sweep", type=Path, help="the sweep's folder: outputs/<sweep>")
    folder = parser.parse_args(argv).sweep
    try:
        if sys.stdout.isatty():
            show(read_sweep(folder), Console(highlight=False), plain=False)
        else:
            sys.stdout.write(_writable(compare(folder), sys.stdout.encoding))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _writable(text: str, encoding: str | None) -> str:
    """Spell out what the output cannot show, so that no name of a run ends the report."""
    encoding = encoding or "ascii"
    if "±".encode(encoding, "ignore") == b"":
        text = text.replace("± ", "+-")
    return text.encode(encoding, "backslashreplace").decode(encoding)


if __name__ == "__main__":
    sys.exit(main())
