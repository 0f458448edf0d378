"""A learnt factor for each feature."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError

__all__ = ["Scale"]


@register("scale")
class Scale(Layer):
    """Every feature times a learnt factor: out_j = scale_j x_j.

    Backward, grad_x_j = scale_j grad_out_j and dL/dscale_j = sum of grad_out_j x_j over all rows.

    In front of a net, with a large learning rate (``groups={"*.scale": {"lr": 6 * lr}}``), it learns soon which features count.

    Parameters
    ----------
    axes : int >= 1: so many last axes of a row have a factor for each of their numbers
    init : initializer or its name

    Shape
    -----
    x: (N, ..., features) -> out: the same; scale: (features,), or the sizes of the last axes

    Raises
    ------
    ShapeError
        Rows have fewer axes.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Scale()]).build((3,))
    >>> model.parameters()["0.scale"] = [1.0, 10.0, 0.0]
    >>> model.predict([[1.0, 2.0, 3.0]])
    array([[ 1., 20.,  0.]], dtype=float32)

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    section 3.
    """

    folds_rows = passes_mask = True

    def __init__(self, axes: int = 1, *, init: Any = "ones") -> None:
        self.axes = axes
        self.init = init
        self.require_size("axes")

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) < self.axes:
            raise ShapeError(f"{self!r}: expected input rows of at least {self.axes} axes, got {in_shape}")
        shape = in_shape[-self.axes :]
        self.parameter("scale", shape, init=self.init)
        if self.axes > 1:  # kernels see them as one
            rows = (prod(in_shape[: -self.axes]), prod(shape))
            self.view(x=rows, out=rows, scale=rows[1:])
        return in_shape

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return prod(in_shape)

    def c(self) -> str:
        return """
            void forward(const real x[J], const real scale[J], real out[J])
            {
                for (int j = 0; j < J; j++)
                    out[j] = scale[j] * x[j];
            }"""

    @staticmethod
    def forward(x, scale, out):
        for n in range(x.shape[0]):
            row, target = x[n], out[n]
            for j in range(row.shape[0]):
                target[j] = scale[j] * row[j]

    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x.shape[0]):
            row, g, target = x[n], grad_out[n], grad_x[n]
            for j in range(row.shape[0]):
                grad_scale[j] += g[j] * row[j]
            for j in range(row.shape[0]):
                target[j] = scale[j] * g[j]

    def onnx(self, graph, x):
        return x * graph.array("scale")

    @classmethod
    def from_onnx(cls, at):
        """Mul by a number for each number of the last axes; one number alone is another layer's business."""
        if (node := at.take("Mul")) is None or not node.is_constant(1):
            return None
        scale = node.constant(1)
        fits = 0 < scale.ndim <= at.rank and scale.shape == at.shape[-scale.ndim :] and scale.size > 1
        return at.found(cls(scale.ndim), scale=scale) if fits else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (5,)), Example(cls(2), (2, 3)), Example(cls(2, init="normal"), (2, 2, 3))]
