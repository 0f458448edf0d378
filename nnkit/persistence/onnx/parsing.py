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
from nnkit.persistence.onnx.view import Ledger

__all__ = ["BATCH", "Parsed", "defaults", "parse"]

NODES, READERS = 10_000, 500  # more nodes, and more of them that read the same value, are not read: it would take minutes
PRODUCER = "nnkit"
NUMBERS = 1 << 26  # of a row, anywhere in the net
COMPUTED = 1 << 30  # bytes of all constants that are computed from others: a file of a few kB may ask for so much
OLDEST, OPSET = 9, 18  # older operators are read as if they were written in this one
FLATTENED = ("Hardmax", "LogSoftmax", "Softmax")  # before opset 13, all axes from theirs on count as one
BATCH = -(1 << 40)  # stands for the number of rows in what is computed from shapes

Array = NDArray[Any]


class Parsed(NamedTuple):
    """A graph with one input and one output."""

    nodes: list[Node]  # in the order of computation
    x: Value
    out: Value
    rows: int | None  # in the input, if they are fixed
    in_shape: list[int | str | None]  # of a row
    integers: bool  # in the input
    real: str
    largest: int  # numbers of the largest constant
    numbers: int  # of all constants
    named: bool  # constants of layers have names with dots, and are the same where the layer is


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
    if not proto.node or len(versions) != 1 or not OLDEST <= versions[0] <= 1000:
        raise OnnxError(f"onnx.load: expected a model with nodes, of opset {OLDEST} or later, got another or none")
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
    rows, in_shape, integers, double = _input(inputs[0])
    shapes = _Shapes(x, in_shape, rows)
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
            shapes.follow(node)
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
    real = "float64" if double or any(array.dtype == "float64" for array in arrays) else "float32"
    largest = max((array.size for array in arrays), default=0)
    numbers = sum(array.size for array in arrays) - shapes.computed * 7 // 8  # others may have eight times as many when read
    return Parsed(nodes, x, values[proto.output[0].name], rows, in_shape, integers, real, largest, numbers,
                  model.producer_name == PRODUCER)  # fmt: skip


def _input(item: Any) -> tuple[int | None, list[int | str | None], bool, bool]:
    """The number of rows, if it is fixed, the shape of a row, and whether it holds integers, or numbers of double precision."""
    import onnx

    kind = item.type.tensor_type
    if not item.type.HasField("tensor_type") or not kind.HasField("shape") or not kind.shape.dim:
        raise OnnxError(f"onnx.load: expected an input {item.name!r} of known rank, (N, ...), got another")
    types = onnx.TensorProto
    if kind.elem_type not in (types.FLOAT, types.DOUBLE, types.INT64, types.INT32):
        raise OnnxError(f"onnx.load: expected an input of float, double, int64 or int32, got type {kind.elem_type}")
    shape = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or None
             for dim in kind.shape.dim]  # fmt: skip
    rows = shape[0] if isinstance(shape[0], int) else None
    return rows, shape[1:], kind.elem_type in (types.INT64, types.INT32), kind.elem_type == types.DOUBLE


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
    return _each(lambda own: own.astype(kinds.get(kind, array.dtype.name), copy=False), array)


def _each(work: Callable[[Array], Array], data: Array) -> Array:
    """``work`` of every number; numbers that are repeated stay one in memory."""
    return np.broadcast_to(work(_once(data)), data.shape)


def _once(data: Array) -> Array:
    """The numbers, without the axes along which they are views of the same."""
    return data[tuple(slice(0, 1) if step == 0 else slice(None) for step in data.strides)]


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
    usual = {**defaults(op), **defaults(op, opset)} if plain else {}
    attributes = dict(usual)
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
    if op in FLATTENED and opset < 13:
        attributes["flattened"] = 1
    stated = frozenset(name for name, value in attributes.items() if name not in usual or not _same(value, usual[name]))
    return Node(op, inputs, attributes, name=item.name, stated=stated)


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


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
    """What nodes compute from constants and shapes alone; `BATCH` is the number of rows.

    What a constant is repeated for, once for every row, it is known for one.
    """

    def __init__(self, x: Value, in_shape: list[int | str | None], rows: int | None) -> None:
        self.x, self.in_shape, self.rows = x, in_shape, rows
        self._of_rows = {id(x)}  # values whose first axis are the rows
        self._shapes: dict[int, list[int]] = {}  # of values, by their ids
        if all(isinstance(size, int) for size in in_shape):
            self._shapes[id(x)] = [BATCH, *(size for size in in_shape if isinstance(size, int))]
        self._begins: set[int] = set()  # shapes of which only the number of rows is known, which comes first
        self.computed = self.bytes = 0  # numbers of constants that are no views of others, and their bytes as weights
        self._repeated: dict[int, set[int]] = {}  # axes along which a constant is one for every row, by its value's id

    def known(self, node: Node) -> Array | None:
        """The output of a node, if it is known."""
        ledger = Ledger()
        seen = ledger.view(node)
        for place in range(len(node.inputs)):
            ledger.ask(node, place)
        array = None
        try:
            array = self._array(seen)
            if array is None:
                return None
            ledger.require_all(node)
        except _Excess:
            self.bytes = COMPUTED + 1
        except Exception:  # whatever NumPy says of inputs that do not fit, or what the node says beside them: not known
            return None
        if self.bytes > COMPUTED:
            raise OnnxError(f"onnx.load: node {node.name!r} ({node.op}): expected constants that are computed from others to "
                            f"have at most {COMPUTED} bytes in all, got more; write them to the file")  # fmt: skip
        return _usual(array) if array is not None and array.dtype.kind in "fib" else None

    def _array(self, node: Node) -> Array | None:
        if node.op == "Constant":
            return np.asarray(next(node.attributes[name] for name in node.attributes if name.startswith("value")))
        if node.op == "Shape" and len(node.inputs) == 1:
            return self._shape(node)
        work = _FOLDED.get(node.op)
        arrays = [None if value is None else value.array for value in node.inputs]
        if arrays and id(node.inputs[0]) in self._begins:
            return _first_of(node, *arrays[1:])
        if work is None or not arrays or arrays[0] is None:
            return None
        repeated = set().union(*(self._repeated.get(id(value), ()) for value in node.inputs))
        if node.op in _REPEATS and (shape := arrays[-1]) is not None:
            repeated = {int(axis) - len(shape) for axis in np.flatnonzero(shape == BATCH)}
            arrays[-1] = np.where(shape == BATCH, 1, shape)
        elif repeated and (node.op != "Slice" or repeated & _from_the_end(arrays[0], arrays[3])):
            return None
        if repeated:
            self._repeated[id(node.outputs[0])] = repeated
        array = work(node, *arrays)
        if array is not None and not np.may_share_memory(array, arrays[0]):
            self.computed += array.size
            self.bytes += array.size * max(array.itemsize, 4)
        return array

    def _shape(self, node: Node) -> Array | None:
        part = slice(node.attributes.get("start", 0), node.attributes.get("end"))
        value = node.inputs[0]
        if id(value) in self._shapes:
            return np.array(self._shapes[id(value)], "int64")[part]
        if value is None or id(value) not in self._of_rows or id(value) in self._repeated:
            return None
        if part == slice(0, 1):
            return np.array([BATCH])
        if part == slice(0, None):
            self._begins.add(id(node.outputs[0]))
        return None

    def follow(self, node: Node) -> None:
        """Take note of what is computed for rows; in shapes for Reshape, 0 is their number."""
        flow = next((value for value in node.inputs if value is not None and value.array is None), None)
        own = self._shapes.get(id(flow), [BATCH] if id(flow) in self._of_rows else [])
        if node.op == "Reshape" and len(node.inputs) == 2 and node.is_constant(1):
            self._find_rows(node, own)
        if (shape := _shape_after(node, own)) is not None:
            self._shapes[id(node.outputs[0])] = shape
        as_before = node.op == "Reshape" and id(node.input(1)) in self._begins
        if own[:1] == [BATCH] and (as_before or not _MOVES.get(node.op, _stays)(node)):
            self._of_rows |= {id(value) for value in node.outputs}

    def _find_rows(self, node: Node, own: list[int]) -> None:
        sizes = node.constant(1)
        if sizes.all():
            node.attributes["allowzero"] = 0  # of zeros that are not there
            node.stated -= {"allowzero"}
        whole = [0 if int(size) in (BATCH, self.rows) and own[place : place + 1] == [BATCH] else int(size)
                 for place, size in enumerate(sizes.reshape(-1)[:64])]  # fmt: skip
        if sizes.ndim == 1 and len(whole) == sizes.size and whole != sizes.tolist():
            node.inputs[1] = Value(node.outputs[0].graph, array=np.array(whole, "int64"))


def _stays(node: Node) -> bool:
    return False


def _shape_after(node: Node, own: list[int]) -> list[int] | None:
    """The shape of what a node that has the number of rows in other places computes."""
    if node.op == "Transpose" and len(node.attributes.get("perm") or []) == len(own):
        return [own[axis] for axis in node.attributes["perm"]]
    if node.op in ("GRU", "LSTM", "RNN") and len(own) == 3 and node.is_constant(2):
        return [own[0], len(node.constant(2)), own[1], node.constant(2).shape[-1]]
    if node.op == "Reshape" and node.is_constant(1) and node.constant(1).ndim == 1 and node.constant(1).min() >= 0:
        sizes = node.integers(1)
        return [size or own[place] for place, size in enumerate(sizes)] if len(sizes) <= len(own) or all(sizes) else None
    return None


class _Excess(Exception):
    """A constant that is computed would be too large."""


def _require_room(numbers: int, dtype: Any) -> None:
    if numbers * np.dtype(dtype).itemsize > COMPUTED:
        raise _Excess


def _filled(node: Node, shape: Array) -> Array | None:
    given = node.attributes.get("value")
    number = np.zeros((), "float32") if given is None else given.reshape(())
    _require_room(prod(map(int, shape)), number.dtype)
    return np.broadcast_to(number, tuple(shape))


def _cast(node: Node, data: Array) -> Array | None:
    import onnx

    to = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
    if BATCH in _once(data):
        return data if to == "int64" else None
    return _each(lambda own: own.astype(to), data) if to in ("float32", "float64", "int64") else None


def _slice(node: Node, data: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Any:
    axes = np.arange(starts.size) if axes is None else axes
    steps = np.ones(starts.size, "int64") if steps is None else steps
    if steps.min(initial=1) < 1:
        return None
    parts = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        parts[axis] = slice(int(start), int(end), int(step))
    return data[tuple(parts)]


def _first_of(node: Node, *arrays: Any) -> Array | None:
    """What a node takes of a shape of which only the number of rows is known; None if it is more than that."""
    if node.op == "Gather" and node.attributes["axis"] == 0 and not arrays[0].any():
        return np.full(arrays[0].shape, BATCH)
    first = node.op == "Slice" and [array.item() for array in arrays] in ([0, 1], [0, 1, 0], [0, 1, 0, 1])
    return np.array([BATCH]) if first else None


def _from_the_end(data: Array, axes: Array | None) -> set[int]:
    return {int(axis) % data.ndim - data.ndim for axis in (range(data.ndim) if axes is None else axes)}


def _gather(node: Node, data: Array, index: Array) -> Array | None:
    return np.take(data, index, axis=0) if data.ndim == 1 and node.attributes["axis"] in (0, -1) else None


def _concat(node: Node, *parts: Array) -> Array | None:
    _require_room(sum(part.size for part in parts), np.result_type(*parts))
    return np.concatenate(parts, axis=node.attributes["axis"])


def _expand(node: Node, data: Array, shape: Array) -> Array | None:
    sizes = np.broadcast_shapes(data.shape, tuple(map(int, shape)))
    _require_room(prod(sizes), data.dtype)
    return np.broadcast_to(data, sizes)


def _reshape(node: Node, data: Array, shape: Array) -> Array | None:
    if node.attributes["allowzero"] or BATCH in shape:
        return None
    return data.reshape([data.shape[place] if size == 0 else int(size) for place, size in enumerate(shape)])


def _axes(axes: Array) -> tuple[int, ...]:
    return tuple(int(axis) for axis in axes.reshape(-1))


# Operators whose output is known where their inputs are.
_FOLDED: dict[str, Callable[..., Array | None]] = {
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": lambda node, data: data,
    "Mul": lambda node, a, b: a * b if BATCH not in a and BATCH not in b and max(a.size, b.size) <= 64 else None,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": lambda node, data, axes=None: np.squeeze(data, None if axes is None else _axes(axes)),
    "Transpose": lambda node, data: np.transpose(data, node.attributes.get("perm")),
    "Unsqueeze": lambda node, data, axes: np.expand_dims(data, _axes(axes)),
}
_REPEATS = ("ConstantOfShape", "Expand")

# Operators of which the first axis of the output may be another than that of the input.
_MOVES: dict[str, Callable[[Node], bool]] = {
    "GRU": lambda node: True,
    "Gather": lambda node: not node.is_constant(0) and node.attributes["axis"] < 1,
    "LSTM": lambda node: True,
    "RNN": lambda node: True,
    "Reshape": lambda node: not node.is_constant(1) or node.constant(1).reshape(-1)[:1].tolist() != [0],
    "Squeeze": lambda node: not node.is_constant(1) or 0 in node.constant(1),
    "Transpose": lambda node: (node.attributes.get("perm") or [-1])[0] != 0,
    "Unsqueeze": lambda node: not node.is_constant(1) or 0 in node.constant(1),
}
