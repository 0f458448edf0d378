"""From an ONNX file to nodes and values; what the file says is doubted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from nnkit.core.exchange import Node, Value
from nnkit.core.part import Shape
from nnkit.errors import OnnxError
from nnkit.persistence.onnx.folding import Shapes
from nnkit.persistence.onnx.graph import Graph
from nnkit.persistence.onnx.nodes import read_node
from nnkit.persistence.onnx.tensors import Files, array_of

__all__ = ["PRODUCER", "Given", "Parsed", "parse", "require_sane"]

NODES, READERS = 10_000, 500  # more nodes, and more of them that read the same value, are not read: it would take minutes
PRODUCER = "nnkit"
NUMBERS = 1 << 26  # of a row, anywhere in the net
OLDEST = 9  # opset


class Given(NamedTuple):
    """An input."""

    value: Value
    in_shape: list[int | str | None]  # of a row
    integers: bool


class Parsed(NamedTuple):
    """A graph, and its inputs and outputs by their names."""

    nodes: list[Node]  # in the order of computation
    inputs: dict[str, Given]
    outputs: dict[str, Value]
    rows: int | None  # in the inputs, if they are fixed
    real: str
    largest: int  # numbers of the largest constant
    numbers: int  # of all constants
    named: bool  # constants of layers have names with dots, and are the same where the layer is

    def belongs(self, constant: Value) -> bool:
        """Whether a constant is an array of a layer; not always known of what others have written."""
        return not self.named or "." in constant.name


def parse(content: bytes, folder: Path) -> Parsed:
    """Read a file's content; external data lie in its folder."""
    import onnx

    try:
        return _parse(onnx.load_model_from_string(content), folder)
    except OnnxError:
        raise
    except Exception as error:  # whatever the library, or a field of a type that it should not have, leads to
        raise OnnxError(f"onnx.load: expected an ONNX model, got something else or a part of one ({error})") from None


def require_sane(shape: Shape, what: str) -> None:
    """Refuse a row of more numbers than a net is read for."""
    if prod(shape) > NUMBERS:
        raise OnnxError(f"expected at most {NUMBERS} numbers in {what}, got shape {shape}")


def _parse(model: Any, folder: Path) -> Parsed:
    proto, opset = model.graph, _opset(model)
    files, names = Files(folder), _Names()
    for tensor in proto.initializer:
        names.add(tensor.name, array=array_of(tensor, files))
    inputs, numbers, double = {}, set(), False
    for given in _inputs(proto, names):
        rows, in_shape, integers, is_double = _input(given)
        inputs[given.name] = Given(names.add(given.name), in_shape, integers)
        numbers.add(rows)
        double = double or is_double
    if len(numbers) > 1:
        raise OnnxError(f"onnx.load: expected as many rows in all inputs, got {', '.join(map(str, numbers))}")
    (rows,) = numbers
    shapes = Shapes([(given.value, given.in_shape) for given in inputs.values()], rows)
    nodes = []
    for item in proto.node:
        node = read_node(names.graph, item, opset, files)
        names.connect(node, item)
        known = shapes.known(node)
        if known is None:
            shapes.follow(node)
            nodes.append(node)
        elif node.outputs:
            node.outputs[0].array, node.outputs[0].node = known, None
    _require_few_readers(nodes)
    if not nodes or not proto.output or any(item.name not in names for item in proto.output):
        raise OnnxError("onnx.load: expected an output that is computed, got none")
    arrays = [value.array for value in names.values() if value.array is not None]
    return Parsed(
        nodes, inputs, {item.name: names[item.name] for item in proto.output}, rows,
        real="float64" if double or any(array.dtype == "float64" for array in arrays) else "float32",
        largest=max((array.size for array in arrays), default=0),
        numbers=sum(array.size for array in arrays) - shapes.computed * 7 // 8,  # others may have eight times as many when read
        named=model.producer_name == PRODUCER,
    )  # fmt: skip


class _Names(dict[str, Value]):
    """The values of a graph by their names."""

    def __init__(self) -> None:
        self.graph = Graph("float32")

    def add(self, name: str, **known: Any) -> Value:
        """A new value."""
        value = Value(self.graph, name=name, **known)
        if name in self:
            raise OnnxError(f"onnx.load: expected every name once, got {name!r} twice")
        self[name] = value
        return value

    def connect(self, node: Node, item: Any) -> None:
        """Give a node the values that the file names as its inputs, and make those that it names as outputs."""
        for name in item.input:
            if name and name not in self:
                raise OnnxError(f"onnx.load: node {node.name!r} ({node.op}): expected nodes in the order of computation, got "
                                f"an input {name!r} that nothing before computes")  # fmt: skip
        node.inputs = [*(self[name] if name else None for name in item.input), *node.inputs[len(item.input) :]]
        for name in item.output:
            node.outputs.append(self.add(name, node=node) if name else Value(self.graph, node))


def _opset(model: Any) -> int:
    """The version of the operators, if this is a model that can be read at all."""
    import onnx

    proto = model.graph
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not proto.node or len(versions) != 1 or not OLDEST <= versions[0] <= 1000:
        raise OnnxError(f"onnx.load: expected a model with nodes, of opset {OLDEST} or later, got another or none")
    if len(proto.node) > NODES or proto.sparse_initializer:
        raise OnnxError(f"onnx.load: expected at most {NODES} nodes and no sparse weights, got {len(proto.node)} nodes")
    return int(min(versions[0], onnx.defs.onnx_opset_version()))


def _inputs(proto: Any, names: _Names) -> list[Any]:
    """The inputs, which no constants are the defaults of."""
    inputs = [item for item in proto.input if item.name not in names]
    if not inputs:
        raise OnnxError("onnx.load: expected at least one input, got none")
    return inputs


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


def _require_few_readers(nodes: Sequence[Node]) -> None:
    readers = Counter(id(value) for node in nodes for value in node.distinct() if value.array is None)
    most = max(readers.values(), default=0)
    if most > READERS:
        raise OnnxError(f"onnx.load: expected at most {READERS} nodes that read the same value, got {most}")
