"""What was found → docs/reliability.md, from docs/data/reliability.json, to which each part adds its own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chaos.asked import Row

INTRODUCTION = """\
# Reliability

    make chaos
    python -m chaos --help

Each promise below was put to the test as often as the table says. Raw figures:
[reliability.json](data/reliability.json).
{note}"""
FEW = """
**Some parts ran fewer times than in full: their figures say that they run, not more.**
"""
METHOD = """\
## How

**Kills.** A run of each strategy, with 0, 2 and 4 workers and each kind of schedule, in turn with a moving average,
mixup, dropout, early stopping, accumulation, augmentation, cached and not, is carried out once without harm. Then it
is begun again and killed with SIGKILL, once to three times: at a moment drawn evenly from the seconds that it takes
(with its workers, or alone as the kernel does for memory), at a hook of an epoch, or inside the writing of a file. It
is started again until it ends. Compared bit for bit: every tensor of `model.safetensors`, `curves.csv`,
`predictions.csv`, the optimizer's and the schedule's state after the last step, and the record: all but its times,
its memory, how often it went on, and what the cache says of who computed a row (of cached runs also
`costs.flops.train`: rows that a killed attempt left on the disk are not computed again).

**Kills during a save.** The run dies by its own hand when a file has just been created, when a drawn share of its
bytes has been written, before and after the sync, after the rename, and after the folder's sync. Then whatever there
is must be whole, the newest checkpoint must be the one that was published last, and the run that goes on from it must
end bit-identical.

**Flipped bits.** One bit at a time, drawn evenly, in files that a run left; noticed means that who reads the file
refuses it or puts it aside.

**The sweep.** Sound jobs, and one each that raises, exits, dereferences null, is killed, trains to NaN, and hangs
without heeding SIGTERM. The driver alone is killed each time a further quarter of the sound jobs is finished, and the
same command is started at once again. *Named rightly*: its record says how it ended, and the command's last lines
name it. *Done twice*: it began again after a launch had found it finished.

**Costs.** Seconds inside every sha256, crc32 and fsync of a run, of the seconds of its epochs (training and
validation); in brackets the same for all of saving: gathering tensors, writing and renaming as well. The median of
the rounds.
"""


def write(docs: Path, part: str, found: Sequence[Row], circumstances: Mapping[str, Any]) -> None:
    """Put a part's rows in the place of those from before, and write the page anew."""
    data = docs / "data" / "reliability.json"
    data.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(data.read_text()) if data.exists() else {}
    known[part] = {**circumstances, "rows": [asdict(row) for row in found]}
    data.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    (docs / "reliability.md").write_text(page(known), encoding="utf-8")


def page(known: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    note = FEW if any(part["count"] is not None for part in known.values()) else ""
    rows = [(row, part) for part in known.values() for row in part["rows"]]
    faults = [fault for row, _ in rows for fault in row["faults"]]
    parts = [
        INTRODUCTION.format(note=note).rstrip(),
        _table(rows),
        *(["## Not as promised", "\n".join(f"- {fault}" for fault in faults)] if faults else []),
        METHOD.rstrip(),
        "## Where",
        "\n".join(
            f"- {name}: {part['date']}, {part['machine']}, {part['seconds']:.0f} s" for name, part in known.items()
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    head = "| test | asked | count | figure | | date |\n|---|---|---|---|---|---|"
    lines = [
        f"| {row['test']} | {row['asked']} | {row['count']:,} | {row['figure']} | {_verdict(row)} | {part['date']} |"
        for row, part in rows
    ]
    return "\n".join([head, *lines])


def _verdict(row: Mapping[str, Any]) -> str:
    return "reached" if row["reached"] else "**not reached**"
