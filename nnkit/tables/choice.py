"""Which kind of column it is that cells are of, where nobody says so."""

from __future__ import annotations

import re

import numpy as np

from nnkit.tables.cells import Cells, Numbers, Times, Words
from nnkit.tables.columns import Category, Column, Date, LeftOut, Number
from nnkit.tables.text import Notation, is_code

__all__ = ["KINDS", "chosen"]

KINDS = ("numeric", "categorical", "dates", "ignore")  # what users may say that a column is
IDS = {"id", "ids", "uid", "pid", "uuid", "guid", "idno", "idnum", "caseid", "patid", "unitid", "userid", "subjectid"}
ROWS = {"index", "idx", "key", "row", "rows", "rownames", "rowname", "rownum", "unnamed", "serial", "nr", "obs"}


def chosen(name: str, cells: Cells, said: str | None, max_one_hot: int | None) -> Column:
    """The column that cells are of.

    ``said``: what the user says that it is, one of `KINDS`; ``max_one_hot``: labels that have flags, at most.

    Raises
    ------
    DataError
        They are not what the user says.
    """
    if said == "ignore":
        return LeftOut(name, "as asked for")
    if cells.empty:
        return LeftOut(name, "nothing but missing values")
    if said == "numeric":
        return _of_numbers(name, cells.numbers())
    if said == "dates":
        return _of_times(name, cells.times())
    if said == "categorical":
        return _of_words(name, cells.words(), max_one_hot)
    if isinstance(cells, Words):
        return _of_text(name, cells, max_one_hot)
    if isinstance(cells, Times):
        return _of_times(name, cells)
    return _of_ids(name, cells.numbers(), max_one_hot) or _of_numbers(name, cells.numbers())


def _of_text(name: str, words: Words, max_one_hot: int | None) -> Column:
    """Text, which may be that of numbers or dates.

    Few different numbers are categories: flags tell a net all that numbers would. Where most rows have a label of their own,
    those that come will have others.
    """
    few = len(words.labels) <= (8 if max_one_hot is None else max_one_hot)
    if not words.declared:
        numbers = words.said_numbers(Notation())
        if numbers is not None and not any(map(is_code, words.labels)) and not (few and _are_whole(numbers)):
            return chosen(name, numbers, None, max_one_hot)
        times = words.said_times()
        if times is not None:
            return chosen(name, times, None, max_one_hot)
    return _of_words(name, words, max_one_hot) if words.declared or few or not _mostly_once(words) else _alone(name, words)


def _mostly_once(words: Words) -> bool:
    return bool(2 * np.count_nonzero(words.counts() == 1) > np.count_nonzero(~words.missing))


def _alone(name: str, words: Words) -> LeftOut:
    return LeftOut(name, f"text or ids: {len(words.labels)} different ones in {np.count_nonzero(~words.missing)} rows")


def _of_numbers(name: str, numbers: Numbers) -> Column:
    there = numbers.values[~numbers.missing]
    varies, misses = bool(there.min() != there.max()), len(there) < len(numbers)
    return Number(name, varies, misses) if varies or misses else LeftOut(name, f"always {numbers.shown(0)}")


def _of_times(name: str, times: Times) -> Column:
    there = times.ticks[~times.missing]
    misses = len(there) < len(times)
    if there.min() == there.max() and not misses:
        return LeftOut(name, f"always {times.shown(0)}")
    return Date(name, Date.cycles_of(times), misses)


def _of_words(name: str, words: Words, max_one_hot: int | None) -> Column:
    labels = tuple(words.labels.tolist())
    if len(labels) == 1 and not words.missing.any():
        return LeftOut(name, f"always {words.shown(0)}")
    return Category(name, labels, embedded=max_one_hot is not None and len(labels) > max_one_hot)


def _are_whole(numbers: Numbers) -> bool:
    there = numbers.values[~numbers.missing]
    return bool((there == np.round(there)).all())


def _of_ids(name: str, numbers: Numbers, max_one_hot: int | None) -> Column | None:
    """Whole numbers that are names, as the column's own name says: of rows, where none is there twice, or of groups of rows."""
    spoken = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    if not (spoken & (IDS | ROWS) or not name.strip()) or not _are_whole(numbers):
        return None
    words = numbers.words()
    if len(words.labels) == len(words) > 1:
        return LeftOut(name, "ids: a different whole number in every row")
    if not spoken & IDS:
        return None
    return _alone(name, words) if _mostly_once(words) else _of_words(name, words, max_one_hot)
