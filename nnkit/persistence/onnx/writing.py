"""From a built model to ONNX's own form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nnkit.core.exchange import Node, Value
from nnkit.core.fields import each, fields
from nnkit.errors import OnnxError
from nnkit.persistence.onnx.graph import Graph
from nnkit.persistence.onnx.nodes import OPSET
from nnkit.persistence.onnx.parsing import PRODUCER

if TYPE_CHECKING:
    from nnkit.core.container import Placed
    from nnkit.core.layer import Built
    from nnkit.core.part import Shape
    from nnkit.network import Network

__all__ = ["to_proto"]

INT64 = 7  # ONNX's number of the dtype
IR_VERSION = 8  # of the file; it goes with the opset


class _Written(Graph):
    """The graph of a net, whose arrays are known."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.dtype)
        self._arrays = network.arrays()
        self._placed: dict[int, Placed] = {}
        self._part = ""  # that is being written
        root = network.placed()
        self._find(root)
        x = {name: Value(self, name=name or "x") for name in fields(network.in_shape)}
        self.inputs = [value.name for value in x.values()]
        self._whole = {id(x[name]) for name, dtype in fields(network.input_dtype).items() if dtype != network.dtype}
        try:
            out = self.layer(root.built, x.get("", x))
        except OnnxError as error:
            raise OnnxError(f"onnx.export: {self._part}: {error}") from None
        self.outputs: dict[int, str] = {}  # the names of the output values, by their ids
        self.kept += fields(out).values()
        for name, value in fields(out).items():
            while value.node is None or id(value) in self.outputs:  # each output is a node's own
                value = self.node("Identity", value)
                self.kept.append(value)
            self.outputs[id(value)] = f"{name or 'out'}{'_out' * (name in self.inputs)}"

    def _find(self, placed: Placed) -> None:
        self._placed[id(placed.built)] = placed
        for child in placed.children:
            self._find(child)

    def home(self, name: str) -> str:
        return f"{self._placed[id(self.built)].home}.{name}"

    def array(self, name: str, shape: Shape | None = None) -> Value | None:
        array = self._arrays.get(self.home(name))
        if array is None:
            return None
        return self.constant(array if shape is None else array.reshape(shape), name)

    def layer(self, built: Built, x: Any) -> Any:
        placed = self._placed[id(built)]
        self.where, self._part = placed.home, placed.name
        if built.layer.kernels() and built.layer.input_dtype != "real":
            x = each(self._in, x, built.layer.input_dtype)
        return super().layer(built, x)

    def _in(self, x: Value, dtype: str) -> Value:
        """A value as a layer takes it: of columns of real numbers, some may be looked up."""
        return x if dtype == "real" or id(x) in self._whole else self.node("Cast", x, to=INT64)


def to_proto(network: Network) -> Any:
    """The net as ONNX's library holds it, checked."""
    import onnx

    graph = _Written(network)
    real = onnx.TensorProto.DOUBLE if network.dtype == "float64" else onnx.TensorProto.FLOAT

    def info(names: Iterable[str], shapes: Any, dtypes: Any) -> list[Any]:
        kinds = (real if dtype == network.dtype else onnx.TensorProto.INT64 for dtype in fields(dtypes).values())
        return [onnx.helper.make_tensor_value_info(name, kind, ["N", *shape])
                for name, kind, shape in zip(names, kinds, fields(shapes).values(), strict=True)]  # fmt: skip

    x = info(graph.inputs, network.in_shape, network.input_dtype)
    out = info(graph.outputs.values(), network.out_shape, each(lambda shape: network.dtype, network.out_shape))
    nodes, constants = _used(graph)
    names = _names(graph, nodes)
    written = [
        onnx.helper.make_node(
            node.op,
            ["" if value is None else names[id(value)] for value in node.inputs],
            [names[id(value)] for value in node.outputs],
            name=names[id(node)],
            **node.attributes,
        )
        for node in nodes
    ]  # fmt: skip
    initializers = [onnx.numpy_helper.from_array(array, names[key]) for key, array in constants.items()]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(written, "nnkit", x, out, initializers),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name=PRODUCER,
    )  # fmt: skip
    for node in nodes:
        try:
            onnx.defs.get_schema(node.op, OPSET)
        except onnx.defs.SchemaError:
            part = network.name_of(node.name)
            raise OnnxError(f"onnx.export: {part}: ONNX has no operator {node.op} in opset {OPSET}") from None
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise OnnxError(f"onnx.export: ONNX's own check refuses what {network!r} is written as: {error}") from None
    return proto


def _used(graph: _Written) -> tuple[list[Node], dict[int, NDArray[Any]]]:
    """The nodes that the output and what is kept need, and the constants that they do, by their values' ids."""
    wanted, nodes = {*graph.outputs, *map(id, graph.kept)}, []
    for node in reversed(graph.written):
        if not wanted.isdisjoint(map(id, node.outputs)):
            nodes.append(node)
            wanted |= {id(value) for value in node.inputs}
    nodes.reverse()
    constants = {id(value): value.array for node in nodes for value in node.inputs
                 if value is not None and value.array is not None}  # fmt: skip
    return nodes, constants


def _names(graph: _Written, nodes: list[Node]) -> dict[int, str]:
    """Names of nodes and values, by id: "2.0/Relu" and so on; every one is unique."""
    names: dict[int, str] = {}
    seen: Counter[str] = Counter()

    def unique(name: str) -> str:
        seen[name] += 1
        return name if seen[name] == 1 else f"{name}_{seen[name]}"

    for node in nodes:
        name = names[id(node)] = unique(f"{node.name}/{node.op}")
        for value in node.inputs:
            if value is not None and value.node is None and id(value) not in names:
                names[id(value)] = unique(value.name or "constant") if value.array is not None else value.name
        for index, value in enumerate(node.outputs):
            names[id(value)] = graph.outputs.get(id(value)) or (f"{name}:{index}" if index else name)
    return names

