"""Numbers and names as a report writes them: scores in percent, differences in points, names that cannot act."""

import math
import re
from dataclasses import dataclass

from thawlab.errors import visible
from thawlab.report.findings import Interval

NONE = "-"
_NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?")


@dataclass(frozen=True)
class Table:
    """A table of text."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numbers(self) -> tuple[bool, ...]:
        """Of each column, whether its cells are numbers, which a reader compares best where they end together."""
        return tuple(
            any(cell != NONE for cell in cells) and all(cell == NONE or _NUMBER.fullmatch(cell) for cell in cells)
            for cells in zip(*self.rows, strict=True)
        )


def shown(text: object) -> str:
    r"""A name from outside, in one line: what drives a terminal or turns text around is written out.

    >>> shown("cat\n\u202egpj.exe")
    'cat\\n\\u202egpj.exe'
    """
    return visible(str(text)).replace("\n", "\\n").replace("\t", "\\t")


def short(text: object, most: int) -> str:
    """`shown`, cut to so many characters where a figure has no more room.

    >>> short("a long name", 7)
    'a long…'
    """
    name = shown(text)
    return name if len(name) <= most else name[: most - 1] + "…"


def percent(share: float | None) -> str:
    """A share as percent.

    >>> percent(0.931)
    '93.1'
    """
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.1f}"


def score(found: Interval) -> str:
    """A mean score with its interval, in percent.

    >>> score(Interval(0.9, 0.88, 0.92, 5))
    '90.0 [88.0, 92.0]'
    """
    if found.low is None or found.high is None:
        return f"{percent(found.value)} (n = {found.n})"
    return f"{percent(found.value)} [{percent(found.low)}, {percent(found.high)}]"


def points(found: Interval) -> str:
    """A difference of scores with its interval, in points.

    >>> points(Interval(-0.03, -0.04, 0.01, 5))
    '-3.0 [-4.0, +1.0]'
    """
    if found.low is None or found.high is None:
        return f"{signed(found.value)} (n = {found.n})"
    return f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}]"


def signed(difference: float) -> str:
    """A difference of shares in points, with its sign.

    >>> signed(0.03), signed(-0.0001)
    ('+3.0', '0.0')
    """
    text = f"{100 * difference:+.1f}"
    return "0.0" if text[1:] == "0.0" else text


def probability(p: float) -> str:
    """A p value.

    >>> probability(0.0004), probability(0.0312)
    ('< 0.001', '0.031')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def amount(value: float | None) -> str:
    """A number of images or FLOPs, in three digits.

    >>> amount(1234), amount(2.5e12), amount(7), amount(None)
    ('1.23 k', '2.5 T', '7', '-')
    """
    if value is None or not math.isfinite(value):
        return NONE
    for power, letter in ((18, " E"), (15, " P"), (12, " T"), (9, " G"), (6, " M"), (3, " k")):
        if abs(value) >= 0.9995 * 10**power:
            return f"{float(f'{value / 10**power:.3g}'):g}{letter}"
    return f"{float(f'{value:.3g}'):g}"


def duration(seconds: float | None) -> str:
    """Seconds, or minutes and hours where there are many.

    >>> duration(3.21), duration(150), duration(9000)
    ('3.2 s', '2.5 min', '2.5 h')
    """
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def count(number: float | None) -> str:
    """A whole number, its thousands apart.

    >>> count(12345.2)
    '12,345'
    """
    return NONE if number is None or not math.isfinite(number) else f"{number:,.0f}"


def span(low: float | None, high: float | None) -> str:
    """Between which sizes something lies; None: beyond what was measured.

    >>> span(420.2, 1500), span(None, 1500), span(420, None), span(None, None)
    ('420 to 1,500', 'up to 1,500', '420 or more', 'open')
    """
    if low is None and high is None:
        return "open"
    if low is None:
        return f"up to {count(high)}"
    return f"{count(low)} to {count(high)}" if high is not None else f"{count(low)} or more"


def rate(value: float | None) -> str:
    """A learning rate."""
    return NONE if value is None else f"{value:g}"
