"""The cells of a column, in one of three forms, whatever library and type they come from: numbers, words or times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Number, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import DataError
from nnkit.tables.text import MISSING, Notation, times_of, without_markers

__all__ = ["Cells", "Numbers", "Times", "Words", "label_of", "of_array", "of_objects"]

TICK = "M8[us]"  # of times: microseconds, from the year -290 000 to 290 000
SECOND = 1_000_000  # ticks
EXACT = 2.0**53  # float64 has every whole number up to here


class Cells(ABC):
    """The cells of a column; each form gives the others where it says the same."""

    what: ClassVar[str]  # of a cell, in messages

    @property
    @abstractmethod
    def missing(self) -> NDArray[np.bool_]:
        """Where there is nothing."""

    def __len__(self) -> int:
        return len(self.missing)

    @property
    def empty(self) -> bool:
        """Whether there is nothing at all."""
        return bool(self.missing.all())

    @abstractmethod
    def shown(self, row: int) -> str:
        """A cell, for a message."""

    @abstractmethod
    def taken(self, rows: NDArray[np.int64]) -> Self:
        """The cells of these rows, in this order, some perhaps several times."""

    def numbers(self) -> Numbers:
        """The same as numbers.

        Raises
        ------
        DataError
            A cell is none.
        """
        return self._as(Numbers, Numbers(np.full(len(self), np.nan)))

    def words(self) -> Words:
        """The same as words."""
        return self._as(Words, Words(np.full(len(self), -1), np.empty(0, object)))

    def times(self) -> Times:
        """The same as times.

        Raises
        ------
        DataError
            A cell is none.
        """
        return self._as(Times, Times(np.full(len(self), "NaT", TICK)))

    def _as(self, form: type[Any], nothing: Any) -> Any:
        """Themselves, or nothing at all in another form; others are not alike."""
        if isinstance(self, form):
            return self
        if self.empty:
            return nothing
        raise self._unlike(form, int(self.missing.argmin()))

    def _unlike(self, form: type[Cells], row: int) -> DataError:
        return DataError(f"expected {form.what}, got {self.what} {self.shown(row)} in row {row}")


@dataclass(frozen=True)
class Numbers(Cells):
    """Numbers and truth values: ``values`` are float64, NaN where one is missing."""

    what = "numbers"
    values: NDArray[np.float64]

    @property
    def missing(self) -> NDArray[np.bool_]:
        return np.isnan(self.values)

    def shown(self, row: int) -> str:
        return label_of(float(self.values[row]))

    def taken(self, rows: NDArray[np.int64]) -> Self:
        return replace(self, values=self.values[rows])

    def words(self) -> Words:
        there = ~self.missing
        found, codes = np.unique(self.values[there], return_inverse=True)
        whole = np.full(len(self), -1)
        whole[there] = codes
        return Words.of(whole, [label_of(value) for value in found.tolist()])


@dataclass(frozen=True)
class Words(Cells):
    """Text and categories, as numbers of labels.

    Attributes
    ----------
    codes : (rows,) which label it is; -1 where it is missing
    labels : those that occur, different ones in the order of their letters
    declared : whether their type says that they are categories, whatever the labels look like
    """

    what = "text"
    codes: NDArray[np.int64]
    labels: NDArray[Any]
    declared: bool = False

    @classmethod
    def of(cls, codes: NDArray[Any], labels: Sequence[str], declared: bool = False) -> Self:
        """Of labels in any order, the same one perhaps several times, or never; spaces around them do not count."""
        codes, labels = codes.astype(np.int64, copy=False), [label.strip() for label in labels]
        used = np.bincount(codes + 1, minlength=len(labels) + 1)[1:] > 0
        order = sorted({label for label, occurs in zip(labels, used, strict=True) if occurs and label})
        places = dict(zip(order, range(len(order)), strict=True))
        new = np.array([*(places.get(label, -1) for label in labels), -1], np.int64)  # the last is what -1 leads to
        whole = np.empty(len(order), object)
        whole[:] = order
        return cls(new[codes], whole, declared)

    @classmethod
    def of_text(cls, cells: Sequence[str]) -> Self:
        """Of the cells of a file, where some words say that there is nothing."""
        codes, labels = _numbered(cells)
        return cls.of(codes, ["" if label.strip().lower() in MISSING else label for label in labels])

    @property
    def missing(self) -> NDArray[np.bool_]:
        return self.codes < 0

    def counts(self) -> NDArray[np.int64]:
        """How often each label occurs."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels))

    def shown(self, row: int) -> str:
        return repr(self.labels[self.codes[row]])[:60]

    def taken(self, rows: NDArray[np.int64]) -> Self:
        return self.of(self.codes[rows], self.labels.tolist(), self.declared)

    def numbers(self, notation: Notation | None = None) -> Numbers:
        said = self.said_numbers(notation or Notation())
        return super().numbers() if said is None else said

    def times(self) -> Times:
        said = self.said_times()
        return super().times() if said is None else said

    def said_numbers(self, notation: Notation) -> Numbers | None:
        """The numbers that the text says; None where it is other text."""
        values = notation.numbers(without_markers(self.labels.tolist()))
        return None if values is None else Numbers(np.append(values, np.nan)[self.codes])

    def said_times(self) -> Times | None:
        """The times that the text says; None where it is other text."""
        ticks = times_of(without_markers(self.labels.tolist()))
        return None if ticks is None else Times(np.append(ticks, np.datetime64("NaT"))[self.codes])

    def _unlike(self, form: type[Cells], row: int) -> DataError:
        read = Notation().number if form is Numbers else lambda label: times_of([label])
        wrong = [code for code, label in enumerate(without_markers(self.labels.tolist())) if label and read(label) is None]
        places = np.flatnonzero(np.isin(self.codes, wrong)) if wrong else [row]
        return super()._unlike(form, int(places[0]))


@dataclass(frozen=True)
class Times(Cells):
    """Dates and times, as a clock on the wall shows them: ``ticks`` are datetime64[us], NaT where one is missing."""

    what = "dates"
    ticks: NDArray[np.datetime64]

    @property
    def missing(self) -> NDArray[np.bool_]:
        return np.isnat(self.ticks)

    def shown(self, row: int) -> str:
        return str(self.ticks[row])

    def taken(self, rows: NDArray[np.int64]) -> Self:
        return replace(self, ticks=self.ticks[rows])

    def words(self) -> Words:
        there = ~self.missing
        found, codes = np.unique(self.ticks[there], return_inverse=True)
        whole = np.full(len(self), -1)
        whole[there] = codes
        return Words.of(whole, list(map(str, found)))


def label_of(cell: Any) -> str:
    """What a cell is called as a category: whole numbers are the same ones with and without a decimal point."""
    if isinstance(cell, str):
        return str(cell)
    if isinstance(cell, bytes):
        return cell.decode(errors="backslashreplace")
    if isinstance(cell, bool | np.bool_):
        return str(int(cell))
    if isinstance(cell, float | np.floating):
        number = float(cell)
        return str(int(number)) if number.is_integer() and abs(number) < EXACT else str(number)
    return str(cell)


# ------------------------------------------------------------------------------------------------------------------- arrays


def of_array(array: NDArray[Any]) -> Cells:
    """The cells of an array of one dimension.

    Raises
    ------
    DataError
        They are of a type that a table cannot have.
    """
    if array.dtype.kind in "biuf":
        return Numbers(np.ascontiguousarray(array, np.float64))
    if array.dtype.kind == "M":
        return Times(array.astype(TICK))
    if array.dtype.kind == "m":
        return Numbers(_seconds(array))
    if array.dtype.kind in "US":
        found, codes = np.unique(array, return_inverse=True)
        return Words.of(codes, list(map(label_of, found.tolist())))
    if array.dtype == object:
        return of_objects(array)
    raise DataError(f"expected numbers, text, categories or dates, got {array.dtype}")


def of_objects(cells: NDArray[Any]) -> Cells:
    """The cells of an array of objects, by their types.

    Raises
    ------
    DataError
        A cell is none that a table can have, such as a list.
    """
    there = ~np.fromiter(map(_is_missing, cells), bool, len(cells))
    present = cells[there]
    kinds = set(map(type, present))
    if not kinds:
        return Numbers(np.full(len(cells), np.nan))
    for family, read in _FAMILIES:
        if all(issubclass(kind, family) for kind in kinds):
            return read(present, there)
    strange = [kind.__name__ for kind in kinds if kind.__str__ in _NOT_SHOWN and not issubclass(kind, _WORDS)]
    if strange:
        raise DataError(f"expected numbers, text, categories or dates, got cells of type {strange[0]}")
    codes, labels = _numbered(list(map(label_of, present)))
    return Words.of(_spread(codes, there, -1, "i8"), labels)


def _numbered(cells: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Which label each cell is, and the labels."""
    labels = [*dict.fromkeys(cells)]
    places = dict(zip(labels, range(len(labels)), strict=True))
    return np.fromiter(map(places.__getitem__, cells), np.int64, len(cells)), labels


def _is_missing(cell: Any) -> bool:
    """Whether a cell stands for one that is not there: None, NA, NaN or NaT."""
    return cell is None or type(cell).__name__ in ("NAType", "NaTType") or (
        isinstance(cell, float | np.floating | np.datetime64 | np.timedelta64) and cell != cell)  # fmt: skip


def _spread(found: Any, there: NDArray[np.bool_], nothing: Any, dtype: str) -> NDArray[Any]:
    """What was found in some rows, and ``nothing`` in the others."""
    whole = np.full(len(there), nothing, dtype)
    whole[there] = found
    return whole


def _seconds(spans: NDArray[Any]) -> NDArray[np.float64]:
    """Spans of time as numbers; NaT is NaN."""
    return spans.astype("m8[us]") / np.timedelta64(1, "s")


def _of_numbers(cells: NDArray[Any], there: NDArray[np.bool_]) -> Cells:
    """Numbers of Python, which may be beyond all dtypes."""
    return Numbers(_spread(list(map(_nearest, cells)), there, np.nan, "f8"))


def _nearest(cell: Any) -> float:
    try:
        return float(cell)
    except OverflowError:
        return np.inf if cell > 0 else -np.inf


def _of_dates(cells: NDArray[Any], there: NDArray[np.bool_]) -> Cells:
    """Dates, with and without a time of the day, on the clock of the wall that they were read from."""
    clocks = [cell.replace(tzinfo=None) if isinstance(cell, datetime) else cell for cell in cells]
    return Times(_spread(np.array([np.datetime64(clock, "us") for clock in clocks], TICK), there, "NaT", TICK))


def _of_clocks(cells: NDArray[Any], there: NDArray[np.bool_]) -> Cells:
    """Times of the day: of the first day of 1970."""
    ticks = [((cell.hour * 60 + cell.minute) * 60 + cell.second) * SECOND + cell.microsecond for cell in cells]
    return Times(_spread(np.array(ticks, np.int64).view(TICK), there, "NaT", TICK))


def _of_spans(cells: NDArray[Any], there: NDArray[np.bool_]) -> Cells:
    """Spans of time, in seconds."""
    return Numbers(_spread(_seconds(np.array([np.timedelta64(cell) for cell in cells])), there, np.nan, "f8"))


_WORDS = (str, bytes, Number, date, time, timedelta, np.generic)  # what may stand beside other things in a column
_NOT_SHOWN: set[Any] = {object.__str__, np.ndarray.__str__}  # of what has no words of its own: lists, arrays, plain objects
_FAMILIES: list[tuple[Any, Any]] = [
    ((Real, Decimal, np.bool_), _of_numbers), ((date, np.datetime64), _of_dates), (time, _of_clocks),
    ((timedelta, np.timedelta64), _of_spans),
]  # fmt: skip
