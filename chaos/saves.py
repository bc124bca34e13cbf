"""Runs killed in the middle of writing a file: is everything that can be read whole, and does the run go on?"""

import os
import random
import shutil
import tempfile
from pathlib import Path

from chaos import children, trials
from chaos.asked import Asked, Row
from chaos.cases import Case
from chaos.deaths import MOMENTS, InWrite
from thawlab import checkpoints
from thawlab.errors import UserError
from thawlab.record import RESULT, Record

FULL = 50
MEMORY = Path("/dev/shm")  # a file system of its own on any Linux
CASE = Case("demo, partial", ("backbone=demo", "strategy=partial", "checkpoint.steps=1", "cache=off"))


def test(asked: Asked) -> list[Row]:
    disk = asked.work / "saves"
    disk.mkdir(parents=True, exist_ok=True)
    if not MEMORY.is_dir() or os.stat(MEMORY).st_dev == os.stat(disk).st_dev:
        raise RuntimeError(f"{MEMORY} is no file system of its own")
    memory = Path(tempfile.mkdtemp(dir=MEMORY, prefix="chaos-"))
    try:
        return [
            _row(asked, "the same file system as $TMPDIR", disk, disk),
            _row(asked, "another file system than $TMPDIR", disk, memory),
            _row(asked, "memory, $TMPDIR on the disk", memory, disk),
        ]
    finally:
        shutil.rmtree(memory)


def _row(asked: Asked, where: str, place: Path, temporary: Path) -> Row:
    count, bad, differ = asked.times(FULL), [], []
    before, tempfile.tempdir = tempfile.tempdir, str(temporary)  # what the processes inherit, in place of $TMPDIR
    try:
        known = trials.reference(CASE, place / "reference")
        for i in range(count):
            draw = random.Random(f"{asked.seed} {where} {i}")
            death = InWrite(draw.randrange(11), draw.choice(MOMENTS), draw.random(), "step-")
            if draw.random() < 0.25:  # the files at the end, the record the last of them
                death = InWrite(0, death.moment, death.share, draw.choice(("curves", "predictions", "model")))
            said = _killed_in(known, place / "trial", death)
            if said:
                bad.append(f"{death}: {said}")
            one = trials.finished(known, place / "trial", [str(death)])
            if one.differs:
                differ.append(f"{death}: differs in {', '.join(one.differs)}")
            asked.tell(
                f"  {i + 1}/{count} {where}, {death}: {said or 'loadable'}, {', '.join(one.differs) or 'the same'}"
            )
            shutil.rmtree(place / "trial", ignore_errors=True)
    finally:
        tempfile.tempdir = before
        shutil.rmtree(place / "reference", ignore_errors=True)
    figure = f"{len(bad)} unloadable; {count - len(differ)} of {count} then ended bit-identical"
    faults = (*bad, *differ)
    return Row(f"Kills during a save, in {where}", "0 unloadable", count, figure, not faults, faults)


def _killed_in(known: trials.Reference, place: Path, death: InWrite) -> str | None:
    """Kill a run there, and say what of it cannot be read."""
    status = children.ended(trials.attempt(known.config, place, death))
    if status != -9:
        return f"it was not killed but ended with {status}"
    folder, said = place / trials.RUN, []
    try:
        if (folder / RESULT).exists():
            Record.read(folder)
    except UserError as error:
        said.append(str(error))
    newest = checkpoints.newest(folder, said.append)
    needed = death.only != "step-" or death.count > 0 or death.moment in ("renamed", "done")
    if newest is None and needed:
        said.append("no checkpoint is left")
    elif newest is not None and death.only == "step-":
        least = death.count + (death.moment in ("renamed", "done"))
        if newest.state["global_step"] != least:
            said.append(f"the checkpoint is of step {newest.state['global_step']}, not {least}")
    return "; ".join(said) or None
