"""Where in its sequence a step stands."""

from __future__ import annotations

from collections.abc import Sequence

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.initializers import Normal
from nnkit.layers.attention.heads import require_sequence

__all__ = ["PositionalEmbedding"]


@register("positional_embedding")
class PositionalEmbedding(Layer):
    """Say where in its sequence a step stands: out[n, t] = x[n, t] + weight[t], with learnt weights.

    grad_x = grad_out, dL/dweight[t] = sum_n grad_out[n, t].

    Parameters
    ----------
    max_len : int >= 1, optional: the number of weights, if more than the steps of the input

    Shape
    -----
    x: (N, steps, features) -> out: (N, steps, features); weight: (max_len or steps, features), at first normal with standard
    deviation 0.02.

    Raises
    ------
    ShapeError
        The input is no sequence, or has more steps than ``max_len``.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Embedding(65, 8), nn.PositionalEmbedding()]).build((16,))
    >>> model.parameters()["1.weight"].shape
    (16, 8)

    References
    ----------
    Gehring, Auli, Grangier, Yarats and Dauphin 2017, "Convolutional sequence to sequence learning", section 3.1; Radford et al.
    2018, "Improving language understanding by generative pre-training" (the standard deviation).
    """

    inplace = passes_mask = True

    def __init__(self, *, max_len: int | None = None) -> None:
        self.max_len = max_len
        if max_len is not None:
            self.require_size("max_len")

    def build(self, in_shape: Shape) -> Shape:
        steps, width = require_sequence(self, in_shape)
        if self.max_len is not None and steps > self.max_len:
            raise ShapeError(f"{self!r}: expected at most {self.max_len} steps, got {steps}; raise max_len or cut the rows")
        self.parameter("weight", (self.max_len or steps, width), init=Normal(std=0.02))
        return in_shape

    @staticmethod
    def forward(x, weight, out):
        for n in range(x.shape[0]):
            for t in range(x.shape[1]):
                a, w, b = x[n, t], weight[t], out[n, t]
                for j in range(a.shape[0]):
                    b[j] = a[j] + w[j]

    @staticmethod
    def backward(grad_out, grad_x, grad_weight):
        grad_weight[:] = 0.0
        for n in range(grad_out.shape[0]):
            for t in range(grad_out.shape[1]):
                d, w, g = grad_out[n, t], grad_weight[t], grad_x[n, t]
                for j in range(d.shape[0]):
                    g[j] = d[j]
                    w[j] += d[j]

    def onnx(self, graph, x):
        weight = graph.array("weight").array[: self._built.in_shape[0]]
        return x + graph.constant(weight, "weight")

    @classmethod
    def from_onnx(cls, at):
        """Add of a vector for each step, the same for all rows."""
        node = at.take("Add")
        if at.rank != 2 or node is None or node.constant(1).size != at.shape[0] * at.shape[1]:
            return None
        weight = node.constant(1)
        return at.found(cls(), weight=weight.reshape(at.shape)) if weight.shape[-2:] == at.shape else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 4)), Example(cls(max_len=5), (3, 4))]
