"""The user's arrays: checked once, then read in place, whatever their dtype and memory order."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.operands import Array, Constant, ControlWord, Order, Storage
from nnkit.engine.program import Instruction
from nnkit.errors import DataError, ShapeError
from nnkit.kernels.control import Word
from nnkit.kernels.data import gather, gather_classes

__all__ = [
    "Source",
    "SparseSource",
    "check_finite",
    "check_row_shape",
    "check_weights",
    "is_sparse",
    "source_of",
    "to_array",
    "to_rows",
]

_CHUNK = 1 << 22  # numbers looked at in one go


def to_array(data: Any, name: str) -> NDArray[Any]:
    """``data`` as a numeric array, without copying one; ragged, textual and empty data are refused."""
    columns = getattr(data, "columns", None)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise DataError(f"{name}: expected a rectangular array, got rows of different lengths ({error})") from error
    if hasattr(data, "toarray") and array.ndim == 0:
        raise DataError(f"{name}: expected a dense array, got a sparse {type(data).__name__}; pass {name}.toarray()")
    if array.dtype == object and columns is not None and all(kind.kind in "biuf" for kind in data.dtypes):
        array = data.to_numpy(dtype=np.float64, na_value=np.nan)  # columns of several numeric dtypes, or nullable ones
    if array.dtype == object and columns is not None:
        wrong = [str(column) for column, kind in zip(columns, data.dtypes, strict=True) if kind.kind not in "biuf"]
        raise DataError(f"{name}: expected numeric columns, got others in {', '.join(wrong)}; encode or drop them")
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: expected numbers, got dtype {array.dtype}"
            + ("; are the rows of different lengths?" if array.dtype == object else "; encode it as numbers first")
        )
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{name}: expected at least one row and one column, got shape {array.shape}")
    if array.dtype.itemsize not in (1, 2, 4, 8) or not array.dtype.isnative or array.dtype == np.float16:
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    return array


def check_row_shape(array: Any, in_shape: tuple[int, ...], who: str, name: str = "X") -> None:
    """Refuse rows that a model of ``in_shape`` does not take."""
    if array.shape[1:] != in_shape:
        one = array.shape == in_shape
        hint = f"; one row alone is {name}.reshape(1, {', '.join(map(str, array.shape))})" if one else ""
        raise ShapeError(f"{who}: expected {name} of shape (N, {', '.join(map(str, in_shape))}), got {array.shape}{hint}")


def check_finite(array: Any, name: str, columns: Any = None) -> None:
    """Refuse NaN and infinity, naming where they are. Reads the array in pieces and copies nothing."""
    if is_sparse(array):
        array = array.data  # the other numbers are 0
    if array.dtype.kind != "f" or array.size == 0:
        return
    step = max(1, _CHUNK // max(1, prod(array.shape[1:])))
    for start in range(0, len(array), step):
        piece = array[start : start + step]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(piece.sum()) or np.isfinite(piece).all():
                continue
        row, *place = (int(i) for i in np.argwhere(~np.isfinite(piece))[0])
        column = str(columns[place[0]]) if columns is not None and len(place) == 1 else ", ".join(map(str, place))
        where = f"row {start + row}" + (f", column {column}" if column else "")
        raise DataError(
            f"{name}: expected finite numbers, got {piece[(row, *place)]!s} in {where}; impute it or drop the row"
        )


def check_weights(sample_weight: Any, rows: int, name: str = "sample_weight") -> NDArray[np.float64] | None:
    """Sample weights as float64; None stays None."""
    if sample_weight is None:
        return None
    weights = np.ascontiguousarray(to_array(sample_weight, name), np.float64)
    if weights.shape != (rows,):
        raise ShapeError(f"{name}: expected shape {(rows,)}, one weight for each row of X, got {weights.shape}")
    check_finite(weights, name)
    if (weights < 0).any():
        raise DataError(f"{name}: expected weights of at least 0, got {weights.min():g} in row {int(weights.argmin())}")
    if not weights.any():
        raise DataError(f"{name}: expected at least one positive weight, got zeros only")
    return weights


def to_rows(data: Any, name: str) -> Any:
    """``data`` as an array or, where it is a sparse matrix, in CSR format."""
    if not (hasattr(data, "tocsr") and hasattr(data, "nnz")):
        return to_array(data, name)
    matrix = data.tocsr()
    if matrix.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected numbers, got dtype {matrix.dtype}; encode it as numbers first")
    if 0 in matrix.shape:
        raise DataError(f"{name}: expected at least one row and one column, got shape {matrix.shape}")
    return matrix


def is_sparse(rows: Any) -> bool:
    """Whether `to_rows` has left it sparse."""
    return not isinstance(rows, np.ndarray)


class SparseSource:
    """A CSR matrix. What is gathered are the numbers of its rows; the first layer looks up what is in them."""

    def __init__(self, matrix: Any, real: str) -> None:
        indptr, indices = (np.ascontiguousarray(item, np.int64) for item in (matrix.indptr, matrix.indices))
        data = np.ascontiguousarray(matrix.data, real)
        self.arrays = {"indptr": Array.view(indptr), "indices": Array.view(indices), "data": Array.view(data)}
        self._numbers = Source(np.arange(matrix.shape[0]))

    def input(self, in_shape: tuple[int, ...], dtype: str) -> Array:
        """Memory for the numbers of a batch's rows."""
        return Array.rows((), "int64")

    def gather(self, out: Array) -> Instruction:
        """Copy the row numbers of the batch."""
        return self._numbers.gather(out)


def source_of(rows: Any, real: str) -> Source | SparseSource:
    """What a batch of rows is gathered from."""
    return SparseSource(rows, real) if is_sparse(rows) else Source(rows)


class Source:
    """An array whose rows kernels gather: a flat view of its memory and two strides.

    Two-dimensional arrays are read in place in C or Fortran order, and so are sliced rows and columns; arrays of more
    dimensions where their rows are contiguous. Others are copied: reversed ones, float16, foreign byte order.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.row_shape = array.shape[1:]
        self.rows = len(array)
        width = prod(self.row_shape)
        if array.ndim > 2:
            contiguous = array[0].flags.c_contiguous and array.strides[0] > 0 and not array.strides[0] % array.itemsize
            array = (array if contiguous else np.ascontiguousarray(array)).view()
            column_stride = array.itemsize
            strides: tuple[int, ...] = (array.strides[0], column_stride)
        else:
            if any(stride < 0 or stride % array.itemsize for stride in array.strides):
                array = np.ascontiguousarray(array)
            strides = array.strides if array.ndim == 2 else (array.strides[0], array.itemsize)
        self.row_stride, self.column_stride = (stride // array.itemsize for stride in strides)
        extent = (self.rows - 1) * self.row_stride + (width - 1) * self.column_stride + 1
        flat = np.lib.stride_tricks.as_strided(array, (extent,), (array.itemsize,), writeable=False)
        if flat.dtype == bool:
            flat = flat.view(np.uint8)
        self._flat = Array(Storage(shared=flat), (extent,), flat.dtype.name)
        self._strides = (Constant(self.row_stride, "int64"), Constant(self.column_stride, "int64"))

    arrays: ClassVar[dict[str, Array]] = {}  # nothing that the first layer would have to know

    def input(self, in_shape: tuple[int, ...], dtype: str) -> Array:
        """Memory for a batch of rows."""
        return Array.rows(in_shape, dtype)

    def gather(self, out: Array) -> Instruction:
        """Copy the rows of the batch, converted to the dtype of ``out``."""
        target = out.reshaped((prod(out.shape),))
        rows = Order(), ControlWord(Word.OFFSET), ControlWord(Word.FIRST_ROW)
        return Instruction(gather, (self._flat, *self._strides, *rows, target), "data", "data")

    def gather_classes(self, out: Array) -> Instruction:
        """Spell the batch's labels as one-hot rows."""
        per_row = Constant(prod(self.row_shape), "int64")
        rows = Order(), ControlWord(Word.OFFSET), ControlWord(Word.FIRST_ROW)
        return Instruction(gather_classes, (self._flat, *self._strides, *rows, per_row, out.folded()), "data", "data")
