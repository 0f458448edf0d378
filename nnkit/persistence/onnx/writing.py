"""From a built model to ONNX's own form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
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

__all__ = ["Written", "of_network", "to_proto"]

OPSETS = {"": OPSET, "ai.onnx.ml": 3}  # of the operators by their domains, which stand before their names with a dot
IR_VERSION = 8  # of the file; it goes with the opset


class Port(NamedTuple):
    """An input or output of a file: its name, its dtype (text is that of objects), the shape of a row of it."""

    name: str
    dtype: Any
    shape: Sequence[int]


class Written(Graph):
    """The graph of a file: inputs, what is computed of them, nets among it, whose arrays are known, and outputs.

    Attributes
    ----------
    inputs, outputs : what the file has, in order
    names : of values that are outputs, by their ids
    parts : what messages call the layers, by their places
    """

    def __init__(self) -> None:
        super().__init__("float64")
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.names: dict[int, str] = {}
        self.parts: dict[str, str] = {}
        self.where = "table"
        self._within = ""  # what follows is of the net that is being written
        self._arrays: dict[str, NDArray[Any]] = {}
        self._placed: dict[int, Placed] = {}
        self._whole: set[int] = set()

    def input(self, name: str, dtype: Any, shape: Sequence[int]) -> Value:
        if not name or any(name == port.name for port in self.inputs):
            came = f"{name!r} twice" if name else "none"
            raise OnnxError(f"onnx.export: expected a name of its own for each input, got {came}; rename the columns")
        self.inputs.append(Port(name, dtype, shape))
        return Value(self, name=name)

    def output(self, name: str, value: Value, dtype: Any, shape: Sequence[int]) -> None:
        while value.node is None or id(value) in self.names:  # each output is a node's own
            value = self.node("Identity", value)
        name += "_out" * any(name == port.name for port in self.inputs)
        self.names[id(value)] = name
        self.outputs.append(Port(name, dtype, shape))
        self.kept.append(value)

    def net(self, network: Network, x: Any, within: str = "") -> Any:
        """What a net gives for a value, or a dict of them; ``within`` begins the names of its parts where there are several."""
        before = self.real, self.where
        self.real, self._within, self._arrays = network.dtype, within, network.arrays()
        root, given = network.placed(), fields(x)
        self._find(root)
        self._whole = {id(given[name]) for name, dtype in fields(network.input_dtype).items() if dtype != network.dtype}
        try:
            out = self.layer(root.built, x)
        except OnnxError as error:
            raise OnnxError(f"onnx.export: {self.parts[self.where]}: {error}") from None
        self.real, self.where = before
        return out

    def _find(self, placed: Placed) -> None:
        self._placed[id(placed.built)] = placed
        self.parts[self._within + placed.home] = placed.name
        for child in placed.children:
            self._find(child)

    def home(self, name: str) -> str:
        return f"{self._within}{self._placed[id(self.built)].home}.{name}"

    def array(self, name: str, shape: Shape | None = None) -> Value | None:
        array = self._arrays.get(self.home(name).removeprefix(self._within))
        if array is None:
            return None
        return self.constant(array if shape is None else array.reshape(shape), name)

    def layer(self, built: Built, x: Any) -> Any:
        self.where = self._within + self._placed[id(built)].home
        if built.layer.kernels() and built.layer.input_dtype != "real":
            x = each(self._in, x, built.layer.input_dtype)
        return super().layer(built, x)

    def _in(self, x: Value, dtype: str) -> Value:
        """A value as a layer takes it: of columns of real numbers, some may be looked up."""
        return x if dtype == "real" or id(x) in self._whole else x.astype("int64")


def of_network(network: Network) -> Written:
    """The graph of a net alone: what it reads in, what it gives out."""
    graph, dtypes, out_shapes = Written(), fields(network.input_dtype), fields(network.out_shape)
    x = {name: graph.input(name or "x", dtypes[name], shape) for name, shape in fields(network.in_shape).items()}
    for name, value in fields(graph.net(network, x.get("", x))).items():
        graph.output(name or "out", value, network.dtype, out_shapes[name])
    return graph


def to_proto(graph: Written, who: str) -> Any:
    """The graph of ``who`` as ONNX's library holds it, checked."""
    import onnx

    def info(ports: list[Port]) -> list[Any]:
        return [onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["N", *shape])
                for name, dtype, shape in ports]  # fmt: skip

    nodes, constants = _used(graph)
    names = _names(graph, nodes)
    written, domains = [], {""}
    for node in nodes:
        domain, _, op = node.op.rpartition(".")
        domains.add(domain)
        try:
            onnx.defs.get_schema(op, OPSETS[domain], domain)
        except (onnx.defs.SchemaError, KeyError):
            part = graph.parts.get(node.name, node.name)
            raise OnnxError(f"onnx.export: {part}: ONNX has no operator {node.op} in opset {OPSET}") from None
        inputs = ["" if value is None else names[id(value)] for value in node.inputs]
        outputs = [names[id(value)] for value in node.outputs]
        written.append(onnx.helper.make_node(op, inputs, outputs, name=names[id(node)], domain=domain, **node.attributes))
    initializers = [onnx.numpy_helper.from_array(array, names[key]) for key, array in constants.items()]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(written, "nnkit", info(graph.inputs), info(graph.outputs), initializers),
        opset_imports=[onnx.helper.make_opsetid(domain, OPSETS[domain]) for domain in sorted(domains)],
        ir_version=IR_VERSION, producer_name=PRODUCER,
    )  # fmt: skip
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise OnnxError(f"onnx.export: ONNX's own check refuses what {who} is written as: {error}") from None
    return proto


def _used(graph: Written) -> tuple[list[Node], dict[int, NDArray[Any]]]:
    """The nodes that the output and what is kept need, and the constants that they do, by their values' ids."""
    wanted, nodes = {*graph.names, *map(id, graph.kept)}, []
    for node in reversed(graph.written):
        if not wanted.isdisjoint(map(id, node.outputs)):
            nodes.append(node)
            wanted |= {id(value) for value in node.inputs}
    nodes.reverse()
    constants = {id(value): value.array for node in nodes for value in node.inputs
                 if value is not None and value.array is not None}  # fmt: skip
    return nodes, constants


def _names(graph: Written, nodes: list[Node]) -> dict[int, str]:
    """Names of nodes and values, by id: "2.0/Relu" and so on; every one is unique."""
    names: dict[int, str] = {}
    taken, seen = {port.name for port in (*graph.inputs, *graph.outputs)}, Counter[str]()

    def unique(name: str) -> str:
        seen[name] += 1
        free = name if seen[name] == 1 else f"{name}_{seen[name]}"
        if free in taken:
            return unique(name)
        taken.add(free)
        return free

    for node in nodes:
        name = names[id(node)] = unique(f"{node.name}/{node.op}")
        for value in node.inputs:
            if value is not None and value.node is None and id(value) not in names:
                names[id(value)] = unique(value.name or "constant") if value.array is not None else value.name
        for index, value in enumerate(node.outputs):
            names[id(value)] = graph.names.get(id(value)) or (f"{name}:{index}" if index else name)
    return names
