"""From an ONNX file to nodes and values; what the file says is doubted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import OnnxError
from nnkit.persistence.disk import open_regular, read_up_to
from nnkit.persistence.onnx.graph import Graph, Node, Value

__all__ = ["BATCH", "Parsed", "defaults", "parse"]

NODES, READERS = 10_000, 500  # more nodes, and more of them that read the same value, are not read: it would take minutes
NUMBERS = 1 << 26  # of a row, anywhere in the net
OPSET = 18  # older operators are read as if they were written in this one
BATCH = -(1 << 40)  # stands for the number of rows in what is computed from shapes

Array = NDArray[Any]


class Parsed(NamedTuple):
    """A graph with one input and one output."""

    nodes: list[Node]  # in the order of computation
    x: Value
    out: Value
    in_shape: list[int | str | None]  # of a row
    integers: bool  # in the input
    real: str
    largest: int  # numbers of the largest constant
    numbers: int  # of all constants


def parse(content: bytes, folder: Path) -> Parsed:
    """Read a file's content; external data lie in its folder."""
    import onnx

    try:
        return _parse(onnx.load_model_from_string(content), folder)
    except OnnxError:
        raise
    except Exception as error:  # whatever the library, or a field of a type that it should not have, leads to
        raise OnnxError(f"onnx.load: expected an ONNX model, got something else or a part of one ({error})") from None


def _parse(model: Any, folder: Path) -> Parsed:
    import onnx

    proto = model.graph
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not proto.node or len(versions) != 1 or not 13 <= versions[0] <= 1000:
        raise OnnxError("onnx.load: expected a model with nodes, of opset 13 or later, got another or none")
    if len(proto.node) > NODES or proto.sparse_initializer:
        raise OnnxError(f"onnx.load: expected at most {NODES} nodes and no sparse weights, got {len(proto.node)} nodes")
    opset = min(versions[0], onnx.defs.onnx_opset_version())
    graph = Graph("float32")
    files = _Files(folder)
    values: dict[str, Value] = {}

    def know(name: str, value: Value) -> Value:
        if name in values:
            raise OnnxError(f"onnx.load: expected every name once, got {name!r} twice")
        values[name] = value
        return value

    for tensor in proto.initializer:
        know(tensor.name, Value(graph, array=_array(tensor, files), name=tensor.name))
    inputs = [item for item in proto.input if item.name not in values]
    if len(inputs) != 1 or len(proto.output) != 1:
        raise OnnxError(f"onnx.load: expected one input and one output, got {len(inputs)} and {len(proto.output)}")
    x = know(inputs[0].name, Value(graph, name=inputs[0].name))
    in_shape, integers = _input(inputs[0])
    shapes = _Shapes(x, in_shape)
    nodes = []
    for item in proto.node:
        node = _node(graph, item, opset, files)
        for name in item.input:
            if name and name not in values:
                raise OnnxError(f"onnx.load: node {node.name!r} ({node.op}): expected nodes in the order of computation, got "
                                f"an input {name!r} that nothing before computes")  # fmt: skip
        node.inputs = [values[name] if name else None for name in item.input] + node.inputs[len(item.input) :]
        for name in item.output:
            value = Value(graph, node, name=name)
            node.outputs.append(know(name, value) if name else value)
        known = shapes.known(node)
        if known is None:
            node.inputs = [_of_rows(value) for value in node.inputs]
            nodes.append(node)
        elif node.outputs:
            node.outputs[0].array, node.outputs[0].node = known, None
    readers = Counter(id(value) for node in nodes for value in node.distinct() if value.array is None)
    most = max(readers.values(), default=0)
    if most > READERS:
        raise OnnxError(f"onnx.load: expected at most {READERS} nodes that read the same value, got {most}")
    if not nodes or proto.output[0].name not in values:
        raise OnnxError("onnx.load: expected an output that is computed, got none")
    arrays = [value.array for value in values.values() if value.array is not None]
    real = "float64" if any(array.dtype == "float64" for array in arrays) else "float32"
    largest = max((array.size for array in arrays), default=0)
    numbers = sum(array.size for array in arrays)
    return Parsed(nodes, x, values[proto.output[0].name], in_shape, integers, real, largest, numbers)


def _input(item: Any) -> tuple[list[int | str | None], bool]:
    """The shape of a row, and whether it holds integers."""
    import onnx

    kind = item.type.tensor_type
    if not item.type.HasField("tensor_type") or not kind.HasField("shape") or not kind.shape.dim:
        raise OnnxError(f"onnx.load: expected an input {item.name!r} of known rank, (N, ...), got another")
    types = onnx.TensorProto
    if kind.elem_type not in (types.FLOAT, types.DOUBLE, types.INT64, types.INT32):
        raise OnnxError(f"onnx.load: expected an input of float, double, int64 or int32, got type {kind.elem_type}")
    shape = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or None
             for dim in kind.shape.dim]  # fmt: skip
    return shape[1:], kind.elem_type in (types.INT64, types.INT32)


# ------------------------------------------------------------------------------------------------------------ arrays


def _array(tensor: Any, files: _Files) -> Array:
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
        return _usual(array)
    if len(raw) != prod(shape) * dtype.itemsize:
        raise OnnxError(f"{who}: expected {prod(shape) * dtype.itemsize} bytes for shape {shape}, got {len(raw)}")
    return _usual(np.frombuffer(raw, dtype.newbyteorder("<")).reshape(shape))


def _usual(array: Array) -> Array:
    """The same numbers in one of the types that nnkit computes in."""
    kinds = {"e": "float32", "i": "int64"}
    kind = array.dtype.char if array.dtype.kind == "f" else array.dtype.kind
    return array.astype(kinds.get(kind, array.dtype.name), copy=False)


class _Files:
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


# ------------------------------------------------------------------------------------------------------------- nodes


def _schema(op: str, opset: int) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(op, max_inclusive_version=opset)
    except onnx.defs.SchemaError:
        return None


@cache
def defaults(op: str, opset: int = OPSET) -> dict[str, Any]:
    """What an operator's attributes are where they are not given."""
    import onnx

    schema = _schema(op, opset)
    if schema is None:
        return {}
    given = {name: item.default_value for name, item in schema.attributes.items()}
    files = _Files(Path())
    return {name: _attribute(item, files) for name, item in given.items() if item.type != onnx.AttributeProto.UNDEFINED}


@cache
def _moved(op: str) -> dict[str, int]:
    """Attributes that have become inputs, and which: "axes", for example."""
    schema = _schema(op, OPSET)
    return {} if schema is None else {item.name: place for place, item in enumerate(schema.inputs)}


def _node(graph: Graph, item: Any, opset: int, files: _Files) -> Node:
    """A node without its inputs, but for those that were attributes once."""
    plain = item.domain in ("", "ai.onnx")
    op = item.op_type if plain else f"{item.domain}.{item.op_type}"
    attributes = {**defaults(op), **defaults(op, opset)} if plain else {}
    inputs: list[Value | None] = [None] * len(item.input)
    for given in item.attribute:
        try:
            attribute = _attribute(given, files)
        except OnnxError:
            raise
        except Exception as error:  # whatever the library says of a broken one
            raise OnnxError(f"onnx.load: node {item.name!r} ({op}): its attribute {given.name!r}: {error}") from None
        place = _moved(op).get(given.name) if plain else None
        if place is None:
            attributes[given.name] = attribute
        else:
            inputs += [None] * (place + 1 - len(inputs))
            inputs[place] = Value(graph, array=np.asarray(attribute))
    return Node(op, inputs, attributes, name=item.name)


def _attribute(given: Any, files: _Files) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(given)
    if isinstance(value, onnx.TensorProto):
        return _array(value, files)
    if isinstance(value, float):
        return shortest(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple) or hasattr(value, "add") or hasattr(value, "append"):
        return [item.decode() if isinstance(item, bytes) else shortest(item) if isinstance(item, float) else item
                for item in value]  # fmt: skip
    return value


def shortest(value: float) -> float:
    """A number of single precision as one would write it: 0.1, not 0.10000000149."""
    return float(str(np.float32(value)))


# ---------------------------------------------------------------------------------------- what is known without data


class _Shapes:
    """What nodes compute from shapes alone; `BATCH` is the number of rows. What is 0 everywhere is 0, whatever its shape."""

    def __init__(self, x: Value, in_shape: list[int | str | None]) -> None:
        self.x, self.in_shape = x, in_shape
        self._begins: dict[int, Array] = {}  # of shapes of which only the number of rows is known, by their values' ids

    def known(self, node: Node) -> Array | None:
        """The output of a node, if it is known."""
        if node.op == "Constant":
            value = next((item for name, item in node.attributes.items() if name.startswith("value")), None)
            array = np.asarray(value)
            return _usual(array) if array.dtype.kind in "fib" else None
        if node.op == "Shape" and len(node.inputs) == 1 and not node.attributes.get("start") and "end" not in node.attributes:
            if node.inputs[0] is self.x and all(isinstance(size, int) for size in self.in_shape):
                return np.array([BATCH, *self.in_shape], "int64")
            self._begins[id(node.outputs[0])] = np.array([BATCH])
            return None
        work = _VIEWS.get(node.op) or _SHAPE_ARITHMETIC.get(node.op)
        arrays = [None if value is None else self._begins.get(id(value), value.array) for value in node.inputs]
        small = node.op in _VIEWS or all(array is None or array.size <= 64 for array in arrays)
        if work is None or not arrays or arrays[0] is None or not small:
            return None
        try:
            return work(node, *arrays)
        except Exception:  # whatever NumPy says of inputs that do not fit: not known
            return None


def _of_rows(value: Value | None) -> Value | None:
    """A shape as Reshape has it, where the number of rows comes first: 0 stands for that of the input."""
    if value is None or value.array is None or value.array.shape[:1] in ((), (0,)) or value.array.reshape(-1)[0] != BATCH:
        return value
    return Value(value.graph, array=np.array([0, *value.array[1:]], "int64"))


def _zeros(node: Node, shape: Array) -> Array | None:
    value = node.attributes.get("value")
    return np.zeros(()) if value is None or not np.any(value) else None


def _slice(node: Node, data: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Any:
    if data.ndim == 0:
        return data
    if data.ndim > 1 or starts.size != 1 or (steps is not None and steps.item() < 1):
        return None
    return data[starts.item() : ends.item() : 1 if steps is None else steps.item()]


def _gather(node: Node, data: Array, index: Array) -> Array | None:
    return np.take(data, index, axis=0) if data.ndim == 1 and node.attributes["axis"] in (0, -1) else None


def _axes(axes: Array) -> tuple[int, ...]:
    return tuple(int(axis) for axis in axes.reshape(-1))


# Operators whose output is no larger than their inputs; views of constants of any size, others of a few numbers.
_VIEWS: dict[str, Callable[..., Array | None]] = {
    "Identity": lambda node, data: data,
    "Squeeze": lambda node, data, axes=None: np.squeeze(data, None if axes is None else _axes(axes)) if data.ndim else data,
    "Transpose": lambda node, data: np.transpose(data, node.attributes.get("perm")) if data.ndim else data,
    "Unsqueeze": lambda node, data, axes: np.expand_dims(data, _axes(axes)),
}
_SHAPE_ARITHMETIC: dict[str, Callable[..., Array | None]] = {
    "Cast": lambda node, data: data if data.dtype.kind == "i" else None,
    "Concat": lambda node, *parts: np.concatenate(parts) if all(part.ndim == 1 for part in parts) else None,
    "ConstantOfShape": _zeros,
    "Expand": lambda node, data, shape: data if data.ndim == 0 and not data else None,
    "Gather": _gather,
    "Slice": _slice,
}
