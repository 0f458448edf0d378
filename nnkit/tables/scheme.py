"""A table's scheme: what each column is, learned once, and rows of it as a net sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from nnkit.core.calls import nearest
from nnkit.core.exchange import File, Value
from nnkit.errors import DataError, OnnxError, ParameterError, PersistenceError, warn
from nnkit.tables.cells import Cells, Numbers
from nnkit.tables.choice import KINDS, chosen
from nnkit.tables.columns import Column, Encoded, LeftOut
from nnkit.tables.reading import Table
from nnkit.tables.scaling import RobustScale

__all__ = ["EncodedTable", "TableScheme"]


class EncodedTable(NamedTuple):
    """Rows of a table as a net sees them.

    Attributes
    ----------
    numbers : (rows, n_numbers_) from -3 to 3: numbers and dates, then what is one-hot
    codes : (rows, n_codes_) int64: categories for embeddings, 0 for missing and unknown ones
    """

    numbers: NDArray[Any]
    codes: NDArray[np.int64]


class TableScheme(TransformerMixin, BaseEstimator):
    """What each column of a table is, and rows of it as numbers and codes that a net can learn from.

    Tables are frames of pandas, Polars, PyArrow and whatever else narwhals knows, arrays, or lists of rows. Columns of a frame
    are found by name, in any order. The same table gives the same bits in each library.

    - Numbers, truth values and spans of time (in seconds) are numbers. So is text that is written as numbers, where these are
      not few whole ones, nor have zeros before them (02139).
    - Other text, and categories, are categories: flags for up to ``max_one_hot`` of them, codes for more. So are whole numbers
      in a column called id, if they repeat.
    - Dates are the days since 1970, and sine and cosine of their place in the year, the week and the day, where they differ in
      it. Text is a date where all of it is: 2024-01-31, 31.01.2024, 01/31/2024, 12:30.
    - Left out is what says nothing: constant and empty columns, text that is different in most rows, and ids: columns called
      such that have another whole number in each row. `about` says which.

    Numbers and flags are centred at their median, scaled by their quartiles, and bent at the ends (`RobustScale`). A missing
    number is 0 then, and is told in a flag of its own where numbers were missing in the fit. Missing and unknown categories
    have no flag, and the code 0.

    Parameters
    ----------
    categorical, numeric, dates : names (or places, from 0) of columns that are such, whatever they look like
    ignore : those to leave out
    max_one_hot : categories that have flags, at most; a column of more has codes. None: all have flags.
    dtype : "float32" or "float64", of numbers

    Attributes
    ----------
    columns_ : list of `Column`, what each column is
    scale_ : RobustScale, of numbers and flags
    cardinalities_ : list of int, how many codes each column of codes has, with that for nothing
    n_values_ : how many of the numbers are numbers and parts of dates; those after them are flags
    n_numbers_, n_codes_ : columns of numbers, and of codes
    n_features_in_, feature_names_in_

    Raises
    ------
    ParameterError
        A hyper-parameter is not what it can be, or names no column.
    DataError
        The table is none, is empty, or cannot be read: the message names the column.

    Examples
    --------
    >>> import nnkit as nn
    >>> rows = [[1.0, "red"], [2.0, "green"], [3.0, None], [4.0, "red"]]
    >>> scheme = nn.TableScheme().fit(rows)
    >>> print(scheme.about())
    2 columns: 1 number, 1 category
    >>> numbers, codes = scheme.encode(rows)
    >>> numbers.shape, codes.shape
    ((4, 2), (4, 0))
    >>> scheme.get_feature_names_out().tolist()
    ['x0', 'x1_green']

    References
    ----------
    Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data", 2024.
    """

    columns_: list[Column]
    scale_: RobustScale

    def __init__(
        self,
        *,
        categorical: Any = (),
        numeric: Any = (),
        dates: Any = (),
        ignore: Any = (),
        max_one_hot: int | None = 8,
        dtype: str = "float32",
    ) -> None:
        self.categorical = categorical
        self.numeric = numeric
        self.dates = dates
        self.ignore = ignore
        self.max_one_hot = max_one_hot
        self.dtype = dtype

    # ------------------------------------------------------------------------------------------------------------- learning

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn what the columns are; ``y`` is not looked at."""
        self._learn(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[Any]:
        """Learn what the columns are, and give the same rows as one matrix; the table is read once."""
        encoded, rows = self._learn(X)
        return self._matrix(self._scaled([encoded], rows))

    def _learn(self, X: Any) -> tuple[Encoded, int]:
        """Be fitted; what a net sees of the columns, before it is scaled, and how many rows there are."""
        self._check_parameters()
        table = Table.of(X)
        for count, what in ((table.rows, "sample"), (len(table.names), "feature")):
            if not count:
                raise DataError(f"X: Found array with 0 {what}(s) (shape={(table.rows, len(table.names))}) while a minimum of "
                                "1 is required.")  # fmt: skip
        said = self._said(table)
        columns, encoded = [], Encoded()
        for place, name in enumerate(table.names):
            cells = table.column(place)
            with _naming(name):
                column = replace(chosen(name, cells, said.get(place), self.max_one_hot), given=cells.what)
                columns.append(column)
                encoded.add(column.encode(cells))
        self._take(columns, RobustScale.of([*encoded.values, *encoded.flags]), table.named)
        return encoded, table.rows

    def _take(self, columns: list[Column], scale: RobustScale, named: bool) -> Self:
        """Be fitted."""
        self.columns_, self.scale_, self.n_features_in_ = columns, scale, len(columns)
        self.__dict__.pop("feature_names_in_", None)
        if named:
            self.feature_names_in_ = np.array([column.name for column in columns], object)
        names = self._names([column.name for column in columns])
        self.n_values_, self.n_numbers_ = len(names.values), len(names.values) + len(names.flags)
        self.n_codes_ = len(names.codes)
        self.cardinalities_ = [column.cardinality for column in columns if column.cardinality]
        return self

    def _check_parameters(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ParameterError(f"TableScheme: dtype: expected 'float32' or 'float64', got {self.dtype!r}")
        most = self.max_one_hot
        if most is not None and (isinstance(most, bool) or not isinstance(most, Integral) or most < 0):
            raise ParameterError(f"TableScheme: max_one_hot: expected a whole number of at least 0, or None, got {most!r}")

    def _said(self, table: Table) -> dict[int, str]:
        """What the user says that columns are, by place."""
        said: dict[int, str] = {}
        for kind in KINDS:
            given = getattr(self, kind)
            for item in [given] if isinstance(given, str | Integral) else given:
                for place in _places(table, item, kind):
                    if said.setdefault(place, kind) != kind:
                        raise ParameterError(f"TableScheme: expected each column in one list, got {table.names[place]!r} in "
                                             f"{said[place]} and in {kind}")  # fmt: skip
        return said

    # ------------------------------------------------------------------------------------------------------------- encoding

    def encode(self, X: Any) -> EncodedTable:
        """Rows as numbers (rows, n_numbers_) and codes (rows, n_codes_).

        Raises
        ------
        NotFittedError
            Call `fit` before.
        DataError
            Columns are missing, or there are others; a column holds what it did not hold in the fit.
        """
        check_is_fitted(self)
        table = self._matched(Table.of(X))
        return self._scaled(self._seen(table), table.rows)

    def _seen(self, table: Table) -> Iterator[Encoded]:
        """What a net sees of one column after the other; what is left out need not be read, whatever it is."""
        for place, column in enumerate(self.columns_):
            if not isinstance(column, LeftOut):
                with _naming(column.name):
                    encoded = column.encode(table.column(place))
                yield encoded

    def _scaled(self, seen: Iterable[Encoded], rows: int) -> EncodedTable:
        """What a net sees of so many rows, scaled, in one piece."""
        numbers = np.empty((rows, self.n_numbers_), self.dtype)
        codes = np.empty((rows, self.n_codes_), np.int64)
        value, flag, code = (iter(range(first, end)) for first, end in
                             ((0, self.n_values_), (self.n_values_, self.n_numbers_), (0, self.n_codes_)))  # fmt: skip
        for encoded in seen:
            for at, arrays in ((value, encoded.values), (flag, encoded.flags)):
                for array, to in zip(arrays, at, strict=False):
                    numbers[:, to] = self.scale_.apply(array, to)
            for array, to in zip(encoded.codes, code, strict=False):
                codes[:, to] = array
        return EncodedTable(numbers, codes)

    def read(self, X: Any) -> dict[int, Cells]:
        """The cells of the columns that are not left out, by their places in the fit: what `encode` makes its arrays of.

        It raises what `encode` does.
        """
        check_is_fitted(self)
        table, cells = self._matched(Table.of(X)), {}
        for place, column in enumerate(self.columns_):
            if not isinstance(column, LeftOut):
                with _naming(column.name):
                    cells[place] = column.read(table.column(place))
        return cells

    def transform(self, X: Any) -> NDArray[Any]:
        """Rows as one matrix, (rows, n_numbers_ + n_codes_): the numbers, and the codes as numbers after them."""
        return self._matrix(self.encode(X))

    def _matrix(self, encoded: EncodedTable) -> NDArray[Any]:
        return np.hstack(encoded, dtype=self.dtype, casting="same_kind")

    def onnx(self, graph: File) -> Value:
        """The same in ONNX: (N, n_numbers_ + n_codes_) of the file's inputs.

        Where all columns hold numbers, there is one input ``x`` of them, float64 (N, n_features_in_); else one for each column
        that is read, with its name, (N, 1): text, or float64.

        Raises
        ------
        OnnxError
            No column says anything; several have one name.
        """
        encoded = Encoded()
        for column, cells in self._onnx_cells(graph):
            encoded.add(column.onnx(graph, cells))
        parts = []
        if self.n_numbers_:
            parts.append(self.scale_.onnx(graph, _beside(graph, [*encoded.values, *encoded.flags])).astype(self.dtype))
        if self.n_codes_:
            parts.append(_beside(graph, encoded.codes).astype(self.dtype))
        if not parts:
            raise OnnxError("onnx.export: expected a table with a column to learn from, got none: "
                            f"{self.about()[:200]}")  # fmt: skip
        return _beside(graph, parts)

    def _onnx_cells(self, graph: File) -> Iterator[tuple[Column, Value]]:
        """The columns that are read, and their cells as inputs."""
        count = len(self.columns_)
        if all(column.given == Numbers.what for column in self.columns_):
            cells = graph.nodes(count, "Split", graph.input("x", "float64", (count,)), axis=1, num_outputs=count)
            yield from zip(self.columns_, cells, strict=True)
            return
        for column in self.columns_:
            if not isinstance(column, LeftOut):
                yield column, graph.input(column.name, object if column.onnx_text else "float64", (1,))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """What the columns of `transform` are called: age, age_missing, colour_red, day_week_sin."""
        check_is_fitted(self)
        given = [column.name for column in self.columns_]
        if input_features is not None:
            given = list(map(str, _check_feature_names_in(self, input_features)))
        names = self._names(given)
        return np.array([*names.values, *names.flags, *names.codes], object)

    def origins(self) -> NDArray[np.int64]:
        """Of which column of the table each column of `transform` is."""
        check_is_fitted(self)
        found = Encoded()
        for place, column in enumerate(self.columns_):
            names = column.names(column.name)
            found.add(Encoded(*([place] * len(each) for each in (names.values, names.flags, names.codes))))
        return np.array([*found.values, *found.flags, *found.codes], np.int64)

    def _names(self, names: list[str]) -> Encoded:
        found = Encoded()
        for column, name in zip(self.columns_, names, strict=True):
            found.add(column.names(name))
        return found

    def _matched(self, table: Table) -> Table:
        """The table with its columns in the order of the fit; without names, they are in it already."""
        known, named = [column.name for column in self.columns_], hasattr(self, "feature_names_in_")
        if table.names == known:
            return table
        who = type(self).__name__
        if len({*known}) == len(known) and sorted(table.names) == sorted(known):
            return table.chosen([table.names.index(name) for name in known])
        if table.named and named:
            told = "".join(f"{what}:\n" + "".join(f"- {name}\n" for name in names[:5] + ["..."] * (len(names) > 5))
                           for what, names in (("Feature names unseen at fit time", _others(table.names, known)),
                                               ("Feature names seen at fit time, yet now missing", _others(known, table.names)))
                           if names)  # fmt: skip
            told = told or "Feature names that are there several times must be in the same order as they were in fit.\n"
            raise DataError(f"{who}: The feature names should match those that were passed during fit.\n{told}")
        if len(table.names) != len(known):
            raise DataError(f"X has {len(table.names)} features, but {who} is expecting {len(known)} features as input")
        if named:
            warn(f"X does not have valid feature names, but {who} was fitted with feature names", UserWarning)
        elif table.named:
            warn(f"X has feature names, but {who} was fitted without feature names", UserWarning)
        return table

    # --------------------------------------------------------------------------------------------------- what there is to tell

    def about(self) -> str:
        """What the columns are, in words: how many of each kind, and which are left out and why."""
        check_is_fitted(self)
        counts = {kind: sum(column.kind == kind for column in self.columns_) for kind in Column.kinds if kind != LeftOut.kind}
        told = [f"{count} {_plural(kind, count)}" for kind, count in counts.items() if count]
        left = [f"{column.name} ({column.reason})" for column in self.columns_ if isinstance(column, LeftOut)]
        more = f"; left out: {', '.join(left)}" if left else ""
        total = len(self.columns_)
        return f"{total} {_plural('column', total)}: {', '.join(told) or 'nothing to learn from'}{more}"

    def record(self) -> dict[str, Any]:
        """All there is to keep of a fitted scheme: JSON, and two arrays. `of_record` makes the scheme of it again."""
        check_is_fitted(self)
        return {
            "parameters": self.get_params(), "columns": [column.record() for column in self.columns_],
            "named": hasattr(self, "feature_names_in_"), "center": self.scale_.center, "factor": self.scale_.factor,
        }  # fmt: skip

    @classmethod
    def of_record(cls, record: Any) -> Self:
        """The fitted scheme that `record` has told of.

        Raises
        ------
        PersistenceError
            It tells of none: it may come from anybody.
        """
        names = {"parameters", "columns", "named", "center", "factor"}
        if not isinstance(record, dict) or record.keys() != names or not isinstance(record["columns"], list):
            raise PersistenceError(f"expected {', '.join(sorted(names))} of a table's scheme")
        parameters = record["parameters"]
        if not isinstance(parameters, dict) or parameters.keys() != cls().get_params().keys():
            raise PersistenceError("expected the parameters of a table's scheme")
        scheme, scale = cls(**parameters), (record["center"], record["factor"])
        scheme._check_parameters()
        scheme._take([Column.of_record(column) for column in record["columns"]], RobustScale(*scale), record["named"] is True)
        for array in scale:
            if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.shape != (scheme.n_numbers_,):
                raise PersistenceError(f"expected center and factor of {scheme.n_numbers_} numbers of a table's scheme")
        return scheme

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags


@contextmanager
def _naming(column: str) -> Iterator[None]:
    """Let errors say which column they are about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"column {column!r}: {error}") from error


def _beside(graph: File, values: list[Value]) -> Value:
    """Values of ONNX as one, side by side."""
    return graph.node("Concat", *values, axis=1) if len(values) > 1 else values[0]


def _places(table: Table, item: Any, kind: str) -> list[int]:
    """Where the columns are that a user calls so."""
    found = [place for place, name in enumerate(table.names) if name == str(item)]
    if not found and isinstance(item, Integral) and 0 <= int(item) < len(table.names):
        return [int(item)]
    if not found:
        near = nearest(str(item), table.names)
        raise ParameterError(f"TableScheme: {kind}: expected names or places of columns, got {item!r}"
                             + (f"; did you mean {near!r}?" if near else ""))  # fmt: skip
    return found


def _others(names: list[str], known: list[str]) -> list[str]:
    return sorted({*names} - {*known})


def _plural(word: str, count: int) -> str:
    return word if count == 1 else {"category": "categories"}.get(word, f"{word}s")
