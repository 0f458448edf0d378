"""Maxout for nnkit: each output is the largest of several weighted sums of all inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import nnkit as nn

__all__ = ["Maxout"]


@nn.register("maxout")
class Maxout(nn.Layer):
    """A linear layer and an activation learnt with it: out_j = max_k z_kj, where z_kj = sum_i x_i w_ikj + b_kj.

    Each output has K weighted sums of its own, its pieces, and their maximum is a convex, piecewise linear function of x. Let
    k(n, j) be the piece that wins in row n (the first, where several are equal; NaN wins over numbers). Backward hands
    ``grad_out`` to the winners:

    - dL/dz_nkj = grad_out_nj where k = k(n, j), else 0,
    - dL/dw_ikj = sum_n x_ni dL/dz_nkj and dL/db_kj = sum_n dL/dz_nkj,
    - dL/dx_ni = sum_kj w_ikj dL/dz_nkj.

    Parameters
    ----------
    out_features : int >= 1; the number of inputs is inferred
    pieces : int >= 1, K; with 1 the layer is linear
    bias : bool, default True
    weight_init, bias_init : initializer or its name

    Shape
    -----
    x: (N, ..., in_features) -> out: (N, ..., out_features); weight: (in_features, pieces * out_features), whose columns are
    those of piece 1, then those of piece 2 and so on; bias: (pieces * out_features,).

    Raises
    ------
    ShapeError
        The input has no feature axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit_maxout import Maxout
    >>> model = nn.Sequential([Maxout(1, pieces=3, bias=False)]).build((1,))
    >>> model.parameters()["0.weight"][:] = [[-1.0, 1.0, 2.0]]  # max(-x, x, 2 x)
    >>> model.predict([[-3.0], [2.0]])
    array([[3.],
           [4.]], dtype=float32)

    References
    ----------
    Goodfellow, Warde-Farley, Mirza, Courville and Bengio 2013, "Maxout networks", section 3.
    """

    folds_rows = True

    def __init__(
        self,
        out_features: int = 1,
        *,
        pieces: int = 2,
        bias: bool = True,
        weight_init: Any = "linear_uniform",
        bias_init: Any = "zeros",
    ) -> None:
        self.out_features = out_features
        self.pieces = pieces
        self.bias = bias
        self.weight_init = weight_init
        self.bias_init = bias_init
        self.require_size("out_features")
        self.require_size("pieces")

    def build(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        if not in_shape:
            raise nn.ShapeError(f"{self!r}: expected input rows with a feature axis, (N, ..., in_features), got shape (N,)")
        *leading, in_features = in_shape
        sums = self.pieces * self.out_features
        self.parameter("weight", (in_features, sums), init=self.weight_init)
        self.parameter("bias", (sums,) if self.bias else (0,), init=self.bias_init)
        self.scratch("z", (*leading, sums))
        self.scratch("winner", (*leading, self.out_features), dtype="int32")
        return (*leading, self.out_features)

    @staticmethod
    def forward(x, weight, bias, z, winner, pieces, out):
        rows, units = out.shape
        np.dot(x, weight, z)
        for n in range(rows):
            s, best, k_best = z[n], out[n], winner[n]
            for i in range(bias.shape[0]):
                s[i] += bias[i]
            for j in range(units):
                best[j], k_best[j] = s[j], 0
            for k in range(1, pieces):
                piece = s[k * units : (k + 1) * units]
                for j in range(units):
                    wins = (piece[j] > best[j]) | (piece[j] != piece[j])
                    best[j] = piece[j] if wins else best[j]
                    k_best[j] = k if wins else k_best[j]

    @staticmethod
    def backward(x, winner, pieces, grad_out, grad_z, grad_weight, grad_bias):
        rows, units = grad_out.shape
        grad_bias[:] = 0.0
        for n in range(rows):
            d, g, k_best = grad_out[n], grad_z[n], winner[n]
            for k in range(pieces):
                piece = g[k * units : (k + 1) * units]
                for j in range(units):
                    piece[j] = d[j] if k_best[j] == k else 0.0
            for i in range(grad_bias.shape[0]):
                grad_bias[i] += g[i]
        np.dot(x.T, grad_z, grad_weight)

    @staticmethod
    def backward_x(weight, grad_z, grad_x):
        np.dot(grad_z, weight.T, grad_x)

    @classmethod
    def examples(cls) -> Sequence[nn.Example]:
        return [nn.Example(cls(3), (4,)), nn.Example(cls(2, pieces=3, bias=False), (5,)), nn.Example(cls(3, pieces=4), (2, 4))]
