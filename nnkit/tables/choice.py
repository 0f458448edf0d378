"""Which kind of column it is that cells are of, where nobody says so."""

from __future__ import annotations

import re

import numpy as np

from nnkit.tables.cells import Cells, Numbers, Times, Words
from nnkit.tables.columns import Category, Column, Date, LeftOut, Number
from nnkit.tables.text import Notation, is_code

__all__ = ["KINDS", "chosen"]

KINDS = ("numeric", "categorical", "dates", "ignore")  # what users may say that a column is
IDS = {"id", "ids", "uid", "uuid", "guid", "index", "idx", "key", "row", "rows", "rownames", "rowname", "rownum", "unnamed",
       "serial", "nr", "obs"}  # fmt: skip


def chosen(name: str, cells: Cells, said: str | None, max_one_hot: int | None) -> Column:
    """The column that cells are of.

    ``said``: what the user says that it is, one of `KINDS`; ``max_one_hot``: labels from which on codes are better than flags.

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
    numbers = cells.numbers()
    return LeftOut(name, "ids: a different whole number in every row") if _are_ids(name, numbers) else _of_numbers(name, numbers)


def _of_text(name: str, words: Words, max_one_hot: int | None) -> Column:
    """Text, which may be that of numbers or dates.

    Few different numbers are categories: flags tell a net all that numbers would. Where most rows have a label of their own,
    those that come will have others.
    """
    few = max_one_hot is None or len(words.labels) <= max_one_hot
    if not words.declared:
        numbers = words.said_numbers(Notation())
        if numbers is not None and not any(map(is_code, words.labels)) and not (few and _are_whole(numbers)):
            return chosen(name, numbers, None, max_one_hot)
        times = words.said_times()
        if times is not None:
            return chosen(name, times, None, max_one_hot)
        once = np.count_nonzero(words.counts() == 1)
        rows = np.count_nonzero(~words.missing)
        if 2 * once > rows and len(words.labels) > (max_one_hot or 8):
            return LeftOut(name, f"text or ids: {len(words.labels)} different ones in {rows} rows")
    return _of_words(name, words, max_one_hot)


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


def _are_ids(name: str, numbers: Numbers) -> bool:
    """Whether numbers are those of rows: the name says so, and none is there twice."""
    spoken = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    if not (spoken & IDS or not name.strip()) or numbers.missing.any() or not _are_whole(numbers):
        return False
    return len(np.unique(numbers.values)) == len(numbers)
