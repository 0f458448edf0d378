"""What a column of a table is: a number, a category, a date, or nothing to learn from; and what a net sees of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from nnkit.core.exchange import Graph, Value
from nnkit.errors import OnnxError, PersistenceError
from nnkit.tables.cells import SECOND, Cells, Numbers, Times, Words
from nnkit.tables.text import Notation

__all__ = ["Category", "Column", "Date", "Encoded", "LeftOut", "Number"]

DAY = 86_400  # seconds
MONDAY = 3  # days from one to the Thursday that 1970 began with
EPOCH = 719_528  # days from the first one of the year 0 to that of 1970


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
    """A column that is known from a fit.

    Attributes
    ----------
    kind : the word for what it is
    name : of the column
    given : what its cells were: "numbers", "text" or "dates"; columns are equal where nets see the same of them
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Column]]] = {}
    name: str
    given: str = field(default=Numbers.what, kw_only=True, compare=False)

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
    def onnx(self, graph: Graph, cells: Value) -> Encoded:
        """The same in ONNX, of cells (N, 1): text where `onnx_text`, else numbers, NaN where one is missing."""

    @property
    def onnx_text(self) -> bool:
        """Whether files of ONNX take the cells as text, empty where one is missing."""
        return False

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


def _flag(missing: Any) -> Any:
    """1 where a cell is missing, else -1: a category of two values."""
    return 2.0 * missing.astype("float64") - 1.0


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
        return Encoded([numbers.values] * self.varies, [_flag(numbers.missing)] if self.misses else [])

    def onnx(self, graph: Graph, cells: Value) -> Encoded:
        return Encoded([cells] * self.varies, [_flag(np.isnan(cells))] if self.misses else [])

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

    @property
    def onnx_text(self) -> bool:
        return self.given != Numbers.what

    def onnx(self, graph: Graph, cells: Value) -> Encoded:
        code = self._onnx_code(graph, cells)
        if self.embedded:
            return Encoded(codes=[code])
        flags = (code == np.arange(1, len(self.labels) + 1, dtype=np.int64)).astype("float64")  # (N, labels)
        return Encoded(flags=[flags @ np.array([[1.0], [-1.0]]) if len(self.labels) == 2 else flags])

    def _onnx_code(self, graph: Graph, cells: Value) -> Value:
        """The number of a label from 1, and 0 for what is none, (N, 1)."""
        count = len(self.labels)
        if self.onnx_text:
            return graph.node("ai.onnx.ml.LabelEncoder", cells, keys_strings=[*self.labels],
                              values_int64s=[*range(1, count + 1)], default_int64=0)  # fmt: skip
        numbers = Notation().numbers(self.labels)
        if numbers is None:
            raise OnnxError(f"column {self.name!r}: expected labels of numbers, got text")
        return ((cells == numbers).astype("float64") @ np.arange(1.0, count + 1)[:, None]).astype("int64")

    def names(self, name: str) -> Encoded:
        if self.embedded:
            return Encoded(codes=[name])
        return Encoded(flags=[f"{name}_{label}" for label in (self.labels[:1] if len(self.labels) == 2 else self.labels)])


# Of days since 1970 began, and of whole years; functions that arrays have, and values of ONNX.


def _begin(year: Any) -> Any:
    """Days from the first one of the year 0 to that of another: every 4th has one more, but every 100th, but every 400th."""
    return 365 * year + np.ceil(year / 4) - np.ceil(year / 100) + np.ceil(year / 400)


def _in_year(days: Any) -> Any:
    days = days + EPOCH
    year = np.floor((days - 2) / 365.2425)  # this one or the one before: it began within 2 days of 365.2425 times it
    year = year + 1 + np.floor((days - _begin(year + 1)) / 400)
    return (days - _begin(year)) / (_begin(year + 1) - _begin(year))


def _in_week(days: Any) -> Any:
    days = days + MONDAY
    return (days - 7 * np.floor(days / 7)) / 7


def _in_day(days: Any) -> Any:
    return days - np.floor(days)


def _rounded(wave: Any) -> Any:
    """A wave to the precision of float32: places at which it is the same get the same number, to the last bit."""
    return np.rint(2.0**24 * wave) / 2.0**24


@dataclass(frozen=True)
class Date(Column):
    """Dates and times: the days since 1970 began, and where in a cycle they are: of the year, the week, the day.

    A place p in a cycle, from 0 to 1, is sin(2 pi p) and cos(2 pi p), so that its end is beside its beginning. In ONNX a date
    is the seconds since 1970 began.

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
        days = times.ticks.view(np.int64) / (DAY * SECOND)
        days[times.missing] = np.nan
        return self._seen(days, times.missing)

    def onnx(self, graph: Graph, cells: Value) -> Encoded:
        return self._seen(cells / DAY, np.isnan(cells))

    def _seen(self, days: Any, missing: Any) -> Encoded:
        places = [self.places[cycle](days) for cycle in self.cycles]
        turns = [place + ahead for place in places for ahead in (0.0, 0.25)]  # a cosine is a sine a quarter ahead
        waves = [_rounded(np.sin(2 * np.pi * turn)) for turn in turns]  # not every runtime of ONNX has cosines of doubles
        return Encoded([days, *waves], [_flag(missing)] if self.misses else [])

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

    def onnx(self, graph: Graph, cells: Value) -> Encoded:
        return Encoded()

    def names(self, name: str) -> Encoded:
        return Encoded()
