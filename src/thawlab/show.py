"""What a person reads in the terminal."""

import io
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from thawlab.errors import visible
from thawlab.record import Record, Sweep, main_metric
from thawlab.shares import percent
from thawlab.statuses import in_words
from thawlab.typed import typed

WIDTH = 98  # of the audit table, before its indent of two

log = logging.getLogger("thawlab")


def say(text: str) -> None:
    """Print, and keep in the run's log."""
    print(visible(text), flush=True)
    log.info("%s", visible(text))


def plan(rows: Sequence[Sequence[str]], lines: Sequence[str] = ()) -> str:
    """The audit's table as text; `rows` start with the header."""
    header, *body = rows
    made = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for column, name in enumerate(header):
        side = "left" if column in (0, 3, 6) else "right"
        made.add_column(name, justify=side, overflow="fold", no_wrap=column in (1, 2, 5))
    for row in body:
        made.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None, legacy_windows=False, markup=False, emoji=False).print(made)
    table = "\n".join(f"  {line.rstrip()}" for line in text.getvalue().splitlines() if line.strip())
    return "\n".join([*(f"  {line}" for line in lines), table])


def run_title(record: Record, notes: Sequence[str]) -> str:
    """What starts, on what."""
    data = record.data
    of = images(data["train"], data["val"], data["test"], len(data["classes"]))
    return "\n".join([record.name, *(f"  {line}" for line in (of, *notes))])


def images(train: int, val: int, test: int, classes: int) -> str:
    """How many there are of each split."""
    return f"{train:,} training, {val:,} validation, {test:,} test images, {classes} classes"


def run_end(record: Record, folder: str) -> str:
    """The sober summary of one run."""
    if record.status != "finished":
        on = "\n  the same command goes on with it" if record.status in ("timeout", "interrupted") else ""
        return f"  {in_words(record.status)}: {record.reason}{on}\n  log: {os.path.join(folder, 'train.log')}"
    main, seconds = main_metric(record), record.costs["seconds"]
    test, val = record.metrics[main], record.metrics[main.replace("test/", "val/")]
    share = record.costs["parameters"]["trained_share"]
    tta = record.config.get("augment", {}).get("tta", 0)
    views = f", mean of {1 + tta} views each" if tta else ""
    best = "-" if record.best_epoch is None else f"{record.best_epoch + 1}/{record.config['trainer']['epochs']}"
    score = f"{main.replace('/', ' ').replace('_', ' ')} {test['value']:.1%}"
    return (
        f"  {score} on {test['n']:,} images{views} (epoch {best} was best on validation: {val['value']:.1%})\n"
        f"  {seconds['total']:.1f} s, {percent(share)}% of the parameters trained; audit passed\n  {folder}"
    )


def next_steps(sweep: Sweep) -> str:
    """Where things are and what to do next, after a sweep."""
    folder = sweep.folder
    # An installed copy has no scripts/ beside it.
    here = Path("scripts/compare.py").exists()
    compare = f"{typed('python')} scripts/compare.py" if here else typed("thawlab-compare")
    lines = [
        f"Records:     {folder}/*/result.json",
        f"Curves:      {typed('tensorboard')} --logdir {folder}",
        f"This table:  {compare} {folder}",
    ]
    if firmer := _firmer(sweep.records):
        lines.append(f"Firmer:      {firmer}")
    return "\n".join(lines)


def _firmer(records: Sequence[Record]) -> str:
    """The seeds that a strategy lacks to have three, and those of the four cases' strategies that were not run."""
    seeds: dict[str, set[int]] = defaultdict(set)
    for record in records:
        seeds[record.config["strategy"]["name"]].add(record.config["seed"])
    if not seeds:
        return ""
    fewest = min(seeds.values(), key=len)
    known = dict.fromkeys([*sorted(set().union(*seeds.values())), 0, 1, 2])  # what others ran comes first: it pairs
    more = [seed for seed in known if seed not in fewest][: max(3 - len(fewest), 0)]
    missing = [name for name in ("freeze", "truncate", "full", "scratch") if name not in seeds]
    steps = []
    if more:
        does = "adds intervals" if len(fewest) == 1 else "narrows the intervals"
        steps.append(f"seed={','.join(map(str, more))} {does}")
    if missing:
        steps.append(f"strategy={','.join(missing)} completes the four cases")
    return "; ".join(steps)
