"""Rows as lines of aligned columns, for a terminal and for what reads it."""

import io
from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def aligned(rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """A line for each row, its columns two spaces apart: the first `words` of them begin, the others end together.

    Nothing is folded or cut, however wide.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    for column in range(len(rows[0])):
        table.add_column(justify="left" if column < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    console = Console(file=text, color_system=None, legacy_windows=False)
    console.width = Measurement.get(console, console.options.update(max_width=10**6), table).maximum
    console.print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]
