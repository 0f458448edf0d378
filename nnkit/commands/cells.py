"""Cells of tables as the command line is told of them: how numbers are written, and what helps where they are not."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import ParameterError
from nnkit.tables.cells import Cells, Numbers, Words
from nnkit.tables.text import SPACES, Notation, is_code

__all__ = ["character", "likely", "notation_of", "options_of", "remedy", "spoken", "to_labels", "typed"]

DATE = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}"  # what may follow is a time
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


def notation_of(decimal: str, thousands: str | None) -> Notation:
    """The notation that the options of the command line say.

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
    return Notation(mark, between)


def options_of(notation: Notation) -> list[str]:
    """What to type for it."""
    usual, words = Notation(), {char: word for word, char in NAMES.items()}
    given = (("--decimal", notation.decimal, usual.decimal), ("--thousands", notation.thousands, usual.thousands))
    return [item for option, here, standard in given if here != standard for item in (option, words.get(here, here))]


COMMAS = [Notation(","), Notation(",", ".")]
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
    told = [f"{shlex.join(options_of(habit) or ['--decimal', '.'])} reads it as {number:.15g}"
            for number, habit in found.items()]  # fmt: skip
    return ", and ".join(told) or None


def typed(cells: Sequence[str], notation: Notation) -> Cells:
    """The cells of a column as what they say: numbers, if all are and none is a code (02139), or words; which may be dates."""
    numbers = notation.numbers(cells)
    if numbers is not None and not any(cell[:1] == "0" and is_code(cell.strip()) for cell in cells):
        return Numbers(numbers)
    words = Words.of_text(cells)
    return words if any(map(is_code, words.labels)) else words.said_numbers(notation) or words


def spoken(columns: Sequence[Sequence[str]], notation: Notation) -> Notation:
    """How numbers are written in columns: with decimal commas, where the user says nothing of it and the cells leave no doubt.

    1,5 is a number with a decimal comma; 1,500 alone may be one of thousands. Where numbers with decimal points are in other
    columns, commas are something else.
    """
    if notation != Notation():
        return notation
    text = [Words.of_text(cells) for cells in columns if notation.numbers(cells) is None]
    for comma in COMMAS:
        read = [words for words in text if words.said_numbers(notation) is None and words.said_numbers(comma) is not None]
        certain = any(re.search(r",(?!\d{3}$)", label) for words in read for label in words.labels)
        pointed = any("." in cell for cells in columns if notation.numbers(cells) is not None for cell in cells)
        if certain and not pointed:
            return comma
    return notation


def to_labels(texts: Sequence[str]) -> NDArray[np.int64] | NDArray[np.str_]:
    """Labels that come back as they are written: whole numbers where all are written as those are, else text."""
    try:
        whole = np.array(list(map(int, texts)), np.int64)
    except (ValueError, OverflowError):
        return np.array(texts, str)
    return whole if list(map(str, whole.tolist())) == list(texts) else np.array(texts, str)
