"""What text in tables says: which texts are numbers, which stand for one that is missing, and which are dates."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

__all__ = ["MISSING", "SPACES", "Notation", "is_code", "times_of", "without_markers"]

MISSING = {"", "na", "nan", "n/a", "#n/a", "<na>", "null"}  # in lower case: what stands for a number that is not there
MARKERS = {"?", ".", "-", "--", "*", "none", "missing", "unknown"}  # the same, where all other cells of a column are numbers
TRUTH = {"true": 1.0, "false": 0.0}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII)  # in lower case, too
SPACES = " \u00a0\u202f"  # the usual one, and those that do not break, wide and narrow


@dataclass(frozen=True)
class Notation:
    """How numbers are written.

    A number has digits from 0 to 9 with at most one decimal mark, perhaps a sign before and an exponent after them
    (``-1.5e3``); spaces around it do not count. With ``thousands``, that character may stand before each three digits of the
    whole part. Truth values are 1 and 0.

    Attributes
    ----------
    decimal : the decimal mark
    thousands : what stands between groups of three digits; "" for nothing
    """

    decimal: str = "."
    thousands: str = ""

    def number(self, cell: str) -> float | None:
        """What a cell says; NaN where a number is missing, None where it is text."""
        short = cell.strip().lower()
        if short in MISSING:
            return np.nan
        if short in TRUTH:
            return TRUTH[short]
        between = SPACES if self.thousands == " " else self.thousands
        if any(char in short for char in between):
            group = f"[{re.escape(between)}]"
            if not re.fullmatch(rf"[+-]?[0-9]{{1,3}}({group}[0-9]{{3}})+(?![0-9])[^{re.escape(between)}]*", short):
                return None
            short = re.sub(group, "", short)
        if self.decimal != ".":
            if "." in short:
                return None
            short = short.replace(self.decimal, ".")
        return float(short) if NUMBER.fullmatch(short) else None

    def numbers(self, cells: Sequence[str]) -> NDArray[np.float64] | None:
        """What cells say; None where one of them is text."""
        whole = "".join(cells)
        pointed = self.decimal == "."
        if whole.isascii() and not any(char and char in whole for char in ("_", self.thousands, "" if pointed else ".")):
            plain = cells if pointed else [cell.replace(self.decimal, ".") for cell in cells]
            with suppress(ValueError):  # `float` is fast, and takes nothing else where there is none of these
                return np.fromiter(map(float, plain), np.float64, len(cells))
        found = np.empty(len(cells))
        for place, cell in enumerate(cells):
            number = self.number(cell)
            if number is None:
                return None
            found[place] = number
        return found


def without_markers(cells: Sequence[str]) -> list[str]:
    """Cells of numbers or dates, those that only say that one is missing empty."""
    return ["" if cell.strip().lower() in MARKERS else cell for cell in cells]


def is_code(label: str) -> bool:
    """Whether digits are no number: those of 02139 name a place."""
    return re.fullmatch("0[0-9]+", label) is not None


# ---------------------------------------------------------------------------------------------------------------------- dates

CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(:(?P<second>\d{2})([.,](?P<fraction>\d{1,9}))?)?( ?(?P<half>[AaPp])\.?[Mm]\.?)?"
AFTER = rf"([T ] ?{CLOCK} ?(Z|UTC|[+-]\d{{2}}(:?\d{{2}})?)?)?"
YEAR, MONTH, DAY = r"(?P<year>\d{4})", r"(?P<month>\d{1,2})", r"(?P<day>\d{1,2})"
FORMATS = [re.compile(pattern, re.ASCII) for pattern in (
    rf"{YEAR}-{MONTH}(-{DAY}{AFTER})?", rf"{YEAR}/{MONTH}/{DAY}{AFTER}", rf"{DAY}\.{MONTH}\.{YEAR}{AFTER}",
    rf"{DAY}[-/]{MONTH}[-/]{YEAR}{AFTER}", rf"{MONTH}[-/]{DAY}[-/]{YEAR}{AFTER}", CLOCK)]  # fmt: skip


def times_of(cells: Sequence[str]) -> NDArray[np.datetime64] | None:
    """The times that cells say, all in one format, NaT where one is missing; None for other text, and where two formats fit.

    Dates are written as 2024-01-31, 2024/01/31, 31.01.2024, 31/01/2024 or 01/31/2024, perhaps with a time of the day after it;
    a time alone is one of the first day of 1970. What a clock on the wall shows counts, whatever its time zone. Of the last two
    the cells have to say which it is: 01/02/2024 alone may be either.
    """
    short = [cell.strip() for cell in cells]
    there = [cell for cell in short if cell.lower() not in MISSING]
    readings = [times for pattern in FORMATS if there and (times := _read(there, pattern)) is not None]
    if not readings or any(reading != readings[0] for reading in readings):
        return None
    said = iter(readings[0])
    return np.array([None if cell.lower() in MISSING else next(said) for cell in short], "M8[us]")


def _read(cells: Sequence[str], pattern: re.Pattern[str]) -> list[datetime] | None:
    """The times that cells say in a format; None where one says none."""
    try:
        return [_time(match) for match in map(pattern.fullmatch, cells)]
    except ValueError:
        return None


def _time(match: re.Match[str] | None) -> datetime:
    if match is None:
        raise ValueError("another format")
    said = {"year": "1970", "month": "1", "day": "1", **{name: part for name, part in match.groupdict().items() if part}}
    number: Callable[[str], int] = lambda name: int(said.get(name, "0"))  # noqa: E731 - said once
    hour = number("hour")
    if half := said.get("half"):
        hour = hour % 12 + 12 * (half in "Pp")
    microsecond = int(said.get("fraction", "").ljust(6, "0")[:6])
    return datetime(number("year"), number("month"), number("day"), hour, number("minute"), number("second"), microsecond)
