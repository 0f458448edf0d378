"""Tables as they come: frames of any library that narwhals knows, arrays and lists; each column is read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.core.arrays import refuse_masked
from nnkit.core.frames import is_frame, shared
from nnkit.errors import DataError
from nnkit.tables.cells import Cells, Words, label_of, of_array, of_objects

__all__ = ["Table"]


@dataclass
class Table:
    """A table: columns of as many cells.

    Attributes
    ----------
    names : of the columns, as text; x0, x1 ... where they have none
    rows : how many
    named : whether the names are those of the data, all of them text
    """

    names: list[str]
    rows: int
    named: bool
    _columns: Sequence[Callable[[], Cells]]

    @classmethod
    def of(cls, data: Any, name: str = "X") -> Self:
        """A table of what the user gives, called ``name``.

        Raises
        ------
        DataError
            It is no table: of one dimension, ragged, sparse, complex, not read yet.
        """
        if isinstance(data, cls):
            return data
        refuse_masked(data, name)
        return cls._of_frame(data, name) if is_frame(data) else cls._of_array(_as_array(data, name), name)

    @classmethod
    def of_cells(cls, columns: dict[str, Cells]) -> Self:
        """A table of columns that are read already."""
        cells = list(columns.values())
        return cls.of_columns([*columns], len(cells[0]) if cells else 0, cells)

    @classmethod
    def of_columns(cls, names: list[str], rows: int, columns: Sequence[Cells]) -> Self:
        """The same, where several may have one name."""
        return cls(names, rows, True, [partial(_itself, column) for column in columns])

    @classmethod
    def _of_array(cls, array: NDArray[Any], name: str) -> Self:
        if array.dtype.names and array.ndim == 1:
            names = array.dtype.names
            return cls([*names], len(array), True, [partial(_of_field, array, field) for field in names])
        if array.ndim != 2:
            raise DataError(f"{name}: Expected 2D array, got {array.ndim}D array of shape {array.shape} instead: a table has "
                            "rows and columns. Reshape your data: array.reshape(-1, 1) if it is one column, "
                            "array.reshape(1, -1) if it is one row")  # fmt: skip
        columns = [partial(_of_field, array, (slice(None), place)) for place in range(array.shape[1])]
        return cls([f"x{place}" for place in range(array.shape[1])], len(array), False, columns)

    @classmethod
    def _of_frame(cls, data: Any, name: str) -> Self:
        import narwhals.stable.v2 as nw

        names = _loose_names(data)
        if len({name for name in names if isinstance(name, str)}) < len(names):
            data = _numbered(data, len(names))
        frame = nw.from_native(data, allow_series=True, pass_through=True)
        if frame is data:
            frame = nw.from_native(shared(data), allow_series=True, pass_through=True)
        if isinstance(frame, nw.LazyFrame):
            raise DataError(f"{name}: expected data, got a lazy {type(data).__name__}; read it first: collect() of Polars, "
                            "compute() of Dask, df() of DuckDB")  # fmt: skip
        if isinstance(frame, nw.Series):
            raise DataError(f"{name}: Expected 2D array, got 1D column {frame.name!r} instead: a table has rows and columns. "
                            "Reshape your data: frame[['a']] is a table of one column")  # fmt: skip
        if not isinstance(frame, nw.DataFrame):
            return cls._of_array(_as_array(data, name), name)
        names = names or [*frame.columns]
        columns = [partial(_of_series, frame, place) for place in range(len(names))]
        return cls([*map(str, names)], len(frame), all(isinstance(item, str) for item in names), columns)

    def column(self, place: int) -> Cells:
        """The cells of a column.

        Raises
        ------
        DataError
            They are of a type that a table cannot have; the message names the column.
        """
        try:
            return self._columns[place]()
        except DataError as error:
            raise DataError(f"column {self.names[place]!r}: {error}; leave it out, or make columns of numbers, text or dates "
                            "of it") from error  # fmt: skip

    def chosen(self, places: Sequence[int]) -> Table:
        """The same with some columns, in another order."""
        return Table([self.names[place] for place in places], self.rows, self.named, [self._columns[place] for place in places])


    def take(self, rows: NDArray[np.int64]) -> Table:
        """The same with these rows alone; where rows are (n, columns), each column with rows of its own."""
        of = np.broadcast_to(rows[:, None], (len(rows), len(self.names))) if rows.ndim == 1 else rows
        columns = [partial(_some_rows, self, place, of[:, place]) for place in range(len(self.names))]
        return Table(self.names, len(rows), self.named, columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """A table of numbers as a matrix, (rows, columns); what NumPy asks for."""
        columns = [self.column(place).numbers().values for place in range(len(self.names))]
        return np.column_stack(columns).astype(dtype or np.float64, copy=False)


def _some_rows(table: Table, place: int, rows: NDArray[np.int64]) -> Cells:
    return table.column(place).taken(rows)


def _itself(column: Cells) -> Cells:
    return column


def _of_field(array: NDArray[Any], field: Any) -> Cells:
    return of_array(array[field])


def _as_array(data: Any, name: str) -> NDArray[Any]:
    """An array of numbers, or of whatever objects there are: NumPy would make text of numbers beside text."""
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        raise DataError(f"{name}: expected a dense table, got a sparse {type(data).__name__}; pass {name}.toarray()")
    try:
        array = np.asarray(data)
        if array.dtype.kind in "USOMm" and not hasattr(data, "dtype"):
            array = np.asarray(data, object)
    except ValueError as error:
        raise DataError(f"{name}: expected rows of the same length, got a ragged table ({error})") from error
    except (RuntimeError, TypeError) as error:  # whatever library the data are from
        raise DataError(f"{name}: expected a table that NumPy can read, got {type(data).__name__} ({error})") from error
    if array.dtype.kind == "c":
        raise DataError(f"{name}: Complex data not supported; give the real and the imaginary parts as columns of their own")
    return array


def _loose_names(data: Any) -> list[Any]:
    """The names of columns where several may have the same one: of pandas, where they may be anything, and of PyArrow."""
    if hasattr(data, "set_axis"):
        return list(getattr(data, "columns", ()))  # a series has none
    return list(data.column_names) if hasattr(data, "rename_columns") else []


def _numbered(data: Any, columns: int) -> Any:
    """A frame whose columns are called by their places: narwhals wants a different text for each."""
    places = list(map(str, range(columns)))
    return data.set_axis(places, axis=1) if hasattr(data, "set_axis") else data.rename_columns(places)


def _of_series(frame: Any, place: int) -> Cells:
    """The cells of a column of narwhals, by its type."""
    import narwhals.stable.v2 as nw

    series = frame[:, place]
    kind = series.dtype
    if kind == nw.Decimal:  # whose cast to floats rounds twice in some libraries
        return of_objects(_objects(series.to_list()))
    if kind.is_numeric() and kind not in (nw.Int128, nw.UInt128):
        return of_array(series.to_numpy())
    if kind.is_numeric() or kind == nw.Boolean:
        return of_array(series.cast(nw.Float64).to_numpy())
    if kind in (nw.String, nw.Categorical, nw.Enum):
        codes, labels = _numbered_labels(series.to_native())
        return Words.of(codes, list(map(label_of, labels)), declared=kind != nw.String)
    if kind in (nw.List, nw.Array, nw.Struct):
        raise DataError(f"expected numbers, text, categories or dates, got cells of type {kind}")
    if kind == nw.Datetime:
        return of_array(series.dt.replace_time_zone(None).to_numpy())
    if kind in (nw.Date, nw.Duration):
        array = series.to_numpy()
        if array.dtype.kind in "Mm":
            return of_array(array)
    return of_objects(_objects(series.to_list()))


def _objects(items: list[Any]) -> NDArray[Any]:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _numbered_labels(column: Any) -> tuple[NDArray[Any], list[Any]]:
    """Which label each cell is, -1 where one is missing, and the labels, in any order, by what each library is fast at."""
    if hasattr(column, "factorize"):  # pandas, and what is like it
        codes, labels = column.factorize()
        return np.asarray(codes), list(labels)
    if hasattr(column, "dictionary_encode"):  # PyArrow
        if hasattr(column.type, "value_type"):
            column = column.cast(column.type.value_type)
        whole = column.dictionary_encode().combine_chunks()
        return whole.indices.fill_null(-1).to_numpy(zero_copy_only=False), whole.dictionary.to_pylist()
    if hasattr(column, "to_physical"):  # Polars
        import polars

        labels = column.drop_nulls().unique().cast(polars.String).to_list()
        codes = column.cast(polars.String).cast(polars.Enum(labels)).to_physical().cast(polars.Int64)
        return codes.fill_null(-1).to_numpy(), labels
    cells = of_objects(_objects(column.to_list())).words()
    return cells.codes, cells.labels.tolist()
