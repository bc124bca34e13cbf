"""The files that a run leaves beside its record, which names their checksums: tables, and the images that it saw.

Imports neither torch nor Lightning.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thawlab.errors import UserError
from thawlab.files import checksum, csv_text, read_csv, replace, write_csv
from thawlab.json_shapes import AGAIN, defect
from thawlab.record import RESULT, Record

CURVES, PREDICTIONS, WEIGHTS = "curves.csv", "predictions.csv", "model.safetensors"
IMAGES, IMAGE_COLUMNS = "images-{}.csv", ("split", "name", "label", "sha256")
MISTAKES, MISTAKE_COLUMNS = "mistakes", ("name", "file")  # a folder, which holds thumbnails and their index
MISTAKES_INDEX = f"{MISTAKES}/index.csv"
_RUN_AGAIN = f"delete the run's {RESULT} and run the same command again."
PREDICTION_COLUMNS = ("name", "label", "predicted", "confidence")


def checksums(folder: Path | str, fingerprint: str) -> dict[str, dict[str, Any]]:
    """What a record names its `files` by, to be asked once all of them are written; the record itself comes last."""
    folder = Path(folder)
    names = [CURVES, PREDICTIONS, WEIGHTS, f"../{_images_name(fingerprint)}"]
    names += [f"{MISTAKES}/{path.name}" for path in sorted((folder / MISTAKES).glob("[!.]*"))]
    return {name: checksum(folder / name) for name in names if (folder / name).exists()}


def verify(folder: Path | str, name: str, record: Record | None = None) -> None:
    """Hold a file that a run left against its record; UserError where it is not as the run left it.

    A run that has not ended, or was recorded before version 2, names no files: there is nothing to hold them against.
    `record`: the run's, where it is read already.
    """
    folder = Path(folder)
    path = folder / name
    if record is None and (folder / RESULT).exists():
        record = Record.read(folder)
    said = record.files.get(name) if record else None
    if said is not None and path.exists() and (found := checksum(path)) != said:
        kind = "bytes" if found["bytes"] != said["bytes"] else "sha256"
        now, then = (f"{kind} {str(one[kind])[:12]}" for one in (found, said))
        raise UserError(
            f"{path} was changed after it was written: it has {now}, where its run's {RESULT} says {then}. "
            f"Bring it back from a copy, or {_RUN_AGAIN}"
        )


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the rows. To delete a broken file is a remedy, but for one that is gone it is none."""
    if not path.exists():
        raise UserError(f"{path} is missing. Bring it back from a copy, or {_RUN_AGAIN}")
    return read_csv(path, AGAIN)


def _images_name(fingerprint: str) -> str:
    return IMAGES.format(fingerprint[:12])


def write_images(folder: Path | str, fingerprint: str, rows: Iterable[Sequence[str]]) -> None:
    """Write which images the runs of one fingerprint saw, unless it is there: split, name, label, sha256 (hex).

    Sorted: each run of that fingerprint must find the very file that it would write, and names its checksum.
    """
    path = Path(folder) / _images_name(fingerprint)
    text = csv_text(IMAGE_COLUMNS, sorted(map(tuple, rows)), quote_strings=True)
    if not path.exists() or path.read_bytes() != text.encode("utf-8", "surrogateescape"):
        replace(path, text)


def read_images(folder: Path | str, fingerprint: str) -> list[dict[str, str]]:
    """Read which images a run saw, given the run's folder: split, name, label, sha256 (hex)."""
    name = f"../{_images_name(fingerprint)}"
    verify(folder, name)
    path = Path(folder) / name
    columns, rows = _table(path)
    if tuple(columns) != IMAGE_COLUMNS:
        raise defect(path, f"its columns are {', '.join(columns)}, not {', '.join(IMAGE_COLUMNS)}")
    return [dict(zip(columns, row, strict=True)) for _, row in rows]


def write_curves(folder: Path | str, rows: Sequence[Mapping[str, float | None]]) -> None:
    """Write curves.csv, one row per epoch: epoch, step, the metrics, then rate/<stage> and trains/<stage>.

    A value that an epoch lacks is an empty cell; a loss that became NaN is written as `nan`.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = sorted(dict.fromkeys(["epoch", "step", *names]), key=_column_rank)
    write_csv(Path(folder) / CURVES, columns, ([_cell(row.get(name)) for name in columns] for row in rows))


def _cell(value: float | None) -> float | None:
    return int(value) if isinstance(value, bool) else value


def _column_rank(name: str) -> int:
    if name in ("epoch", "step"):
        return 0
    return 2 if name.startswith("rate/") else 3 if name.startswith("trains/") else 1


def read_curves(folder: Path | str, record: Record | None = None) -> list[dict[str, float | None]]:
    """Read curves.csv; whole numbers come back as int, empty cells as None. `record` as in `verify`."""
    path = Path(folder) / CURVES
    verify(folder, CURVES, record)
    columns, rows = _table(path)
    if columns[:2] != ["epoch", "step"]:
        raise defect(path, f"its columns begin with {columns[:2]}, not with epoch, step")
    return [{name: _number(path, line, cell) for name, cell in zip(columns, row, strict=True)} for line, row in rows]


def write_predictions(folder: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write predictions.csv, one row per test image: name, label, predicted (class names), confidence (0 to 1)."""
    cells = ([*(str(row[key]) for key in PREDICTION_COLUMNS[:3]), float(row["confidence"])] for row in rows)
    write_csv(Path(folder) / PREDICTIONS, PREDICTION_COLUMNS, cells, quote_strings=True)


def read_predictions(folder: Path | str, record: Record | None = None) -> list[dict[str, Any]]:
    """Read predictions.csv; `confidence` is a float, the rest are strings. `record` as in `verify`."""
    path = Path(folder) / PREDICTIONS
    verify(folder, PREDICTIONS, record)
    columns, rows = _table(path)
    if tuple(columns) != PREDICTION_COLUMNS:
        raise defect(path, f"its columns are {', '.join(columns)}, not {', '.join(PREDICTION_COLUMNS)}")
    return [
        {"name": name, "label": label, "predicted": predicted, "confidence": _decimal(path, line, confidence)}
        for line, (name, label, predicted, confidence) in rows
    ]


def write_mistakes(folder: Path | str, names: Mapping[str, str]) -> None:
    """Write which thumbnail is which test image's: its name, and the file's in the folder `mistakes`."""
    write_csv(Path(folder) / MISTAKES_INDEX, MISTAKE_COLUMNS, names.items(), quote_strings=True)


def read_mistakes(folder: Path | str, record: Record | None = None) -> dict[str, str]:
    """Read which test images have a thumbnail: name -> the file's path from the run's folder. Older runs have none."""
    path = Path(folder) / MISTAKES_INDEX
    if not path.exists():
        return {}
    verify(folder, MISTAKES_INDEX, record)
    columns, rows = _table(path)
    if tuple(columns) != MISTAKE_COLUMNS:
        raise defect(path, f"its columns are {', '.join(columns)}, not {', '.join(MISTAKE_COLUMNS)}")
    for line, (_, file) in rows:
        if Path(file).name != file:
            raise defect(path, f"line {line} names {file!r}, which is no file of this folder")
    return {name: f"{MISTAKES}/{file}" for _, (name, file) in rows}


def _number(path: Path, line: int, cell: str) -> float | None:
    if not cell:
        return None
    try:
        return int(cell) if cell.lstrip("-").isdecimal() else float(cell)
    except ValueError:
        raise defect(path, f"line {line} has {cell!r} where a number belongs") from None


def _decimal(path: Path, line: int, cell: str) -> float | None:
    """`_number`, of a column with as many rows as there are test images."""
    try:
        return float(cell)
    except ValueError:
        return _number(path, line, cell)
