"""What a part sees of ONNX: values and nodes, the graph that it is written to, and the place that it is read from.

Values and nodes are what a model is made of there. Who keeps them is at work above, in `nnkit.persistence.onnx`: `Graph` and
`Cursor` are the part of it that ``Layer.onnx`` and ``Layer.from_onnx`` may use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Shape
from nnkit.errors import OnnxError

__all__ = ["Cursor", "File", "Found", "Graph", "Inner", "Node", "Value", "Write"]

Array = NDArray[Any]
DTYPES = {"float32": 1, "int32": 6, "int64": 7, "float64": 11}  # ONNX's numbers of them

# The classes of layers name what is here, so they stand above, and type checkers let anything pass for them.
Layer = Any
Built = Any


@dataclass(eq=False)
class Node:
    """An operator at work.

    Attributes
    ----------
    op : the operator's name
    inputs : values; None where an optional one is left out
    attributes : numbers, strings, arrays, or lists of them
    outputs : values
    name : in the file, or the part that it belongs to
    stated : names of the attributes that a file gives other values than their defaults
    """

    op: str
    inputs: Sequence[Value | None]
    attributes: Mapping[str, Any]
    outputs: list[Value] = field(default_factory=list)
    name: str = ""
    stated: frozenset[str] = frozenset()

    def input(self, index: int) -> Value | None:
        """An input; None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> Array:
        """An input that has to be known."""
        value = self.input(index)
        if value is None or value.array is None:
            raise OnnxError(f"expected its input {index} to be a constant, got one that is computed, or none")
        return value.array

    def is_constant(self, index: int) -> bool:
        """Whether an input is known."""
        value = self.input(index)
        return value is not None and value.array is not None

    def flag(self, name: str) -> bool:
        """An attribute that is a truth value."""
        value = self.attributes[name]
        if value not in (0, 1):
            raise OnnxError(f"expected its attribute {name!r} to be 0 or 1, got {value!r}")
        return bool(value)

    def distinct(self) -> list[Value]:
        """The inputs, each once."""
        return list({id(value): value for value in self.inputs if value is not None}.values())

    def integers(self, index: int) -> list[int]:
        """An input that has to be known and to hold integers, such as a shape."""
        array = self.constant(index)
        if array.dtype.kind != "i" or array.size > 64:
            raise OnnxError(f"expected its input {index} to hold a few integers, got {array.dtype} of shape {array.shape}")
        return [int(number) for number in array.reshape(-1)]


class Value:
    """Something that a node computes, or an input, or a constant. Arithmetic with values writes nodes.

    Attributes
    ----------
    graph : where it belongs
    node : what computes it, if anything
    array : its numbers, where they are known
    name : what it is called, if anything
    """

    def __init__(self, graph: Graph, node: Node | None = None, array: Array | None = None, name: str = "") -> None:
        self.graph = graph
        self.node = node
        self.array = array
        self.name = name

    def __repr__(self) -> str:
        return f"Value({self.name or (self.node.op if self.node else 'constant')})"

    def __bool__(self) -> bool:
        return self.graph.decide(self)

    def __float__(self) -> float:
        raise OnnxError("a number is not known yet while it is written in ONNX; take functions from nnkit.kernels.math")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Value:
        """NumPy's functions of numbers, as far as ONNX has them by the same name."""
        if method != "__call__" or options:
            raise OnnxError(f"numpy.{ufunc.__name__}.{method} has no form in ONNX")
        return self.graph.node(_NAMES.get(ufunc.__name__, ufunc.__name__.capitalize()), *inputs)

    def astype(self, dtype: str) -> Value:
        """The same in another dtype."""
        return self.graph.node("Cast", self, to=DTYPES[dtype])

    def __neg__(self) -> Value:
        return self.graph.node("Neg", self)

    def __abs__(self) -> Value:
        return self.graph.node("Abs", self)

    def __invert__(self) -> Value:
        return self.graph.node("Not", self)

    def __add__(self, other: Any) -> Value:
        return self.graph.node("Add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.graph.node("Add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.graph.node("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph.node("Sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self if _is_one(other) else self.graph.node("Mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self if _is_one(other) else self.graph.node("Mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self if _is_one(other) else self.graph.node("Div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.graph.node("Div", other, self)

    def __pow__(self, other: Any) -> Value:
        return self.graph.node("Pow", self, other)

    def __rpow__(self, other: Any) -> Value:
        return self.graph.node("Pow", other, self)

    def __matmul__(self, other: Any) -> Value:
        return self.graph.node("MatMul", self, other)

    def __rmatmul__(self, other: Any) -> Value:
        return self.graph.node("MatMul", other, self)

    def __and__(self, other: Any) -> Value:
        return self.graph.node("And", self, other)

    def __or__(self, other: Any) -> Value:
        return self.graph.node("Or", self, other)

    def __lt__(self, other: Any) -> Value:
        return self.graph.node("Less", self, other)

    def __le__(self, other: Any) -> Value:
        return self.graph.node("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> Value:
        return self.graph.node("Greater", self, other)

    def __ge__(self, other: Any) -> Value:
        return self.graph.node("GreaterOrEqual", self, other)

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]
        return self.graph.node("Equal", self, other)

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]
        return ~self.graph.node("Equal", self, other)

    __hash__ = object.__hash__


def _is_one(factor: Any) -> bool:
    return isinstance(factor, int | float) and factor == 1


# NumPy's functions whose names in ONNX are others.
_NAMES = {
    "multiply": "Mul", "divide": "Div", "subtract": "Sub", "negative": "Neg", "absolute": "Abs", "power": "Pow",
    "maximum": "Max", "minimum": "Min", "arctan": "Atan", "arcsin": "Asin", "arccos": "Acos", "arcsinh": "Asinh",
    "arccosh": "Acosh", "arctanh": "Atanh", "greater_equal": "GreaterOrEqual", "less_equal": "LessOrEqual",
    "logical_and": "And", "logical_or": "Or", "logical_not": "Not", "isnan": "IsNaN", "rint": "Round",
}  # fmt: skip


class Graph(Protocol):
    """Operators, as layers write them. In a layer, the same operator on the same values again gives the same value.

    Attributes
    ----------
    real : "float32" or "float64"
    mask : (N, steps), false where a step of a sequence is padding; None where none is. A layer that finds padding sets it.
    masks : for a layer that reads several values, the mask of each, by its name there
    kept : values that are written although nobody may read them
    """

    real: str
    mask: Value | None
    masks: dict[str, Value | None]
    kept: list[Value]

    def node(self, op: str, *inputs: Any, **attributes: Any) -> Value:
        """The output of an operator.

        Parameters
        ----------
        op : name of an operator of ONNX, opset 18
        inputs : values; numbers and arrays become constants, real ones of the model's dtype; lists become integers; None is
            an input that is left out
        attributes : the operator's
        """

    def nodes(self, count: int, op: str, *inputs: Any, **attributes: Any) -> list[Value]:
        """The first ``count`` outputs of an operator."""

    def constant(self, item: Any, name: str = "") -> Value:
        """A number, real unless it is NumPy's integer; a list of integers; an array. With a name, it belongs to the layer."""

    def array(self, name: str, shape: Shape | None = None) -> Value | None:
        """A parameter or state of the layer, also in another shape; None where it is absent."""

    def scalars(self, function: Callable[..., Any], **arguments: Any) -> Value:
        """``function`` of every number: of all the paths through it, by the conditions on them."""

    def layer(self, built: Built, x: Any) -> Any:
        """The output of a layer within this one. Rows with fields are dicts of values."""

    def decide(self, condition: Value) -> bool:
        """Whether a condition is taken as true on the path that a function is on; a `Value` asks for it."""


class File(Graph, Protocol):
    """The graph of a whole file, as estimators write it."""

    def input(self, name: str, dtype: Any, shape: Sequence[int]) -> Value:
        """A new input, (N, *shape); its dtype is that of objects for text.

        Raises
        ------
        OnnxError
            Another one has this name.
        """

    def output(self, name: str, value: Value, dtype: Any, shape: Sequence[int]) -> None:
        """Let a value be an output, (N, *shape); it is called ``<name>_out`` where an input has the name."""

    def net(self, network: Any, x: Any, within: str = "") -> Any:
        """What a net gives for a value, or a dict of them; ``within`` begins the names of its parts where there are several."""


Write = Callable[[Layer, Graph, Value], Value]  # how a layer is written, as by its method ``onnx``


@dataclass
class Inner:
    """Layers one after the other, and the arrays of those that have some, in order.

    Attributes
    ----------
    layers : the layers
    arrays : of each layer that has parameters or states, by their names
    mask : the value that says where padding is behind them, if any
    """

    layers: list[Layer]
    arrays: list[dict[str, Array]]
    mask: Value | None


@dataclass
class Found:
    """A layer, the arrays of the layers in it that have some, and how far it reaches: what ``from_onnx`` returns."""

    layer: Layer
    arrays: list[dict[str, Array]]
    end: Cursor


class Cursor(Protocol):
    """A place in a graph that is being read: a value, and what is known of it. It moves on by what is taken.

    Attributes
    ----------
    value : where it is
    shape, rank : of a row of the value where it began
    mask : the value that says where padding is, if any
    taken : the nodes that it has come by
    rows : how many rows the file is for, if not for any number of them
    largest : numbers of the largest constant of the file
    """

    value: Value
    shape: Shape
    mask: Value | None
    taken: list[Node]

    @property
    def rank(self) -> int: ...

    @property
    def rows(self) -> int | None: ...

    @property
    def largest(self) -> int: ...

    def belongs(self, constant: Value | None) -> bool:
        """Whether a constant is an array of a layer, as far as is known, and not just what an operator has to have."""

    def copy(self) -> Cursor:
        """Another one at the same place."""

    def ahead(self, op: str, place: int = 0) -> Node | None:
        """The next node, if it is this operator and the value is its input number ``place``.

        Inputs of operators for which their order does not matter come with the value first. What the node says and is not
        asked for has to be at its default.
        """

    def take(self, op: str, place: int = 0) -> Node | None:
        """The same, and move on to its output."""

    def after(self, node: Node, output: int = 0) -> Cursor:
        """Move on to an output of a node."""

    def found(self, layer: Layer, *records: dict[str, Array], **arrays: Array) -> Found:
        """A layer that reaches to here, with its arrays; of several layers in it, those of each."""

    def like(self, parts: Iterable[Layer], write: Write | None = None, **arrays: Array) -> Found | None:
        """The first of the layers that would be written as the nodes from here on.

        Arrays that are not given, and the real numbers of a layer's constructor, may be others: they are read.

        Parameters
        ----------
        parts : the layers
        write : how they would be written, of (layer, graph, x); by default by their method ``onnx``
        arrays : parameters and states that are known already
        """

    # For layers made of layers.

    def join(self, op: str) -> Node | None:
        """Where several branches that begin here meet for the first time, if it is this operator."""

    def waists(self) -> Iterator[Node]:
        """The nodes behind this place that all ways to the end lead through."""

    def chain(self, value: Value | None, shape: Shape | None = None) -> Inner:
        """The layers from here to a value; ``shape`` is that of a row here, if it is another than where this one began."""

    def around(self, layer: Layer, *inner: Inner) -> Found:
        """A container of layers that have been read, which reaches to here."""

    # Numbers as layers have them.

    def dim(self, axis: int) -> int:
        """An axis as layers count it; the last one is -1."""

    @staticmethod
    def number(array: Array) -> float:
        """A constant that is one number, as one would write it."""

    def pads(self, node: Node, dims: int, kernel: Sequence[int]) -> list[int]:
        """The padding of a node's windows: before each axis, and behind each."""

    def window(self, node: Node, dims: int, kernel: Sequence[int] | None = None) -> dict[str, Any]:
        """What a node says of its windows, as layers with windows call it."""
