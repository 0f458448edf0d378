"""A table, as text on a terminal and as HTML in a notebook; and how numbers, shapes and layers are written in it."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from nnkit.core.terminal import folded, width_of
from nnkit.errors import printable

__all__ = ["Table", "count", "number", "several", "shortened", "spelt"]

WIDE = 200  # characters of a line where nobody says how many fit
GAP = 3  # letters between columns, or one less where there is little room


@dataclass
class Table:
    """Rows of text under headers; columns of numbers are flush right.

    Parameters
    ----------
    title : a line above
    headers : of the columns
    rows : cells, as many in each row as there are headers
    words : how many of the first columns hold words, not numbers
    notes : lines below

    Examples
    --------
    >>> print(Table("Sizes", ["layer", "numbers"], [["first", "12"], ["second", "1 024"]], notes=["float32"]))
    Sizes
    <BLANKLINE>
    layer    numbers
    ----------------
    first         12
    second     1 024
    <BLANKLINE>
    float32
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    notes: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Whatever is shown may be named by somebody else."""
        self.title, self.notes = printable(self.title), list(map(printable, self.notes))
        lines = (self.headers, *self.rows)
        self.headers, *self.rows = ([printable(cell).replace("\n", "\\n") for cell in line] for line in lines)

    def __str__(self) -> str:
        width = width_of(sys.stdout, WIDE)
        lines = _columns(self.headers, self.rows, self.words, width) or _stacked(self.headers, self.rows, self.words, width)
        title, *notes = (folded(text, width) for text in (self.title, *self.notes))
        return "\n".join([title, "", *lines, *([""] if notes else []), *notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def cell(tag: str, place: int, text: str) -> str:
            side = "left" if place < self.words else "right"
            return f'<{tag} style="text-align: {side}">{html.escape(text)}</{tag}>'

        def line(tag: str, cells: Sequence[str]) -> str:
            return f"<tr>{''.join(cell(tag, place, text) for place, text in enumerate(cells))}</tr>"

        head, body = line("th", self.headers), "".join(line("td", row) for row in self.rows)
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self.notes)
        return (f"<div><b>{html.escape(self.title)}</b><table><thead>{head}</thead><tbody>{body}</tbody></table>"
                f"{notes}</div>")  # fmt: skip


def _columns(headers: Sequence[str], rows: Sequence[Sequence[str]], words: int, width: int) -> list[str]:
    """The lines of a table, of which the first columns may be broken between words; none where that does not fit."""
    lines = [headers, *rows]
    room = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    least = [max((len(word) for cell in cells for word in _pieces(cell)), default=0) for cells in zip(*lines, strict=True)]
    gap = GAP if sum(room) + GAP * (len(room) - 1) <= width else GAP - 1
    while sum(room) + gap * (len(room) - 1) > width:
        spare, widest = max((room[place] - least[place], place) for place in range(words))
        if spare <= 0:
            return []
        room[widest] -= 1
    told = []
    for line in lines:
        cells = [_broken(cell, size) for cell, size in zip(line, room, strict=True)]
        for pieces in zip_longest(*cells, fillvalue=""):
            sides = (piece.ljust(size) if place < words else piece.rjust(size)
                     for place, (piece, size) in enumerate(zip(pieces, room, strict=True)))  # fmt: skip
            told.append((" " * gap).join(sides).rstrip())
        if line is headers:
            told.append("-" * (sum(room) + gap * (len(room) - 1)))
    return told


def _stacked(headers: Sequence[str], rows: Sequence[Sequence[str]], words: int, width: int) -> list[str]:
    """A paragraph for each row, where columns have no room beside each other."""
    told = []
    for row in rows:
        pairs = zip(headers[words:], row[words:], strict=True)
        more = [f"{header} {cell}".strip() for header, cell in pairs if cell not in ("", "-")]
        told.append(folded("  ".join(filter(None, row[:words])), width, indent="    "))
        told += [folded(f"    {', '.join(more)}", width)] if more else []
    return "\n".join(told).split("\n")


def _pieces(cell: str) -> list[str]:
    """The words of a cell; what it is moved to the right by belongs to the first one."""
    return re.findall(r"^ *\S+|\S+", cell)


def _broken(cell: str, size: int) -> list[str]:
    return folded(cell, size).split("\n")


def count(value: int) -> str:
    """A whole number in groups of three digits.

    Examples
    --------
    >>> count(1234567)
    '1 234 567'
    """
    return f"{value:,}".replace(",", " ")


def number(value: float, digits: int = 3) -> str:
    """A number with so many digits that matter, without an exponent where it is of ordinary size.

    Examples
    --------
    >>> number(1234.5), number(0.012345), number(1.5e-7), number(0.0)
    ('1234', '0.0123', '1.50e-07', '0')
    """
    size = abs(value)
    if value == 0 or not size < float("inf"):
        return f"{value:g}"
    if not 1e-4 <= size < 1e6:
        return f"{value:.{digits - 1}e}"
    before = len(str(int(size))) if size >= 1 else 0
    after = digits - before
    while size < 0.1 and after < digits + 4:  # zeros after the point
        size, after = size * 10, after + 1
    return f"{value:.{max(after, 0)}f}"


def several(size: int, what: str) -> str:
    """So many of something.

    Examples
    --------
    >>> several(1, "row"), several(1200, "row")
    ('1 row', '1 200 rows')
    """
    return f"{count(size)} {what}{'s' * (size != 1)}"


def shortened(text: str, width: int) -> str:
    """The text, or its first arguments.

    Examples
    --------
    >>> shortened("Linear(out_features=128, bias=False)", 24)
    'Linear(out_features=...)'
    """
    if len(text) <= width:
        return text
    head = text[: max(width - 4, 1)]
    end = max(head.rfind(mark) for mark in "(=,")
    if end < 0:
        return head + "..."
    return head[: end + 1] + (" " if head[end] == "," else "") + "...)"


def spelt(shape: Any) -> str:
    """The shape of a row, "3 x 4"; of one with fields those of each, "image 3 x 4, table 2"."""
    if isinstance(shape, dict):
        return ", ".join(f"{name} {spelt(item)}" for name, item in shape.items())
    return " x ".join(map(str, shape)) or "1"
