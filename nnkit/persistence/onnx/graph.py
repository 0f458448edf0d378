"""What a part writes itself to: values, and the nodes that compute them. ONNX's library is not needed for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import OnnxError
from nnkit.persistence.onnx.scalars import rebound

if TYPE_CHECKING:
    from nnkit.core.layer import Built
    from nnkit.core.part import Shape

__all__ = ["Graph", "Node", "Value"]

DECISIONS = 12  # so many, one after the other, may an elementwise function take: each path of it is written


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
    inputs: list[Value | None]
    attributes: dict[str, Any]
    outputs: list[Value] = field(default_factory=list)
    name: str = ""
    stated: frozenset[str] = frozenset()

    def input(self, index: int) -> Value | None:
        """An input; None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> NDArray[Any]:
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

    def __init__(
        self, graph: Graph, node: Node | None = None, array: NDArray[Any] | None = None, name: str = ""
    ) -> None:
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

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **options: Any) -> Value:
        """NumPy's functions of numbers, as far as ONNX has them by the same name."""
        if method != "__call__" or options:
            raise OnnxError(f"numpy.{function.__name__}.{method} has no form in ONNX")
        return self.graph.node(_NAMES.get(function.__name__, function.__name__.capitalize()), *inputs)

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
    "logical_and": "And", "logical_or": "Or", "logical_not": "Not",
}  # fmt: skip


class _Undecided(Exception):
    """A function asks whether a value is true."""

    def __init__(self, condition: Value) -> None:
        self.condition = condition


class Graph:
    """Operators, as layers write them. In a layer, the same operator on the same values again gives the same value.

    Parameters
    ----------
    real : "float32" or "float64"

    Attributes
    ----------
    built : the layer that is being written
    mask : (N, steps), false where a step of a sequence is padding; None where none is. A layer that finds padding sets it.
    """

    built: Built

    def __init__(self, real: str) -> None:
        self.real = real
        self.mask: Value | None = None
        self.written: list[Node] = []  # in the order of computation
        self.kept: list[Value] = []  # they are written although nobody may read them
        self.where = ""  # the name of the part
        self._nodes: dict[Any, Node] = {}
        self._constants: dict[Any, Value] = {}
        self._ahead: list[bool] | None = None  # decisions that a function is to take, the last one first

    # ------------------------------------------------------------------------------------------------- for layers

    def node(self, op: str, *inputs: Any, **attributes: Any) -> Value:
        """The output of an operator.

        Parameters
        ----------
        op : name of an operator of ONNX, opset 18
        inputs : values; numbers and arrays become constants, real ones of the model's dtype; lists become integers; None is
            an input that is left out
        attributes : the operator's
        """
        return self.nodes(1, op, *inputs, **attributes)[0]

    def nodes(self, count: int, op: str, *inputs: Any, **attributes: Any) -> list[Value]:
        """The first ``count`` outputs of an operator."""
        values = [item if item is None or isinstance(item, Value) else self.constant(item) for item in inputs]
        while values and values[-1] is None:
            values.pop()
        key = (op, count, *map(id, values), *((name, str(value)) for name, value in sorted(attributes.items())))
        if key not in self._nodes:
            node = Node(op, values, attributes, name=self.where)
            node.outputs = [Value(self, node) for _ in range(count)]
            self._nodes[key] = node
            self.written.append(node)
        return self._nodes[key].outputs

    def constant(self, item: Any, name: str = "") -> Value:
        """A number, real unless it is NumPy's integer; a list of integers; an array. With a name, it belongs to the layer."""
        real = isinstance(item, int | float | np.floating)
        array = np.asarray(item, self.real if real else "int64" if isinstance(item, list | tuple) else None)
        full = self.home(name) if name else ""
        key = (full, array.shape) if full else (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = Value(self, array=np.asarray(array, order="C"), name=full)
        return self._constants[key]

    def array(self, name: str, shape: Shape | None = None) -> Value | None:
        """A parameter or state of the layer, also in another shape; None where it is absent."""
        raise NotImplementedError

    def home(self, name: str) -> str:
        """The full name of what belongs to the layer."""
        return name

    def scalars(self, function: Callable[..., Any], **arguments: Any) -> Value:
        """``function`` of every number: of all the paths through it, by the conditions on them."""
        result = self._paths(rebound(function), arguments, [])
        if isinstance(result, Value):
            return result
        x = next(value for value in arguments.values() if isinstance(value, Value))
        return self.node("Add", x * 0.0, result)

    def layer(self, built: Built, x: Value) -> Value:
        """The output of a layer within this one."""
        outer, self.built = getattr(self, "built", built), built
        self._nodes = {}
        out: Value = built.layer.onnx(self, x)
        if not (built.children or built.layer.passes_mask or "mask" in built.scratch):
            self.mask = None
        self.built, self._nodes = outer, {}
        return out

    def branches(self, children: Sequence[Built], x: Value) -> list[Value]:
        """The outputs of layers that all work on ``x``. Padding stays known where all of them pass it on."""
        before, after, outs = self.mask, [], []
        for child in children:
            self.mask = before
            outs.append(self.layer(child, x))
            after.append(self.mask)
        if before is not None:  # which ends where a branch has a mask of its own
            self.kept += [mask for mask in after if mask is not None and mask is not before]
        self.mask = before if all(mask is before for mask in after) else None
        return outs

    # --------------------------------------------------------------------------------------- the paths of functions

    def decide(self, condition: Value) -> bool:
        """Whether a condition is taken as true on the path that a function is on."""
        if self._ahead is None:
            raise OnnxError("a value is neither true nor false while it is written in ONNX; use graph.node('Where', ...)")
        if not self._ahead:
            raise _Undecided(condition)
        return self._ahead.pop()

    def _paths(self, function: Callable[..., Any], arguments: dict[str, Any], taken: list[bool]) -> Any:
        if len(taken) > DECISIONS:
            raise OnnxError(f"expected a function of at most {DECISIONS} decisions one after the other, got more")
        self._ahead = taken[::-1]
        try:
            return function(**arguments)
        except _Undecided as undecided:
            condition = undecided.condition
        finally:
            self._ahead = None
        yes, no = (self._paths(function, arguments, [*taken, choice]) for choice in (True, False))
        return self.node("Where", condition, yes, no)
