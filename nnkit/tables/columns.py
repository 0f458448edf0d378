"""What a column of a table is: a number, a category, a date, or nothing to learn from; and what a net sees of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import PersistenceError
from nnkit.tables.cells import Cells, Numbers, Times, Words

__all__ = ["Category", "Column", "Date", "Encoded", "LeftOut", "Number"]

Floats = NDArray[np.float64]
DAY = 86_400 * 10**6  # ticks
MONDAY = 3  # days from one to the Thursday that 1970 began with


@dataclass
class Encoded:
    """What a net sees of columns, each (rows,): ``values`` are numbers, NaN where one is missing; ``flags`` are from -1 to 1,
    of categories and of what is missing; ``codes`` are whole numbers, 0 where nothing is known.
    """

    values: list[Any] = field(default_factory=list)
    flags: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)

    def add(self, other: Encoded) -> None:
        """Another column's after these."""
        self.values += other.values
        self.flags += other.flags
        self.codes += other.codes


@dataclass(frozen=True)
class Column(ABC):
    """A column that is known from a fit: ``kind`` is the word for it, ``name`` that of the column."""

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Column]]] = {}
    name: str

    @property
    def cardinality(self) -> int:
        """How many codes there are; 0 where it has none."""
        return 0

    def __init_subclass__(cls) -> None:
        Column.kinds[cls.kind] = cls

    def read(self, cells: Cells) -> Cells:
        """The cells in the form that a column of this kind has; it raises what `encode` does."""
        return cells

    @abstractmethod
    def encode(self, cells: Cells) -> Encoded:
        """What a net sees of cells.

        Raises
        ------
        DataError
            They are not of this kind.
        """

    @abstractmethod
    def names(self, name: str) -> Encoded:
        """What that is called, where the column is called ``name``."""

    def record(self) -> dict[str, Any]:
        """What there is to keep, as JSON has it."""
        return {"kind": self.kind, **{item.name: _plain(getattr(self, item.name)) for item in fields(self)}}

    @classmethod
    def of_record(cls, record: Any) -> Column:
        """The column that `record` tells of.

        Raises
        ------
        PersistenceError
            It tells of none.
        """
        kind = cls.kinds.get(str(record.get("kind"))) if isinstance(record, dict) else None
        if kind is None:
            raise PersistenceError(f"expected a column, one of {', '.join(cls.kinds)}")
        said = {name: value for name, value in record.items() if name != "kind"}
        types = {item.name: _TYPES[str(item.type)] for item in fields(kind)}
        if said.keys() != types.keys() or not all(types[name](value) for name, value in said.items()):
            raise PersistenceError(f"expected {', '.join(types)} of a column that is a {kind.kind}")
        fields_of: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
        return kind(**fields_of)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


_TYPES = {  # what a file may hold for each field
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "tuple[str, ...]": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
}


def _missing_flag(cells: Cells) -> Floats:
    """1 where a cell is missing, else -1: a category of two values."""
    return np.where(cells.missing, 1.0, -1.0)


@dataclass(frozen=True)
class Number(Column):
    """Numbers, truth values and spans of time.

    A missing one is the median, and is told in a flag where some were missing in the fit: the median alone would hide it. Nets
    by the recipe of RealMLP refuse missing numbers; AutoGluon, which runs them, fills in the mean and adds such flags as
    categories. The median is that of the scaling, so that nothing known is 0, as it is for categories.

    Attributes
    ----------
    varies : whether there are different ones
    misses : whether some are missing
    """

    kind = "number"
    varies: bool = True
    misses: bool = False

    def read(self, cells: Cells) -> Numbers:
        return cells.numbers()

    def encode(self, cells: Cells) -> Encoded:
        numbers = self.read(cells)
        return Encoded([numbers.values] * self.varies, [_missing_flag(numbers)] if self.misses else [])

    def names(self, name: str) -> Encoded:
        return Encoded([name] * self.varies, [f"{name}_missing"] * self.misses)


@dataclass(frozen=True)
class Category(Column):
    """One of several labels.

    Where ``embedded``, a number from 1 for each label and 0 for what is missing or was never seen, for an embedding. Else
    a flag for each label, all 0 where nothing is known; two labels share one, 1 for the first and -1 for the second.
    """

    kind = "category"
    labels: tuple[str, ...] = ()
    embedded: bool = False

    @property
    def cardinality(self) -> int:
        return len(self.labels) + 1 if self.embedded else 0

    def read(self, cells: Cells) -> Words:
        return cells.words()

    def encode(self, cells: Cells) -> Encoded:
        words, places = self.read(cells), {label: place for place, label in enumerate(self.labels)}
        known = np.array([*(places.get(label, -1) for label in words.labels), -1], np.int64)  # the last is what -1 leads to
        code = known[words.codes]
        if self.embedded:
            return Encoded(codes=[code + 1])
        if len(self.labels) == 2:
            return Encoded(flags=[np.array([1.0, -1.0, 0.0])[code]])
        return Encoded(flags=[np.equal(code, place).astype(np.float64) for place in range(len(self.labels))])

    def names(self, name: str) -> Encoded:
        if self.embedded:
            return Encoded(codes=[name])
        return Encoded(flags=[f"{name}_{label}" for label in (self.labels[:1] if len(self.labels) == 2 else self.labels)])


def _days(times: Times) -> Floats:
    days: Floats = times.ticks.view(np.int64) / DAY
    days[times.missing] = np.nan
    return days


def _in_year(times: Times) -> Floats:
    year = times.ticks.astype("M8[Y]")
    begin, end = year.astype("M8[us]"), (year + 1).astype("M8[us]")
    share: Floats = (times.ticks - begin) / (end - begin)
    return share


def _in_week(times: Times) -> Floats:
    return np.mod(_days(times) + MONDAY, 7) / 7


def _in_day(times: Times) -> Floats:
    return np.mod(_days(times), 1)


@dataclass(frozen=True)
class Date(Column):
    """Dates and times: the days since 1970 began, and where in a cycle they are: of the year, the week, the day.

    A place p in a cycle, from 0 to 1, is sin(2 pi p) and cos(2 pi p), so that its end is beside its beginning.

    Attributes
    ----------
    cycles : those in which the dates of the fit differ: years by months, weeks by days of the month, days by times
    misses : whether some are missing
    """

    kind = "date"
    cycles: tuple[str, ...] = ()
    misses: bool = False
    places: ClassVar[dict[str, Any]] = {"year": _in_year, "week": _in_week, "day": _in_day}

    @staticmethod
    def cycles_of(times: Times) -> tuple[str, ...]:
        """In which cycles these differ."""
        ticks = times.ticks[~times.missing]
        month, day = ticks.astype("M8[M]"), ticks.astype("M8[D]")
        differs = {"year": month.astype(np.int64) % 12, "week": (day - month.astype("M8[D]")), "day": ticks - day}
        return tuple(cycle for cycle, of in differs.items() if len(of) and of.min() != of.max())

    def read(self, cells: Cells) -> Times:
        return cells.times()

    def encode(self, cells: Cells) -> Encoded:
        times = self.read(cells)
        angles = [2 * np.pi * self.places[cycle](times) for cycle in self.cycles]
        waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        return Encoded([_days(times), *waves], [_missing_flag(times)] if self.misses else [])

    def names(self, name: str) -> Encoded:
        waves = [f"{name}_{cycle}_{wave}" for cycle in self.cycles for wave in ("sin", "cos")]
        return Encoded([f"{name}_days", *waves], [f"{name}_missing"] * self.misses)


@dataclass(frozen=True)
class LeftOut(Column):
    """Nothing to learn from; ``reason`` says why."""

    kind = "left out"
    reason: str = ""

    def encode(self, cells: Cells) -> Encoded:
        return Encoded()

    def names(self, name: str) -> Encoded:
        return Encoded()
