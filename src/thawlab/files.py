"""Files that a kill cannot leave half-written: JSON objects, CSV tables and, through `publish`, whatever else."""

import csv
import errno
import hashlib
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from thawlab.errors import UserError

PART = ".part"  # ends the name of a file that is being written
SEAL = "sha256"  # the key of a JSON file's own checksum


def publish(path: Path, write: Callable[[IO[bytes]], object], synced: bool = True) -> None:
    """Put what `write` writes in the place of `path` in one step, on the disk: a reader sees the old file or the new.

    Through a temporary file in the same folder: from another file system it could only be copied. An OSError names
    `path`; what a killed writer leaves is for `sweep_up`. Without `synced` a machine that loses power may lose it:
    for files whose loss costs nothing but a picture, as to wait for the disk takes some 10 ms a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _said_of(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        try:
            with open(handle, "wb") as file:
                write(file)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            # mkstemp lets the owner alone read: others may look at results.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        if synced:
            _sync_folder(path.parent)


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """An error of the file that is being written, in the name of the one that it will be: a full disk's has none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or not (error.filename is None or str(error.filename).endswith(PART)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync_folder(folder: Path) -> None:
    """Have a new name on the disk. A file system that cannot sync a folder (EINVAL) has no such step."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def sweep_up(folder: Path, idle: float = 0.0) -> None:
    """Delete what killed writers left of a file; in a folder that others write to, what rested for `idle` seconds."""
    for path in folder.glob(f".*{PART}"):
        with suppress(FileNotFoundError):  # its writer lives, or another sweeps here too
            if time.time() - path.stat().st_mtime >= idle:
                path.unlink()


def replace(path: Path, text: str) -> None:
    """Publish text, as UTF-8."""
    # surrogateescape: file names on Linux need not be valid Unicode.
    content = text.encode("utf-8", "surrogateescape")
    publish(path, lambda file: file.write(content))


def write_json(path: Path, content: Mapping[str, Any], sealed: bool = False) -> None:
    """Write plain JSON; arrays become lists, NaN and infinity, which JSON lacks, null.

    A sealed file ends with the sha256 of what it is without: `read_json` refuses it once a byte has changed.
    """
    plain = _plain(content)
    replace(path, _sealed(plain) if sealed else _text(plain))


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _sealed(content: Mapping[str, Any]) -> str:
    return _text({**content, SEAL: hashlib.sha256(_text(content).encode()).hexdigest()})


def _plain(value: Any) -> Any:
    """Copy of a value as JSON has it: a finished run must not be lost to a numpy scalar."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object; UserError with the file, the defect and `remedy` where it is none, or not as sealed."""
    try:
        text = path.read_bytes().decode("utf-8")
        content = json.loads(text, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}. {remedy}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}, not an object. {remedy}")
    if SEAL in content and not _is_as_sealed(content, text):
        raise UserError(f"{path} was changed after it was written: it does not match its own checksum. {remedy}")
    return content


def _is_as_sealed(content: Mapping[str, Any], text: str) -> bool:
    """Whether the very text is what was written: 1e-05 and 1E-05 are the same number, and not the same file."""
    end = f',\n "{SEAL}": {json.dumps(content[SEAL])}\n}}\n'
    if text.endswith(end):  # a thousand records are looked through sooner if none is written out again
        return hashlib.sha256((text.removesuffix(end) + "\n}\n").encode()).hexdigest() == content[SEAL]
    try:
        return _sealed({key: value for key, value in content.items() if key != SEAL}) == text
    except ValueError:  # 1e999 was read as infinity
        return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], quote_strings: bool = False) -> None:
    """Write a table with a header; None is an empty cell. `quote_strings` keeps line breaks in strings unharmed."""
    replace(path, csv_text(columns, rows, quote_strings))


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]], quote_strings: bool = False) -> str:
    """What `write_csv` writes."""
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_NONNUMERIC if quote_strings else csv.QUOTE_MINIMAL
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def read_csv(path: Path, remedy: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the header, and each row with its line number; UserError where one is not as wide as the header."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}. {remedy}") from error
    if not rows:
        raise UserError(f"{path} is empty. {remedy}")
    (_, columns), *body = rows
    for line, row in body:
        if len(row) != len(columns):
            raise UserError(f"{path}, line {line}: {len(row)} cells where the header has {len(columns)}. {remedy}")
    return columns, body


def checksum(path: Path) -> dict[str, Any]:
    """A file's `sha256` (hex) and `bytes`."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": file.tell()}
