"""A layer for every step of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnkit.core.container import Container, Placed, V, Wiring, as_layer
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.layers.dropout import Dropout
from nnkit.layers.linear import Linear
from nnkit.layers.residual import alone
from nnkit.layers.shape import Flatten

__all__ = ["TimeDistributed"]


@register("time_distributed")
class TimeDistributed(Container):
    """A layer for every step of a sequence: out[n, t] = f(x[n, t]), with the same parameters for all steps.

    The gradients of the parameters are summed over the steps. (Linear, LayerNorm and activations do this by themselves.)

    Parameters
    ----------
    layer : a layer, its class or its name, or a list of layers

    Shape
    -----
    x: (N, steps, ...) -> out: (N, steps, ...), the layer being built for rows of x.shape[2:]

    Raises
    ------
    ShapeError
        Rows of the input have no steps.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.TimeDistributed([nn.Flatten(), nn.Linear(4)])]).build((7, 2, 3)).out_shape
    (7, 4)
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self._inner: Layer = as_layer(layer)

    @property
    def input_dtype(self) -> str | dict[str, str]:  # type: ignore[override]
        return self._inner.input_dtype

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) < 2:
            raise ShapeError(f"{self!r}: expected input rows of shape (steps, ...), got {in_shape}")
        return (in_shape[0], *self.within(self._inner, in_shape[1:]).out_shape)

    def entries(self, in_shape: Shape) -> int:
        return in_shape[0]

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: V) -> V:
        return plan.join(plan.forward(children[0], plan.split(x)), x.shape[0])

    def onnx(self, graph, x):
        (child,) = self._built.children
        steps, *shape = self._built.in_shape
        graph.mask = None
        out = graph.layer(child, graph.node("Reshape", x, [-1, *shape]))
        graph.mask = None
        return graph.node("Reshape", out, [-1, steps, *child.out_shape])

    @classmethod
    def from_onnx(cls, at):
        """Layers between one Reshape that makes rows of the steps, and one that puts them together again."""
        if at.rank < 2 or (node := at.take("Reshape")) is None or node.integers(1) != [-1, *at.shape[1:]]:
            return None
        steps = at.shape[0]
        for end in at.waists():
            if end.op == node.op and end.is_constant(1) and end.integers(1)[:2] == [-1, steps]:
                inner = at.chain(end.inputs[0], at.shape[1:])
                return at.after(end).around(cls(alone(inner.layers)), inner)
        return None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls([Flatten(), Linear(2), Dropout(0.3)]), (3, 2, 2))]
