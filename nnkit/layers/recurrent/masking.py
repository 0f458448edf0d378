"""Which steps of a sequence are padding."""

from __future__ import annotations

from collections.abc import Sequence

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.layers.recurrent.steps import assign

__all__ = ["Masking"]


@register("masking")
class Masking(Layer):
    """Say which steps of a sequence are padding: those all of whose features are ``value``. The sequence passes unchanged.

    mask[n, t] = any_f(x[n, t, f] != value), and out = x; grad_x = grad_out. Layers behind it take the mask into account as far
    as they know about steps: recurrent layers leave their state as it is at a padded step. Where the mask reaches an output
    that has a loss for every step, padded steps weigh nothing in losses and metrics, whatever the targets there are; `Reshape`
    to the same shape ends a mask, and then they count.

    Parameters
    ----------
    value : float, what padding is filled with

    Shape
    -----
    x: (N, steps, features) -> out: the same

    Raises
    ------
    ShapeError
        The input is no sequence of features.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.Masking(), nn.GRU(3)]).build((4, 2), random_state=0)
    >>> short = np.array([[[1.0, 2.0], [3.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    >>> alone = nn.Sequential([nn.GRU(3)]).build((2, 2), random_state=0)
    >>> bool(np.allclose(model.predict(short), alone.predict(short[:, :2])))
    True
    """

    inplace = passes_mask = True

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        self.require_number("value")

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 2:
            raise ShapeError(f"{self!r}: expected input rows (steps, features), got rows of shape {in_shape}")
        self.scratch("mask", in_shape[:1], dtype="uint8")
        return in_shape

    @staticmethod
    def forward(x, value, mask, out):
        for n in range(x.shape[0]):
            for t in range(x.shape[1]):
                mask[n, t] = 0
                for f in range(x.shape[2]):
                    if x[n, t, f] != value:
                        mask[n, t] = 1
                    out[n, t, f] = x[n, t, f]

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            for t in range(grad_x.shape[1]):
                assign(grad_out[n, t], grad_x[n, t])

    def onnx(self, graph, x):
        graph.mask = graph.node("ReduceMax", abs(x - self.value), [2], keepdims=0) != 0.0
        return x

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 2))]
