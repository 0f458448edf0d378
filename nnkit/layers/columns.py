"""Some of the columns of the input."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ParameterError, ShapeError

__all__ = ["Columns"]


@register("columns")
class Columns(Layer):
    """Some columns of the rows, in the order given: out[n, k] = x[n, columns[k]].

    With it, a part of a net reads some columns of a table; `nnkit.Inputs` puts such parts side by side. An `nnkit.Embedding`
    right behind it looks the numbers up, which have to be whole.

    grad_x[n, j] = sum_{k: columns[k] = j} grad_out[n, k]; zero where a column is not read.

    Parameters
    ----------
    columns : numbers of columns, from 0, or a range or slice of them with an end

    Shape
    -----
    x: (N, features) -> out: (N, columns)

    Raises
    ------
    ShapeError
        The rows have no such column, or more than one axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Columns([2, 0])]).build((3,)).predict([[1.0, 2.0, 3.0]])
    array([[3., 1.]], dtype=float32)
    """

    selects = True

    def __init__(self, columns: Sequence[int] | range | slice) -> None:
        try:
            listed = range(columns.start or 0, columns.stop, columns.step or 1) if isinstance(columns, slice) else columns
            self.columns = [operator.index(column) for column in listed]
        except TypeError:
            raise ParameterError("Columns: expected columns to be whole numbers, or a range of them with an end, got "
                                 f"{columns!r}") from None  # fmt: skip
        self.require("columns", min(self.columns, default=-1) >= 0, "at least one number of a column, counted from 0")
        self.chosen = np.array(self.columns, np.int64)

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 1 or self.chosen.max() >= in_shape[0]:
            raise ShapeError(f"{self!r}: expected rows of at least {self.chosen.max() + 1} columns, got shape {in_shape}")
        return (self.chosen.size,)

    @staticmethod
    def forward(x, chosen, out):
        for n in range(out.shape[0]):
            for k in range(out.shape[1]):
                out[n, k] = x[n, chosen[k]]

    @staticmethod
    def backward(chosen, grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = 0.0
            for k in range(grad_out.shape[1]):
                grad_x[n, chosen[k]] += grad_out[n, k]

    def c(self) -> str:
        return """
            void forward(const real x[N], real out[M])
            {
                for (int k = 0; k < M; k++)
                    out[k] = x[chosen[k]];
            }"""

    def onnx(self, graph, x):
        return graph.node("Gather", x, self.chosen, axis=1)

    @classmethod
    def from_onnx(cls, at):
        node = at.ahead("Gather")
        if node is None or at.rank != 1 or node.attributes["axis"] != 1 or not node.is_constant(1):
            return None
        columns = node.constant(1)
        return at.after(node).found(cls(columns.tolist())) if columns.ndim == 1 and columns.size else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls([2, 0, 2]), (4,)), Example(cls(range(1, 3)), (3,))]
