"""The graph that a part writes itself to. ONNX's library is not needed for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnkit.core.exchange import Node, Value
from nnkit.core.layer import Built
from nnkit.core.part import Shape
from nnkit.errors import OnnxError
from nnkit.persistence.onnx.scalars import rebound

__all__ = ["Graph"]

DECISIONS = 12  # so many, one after the other, may an elementwise function take: each path of it is written


class _Undecided(Exception):
    """A function asks whether a value is true."""

    def __init__(self, condition: Value) -> None:
        self.condition = condition


class Graph:
    """What layers write: the `nnkit.core.exchange.Graph` that their method ``onnx`` gets, where its methods are described.

    Parameters
    ----------
    real : "float32" or "float64"

    Attributes
    ----------
    built : the layer that is being written
    where : the name of the part
    written : the nodes, in the order of computation
    """

    built: Built

    def __init__(self, real: str) -> None:
        self.real = real
        self.mask: Value | None = None
        self.masks: dict[str, Value | None] = {}
        self.kept: list[Value] = []
        self.written: list[Node] = []
        self.where = ""
        self._nodes: dict[Any, Node] = {}
        self._constants: dict[Any, Value] = {}
        self._ahead: list[bool] | None = None  # decisions that a function is to take, the last one first

    def node(self, op: str, *inputs: Any, **attributes: Any) -> Value:
        return self.nodes(1, op, *inputs, **attributes)[0]

    def nodes(self, count: int, op: str, *inputs: Any, **attributes: Any) -> list[Value]:
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
        real = isinstance(item, int | float | np.floating)
        array = np.asarray(item, self.real if real else "int64" if isinstance(item, list | tuple) else None)
        full = self.home(name) if name else ""
        key = (full, array.shape) if full else (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = Value(self, array=np.asarray(array, order="C"), name=full)
        return self._constants[key]

    def array(self, name: str, shape: Shape | None = None) -> Value | None:
        raise NotImplementedError

    def home(self, name: str) -> str:
        """The full name of what belongs to the layer."""
        return name

    def scalars(self, function: Callable[..., Any], **arguments: Any) -> Value:
        result = self._paths(rebound(function), arguments, [])
        if isinstance(result, Value):
            return result
        x = next(value for value in arguments.values() if isinstance(value, Value))
        return self.node("Add", x * 0.0, result)

    def layer(self, built: Built, x: Any) -> Any:
        outer, self.built = getattr(self, "built", built), built
        self._nodes = {}
        given = {id(mask): mask for mask in self.masks.values()} if isinstance(x, dict) else {}
        out = built.layer.onnx(self, x)
        if not (built.children or built.keeps_mask):  # values that come together keep the mask that all of them have
            merges = len(given) == 1 and not built.layer.kernels()
            self.mask = next(iter(given.values())) if merges else None
        self.built, self._nodes = outer, {}
        return out

    # --------------------------------------------------------------------------------------- the paths of functions

    def decide(self, condition: Value) -> bool:
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
