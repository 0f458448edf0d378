"""Normalisation by the neighbouring channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import OnnxError, ShapeError
from nnkit.kernels.math import exp, log, real

__all__ = ["LocalResponseNorm"]


@register("local_response_norm")
class LocalResponseNorm(Layer):
    """Divide every number by what its neighbours in other channels have, at the same place.

    With d_c = k + alpha / size sum_j x_j**2 over the ``size`` channels j around c, those that there are:

    - out_c = x_c d_c**-beta,
    - grad_x_j = grad_out_j d_j**-beta - 2 alpha beta / size x_j sum_c grad_out_c out_c / d_c, over the c that j is around.

    Parameters
    ----------
    size : int >= 1, channels that count, as many before as behind, of an even number one more before
    alpha, beta : float >= 0
    k : float > 0

    Shape
    -----
    x: (N, C, ...) -> out: the same

    Raises
    ------
    ShapeError
        Rows have no channels.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.LocalResponseNorm(1, alpha=3.0, beta=0.5)]).build((2, 1)).predict([[[1.0], [0.0]]])
    array([[[0.5],
            [0. ]]], dtype=float32)
    >>> model = nn.Sequential([nn.LocalResponseNorm(3, alpha=0.5, beta=0.5, k=2.0)]).build((4, 1))
    >>> model.predict([[[1.0], [2.0], [-1.0], [3.0]]]).round(3).ravel()
    array([ 0.594,  1.155, -0.48 ,  1.567], dtype=float32)

    References
    ----------
    Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks", section 3.3 (with
    PyTorch's mean of the squares instead of their sum).
    """

    def __init__(self, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k
        self.require_size("size")
        self.require_number("alpha", 0.0)
        self.require_number("beta", 0.0)
        self.require_number("k", 0.0, above=True)

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, ...), got (N,)")
        seen = (in_shape[0], prod(in_shape[1:]))
        self.scratch("divisor", seen)
        self.scratch("factor", seen)
        self.view(x=seen, out=seen)
        return in_shape

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return (self.size + 20) * prod(in_shape)

    def c(self) -> str:
        return """
            void forward(const real x[C][P], real out[C][P])
            {
                for (int c = 0; c < C; c++)
                    for (int p = 0; p < P; p++) {
                        real total = 0.0;
                        for (int j = c - size / 2; j <= c + (size - 1) / 2; j++)
                            if (j >= 0 && j < C)
                                total += x[j][p] * x[j][p];
                        out[c][p] = x[c][p] * pow(k + alpha / size * total, -beta);
                    }
            }"""

    @staticmethod
    def forward(x, size, alpha, beta, k, divisor, factor, out):
        channels, places = x.shape[1], x.shape[2]
        share = alpha / real(size)
        for n in range(x.shape[0]):
            for c in range(channels):
                for p in range(places):
                    divisor[n, c, p] = k
                for j in range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1)):
                    for p in range(places):
                        divisor[n, c, p] += share * x[n, j, p] * x[n, j, p]
                for p in range(places):
                    factor[n, c, p] = exp(-beta * log(divisor[n, c, p]))
                    out[n, c, p] = x[n, c, p] * factor[n, c, p]

    @staticmethod
    def backward(x, grad_out, size, alpha, beta, divisor, factor, grad_x):
        channels, places = x.shape[1], x.shape[2]
        share = 2.0 * alpha * beta / real(size)
        for n in range(x.shape[0]):
            for j in range(channels):
                for p in range(places):
                    grad_x[n, j, p] = 0.0
                for c in range(max(0, j - (size - 1) // 2), min(channels, j + size // 2 + 1)):
                    for p in range(places):
                        grad_x[n, j, p] += grad_out[n, c, p] * x[n, c, p] * factor[n, c, p] / divisor[n, c, p]
                for p in range(places):
                    grad_x[n, j, p] = grad_out[n, j, p] * factor[n, j, p] - share * x[n, j, p] * grad_x[n, j, p]

    def onnx(self, graph, x):
        if self.size % 2 == 0:
            raise OnnxError(f"{self!r}: expected an odd size, got {self.size}: of an even one, ONNX counts one more behind")
        return graph.node("LRN", x, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)

    @classmethod
    def from_onnx(cls, at):
        if (node := at.take("LRN")) is None:
            return None
        size, alpha, beta, k = (node.attributes[name] for name in ("size", "alpha", "beta", "bias"))
        if size % 2 == 0:
            raise OnnxError(f"expected an odd size, got {size}")
        return at.found(cls(size, alpha=alpha, beta=beta, k=k))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3, alpha=0.5), (5, 2, 3)), Example(cls(5, alpha=1.0, beta=0.5, k=2.0), (4, 3, 2))]
