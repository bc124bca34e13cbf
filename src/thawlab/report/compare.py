"""The strategies of a sweep side by side, from its records alone."""

import argparse
import io
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from scipy.stats import t as student

from thawlab.errors import UserError
from thawlab.record import Record, Sweep, read_sweep

WIDTH = 100  # columns where there is no terminal
CONFIDENCE = 0.95
_METRIC = "test/accuracy"
# What tells runs apart without making them a different experiment.
_NOT_COMPARED = ("seed", "sweep", "rerun", "audit")
# A label names these first, and a value that follows from them not at all.
_NAMES = ("strategy.name", "backbone.name", "dataset.name", "head.kind")


@dataclass(frozen=True)
class Row:
    """The runs of one combination of settings, over seeds; shares are 0 to 1."""

    label: str
    seeds: tuple[int, ...]
    accuracy: float
    half_width: float | None  # of the 95% t-interval of the mean; None for a single run
    seconds: float | None
    trained_share: float | None
    test_images: tuple[int, ...]  # how many; one number unless the runs differ
    test_sets: frozenset[str]  # fingerprints

    @property
    def n(self) -> int:
        """How many runs were averaged."""
        return len(self.seeds)


def rows(sweep: Sweep) -> list[Row]:
    """Average the measured runs of each combination of settings that vary in the sweep, the most accurate first."""
    measured = [record for record in sweep.records if _accuracy(record) is not None]
    labels = _labels([_flat(record.config) for record in measured])
    groups: dict[str, list[Record]] = defaultdict(list)
    for label, record in zip(labels, measured, strict=True):
        groups[label].append(record)
    return sorted((_row(label, records) for label, records in groups.items()), key=lambda row: (-row.accuracy, row.label))


def unmeasured(sweep: Sweep) -> list[tuple[str, str]]:
    """Every run that no row counts: its name, and one line with the reason."""
    found = [(run.name, "missing: planned, but it left no record") for run in sweep.missing]
    found += [(name, f"unreadable: {_one_line(defect)}") for name, defect in sweep.unreadable.items()]
    found += [(record.name, _why(record)) for record in sweep.records if _accuracy(record) is None]
    return sorted(found)


def _why(record: Record) -> str:
    if record.status == "running":
        return "missing: begun, but no end is recorded (still running, or killed)"
    if record.status == "finished":
        return f"finished, but without a value for {_METRIC}"
    return f"{record.status}: {_one_line(record.reason or 'no reason recorded')}"


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else "no reason recorded"


def _accuracy(record: Record) -> float | None:
    return record.metrics.get(_METRIC, {}).get("value") if record.status == "finished" else None


def _row(label: str, records: Sequence[Record]) -> Row:
    accuracies = [record.metrics[_METRIC]["value"] for record in records]
    mean, half_width = mean_and_half_width(accuracies)
    return Row(
        label,
        tuple(record.config.get("seed", 0) for record in records),
        mean,
        half_width,
        _mean_cost(records, "seconds", "total"),
        _mean_cost(records, "parameters", "trained_share"),
        tuple(sorted({record.metrics[_METRIC]["n"] for record in records})),
        frozenset(_test_set(record) for record in records),
    )


def _test_set(record: Record) -> str:
    return str(record.data.get("test_fingerprint") or record.data.get("fingerprint"))


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95% interval by Student's t; None for one value, which says nothing of spread."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return mean, float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / math.sqrt(n)


def _mean_cost(records: Sequence[Record], kind: str, key: str) -> float | None:
    """Mean over the runs; None where one of them lacks it, for half of them would not stand for all."""
    values = [record.costs.get(kind, {}).get(key) for record in records]
    return None if None in values else math.fsum(values) / len(values)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys -> values as text, without what does not make runs differ."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" not in _NOT_COMPARED:
            flat[f"{prefix}{key}"] = "-" if value in (None, {}) else str(value)
    return flat


def _labels(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Name each run by its strategy, then by the fewest further settings that keep different ones apart."""
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if key not in _NAMES]
    varying = [key for key in (*_NAMES[1:], *keys) if len({config.get(key) for config in configs}) > 1]
    parts = [[config.get("strategy.name", "-")] for config in configs]
    classes = [tuple(part) for part in parts]
    for key in varying:
        split = [(*known, config.get(key, "-")) for known, config in zip(classes, configs, strict=True)]
        if len(set(split)) > len(set(classes)):
            classes = split
            for part, config in zip(parts, configs, strict=True):
                value = config.get(key, "-")
                part.append(value if key in _NAMES else f"{key}={value}")
    return [", ".join(part) for part in parts]


def notes(found: Sequence[Row]) -> list[str]:
    """What must be known to read the table aright."""
    return [note for check in (_note_on_interval, _note_on_test_sets, _note_on_seeds) for note in check(found)]


def _note_on_interval(found: Sequence[Row]) -> Iterator[str]:
    if any(row.n > 1 for row in found):
        yield "Test accuracy: mean over n seeds, ± half the width of its 95% t-interval."
    if single := [row.label for row in found if row.n == 1]:
        which = "every row" if len(single) == len(found) else "; ".join(single)
        yield f"No interval where n is 1 ({which}): one run says nothing about the spread. Run more seeds: seed=0,1,2."


def _note_on_test_sets(found: Sequence[Row]) -> Iterator[str]:
    kinds: dict[tuple[frozenset[str], tuple[int, ...]], list[str]] = defaultdict(list)
    for row in found:
        kinds[row.test_sets, row.test_images].append(row.label)
    if len(kinds) > 1:
        sets = ". ".join(
            f"{letter}, {'/'.join(map(str, counts))} images: {'; '.join(labels)}"
            for letter, ((_, counts), labels) in zip(_letters(), kinds.items(), strict=False)
        )
        yield f"NOT COMPARABLE: the rows were tested on different images. Compare only within a test set. {sets}."


def _letters() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"Test set {number}"


def _note_on_seeds(found: Sequence[Row]) -> Iterator[str]:
    for row in found:
        if len(set(row.seeds)) < row.n:
            seeds = ", ".join(map(str, sorted(row.seeds)))
            yield f"{row.label}: a seed was run twice ({seeds}); these runs are not independent, the interval is too narrow."


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _table(found: Sequence[Row], plain: bool) -> Table:
    table = Table(box=box.ASCII2 if plain else box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("strategy", overflow="fold")
    for title in ("n", "test accuracy %", "seconds", "trained %"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in found:
        interval = "" if row.half_width is None else f" ± {_percent(row.half_width)}"
        accuracy = _percent(row.accuracy) + interval.ljust(7)
        seconds = "-" if row.seconds is None else f"{row.seconds:.1f}"
        table.add_row(Text(row.label), str(row.n), accuracy, seconds, _percent(row.trained_share))
    return table


def show(sweep: Sweep, console: Console, plain: bool) -> None:
    """Print the table, the notes on it, and the runs that it leaves out."""
    found = rows(sweep)
    left_out = unmeasured(sweep)
    console.print(Text(f"{sweep.folder.resolve().name}: {sum(row.n for row in found)} runs measured, {len(left_out)} not"))
    console.print()
    if found:
        console.print(_table(found, plain))
        console.print()
    for note in notes(found):
        console.print(Text(note))
    if left_out:
        console.print(Text("\nNot counted:" if found else "Not counted:"))
    for name, reason in left_out:
        console.print(Padding(Text(f"{name}: {reason}"), (0, 0, 0, 2)))


def compare(folder: Path | str) -> str:
    """Give the comparison as plain text, at most `WIDTH` columns; UserError for a folder that is no sweep."""
    text = io.StringIO()
    show(read_sweep(folder), Console(file=text, width=WIDTH, color_system=None, legacy_windows=False), plain=True)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


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
        text = text.replace("±", "+-")
    return text.encode(encoding, "backslashreplace").decode(encoding)


if __name__ == "__main__":
    sys.exit(main())
