"""One array as several values of a row, and several values as one: their sum, their mean, or one after the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from nnkit.core.container import Chain, Container, Placed, V, Wiring
from nnkit.core.fields import SELF, fields
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape, row_shape
from nnkit.core.registry import register
from nnkit.errors import ParameterError, ShapeError
from nnkit.layers.columns import Columns
from nnkit.layers.shape import Reshape
from nnkit.layers.steps import Step, Steps

__all__ = ["Add", "Concat", "Fields", "Merge", "packed"]


class Merge(Container):
    """Several values of a row -> one."""

    @classmethod
    def from_onnx(cls, at):
        """Nothing: `nnkit.Branches` and `nnkit.Residual` are what such operators are read as."""
        return

    @classmethod
    def of_operator(cls, op: str, attributes: Mapping[str, Any]) -> Merge | None:
        """The layer that an operator of several values is in ONNX; None where it is no such layer."""
        return None

    def _require_fields(self, in_shape: Any) -> None:
        if not isinstance(in_shape, dict):
            raise ShapeError(f"{self!r}: expected rows with several fields, got {in_shape}; within nnkit.Graph, name the "
                             "values that it reads")  # fmt: skip

    def build(self, in_shape: Any) -> Any:
        self._require_fields(in_shape)
        return self.merged(list(in_shape.values()), f"{self!r}: expected values that give")

    @abstractmethod
    def merged(self, shapes: Sequence[Shape], expected: str) -> Shape:
        """The shape of values of these shapes together; what is refused begins with ``expected``."""

    @staticmethod
    def _require_equal(compared: Sequence[Shape], shapes: Sequence[Shape], expected: str) -> None:
        if any(len(shape) != len(shapes[0]) for shape in shapes) or len(set(compared)) > 1:
            raise ShapeError(f"{expected}, got {', '.join(map(str, shapes))}")


@register("add")
class Add(Merge):
    """The sum of several values of a row, or their mean: out = sum_i x_i.

    Each of them gets grad_out; of a mean of B values, grad_out / B.

    Parameters
    ----------
    mean : divide by how many there are

    Shape
    -----
    several values (N, ...) of one shape -> out: (N, ...)

    Raises
    ------
    ShapeError
        They have other shapes; there is only one value.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(a=("x", nn.Linear(3)), b=("a", [nn.ReLU(), nn.Linear(3)]), out=(("a", "b"), nn.Add()))
    >>> nn.Sequential([net]).build((4,)).out_shape
    (3,)
    """

    def __init__(self, *, mean: bool = False) -> None:
        self.mean = mean

    @property
    def joins(self) -> str:  # type: ignore[override]
        return "mean" if self.mean else "+"

    def merged(self, shapes: Sequence[Shape], expected: str) -> Shape:
        self._require_equal(shapes, shapes, f"{expected} equal shapes")
        return shapes[0]

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        return plan.add(list(x.values()), 1.0 / len(x) if self.mean else 1.0)

    @classmethod
    def of_operator(cls, op: str, attributes: Mapping[str, Any]) -> Merge | None:
        return cls(mean=op == "Mean") if op in ("Add", "Sum", "Mean") else None

    def onnx(self, graph, x):
        return graph.node("Mean" if self.mean else "Sum", *fields(x).values())

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [packed(cls(), a=(3,), b=(3,)), packed(cls(mean=True), a=(2, 2), b=(2, 2), c=(2, 2))]


@register("concat")
class Concat(Merge):
    """Several values of a row, one after the other along an axis; each gets its part of grad_out.

    Parameters
    ----------
    dim : int, the axis, counted with the batch axis as in PyTorch: 1 (default) are the features of (N, features) and the
        channels of (N, channels, height, width); -1 is the last

    Shape
    -----
    several values (N, ...) whose shapes differ along ``dim`` alone -> out: (N, ...)

    Raises
    ------
    ShapeError
        They do not fit together; there is only one value.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Graph(a=("x", nn.Linear(3)), out=(("x", "a"), nn.Concat()))]).build((4,)).out_shape
    (7,)
    """

    joins = "concat"

    def __init__(self, *, dim: int = 1) -> None:
        self.dim = dim
        self.require("dim", type(dim) is int and dim != 0, "an axis other than the batch's, 0")

    def merged(self, shapes: Sequence[Shape], expected: str) -> Shape:
        rank = len(shapes[0])
        self.axis = self.dim - 1 if self.dim > 0 else rank + self.dim
        if not 0 <= self.axis < rank:
            raise ShapeError(f"{expected} outputs with axis dim={self.dim}, got {shapes[0]} (beside the batch axis)")
        others = [(*shape[: self.axis], *shape[self.axis + 1 :]) for shape in shapes]
        self._require_equal(others, shapes, f"{expected} equal shapes but along dim={self.dim}")
        return (*shapes[0][: self.axis], sum(shape[self.axis] for shape in shapes), *shapes[0][self.axis + 1 :])

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        return plan.concatenate(list(x.values()), self.axis)

    @classmethod
    def of_operator(cls, op: str, attributes: Mapping[str, Any]) -> Merge | None:
        return cls(dim=attributes["axis"]) if op == "Concat" else None

    def onnx(self, graph, x):
        return graph.node("Concat", *fields(x).values(), axis=self.axis + 1)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [packed(cls(), a=(3,), b=(2,)), packed(cls(dim=-1), a=(2, 3), b=(2, 1))]


@register("fields")
class Fields(Steps):
    """One array as several values of a row, each some of its columns in a shape of its own.

    grad_x is the gradients of the values, one after the other.

    Parameters
    ----------
    **shapes : the shape of each value, by its name; they take the columns in this order

    Shape
    -----
    x: (N, features) -> a dict of (N, *shape) by name

    Raises
    ------
    ShapeError
        The rows have fewer columns than that.

    Examples
    --------
    >>> import nnkit as nn
    >>> layers = [nn.Fields(image=(4, 4), table=(3,)), nn.Inputs(image=nn.Flatten(), table=nn.Linear(2))]
    >>> nn.Sequential(layers).build((19,)).out_shape
    (18,)
    """

    def __init__(self, **shapes: Shape) -> None:
        self.shapes = shapes
        if not shapes:
            raise ParameterError("Fields: expected a shape for each value, such as image=(8, 8), got none")
        self._outs = tuple(shapes)
        self._steps, begin = [], 0
        for name, shape in shapes.items():
            sizes = row_shape(shape, f"Fields: {name}")
            end = begin + prod(sizes)
            self._steps.append(Step(name, SELF, Chain([Columns(range(begin, end)), Reshape(sizes)])))
            begin = end

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(Chain([cls(a=(2, 2), b=(1, 2)), Concat()]), (6,))]


def packed(layer: Layer, **shapes: Shape) -> Example:
    """An example of a layer that reads several values, on one array: each value is some of its columns."""
    return Example(Chain([Fields(**shapes), layer]), (sum(map(prod, shapes.values())),))
