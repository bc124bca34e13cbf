"""A table in a file: its columns, found by name, and messages that say where in it a cell is."""

import csv
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from thawlab.errors import UserError, nearest

PARQUET = (".parquet", ".pq")
TEXT = (".csv", ".tsv")
SHOWN = 5


class Table(Protocol):
    """A table as it lies in a file; its length is the number of its rows."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, as the file names them."""
        ...

    def __len__(self) -> int: ...

    def cells(self, column: str) -> list[Any]:
        """Give a column's values: text as it stands, or what a Parquet file holds, with None for nothing."""
        ...

    def place(self, row: int) -> str:
        """Say where a row is, such as "line 7"."""
        ...


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table from text: `lines` says where each of its rows ends."""

    path: Path
    names: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    def cells(self, column: str) -> list[str]:
        """As in Table."""
        at = self.names.index(column)
        return [row[at] for row in self.rows]

    def place(self, row: int) -> str:
        """As in Table; the header is line 1."""
        return f"line {self.lines[row]}"


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """A Parquet file, of which only the columns that are asked for are read."""

    path: Path
    names: tuple[str, ...]
    count: int

    def __len__(self) -> int:
        return self.count

    def cells(self, column: str) -> list[Any]:
        """As in Table."""
        from pyarrow import ArrowException, parquet

        try:
            return parquet.ParquetFile(self.path).read(columns=[column]).column(column).to_pylist()
        except (OSError, ArrowException) as error:
            raise UserError(f"{self.path}, column {column!r} cannot be read: {error}. Write it again.") from error

    def place(self, row: int) -> str:
        """As in Table, counted from 1."""
        return f"row {row + 1}"


def check_table(path: Path) -> None:
    """Refuse what is no file, or no table by its name. Raises UserError."""
    kind, is_file = path.suffix.lower(), os.path.isfile(path)
    if not is_file or kind not in (*TEXT, *PARQUET):
        fact = f"that ends in {kind!r}" if is_file else "there is no such file"
        raise UserError(
            f"dataset.table is {str(path)!r}, but {fact}. Give a table that ends in {', '.join((*TEXT, *PARQUET))}."
        )


def open_table(path: Path) -> Table:
    """Open a .csv, .tsv or .parquet file. Raises UserError for one that is missing, damaged, or without a header."""
    check_table(path)
    table = _open_parquet(path) if path.suffix.lower() in PARQUET else _read_text(path)
    if not len(table):
        raise UserError(f"{path} holds no rows. Add a row for each image below the names of the columns.")
    twice = sorted({name for name in table.names if table.names.count(name) > 1})
    if twice:
        raise UserError(f"{path} has several columns called {', '.join(map(repr, twice))}. Give each its own name.")
    return table


def _open_parquet(path: Path) -> ParquetTable:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(
            f'{path} is a Parquet file, which takes the package pyarrow. Install it: pip install "thawlab[data]"; or '
            "write the table as .csv."
        ) from error
    try:
        file = parquet.ParquetFile(path)
        return ParquetTable(path, tuple(file.schema_arrow.names), file.metadata.num_rows)
    except (OSError, ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}. Write it again.") from error


def _read_text(path: Path) -> TextTable:
    """Read UTF-8, with or without a byte order mark; blank lines are passed over.

    Cells stand apart by tabs in .tsv; else by the first of comma, semicolon and tab that the header holds.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            mark = "\t" if path.suffix.lower() == ".tsv" else next((mark for mark in ",;\t" if mark in header), ",")
            reader = csv.reader(file, delimiter=mark, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not in UTF-8: {error}. Save it as UTF-8 text.") from error
    except (OSError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}. Write it again.") from error
    if not rows:
        raise UserError(f"{path} is empty. Give it a header that names the columns, and a row for each image.")
    (_, header_row), *body = rows
    for line, row in body:
        if len(row) != len(header_row):
            raise UserError(
                f"{path}, line {line} has {len(row)} cells where the header has {len(header_row)}. Put text that holds "
                f"{mark!r} in double quotes, or add what is missing."
            )
    return TextTable(path, tuple(header_row), [row for _, row in body], [line for line, _ in body])


def find_column(table: Table, field: str, given: str | None, usual: Collection[str]) -> str:
    """Give the column that `dataset.<field>` names, or the only one of a usual name. Raises UserError for none."""
    columns = f"The columns are {', '.join(map(repr, table.names))}."
    if given is not None:
        if given not in table.names:
            raise UserError(
                f"dataset.{field} is {given!r}, but {table.path} has no such column. {nearest(given, table.names)}"
            )
        return given
    found = of_usual_names(table, usual)
    if len(found) != 1:
        fact = "more than one column of a usual name" if found else f"no column called {', '.join(sorted(usual))}"
        raise UserError(
            f"{table.path} has {fact}. {columns} Say which it is: dataset.{field}=COLUMN; or "
            "add a header, if the table has none."
        )
    return found[0]


def of_usual_names(table: Table, usual: Collection[str]) -> list[str]:
    """Give the columns whose names are among the usual, in upper or lower case."""
    return [name for name in table.names if name.strip().lower() in usual]


def refuse_rows(table: Table, rows: Sequence[tuple[int, Any]], fact: str, remedy: str) -> None:
    """Raise UserError if there are any (row, value): the file, the fact, the first few of them, the remedy."""
    shown = [f"{table.place(row)} ({value!r})" for row, value in rows[:SHOWN]]
    if len(rows) > SHOWN:
        shown.append(f"and {len(rows) - SHOWN} more")
    if shown:
        raise UserError(f"{table.path}: {fact}: {', '.join(shown)}. {remedy}")
