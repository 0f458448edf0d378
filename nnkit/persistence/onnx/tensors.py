"""The numbers of a file's tensors, in the file itself or beside it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import OnnxError
from nnkit.persistence.disk import open_regular, read_up_to

__all__ = ["Files", "array_of", "each", "once", "shortest", "usual"]

Array = NDArray[Any]


def array_of(tensor: Any, files: Files) -> Array:
    """The numbers of a tensor, if there are as many as it says."""
    import onnx

    types = onnx.TensorProto
    who = f"onnx.load: constant {tensor.name!r}"
    shape = list(tensor.dims)
    if tensor.HasField("segment") or any(size < 0 for size in shape) or prod(shape) > 1 << 40:
        raise OnnxError(f"{who}: expected a whole tensor of a sound shape, got {shape}")
    if tensor.data_type not in (types.FLOAT, types.DOUBLE, types.INT64, types.INT32, types.BOOL, types.FLOAT16):
        raise OnnxError(f"{who}: expected float, double, float16, int64, int32 or bool, got type {tensor.data_type}")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if tensor.data_location == types.EXTERNAL:
        raw: bytes = files.read(tensor, prod(shape) * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        raw = tensor.raw_data
    else:
        given = len(tensor.float_data) + len(tensor.double_data) + len(tensor.int64_data) + len(tensor.int32_data)
        if given != prod(shape):
            raise OnnxError(f"{who}: expected {prod(shape)} numbers for shape {shape}, got {given}")
        array: Array = onnx.numpy_helper.to_array(tensor)
        return usual(array)
    if len(raw) != prod(shape) * dtype.itemsize:
        raise OnnxError(f"{who}: expected {prod(shape) * dtype.itemsize} bytes for shape {shape}, got {len(raw)}")
    return usual(np.frombuffer(raw, dtype.newbyteorder("<")).reshape(shape))


def usual(array: Array) -> Array:
    """The same numbers in one of the types that nnkit computes in."""
    kinds = {"e": "float32", "i": "int64"}
    kind = array.dtype.char if array.dtype.kind == "f" else array.dtype.kind
    return each(lambda own: own.astype(kinds.get(kind, array.dtype.name), copy=False), array)


def each(work: Callable[[Array], Array], data: Array) -> Array:
    """``work`` of every number; numbers that are repeated stay one in memory."""
    return np.broadcast_to(work(once(data)), data.shape)


def once(data: Array) -> Array:
    """The numbers, without the axes along which they are views of the same."""
    return data[tuple(slice(0, 1) if step == 0 else slice(None) for step in data.strides)]


class Files:
    """Files with the numbers of tensors, in the model's own folder. No byte is read for more than one tensor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: Counter[Path] = Counter()

    def read(self, tensor: Any, size: int) -> bytes:
        """The bytes of a tensor."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        try:
            offset, path = int(entries.get("offset", "0")), (self.folder / entries.get("location", "")).resolve()
            self._read[path] += size
            if path.is_relative_to(self.folder) and offset >= 0:
                with open_regular(path) as file:
                    if max(offset + size, self._read[path]) <= file.seek(0, os.SEEK_END):
                        file.seek(offset)
                        return read_up_to(file, size)
        except (OSError, ValueError) as error:
            entries["error"] = str(error)
        raise OnnxError(f"onnx.load: constant {tensor.name!r}: expected its {size} bytes in a file of the model's own folder, "
                        f"got {entries}")  # fmt: skip


def shortest(value: float) -> float:
    """A number of single precision as one would write it: 0.1, not 0.10000000149."""
    return float(str(np.float32(value)))
