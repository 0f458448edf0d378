"""Frames and series of other libraries, such as pandas, Polars and PyArrow: looked at by the types of their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import DataError

__all__ = ["Frame", "column_names", "is_frame", "of_objects", "shared"]

# What only frames, series and arrays of such libraries have.
_SIGNS = ("to_numpy", "dtypes", "collect_schema", "__arrow_c_stream__", "__arrow_c_array__", "__dataframe__",
          "__narwhals_dataframe__", "__narwhals_series__", "__narwhals_lazyframe__")  # fmt: skip
NUMBER, UNKNOWN = "number", "Unknown"
_FOREIGN = ("Decimal", "Int128", "UInt128")  # numbers that NumPy has not
_ALIKE = {"Boolean": NUMBER, **dict.fromkeys(_FOREIGN, UNKNOWN)}
_NUMBERS = (bool, int, float, Decimal, np.bool_, np.integer, np.floating)
_REMEDIES = {  # what to do about columns that are no numbers, by the narwhals types that they are of
    "String Categorical Enum Object Binary": "encode text and categories (scikit-learn: OneHotEncoder in a ColumnTransformer)",
    "Date Datetime Time Duration": "give times as numbers, such as days since some date",
    "List Array Struct": "give each number a column of its own",
}  # fmt: skip


def of_objects(cells: NDArray[Any]) -> NDArray[Any] | None:
    """The numbers that an array of objects holds, NaN where one is missing; None where it holds something else."""
    kinds = set(map(type, cells.flat))
    missing = {kind for kind in kinds if kind is type(None) or kind.__name__ == "NAType"}
    if not kinds > missing or not all(issubclass(kind, _NUMBERS) for kind in kinds - missing):
        return None
    if not any(issubclass(kind, float | np.floating | Decimal) for kind in kinds) and not missing:
        whole = np.array(cells.tolist())  # of Python's integers, which may be beyond all dtypes
        return whole if whole.dtype.kind in "biu" else None
    try:
        numbers = [np.nan if type(cell) in missing else float(cell) for cell in cells.flat]
    except OverflowError:  # an integer beyond all dtypes
        return None
    return np.array(numbers, np.float64).reshape(cells.shape)


def is_frame(data: Any) -> bool:
    """Whether ``data`` may be a frame or a column of another library; it has what only those have."""
    return type(data) is not np.ndarray and any(hasattr(type(data), sign) for sign in _SIGNS)


def column_names(data: Any) -> Sequence[Any] | None:
    """The names of a frame's columns; None for everything else."""
    frame = Frame.of(data)
    return None if frame is None else frame.names


class Frame:
    """A table of another library, or one column of such.

    Its columns are looked at through narwhals.

    Attributes
    ----------
    native : the table, as its own library has it
    names : of the columns; None for one column alone
    """

    def __init__(
        self, native: Any, names: Sequence[Any] | None, kinds: Sequence[str], columns: Callable[[], list[Any]]
    ) -> None:
        self.native, self.names = native, names
        self._kinds = kinds  # of columns, by narwhals: NUMBER for all numbers, UNKNOWN for what it does not know
        self._columns = cache(columns)  # which takes its time

    @classmethod
    def of(cls, data: Any) -> Self | None:
        """``data`` as a frame; None where it is none.

        Raises
        ------
        DataError
            It has not been read yet: a lazy frame.
        """
        if not is_frame(data):
            return None
        if hasattr(type(data), "iloc") and hasattr(data, "columns"):  # pandas, and what is like it
            if all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in data.dtypes):  # nobody has to be asked
                return cls(data, [*data.columns], [NUMBER] * data.shape[1], lambda: [column for _, column in data.items()])
            if hasattr(data, "sparse"):
                return None  # all columns are, which scikit-learn reads
        import narwhals.stable.v2 as nw
        from narwhals.exceptions import DuplicateError

        try:
            table = nw.from_native(data, allow_series=True, pass_through=True)
            if table is data:
                table = nw.from_native(shared(data), allow_series=True, pass_through=True)
            if isinstance(table, nw.LazyFrame):
                raise DataError(f"expected data, got a lazy {type(data).__name__}; read it first: collect() of Polars, "
                                "compute() of Dask, df() of DuckDB")  # fmt: skip
            if not isinstance(table, nw.DataFrame | nw.Series):
                return None
            alone = isinstance(table, nw.Series)
            types = [table.dtype] if alone else list(table.schema.values())
        except DuplicateError:  # of names: what is in such a frame, an array tells
            return None
        kinds = [_ALIKE.get(word := type(kind).__name__, NUMBER if kind.is_numeric() else word) for kind in types]

        def columns() -> list[Any]:
            found = [table] if alone else table.iter_columns()
            return [(item.cast(nw.Float64) if type(item.dtype).__name__ in _FOREIGN else item).to_native() for item in found]

        return cls(table.to_native(), None if alone else [*table.columns], kinds, columns)

    def numbers(self, name: str) -> NDArray[Any]:
        """The cells as numbers and truth values, NaN where one is missing; not copied where they are together.

        Raises
        ------
        DataError
            A column is not of numbers: its name, its type, and what to do. ``name`` is what the user calls the whole.
        """
        if set(self._kinds) == {NUMBER}:
            whole = np.asarray(self.native)
            if whole.dtype.kind in "biuf":
                return whole
        arrays = [_numbers(column) if kind in (NUMBER, UNKNOWN, "Object") else None
                  for column, kind in zip(self._columns(), self._kinds, strict=True)]  # fmt: skip
        found = [array for array in arrays if array is not None]
        if len(found) < len(arrays):
            raise self._refusal(name, [place for place, array in enumerate(arrays) if array is None])
        return found[0] if self.names is None else np.column_stack(found) if found else np.empty((len(self.native), 0))

    def labels(self, name: str) -> NDArray[Any]:
        """The cells of targets: numbers, or labels of any type.

        Raises
        ------
        DataError
            A label is missing.
        """
        arrays = self.label_columns(name)
        return arrays[0] if self.names is None else np.column_stack(arrays)

    def label_columns(self, name: str) -> list[NDArray[Any]]:
        """The same, each column by itself."""
        arrays = []
        for column, kind in zip(self._columns(), self._kinds, strict=True):
            cells = np.asarray(column) if kind not in ("Categorical", "Enum") else _objects(column)
            numbers = of_objects(cells) if cells.dtype == object else None
            if cells.dtype == object and numbers is None:
                hole = next((row for row, cell in enumerate(cells) if _is_missing(cell)), None)
                if hole is not None:
                    raise DataError(f"{name}: expected a label in every row, got none in row {hole}; drop the row")
            arrays.append(cells if numbers is None else numbers)
        return arrays

    def _refusal(self, name: str, places: Sequence[int]) -> DataError:
        """The error about columns that are no numbers."""
        types = [_type_of(self._columns()[place]) for place in places]
        kinds = {self._kinds[place] for place in places} | {"Object" for word in types if word in ("object", "str", "string")}
        ways = [way for words, way in _REMEDIES.items() if kinds & {*words.split()}]
        if self.names is None:
            if kinds & {"String", "Categorical", "Enum", "Object"}:
                ways = ["make labels whole numbers, numpy.unique(y, return_inverse=True)[1], or take NNClassifier, which does"]
            return DataError(f"{name}: expected numbers, got a column of type {types[0]}; {'; '.join(ways) or 'encode it'}")
        told = [f"{str(self.names[place])!r} ({word})" for place, word in zip(places, types, strict=True)]
        shown = ", ".join(told[:12]) + (f" and {len(told) - 12} more" if len(told) > 12 else "")
        return DataError(f"{name}: expected columns of numbers, got {shown}; {'; '.join([*ways, 'or drop them'])}")


def shared(data: Any) -> Any:
    """What narwhals does not know, as data of pyarrow, by the protocols that libraries share; other data as they are.

    Raises
    ------
    DataError
        It is nothing but a table, and pyarrow cannot read it.
    """
    arrow = hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")
    if not arrow and not hasattr(data, "__dataframe__"):
        return data
    try:
        import pyarrow
        from pyarrow.interchange import from_dataframe

        if isinstance(data, pyarrow.Array):
            return pyarrow.chunked_array([data])
        return pyarrow.table(data) if arrow else from_dataframe(data)
    except (ImportError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        if hasattr(data, "__array__"):
            return data
        raise DataError(f"expected data that PyArrow can read, got {type(data).__name__} ({error}); pass an array, or a frame "
                        "of pandas, Polars or PyArrow") from error  # fmt: skip


def _numbers(column: Any) -> NDArray[Any] | None:
    """A column as numbers; None where it has others."""
    cells = np.asarray(column)
    if cells.dtype == object:
        return of_objects(cells)
    return cells if cells.dtype.kind in "biuf" else None


def _objects(column: Any) -> NDArray[Any]:
    """The cells as objects of Python: as an array, a dictionary of pyarrow would leave out those that are missing."""
    cells = column.to_pylist() if hasattr(column, "to_pylist") else column.to_list()
    array = np.empty(len(cells), object)
    array[:] = cells
    return array


def _is_missing(cell: Any) -> bool:
    """Whether a cell stands for one that is not there: None, NA or NaN."""
    return cell is None or type(cell).__name__ == "NAType" or (isinstance(cell, float) and cell != cell)


def _type_of(column: Any) -> str:
    """What its own library calls the type of a column."""
    word = str(getattr(column, "dtype", getattr(column, "type", type(column).__name__)))
    return word if len(word) <= 60 else f"{word[:60]}..."
