"""Targets of any type as a net learns them: labels as whole numbers, numbers with mean 0 and standard deviation 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets

from nnkit.core.arrays import refuse_masked
from nnkit.core.exchange import Graph, Value
from nnkit.core.frames import Frame, of_objects
from nnkit.errors import DataError, OnnxError, PersistenceError, warn

__all__ = ["Classes", "Scaled", "Targets", "names_of"]


class Targets(ABC):
    """What was learned of targets; they are of one output, (rows,), or of several, (rows, outputs)."""

    single: bool  # whether y has one dimension

    @classmethod
    @abstractmethod
    def of(cls, y: Any) -> Self:
        """Learn what there is."""

    @abstractmethod
    def encode(self, y: Any) -> NDArray[Any]:
        """Targets as a net learns them, (rows, outputs)."""

    @abstractmethod
    def decode(self, encoded: NDArray[Any]) -> NDArray[Any]:
        """What the net says, (rows, outputs), as y was."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """All there is to keep."""

    def _columns(self, y: Any, outputs: int) -> list[NDArray[Any]]:
        columns, _ = _columns_of(y)
        if len(columns) != outputs:
            raise DataError(f"y: expected {outputs} columns, as in the fit, got {len(columns)}")
        return columns


def names_of(y: Any) -> list[str]:
    """What the columns of targets are called: those of a frame, or a series; nothing where one has no name."""
    frame = Frame.of(y)
    names: list[Any] = [getattr(y, "name", None)] if frame is None or frame.names is None else [*frame.names]
    return names if all(isinstance(name, str) and name for name in names) else []


def _columns_of(y: Any) -> tuple[list[NDArray[Any]], bool]:
    """The columns of targets, and whether it is one alone: an array of one dimension, a series, or a frame of one column.

    Raises
    ------
    DataError
        They are none; one is missing: the message says in which row.
    """
    if y is None:
        raise DataError("y: expected targets, requires y to be passed, but the target y is None")
    refuse_masked(y, "y")
    frame = Frame.of(y)
    if frame is not None:
        columns = frame.label_columns("y")
        single = len(columns) == 1
    else:
        array = _array_of(y)
        columns, single = ([array], True) if array.ndim == 1 else ([*array.T], False)
    columns = [_numbers_where_all_are(column) for column in columns]
    for place, column in enumerate(columns):
        where = "" if len(columns) == 1 else f", column {place}"
        for row in np.flatnonzero(_missing(column))[:1]:
            raise DataError(f"y: expected a target in every row, got none in row {row}{where}; leave the row out. Input y "
                            "contains NaN.")  # fmt: skip
    return columns, single


def _array_of(y: Any) -> NDArray[Any]:
    if hasattr(y, "toarray") and hasattr(y, "nnz"):
        raise DataError(f"y: expected a dense array, got a sparse {type(y).__name__}; pass y.toarray()")
    try:
        array = np.asarray(y)
        if array.dtype.kind in "US" and not hasattr(y, "dtype"):
            array = np.asarray(y, object)  # NumPy would make text of None
    except ValueError as error:
        raise DataError(f"y: expected a target for each row, got rows of different lengths ({error})") from error
    if array.ndim not in (1, 2) or array.size == 0:
        raise DataError(f"y: expected shape (rows,) or (rows, outputs), got {array.shape}; y should be a 1d array")
    if array.dtype.kind == "c":
        raise DataError("y: Complex data not supported; give the real and the imaginary parts as columns of their own")
    return array


def _numbers_where_all_are(column: NDArray[Any]) -> NDArray[Any]:
    numbers = of_objects(column) if column.dtype == object else None
    return column if numbers is None else numbers


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype.kind in "fmM":
        return np.not_equal(column, column)
    if column.dtype != object:
        return np.zeros(len(column), bool)
    return np.array([cell is None or cell != cell or type(cell).__name__ == "NAType" for cell in column], bool)


@dataclass(frozen=True)
class Classes(Targets):
    """Labels of any type as whole numbers from 0.

    Attributes
    ----------
    labels : for each output its labels, sorted
    single : whether y has one dimension

    Examples
    --------
    >>> from nnkit.tables.targets import Classes
    >>> classes = Classes.of(["no", "yes", "no"])
    >>> classes.encode(["yes", "no"]).tolist(), classes.decode(classes.encode(["yes"])).tolist()
    ([[1], [0]], ['yes'])
    """

    labels: list[NDArray[Any]]
    single: bool

    @classmethod
    def of(cls, y: Any) -> Self:
        """The labels that there are.

        Raises
        ------
        DataError
            One is missing; labels of different types cannot be sorted.
        ValueError
            They are no labels, but numbers with fractions.
        """
        columns, single = _columns_of(y)
        if not single and len(columns) == 1:
            warn("A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,), for "
                 "example using ravel().", DataConversionWarning)  # fmt: skip
            single = True
        labels = [_sorted(column) for column in columns]
        for column in columns:
            check_classification_targets(column)
        return cls(labels, single)

    def encode(self, y: Any) -> NDArray[np.int64]:
        """Which label each is, (rows, outputs).

        Raises
        ------
        DataError
            A label is none of the fit.
        """
        columns = self._columns(y, len(self.labels))
        codes = [_codes(column, labels) for column, labels in zip(columns, self.labels, strict=True)]
        return np.column_stack(codes)

    def decode(self, encoded: NDArray[Any]) -> NDArray[Any]:
        """The labels of these numbers, (rows, outputs)."""
        columns = [labels[codes] for labels, codes in zip(self.labels, encoded.T, strict=True)]
        if self.single:
            return columns[0]
        kinds = {column.dtype for column in columns}
        return np.column_stack(columns if len(kinds) == 1 else [column.astype(object) for column in columns])

    def onnx(self, graph: Graph, codes: Value) -> tuple[Value, Any]:
        """The labels of these numbers, (N,), of one output, in ONNX, and their dtype: that of objects is text.

        Raises
        ------
        OnnxError
            They are neither text nor numbers.
        """
        (labels,) = self.labels
        text = labels.dtype.kind in "UO" and all(isinstance(label, str) for label in labels.tolist())
        if not text and labels.dtype.kind not in "biuf":
            raise OnnxError(f"onnx.export: expected labels that are text or numbers, got {labels[0]!r}; fit with text for them")
        kept = labels.astype(object if text else "float64" if labels.dtype.kind == "f" else labels.dtype)
        return graph.node("Gather", kept, codes, axis=0), kept.dtype

    def record(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "single": self.single}

    @classmethod
    def of_record(cls, record: Any) -> Self:
        """The one that `record` has told of.

        Raises
        ------
        PersistenceError
            It tells of none.
        """
        labels = _checked(record, {"labels", "single"})["labels"]
        arrays = isinstance(labels, list) and all(isinstance(item, np.ndarray) and item.ndim == 1 for item in labels)
        if not arrays or not labels or not all(map(len, labels)) or record["single"] > (len(labels) == 1):
            raise PersistenceError("expected the labels of each output")
        return cls(labels, record["single"])


def _sorted(column: NDArray[Any]) -> NDArray[Any]:
    """The labels that occur."""
    if column.dtype != object:
        return np.unique(column)
    try:
        labels = sorted(set(column))
    except TypeError:
        kinds = sorted({type(label).__name__ for label in column})
        raise DataError(f"y: expected labels of one type, got {' and '.join(kinds)}; make them text: [str(label) for label in "
                        "y]") from None  # fmt: skip
    array = np.empty(len(labels), object)
    array[:] = labels
    return array


def _codes(column: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    places = dict(zip(labels.tolist(), range(len(labels)), strict=True))
    codes = np.fromiter((places.get(label, -1) for label in column.tolist()), np.int64, len(column))
    for row in np.flatnonzero(codes < 0)[:1]:
        shown = ", ".join(map(str, labels[:10])) + (" ..." if len(labels) > 10 else "")
        raise DataError(f"y: expected one of the labels of the fit ({shown}), got {column[row]!r} in row {row}")
    return codes


@dataclass(frozen=True)
class Scaled(Targets):
    """Numbers with mean 0 and standard deviation 1 (of all rows, not of one less); a constant is 0.

    Attributes
    ----------
    mean, std, low, high : (outputs,) of the fit
    single : whether y has one dimension

    Examples
    --------
    >>> from nnkit.tables.targets import Scaled
    >>> scaled = Scaled.of([1.0, 3.0])
    >>> scaled.encode([1.0, 5.0]).tolist(), scaled.decode(scaled.encode([5.0])).tolist(), scaled.clamped([5.0]).tolist()
    ([[-1.0], [3.0]], [5.0], [3.0])
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    single: bool

    @classmethod
    def of(cls, y: Any) -> Self:
        """Mean, standard deviation, least and largest of each output.

        Raises
        ------
        DataError
            One is no number, is missing, or infinite.
        """
        columns, single = _columns_of(y)
        numbers = _as_numbers(columns)
        with np.errstate(over="ignore"):
            std = numbers.std(axis=0)
        if not np.isfinite(std).all():
            raise DataError(f"y: expected numbers whose squares are finite, got {np.abs(numbers).max():g}")
        return cls(numbers.mean(axis=0), np.where(std > 0, std, 1.0), numbers.min(axis=0), numbers.max(axis=0), single)

    def encode(self, y: Any) -> NDArray[np.float64]:
        """(y - mean) / std, (rows, outputs).

        Raises
        ------
        DataError
            As `of` does.
        """
        numbers: NDArray[np.float64] = (_as_numbers(self._columns(y, len(self.mean))) - self.mean) / self.std
        return numbers

    def decode(self, encoded: NDArray[Any]) -> NDArray[np.float64]:
        """Std times that, and the mean."""
        numbers: NDArray[np.float64] = self.in_units(encoded)
        return numbers[:, 0] if self.single else numbers

    def in_units(self, encoded: Any) -> Any:
        """The same, always (rows, outputs); also of a value of ONNX."""
        return encoded * self.std + self.mean

    def clamped(self, y: Any) -> Any:
        """Predictions within what occurred in the fit; also of a value of ONNX."""
        return np.minimum(np.maximum(y, self.low), self.high)

    def record(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "low": self.low, "high": self.high, "single": self.single}

    @classmethod
    def of_record(cls, record: Any) -> Self:
        """The one that `record` has told of.

        Raises
        ------
        PersistenceError
            It tells of none.
        """
        names = ("mean", "std", "low", "high")
        mean, std, low, high = arrays = [_checked(record, {*names, "single"})[name] for name in names]
        sizes = {(array.dtype, array.shape) if isinstance(array, np.ndarray) else None for array in arrays}
        size = sizes.pop()
        if sizes or size is None or size[0] != np.float64 or len(size[1]) != 1 or record["single"] > (size[1] == (1,)):
            raise PersistenceError(f"expected {', '.join(names)} of each output")
        return cls(mean, std, low, high, record["single"])


def _as_numbers(columns: list[NDArray[Any]]) -> NDArray[np.float64]:
    """Columns as one matrix of numbers, where all are finite."""
    for column in columns:
        if column.dtype.kind not in "biuf":
            raise DataError(f"y: expected numbers, got {column[0]!r} in row 0; TableClassifier takes labels")
        for row in np.flatnonzero(~np.isfinite(column))[:1]:
            raise DataError(f"y: expected finite numbers, got {column[row]} in row {row}. Input y contains infinity or a value "
                            "too large for dtype('float64').")  # fmt: skip
    return np.column_stack([column.astype(np.float64) for column in columns])


def _checked(record: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(record, dict) or record.keys() != names or not isinstance(record["single"], bool):
        raise PersistenceError(f"expected {', '.join(sorted(names))} of targets")
    return record
