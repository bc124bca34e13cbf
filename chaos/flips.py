"""Single bits turned over in every kind of file that a run leaves: is each one noticed by who reads the file?"""

import functools
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chaos import children, trials
from chaos.asked import Asked, Row
from chaos.cases import Case
from chaos.deaths import AtHook
from thawlab import checkpoints
from thawlab.backbones.weights import read_weights
from thawlab.errors import UserError
from thawlab.record import PlannedRun, Record, add_to_manifest, read_sweep
from thawlab.run_files import MISTAKES_INDEX, read_curves, read_images, read_mistakes, read_predictions, verify
from thawlab.store.command import damages
from thawlab.store.entry import entries
from thawlab.study_record import StudyRecord

FULL = 1000
CASE = Case("cached", ("backbone=demo", "strategy=freeze", "checkpoint.steps=1", "cache=on"))


@dataclass(frozen=True)
class Kind:
    """A file, and what reads it: True where the file is refused or put aside."""

    name: str
    path: Path
    refuses: Callable[[], bool]


def test(asked: Asked) -> list[Row]:
    place = asked.work / "flips"
    shutil.rmtree(place, ignore_errors=True)
    try:
        return [_row(asked, kind) for kind in _kinds(place)]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _row(asked: Asked, kind: Kind) -> Row:
    count, missed = asked.times(FULL), []
    if kind.refuses():
        raise RuntimeError(f"{kind.name} is refused as it was written")
    bits = 8 * kind.path.stat().st_size
    draw = random.Random(f"{asked.seed} {kind.name}")
    for bit in (draw.randrange(bits) for _ in range(count)):
        _flip(kind.path, bit)
        if not kind.refuses():
            missed.append(f"bit {bit} of {kind.name} went unnoticed")
        _flip(kind.path, bit)
    if kind.refuses():
        raise RuntimeError(f"{kind.name} is refused though every bit was turned back")
    asked.tell(f"  {kind.name}, {bits // 8:,} bytes: {count - len(missed)} of {count} noticed")
    return Row(
        f"Single bits flipped in {kind.name}", "all noticed", count, f"{count - len(missed)} of {count} noticed",
        not missed, tuple(missed),
    )  # fmt: skip


def _flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def _kinds(place: Path) -> list[Kind]:
    """Every kind of file, left by one run that ended, and one that was killed."""
    known = trials.reference(CASE, place)
    killed = place / "killed"
    if children.ended(trials.attempt(known.config, killed, AtHook("on_train_epoch_end", 2))) != -9:
        raise RuntimeError("the run to be killed was not")
    folder = place / trials.RUN
    fingerprint = Record.read(folder).data["fingerprint"]
    add_to_manifest(folder.parent, ["train.py", "-m"], [PlannedRun(folder.name, CASE.words)])
    _study(folder.parent)
    thumbnail = next(iter(read_mistakes(folder).values()))
    refused = {
        folder / "result.json": lambda: Record.read(folder),
        folder.parent / "sweep.json": lambda: read_sweep(folder.parent),
        folder / "curves.csv": lambda: read_curves(folder),
        folder / "predictions.csv": lambda: read_predictions(folder),
        folder.parent / f"images-{fingerprint[:12]}.csv": lambda: read_images(folder, fingerprint),
        folder / "model.safetensors": lambda: read_weights(str(folder)),
        folder.parent / "study.json": lambda: StudyRecord.read(folder.parent),
        folder / MISTAKES_INDEX: lambda: read_mistakes(folder),
        folder / thumbnail: lambda: verify(folder, thumbnail),
    }
    kinds = [Kind(_called(path), path, functools.partial(_is_refused, read)) for path, read in refused.items()]
    return [*kinds, *_checkpoints(killed / trials.RUN), *_stored(place / "outputs" / ".cache")]


def _study(sweep: Path) -> None:
    """What a study leaves beside its runs."""
    told = {"name": "thawlab_demo", "seconds": None, "flops": 1e12, "images": 1e5, "told_by": "the command line"}
    strategies = [{"name": "freeze", "words": ["strategy=freeze"], "control": None, "kept": None, "stage": None}]
    sizes = [{"per_class": 5, "share": None, "label": "small", "epochs": 4, "batch_size": 10}]
    StudyRecord(
        "four_cases", ["train.py"], told, {"digits": "similar"}, sizes, strategies, [0.004], [0], [0, 1]
    ).write(sweep)  # fmt: skip


def _called(path: Path) -> str:
    if path.suffix == ".png":
        return "a thumbnail"
    names = {"images": "the list of images", "index": "the list of thumbnails"}
    return names.get(path.stem.partition("-")[0], path.name)


def _is_refused(read: Callable[[], object]) -> bool:
    try:
        read()
    except UserError:
        return True
    return False


def _checkpoints(folder: Path) -> list[Kind]:
    """The newest checkpoint; one that is put aside comes back for the next flip."""
    path = max((folder / checkpoints.FOLDER).glob("step-*.ckpt"))

    def refuses() -> bool:
        said: list[str] = []
        newest = checkpoints.newest(folder, said.append)
        aside = path.with_suffix(checkpoints.ASIDE)
        if aside.exists():
            aside.rename(path)
        return newest is None or newest.path != path

    return [Kind("a checkpoint", path, refuses)]


def _stored(cache: Path) -> list[Kind]:
    """Each file of a segment of the store, and the key of its entry."""
    entry = max(entries(cache), key=lambda entry: len(entry.places()))
    (segment, *_) = entry.places()
    kinds = [
        Kind(f"the store's {path.name}", path, lambda: bool(list(damages(entry))))
        for path in sorted(segment.iterdir())
        if path.stat().st_size
    ]
    return [*kinds, Kind("the store's key.json", entry.folder / "key.json", lambda: not entry.key_is_right())]
