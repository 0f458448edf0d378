"""Layers with a way around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnkit.core.container import Chain, Container, Placed, V, Wiring
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.layers.dropout import Dropout
from nnkit.layers.linear import Linear

__all__ = ["Residual", "alone"]


def alone(layers: list[Layer]) -> Any:
    """Layers one after the other, as one writes them in a container."""
    return layers[0] if len(layers) == 1 else layers or "identity"


@register("residual")
class Residual(Container):
    """Layers with a way around them: out = x + f(x), where f is the layers one after the other.

    grad_x = grad_out + the gradient that comes back through f.

    Parameters
    ----------
    *layers : layers, their classes or their names

    Shape
    -----
    x: (N, ...) -> out: the same

    Raises
    ------
    ShapeError
        f gives another shape than that of x.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Residual(nn.Linear(8), nn.ReLU(), nn.Linear(4))]).build((4,)).out_shape
    (4,)

    References
    ----------
    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition".
    """

    joins = "+"
    goes_around = True

    def __init__(self, *layers: Any) -> None:
        self.layers = tuple(layers)
        self._inner = Chain(layers)

    @property
    def input_dtype(self) -> str | dict[str, str]:  # type: ignore[override]
        return self._inner.input_dtype

    def build(self, in_shape: Shape) -> Shape:
        out_shape = self._inner_shape(in_shape)
        if out_shape != in_shape:
            raise ShapeError(f"{self!r}: expected layers that give the shape of their input, {in_shape}, to be added to it, "
                             f"got {out_shape}; for another shape use Branches([...], shortcut, merge='add')")  # fmt: skip
        return out_shape

    def _inner_shape(self, in_shape: Shape) -> Shape:
        for position, layer in enumerate(self._inner.layers):
            in_shape = self.within(layer, in_shape, position).out_shape
        return in_shape

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: V) -> V:
        with plan.holding(x):
            out = self._inner.connect(plan, children, x)
            return plan.add([x, out], masked_as=out)

    def onnx(self, graph, x):
        out = x
        for child in self._built.children:
            out = graph.layer(child, out)
        return x + out

    @classmethod
    def from_onnx(cls, at):
        """Add, where one of the two is what there was before."""
        join = at.join("Add")
        branches = [value for value in join.inputs if value is not at.value] if join is not None else []
        if len(branches) != 1 or len(join.inputs) != 2:
            return None
        inner = at.chain(*branches)
        return at.after(join).around(cls(*inner.layers), inner)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(Linear(3), Dropout(0.4), Linear(4)), (4,))]
