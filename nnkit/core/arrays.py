"""What users give as numbers: lists, arrays, tensors, tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.frames import Frame, of_objects
from nnkit.errors import DataError

__all__ = ["in_native_order", "numeric", "readable", "to_array"]

_WAYS = {  # to make numbers of what is none, by the kind of its dtype
    "O": "are the rows of different lengths, or is something missing? encode it as numbers first",
    "c": "give the real and the imaginary parts as columns of their own",
    "M": "give the time since some date: (t - t.min()) / np.timedelta64(1, 'D')",
    "m": "give it in some unit: t / np.timedelta64(1, 'D')",
    "V": "convert it: astype(np.float32)",
}
_OTHER_WAY = "encode it as numbers first"
_LABELS = "; nnkit.NNClassifier takes labels as they are, and numpy.unique(y, return_inverse=True) numbers them"


def numeric(data: Any, name: str) -> NDArray[Any]:
    """``data`` as an array of numbers or truth values, without copying one of native byte order; others are refused."""
    refuse_masked(data, name)
    frame = Frame.of(data)
    try:
        array = np.asarray(data) if frame is None else frame.numbers(name)
    except (MemoryError, DataError):
        raise
    except Exception as error:  # whatever the library says that the data is from
        if isinstance(error, ValueError) and not hasattr(data, "detach"):
            raise DataError(f"{name}: expected a rectangular array, got rows of different lengths ({error})") from error
        raise DataError(f"{name}: expected numbers that NumPy can read, got {type(data).__name__} ({error}); of a tensor, pass "
                        f"{name}.detach().cpu().float().numpy()") from error  # fmt: skip
    if array.ndim == 0 and hasattr(data, "toarray"):
        raise DataError(f"{name}: expected a dense array, got a sparse {type(data).__name__}; pass {name}.toarray()")
    if array.dtype == object:
        numbers = of_objects(array)
        array = array if numbers is None else numbers
    if array.dtype.kind not in "biuf":
        labels = _LABELS if array.dtype.kind in "OSTU" and name.split()[-1] in ("y", "target") else ""
        raise DataError(
            f"{name}: expected numbers, got dtype {array.dtype}; {_WAYS.get(array.dtype.kind, _OTHER_WAY)}{labels}"
        )
    return in_native_order(array)  # type: ignore[no-any-return]


def refuse_masked(data: Any, name: str) -> None:
    """Refuse an array, or a list of them, in which something is masked: NumPy would give what stands behind the mask."""
    if isinstance(data, list | tuple) and any(isinstance(item, np.ma.MaskedArray) for item in data):
        data = np.ma.stack([np.ma.asarray(item) for item in data]) if len({np.shape(item) for item in data}) == 1 else data
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise DataError(f"{name}: expected numbers everywhere, got a masked array with {int(data.mask.sum())} of {data.size} "
                        "masked; fill them (numpy.ma.filled), or drop the rows")  # fmt: skip


def in_native_order(data: Any) -> Any:
    """An array or sparse matrix in the byte order of the machine, which says nothing of its numbers; other data as they are."""
    kind = getattr(data, "dtype", None)
    return data if not isinstance(kind, np.dtype) or kind.isnative else data.astype(kind.newbyteorder("="))


def to_array(data: Any, name: str) -> NDArray[Any]:
    """``data`` as an array of numbers that kernels read in place, without copying one; what is empty is refused, too."""
    array = numeric(data, name)
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{name}: expected at least one row and one column, got shape {array.shape}")
    return readable(array)


def readable(array: NDArray[Any]) -> NDArray[Any]:
    """Numbers as kernels can read them: a copy where they are of float16, longdouble or foreign byte order, or not aligned."""
    array = in_native_order(array)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.type is np.longdouble:  # whose size is that of float64 on some systems
        with np.errstate(over="ignore"):  # infinity is told with the others
            return array.astype(np.float64)
    return array if array.flags.aligned else array.copy()
