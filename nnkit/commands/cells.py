"""Cells of tables: which texts are numbers, which stand for one that is missing, and how labels are told from them."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import ParameterError

__all__ = ["MISSING", "Notation", "character", "is_code", "likely", "remedy", "to_labels"]

MISSING = {"", "na", "nan", "n/a", "#n/a", "<na>", "null"}  # in lower case: what stands for a number that is not there
TRUTH = {"true": 1.0, "false": 0.0}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII)  # in lower case, too
DATE = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}"  # what may follow is a time
SPACES = " \u00a0\u202f"  # the usual one, and those that do not break, wide and narrow
SIGNS = SPACES + "%$\u20ac\u00a3\u00a5"  # what people write around numbers
NAMES = {"tab": "\t", r"\t": "\t", "space": " "}  # what is hard to type in a shell


def character(text: str, option: str) -> str:
    """The character that an option of the command line is; ``tab`` and ``space`` are names of two.

    Raises
    ------
    ParameterError
        It is none, several, or one that has another meaning in tables.
    """
    one = NAMES.get(text.lower(), text)
    if len(one) != 1 or one.isalnum() or one in '"\r\n':
        raise ParameterError(f"{option}: expected one character that is no letter, digit, quote or end of a line, or the words "
                             f"tab or space, got {text!r}")  # fmt: skip
    return one


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

    @classmethod
    def named(cls, decimal: str, thousands: str | None) -> Notation:
        """The one that the options of the command line say.

        Raises
        ------
        ParameterError
            They are no characters, or the same one.
        """
        mark = character(decimal, "--decimal")
        between = "" if thousands is None else character(thousands, "--thousands")
        if mark == between:
            raise ParameterError(f"--thousands: expected another character than the decimal mark, got {between!r} for both; "
                                 "--decimal says what that is")  # fmt: skip
        return cls(mark, between)

    @property
    def options(self) -> list[str]:
        """What to type for it."""
        usual, words = Notation(), {char: word for word, char in NAMES.items()}
        given = (("--decimal", self.decimal, usual.decimal), ("--thousands", self.thousands, usual.thousands))
        return [item for option, here, standard in given if here != standard for item in (option, words.get(here, here))]

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


HABITS = [Notation(*marks) for marks in
          ((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (".", "_"))]  # fmt: skip


def _bare(cell: str) -> str:
    """A cell without units of money and per cent, in ordinary digits."""
    return unicodedata.normalize("NFKC", cell.strip(SIGNS))


def likely(cells: Sequence[str], notation: Notation) -> NDArray[np.float64] | None:
    """The numbers that most cells are if they are written in another way, or with signs around them; None for other text."""
    bare = list(map(_bare, cells))
    readings = [[number for cell in bare if (number := habit.number(cell)) is not None] for habit in (notation, *HABITS)]
    most = max(readings, key=len)
    return np.array(most) if 2 * len(most) > len(cells) else None


def remedy(cell: str, notation: Notation) -> str | None:
    """What to do about a cell that is not a number, but looks like one, or like a date; None for other text."""
    number = notation.number(_bare(cell))
    if number is not None:
        return f"write it as {number:.15g} alone"
    found: dict[float, Notation] = {}
    for habit in HABITS:
        number = habit.number(_bare(cell))
        if number is not None:
            found.setdefault(number, habit)
    if re.match(DATE, cell.strip()) and not found:
        return "give times as numbers, such as days since some date"
    told = [f"{shlex.join(habit.options or ['--decimal', '.'])} reads it as {number:.15g}" for number, habit in found.items()]
    return ", and ".join(told) or None


def is_code(label: str) -> bool:
    """Whether digits are no number: those of 02139 name a place."""
    return re.fullmatch("0[0-9]+", label) is not None


def to_labels(texts: Sequence[str]) -> NDArray[np.int64] | NDArray[np.str_]:
    """Labels that come back as they are written: whole numbers where all are written as those are, else text."""
    try:
        whole = np.array(list(map(int, texts)), np.int64)
    except (ValueError, OverflowError):
        return np.array(texts, str)
    return whole if list(map(str, whole.tolist())) == list(texts) else np.array(texts, str)
