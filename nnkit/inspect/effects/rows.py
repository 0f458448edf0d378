"""Rows whose columns may come from other rows: whatever library and type they are of, no value is made up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.calls import nearest
from nnkit.core.container import Model
from nnkit.core.frames import Frame, column_names, shared
from nnkit.errors import DataError, ParameterError, ShapeError
from nnkit.network import network_of
from nnkit.tables.cells import Cells, Numbers
from nnkit.tables.reading import Table
from nnkit.training.data import to_array

__all__ = ["Rows", "places_of", "rows_of"]

Places = NDArray[np.int64]


class Rows(ABC):
    """Rows as a model takes them.

    Attributes
    ----------
    names : of the columns
    count : how many rows
    read : places of the columns that the model reads; the others change nothing
    """

    names: list[str]
    count: int
    read: list[int]

    @abstractmethod
    def cells(self, place: int) -> Cells:
        """A column, to look at."""

    @abstractmethod
    def taken(self, rows: Places, places: Sequence[int] = (), others: Sequence[Places] = ()) -> Any:
        """These rows, but with the columns at some ``places`` from ``others``: for each of them as many rows."""


class _Known(Rows):
    """Of an estimator that knows what its columns are: they are read once."""

    def __init__(self, scheme: Any, X: Any) -> None:
        self._cells: dict[int, Cells] = scheme.read(X)
        self.names = [column.name for column in scheme.columns_]
        self.read = list(self._cells)
        self.count = len(next(iter(self._cells.values()))) if self._cells else Table.of(X).rows

    def cells(self, place: int) -> Cells:
        return self._cells[place]

    def taken(self, rows: Places, places: Sequence[int] = (), others: Sequence[Places] = ()) -> Any:
        sources = dict.fromkeys(self._cells, rows) | dict(zip(places, others, strict=True))
        nothing = Numbers(np.full(len(rows), np.nan))  # where nobody reads
        columns = [self._cells[place].taken(sources[place]) if place in self._cells else nothing
                   for place in range(len(self.names))]  # fmt: skip
        return Table.of_columns(self.names, len(rows), columns)


class _Plain(Rows):
    """Of any other model."""

    def __init__(self, X: Any) -> None:
        self._table = Table.of(X)
        self.names, self.count = self._table.names, self._table.rows
        self.read = list(range(len(self.names)))

    def cells(self, place: int) -> Cells:
        return self._table.column(place)


class _Array(_Plain):
    def __init__(self, X: Any) -> None:
        super().__init__(X)
        self._array: NDArray[Any] = np.asarray(X)

    def taken(self, rows: Places, places: Sequence[int] = (), others: Sequence[Places] = ()) -> Any:
        out = self._array[rows]
        for place, other in zip(places, others, strict=True):
            out[:, place] = self._array[other, place]
        return out


class _Frame(_Plain):
    def __init__(self, data: Any) -> None:
        import narwhals.stable.v2 as nw

        super().__init__(data)
        frame = nw.from_native(data, eager_only=True, pass_through=True)
        self._frame: Any = nw.from_native(shared(data), eager_only=True) if frame is data else frame

    def taken(self, rows: Places, places: Sequence[int] = (), others: Sequence[Places] = ()) -> Any:
        names = self._frame.columns
        columns = [self._frame[:, place][other].alias(names[place]) for place, other in zip(places, others, strict=True)]
        frame = self._frame[rows]
        return (frame.with_columns(*columns) if columns else frame).to_native()


def rows_of(model: Any, X: Any, who: str) -> Rows:
    """``X`` as rows of a model: a net, or anything fitted as scikit-learn has it.

    Raises
    ------
    DataError, ShapeError
        They are none.
    ParameterError
        The model reads no table.
    """
    rows = _rows_of_net(model, X, who) if isinstance(model, Model) else _rows_of_estimator(model, X, who)
    if not rows.count:
        raise DataError(f"{who}: expected rows in X, got none")
    return rows


def _rows_of_estimator(model: Any, X: Any, who: str) -> Rows:
    if not hasattr(model, "predict"):
        raise ParameterError(f"{who}: expected a model with predict, got {model!r}")
    if (scheme := getattr(model, "scheme_", None)) is not None:
        return _Known(scheme, X)
    return _Array(X) if Frame.of(X) is None else _Frame(X)


def _rows_of_net(model: Model, X: Any, who: str) -> Rows:
    network = network_of(model, who)
    if isinstance(network.in_shape, dict) or len(network.in_shape) != 1:
        raise ParameterError(f"{who}: expected a model whose rows are columns of a table, in_shape (columns,), got "
                             f"{network.in_shape}")  # fmt: skip
    array, names = to_array(X, "X"), column_names(X)
    if array.shape[1:] != network.in_shape:
        raise ShapeError(f"{who}: expected X of shape {('N', *network.in_shape)}, as the model reads it, got {array.shape}")
    rows = _Array(array)
    rows.names = rows.names if names is None else list(map(str, names))
    return rows


def places_of(rows: Rows, asked: Any, who: str) -> list[int]:
    """The places of columns that are given by their names or places, one or several.

    Raises
    ------
    ParameterError
        There is no such column.
    """
    found = []
    for item in [asked] if isinstance(asked, str | Integral) else asked:
        if isinstance(item, str) and item in rows.names:
            found.append(rows.names.index(item))
        elif isinstance(item, Integral) and not isinstance(item, bool) and 0 <= int(item) < len(rows.names):
            found.append(int(item))
        else:
            near = nearest(str(item), rows.names)
            raise ParameterError(f"{who}: expected names or places of columns, got {item!r}"
                                 + (f"; did you mean {near!r}?" if near else ""))  # fmt: skip
    return found
