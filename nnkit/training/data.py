"""The user's arrays: checked once, then read in place, whatever their dtype and memory order."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.arrays import readable, to_array
from nnkit.core.fields import by_name, each, fields
from nnkit.core.identity import identity
from nnkit.core.loss import Loss
from nnkit.engine.instruction import Instruction, Numbers
from nnkit.engine.operands import Array, Constant, Control, ControlWord, Order
from nnkit.engine.template import Likeness
from nnkit.errors import DataError, ShapeError
from nnkit.kernels.control import Word
from nnkit.kernels.data import LABELS, gather, gather_labels

__all__ = [
    "Source",
    "SparseSource",
    "check_finite",
    "check_row_shape",
    "check_weights",
    "count_of",
    "gather_targets",
    "gathered",
    "is_sparse",
    "sources_of",
    "taken",
    "to_array",
    "to_inputs",
    "to_rows",
]

_CHUNK = 1 << 22  # numbers looked at in one go


def to_inputs(X: Any, names: Sequence[str], who: str, name: str = "X") -> Any:
    """What a model is given as arrays or CSR matrices (see `to_rows`); for several inputs a dict of them by these names.

    Raises
    ------
    ShapeError, DataError
        They are not as many rows everywhere, or cannot be used.
    """
    rows = by_name(X, names, who, name)
    if type(rows) is not dict:
        return to_rows(rows, name)
    rows = {field: to_rows(array, f"{name}[{field!r}]") for field, array in rows.items()}
    counts = {field: array.shape[0] for field, array in rows.items()}
    if len(set(counts.values())) > 1:
        raise ShapeError(f"{who}: expected as many rows in every array of {name}, got "
                         f"{', '.join(f'{count} of {field}' for field, count in counts.items())}")  # fmt: skip
    return rows


def count_of(rows: Any) -> int:
    """How many rows there are."""
    return int(next(iter(fields(rows).values())).shape[0])


def taken(rows: Any, chosen: Any) -> Any:
    """Some of the rows, dense."""
    return each(lambda array: array[chosen].toarray() if is_sparse(array) else array[chosen], rows)


def check_row_shape(rows: Any, in_shape: Any, who: str, name: str = "X") -> None:
    """Refuse rows that a model of ``in_shape`` does not take."""
    if isinstance(in_shape, dict):
        for field, shape in in_shape.items():
            check_row_shape(rows[field], shape, who, f"{name}[{field!r}]")
        return
    array = rows
    if array.shape[1:] != in_shape:
        one = array.shape == in_shape
        hint = f"; one row alone is {name}.reshape(1, {', '.join(map(str, array.shape))})" if one else ""
        raise ShapeError(f"{who}: expected {name} of shape (N, {', '.join(map(str, in_shape))}), got {array.shape}{hint}")


def check_finite(array: Any, name: str, columns: Any = None) -> None:
    """Refuse NaN and infinity, naming where they are. Reads the array in pieces and copies nothing."""
    if isinstance(array, dict):
        for field, item in array.items():
            check_finite(item, f"{name}[{field!r}]", columns and columns[field])
        return
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
        raise DataError(f"{name}: expected finite numbers, got {piece[(row, *place)]!s} in {where}; impute it or drop the row")


def check_weights(
    sample_weight: Any, rows: int, name: str = "sample_weight", places: tuple[int, ...] = ()
) -> NDArray[np.float64] | None:
    """Sample weights as float64, one for each row or for each of its ``places``; None stays None."""
    if sample_weight is None:
        return None
    weights = np.array(to_array(sample_weight, name), np.float64, order="C")  # ours: they stay as they are checked
    if weights.shape not in ((rows,), (rows, *places)):
        each = f", or {(rows, *places)}, one for each place of a row" if places else ""
        raise ShapeError(f"{name}: expected shape {(rows,)}, one weight for each row of X{each}, got {weights.shape}")
    check_finite(weights, name)
    if (weights < 0).any():
        row = int(np.argwhere(weights == weights.min())[0][0])
        raise DataError(f"{name}: expected weights of at least 0, got {weights.min():g} in row {row}")
    if not weights.any():
        raise DataError(f"{name}: expected at least one positive weight, got zeros only")
    return weights


def to_rows(data: Any, name: str) -> Any:
    """``data`` as an array or, where it is a sparse matrix, in CSR format.

    Raises
    ------
    DataError
        The data cannot be used, or the index arrays of a sparse matrix lead out of it. (They can be set to anything, and SciPy
        believes them.)
    """
    if not (hasattr(data, "tocsr") and hasattr(type(data), "nnz")):  # which may raise, where arrays do not fit
        return to_array(data, name)
    if len(data.shape) != 2 or 0 in data.shape:
        raise DataError(f"{name}: expected at least one row and one column, got shape {data.shape}")
    if data.format != "csr":
        data = _as_csr(data, name)
    stored = np.asarray(data.data)
    if stored.dtype.kind not in "biuf" or stored.ndim != 1:
        raise DataError(f"{name}: expected numbers, got {stored.dtype} of shape {stored.shape}; encode it as numbers")
    matrix = type(data)(data.shape)
    # What is used as an index is a copy, checked after it was made: nobody else can change it.
    matrix.indptr, matrix.indices, matrix.data = _whole(data.indptr, name), _whole(data.indices, name), readable(stored)
    _check_csr(matrix, name)
    return matrix


def _as_csr(data: Any, name: str) -> Any:
    """A sparse matrix of another format in CSR. SciPy's compiled code believes indices: they are copied, then looked at."""
    try:
        data = data.copy()  # whose constructor looks at what it is given, in most formats
        if hasattr(data, "check_format"):
            data.check_format(full_check=True)
        if data.format == "lil" and any(map(operator.ne, map(len, data.rows), map(len, data.data))):
            raise ValueError("rows and data of different lengths")
        return data.tocsr()
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"{name}: expected a sound sparse matrix, got one whose indices lead out of it ({error}); "
                        "make it anew with SciPy") from error  # fmt: skip


def _whole(index: Any, name: str) -> NDArray[np.int64]:
    """A copy of an index array."""
    if np.ndim(index) != 1 or np.asarray(index).dtype.kind not in "iu":
        raise DataError(f"{name}: expected index arrays of whole numbers, got {np.asarray(index).dtype} of shape "
                        f"{np.shape(index)}; make the matrix anew with SciPy")  # fmt: skip
    return np.array(index, np.int64)


def _check_csr(matrix: Any, name: str) -> None:
    """Refuse index arrays of a CSR matrix that lead out of it."""
    indptr, indices, data, (rows, columns) = matrix.indptr, matrix.indices, matrix.data, matrix.shape
    if indptr.shape != (rows + 1,) or indptr[0] != 0:
        raise DataError(f"{name}: expected indptr to have {rows + 1} numbers and to begin with 0, got {len(indptr)}, "
                        f"and {indptr[:1].tolist()}; make the matrix anew with SciPy")  # fmt: skip
    steps = np.diff(indptr)
    stored = min(len(indices), len(data))
    if (steps < 0).any() or indptr[-1] > stored:
        row = int((steps < 0).argmax()) if (steps < 0).any() else int((indptr[1:] > stored).argmax())
        raise DataError(f"{name}: expected indptr to grow up to at most {stored}, the numbers that are stored, got "
                        f"{indptr[row]} to {indptr[row + 1]} for row {row}; make the matrix anew with SciPy")  # fmt: skip
    used = indices[: indptr[-1]]
    if used.size and not (used.min() >= 0 and used.max() < columns):
        place = int(((used < 0) | (used >= columns)).argmax())
        row = int(np.searchsorted(indptr, place, side="right")) - 1
        raise DataError(f"{name}: expected column indices from 0 to {columns - 1}, got {used[place]} in row {row}; "
                        "make the matrix anew with SciPy")  # fmt: skip


def is_sparse(rows: Any) -> bool:
    """Whether `to_rows` has left it sparse."""
    return not isinstance(rows, np.ndarray)


class SparseSource:
    """A CSR matrix from `to_rows`. What is gathered are the numbers of its rows; the first layer looks up what is in them."""

    def __init__(self, matrix: Any, real: str) -> None:
        arrays = {"indptr": matrix.indptr, "indices": matrix.indices, "data": np.ascontiguousarray(matrix.data, real)}
        self.arrays = {name: Array.view(array, written=False) for name, array in arrays.items()}
        self._numbers = Source(np.arange(matrix.shape[0]))
        self.likeness = Likeness("sparse", [*arrays.values(), *self._numbers.likeness.arrays])

    def input(self, in_shape: tuple[int, ...], dtype: str) -> Array:
        """Memory for the numbers of a batch's rows."""
        return Array.rows((), "int64")

    def gather(self, out: Array) -> Instruction:
        """Copy the row numbers of the batch."""
        return self._numbers.gather(out)


def sources_of(rows: Any, real: str) -> Any:
    """What a batch of rows is gathered from; for rows with fields a dict of these."""
    return each(lambda array: SparseSource(array, real) if is_sparse(array) else Source(array), rows)


def gathered(sources: Any, in_shape: Any, input_dtype: Any) -> tuple[Any, list[Instruction]]:
    """Memory for the rows of a batch, of these shapes and dtypes, and what copies them there."""
    x = each(lambda source, shape, dtype: source.input(shape, dtype), sources, in_shape, input_dtype)
    return x, list(fields(each(lambda source, out: source.gather(out), sources, x)).values())


class Source:
    """An array whose rows kernels gather: a flat view of its memory and two strides.

    Two-dimensional arrays are read in place in C or Fortran order, and so are sliced rows and columns; arrays of more
    dimensions where their rows are contiguous. Others are copied: reversed ones, float16, foreign byte order.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.given = array
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
        self._flat = Array.view(flat, written=False)
        self._strides = (Constant(self.row_stride, "int64"), Constant(self.column_stride, "int64"))
        self.likeness = Likeness((self.row_stride, self.column_stride, self.row_shape), [flat])

    arrays: ClassVar[dict[str, Array]] = {}  # nothing that the first layer would have to know

    def input(self, in_shape: tuple[int, ...], dtype: str) -> Array:
        """Memory for a batch of rows."""
        return Array.rows(in_shape, dtype)

    def gather(self, out: Array) -> Instruction:
        """Copy the rows of the batch, converted to the dtype of ``out``."""
        target = out.reshaped((prod(out.shape),))
        rows = Order(), ControlWord(Word.OFFSET), ControlWord(Word.FIRST_ROW)
        return Instruction(gather, (self._flat, *self._strides, *rows, target), "data", "data")

    def gather_labels(self, out: Array, classes: int, part: str, ignored: int | None = None) -> Instruction:
        """Copy the batch's class labels, which ``part`` takes; beside those of a class there may be an ``ignored`` one."""
        per_row = Constant(prod(self.row_shape), "int64")
        rows = Order(), ControlWord(Word.OFFSET), ControlWord(Word.FIRST_ROW)
        limits = Constant(classes, "int64"), Constant(0 if ignored is None else ignored, "int64")
        operands = (self._flat, *self._strides, *rows, per_row, *limits, Control(), out)
        numbers = Numbers("the labels", classes, self.row_shape, LABELS)
        return Instruction(gather_labels, operands, part, "data", numbers=numbers)


def gather_targets(
    loss: Loss, source: Source, out_shape: tuple[int, ...], real: str
) -> tuple[Instruction, dict[str, Any]]:  # fmt: skip
    """How a batch's targets are gathered, labels as labels; and what of `LossArrays` they are then."""
    y = source.given
    if loss.are_labels(y, out_shape):
        label = Array.rows(loss.places(out_shape), "int64").flat()
        ignored = None if loss.there(y, out_shape) is None else loss.ignore_index
        gather = source.gather_labels(label, out_shape[loss.axis(out_shape)], type(loss).__name__, ignored)
        return gather, {"label": label, "ignored": ignored}
    target = Array.rows(y.shape[1:], real)
    return source.gather(target), {"target": target}


def targets_likeness(loss: Loss, source: Source, out_shape: tuple[int, ...]) -> Likeness:
    """What follows for programs from a loss and its targets, see `gather_targets`."""
    how = loss.are_labels(source.given, out_shape), loss.there(source.given, out_shape) is None
    return Likeness.of((identity(loss), out_shape, *how), source.likeness)
