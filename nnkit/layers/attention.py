"""Attention over the steps of a sequence, and where a step stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.initializers import Normal
from nnkit.kernels.gemm import SMALL, add_bias, dot_transposed, sum_rows, transpose
from nnkit.kernels.softmax import softmax_row, softmax_row_backward

__all__ = ["MultiHeadAttention", "PositionalEmbedding"]


def _require_sequence(layer: Layer, in_shape: Shape) -> Shape:
    if len(in_shape) != 2:
        raise ShapeError(f"{layer!r}: expected sequences as input rows, (N, steps, features), got rows of {in_shape}")
    return in_shape


def _take(rows, row, column, parts):
    """Gather a head: parts[i, t] = what is its own of the i-th of equally many columns of rows[row + t]."""
    width, size = rows.shape[1] // parts.shape[0], parts.shape[2]
    for i in range(parts.shape[0]):
        for t in range(parts.shape[1]):
            whole = rows[row + t]
            own, part = whole[i * width + column : i * width + column + size], parts[i, t]
            for j in range(size):
                part[j] = own[j]


def _put(parts, rows, row, column):
    """The same the other way."""
    width, size = rows.shape[1] // parts.shape[0], parts.shape[2]
    for i in range(parts.shape[0]):
        for t in range(parts.shape[1]):
            whole = rows[row + t]
            own, part = whole[i * width + column : i * width + column + size], parts[i, t]
            for j in range(size):
                own[j] = part[j]


def _attend(scores, scale, mask, n, causal):
    """Softmax of the scaled scores (queries, keys) over the keys that a query sees; the others get 0."""
    for query in range(scores.shape[0]):
        row = scores[query]
        seen = query + 1 if causal else row.shape[0]
        for key in range(row.shape[0]):
            row[key] = row[key] * scale if key < seen else 0.0
        hidden = 0
        for key in range(min(mask.shape[1], seen)):
            if mask[n, key] == 0:
                row[key] = -np.inf
                hidden += 1
        if hidden < seen:
            softmax_row(row[:seen])
        else:
            row[:] = 0.0


@register("multi_head_attention")
class MultiHeadAttention(Layer):
    r"""Self-attention: every step of a sequence looks at all steps, and takes from each as much as it finds fitting.

    With x a row (steps, features), and W, b the parts of in_proj: Q = x W_q + b_q, K = x W_k + b_k, V = x W_v + b_v. Each is
    cut into ``num_heads`` heads of d = features / num_heads columns. For every head,

        S = Q K.T / sqrt(d),  P = softmax of S over the keys,  C = P V;

    the heads' C side by side, times out_proj_weight, plus out_proj_bias, are the output. With ``causal``, a step sees itself
    and those before it; steps where ``mask`` is 0 are seen by nobody. A step that sees none at all gets C = 0.

    Backward, with dC = grad_out @ out_proj_weight.T cut into heads:

    - dV = P.T dC, dP = dC V.T,
    - dS_ij = P_ij (dP_ij - sum_k P_ik dP_ik),
    - dQ = dS K / sqrt(d), dK = dS.T Q / sqrt(d);
    - x, in_proj and out_proj follow as in `Linear`.

    Parameters
    ----------
    num_heads : int >= 1, divides the number of features
    causal : bool, default False
    bias : bool, default True

    Shape
    -----
    x: (N, steps, features) -> out: (N, steps, features); in_proj_weight: (features, 3 features), the columns of Q, then of K,
    then of V; in_proj_bias: (3 features,); out_proj_weight: (features, features); out_proj_bias: (features,).

    Raises
    ------
    ShapeError
        The input is no sequence, or ``num_heads`` does not divide its features.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.MultiHeadAttention(2, causal=True)]).build((3, 4), random_state=0)
    >>> X = np.ones((1, 3, 4))
    >>> a = model.predict(X)
    >>> X[0, 2] = 5.0  # the last step: those before it do not see it
    >>> (model.predict(X) == a).all(axis=2)
    array([[ True,  True, False]])

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need", section 3.2.
    """

    folds_rows = passes_mask = True

    def __init__(self, num_heads: int, causal: bool = False, bias: bool = True) -> None:
        self.num_heads = num_heads
        self.causal = causal
        self.bias = bias
        self.require_size("num_heads")

    def build(self, in_shape: Shape) -> Shape:
        steps, width = _require_sequence(self, in_shape)
        if width % self.num_heads:
            raise ShapeError(f"{self!r}: expected a number of features that {self.num_heads} heads divide, got {width}")
        self.steps, self.scale = steps, 1 / sqrt(width / self.num_heads)
        self.parameter("in_proj_weight", (width, 3 * width), init="glorot_uniform")
        self.parameter("in_proj_bias", (3 * width if self.bias else 0,))
        self.parameter("out_proj_weight", (width, width), init="linear_uniform")
        self.parameter("out_proj_bias", (width if self.bias else 0,))
        size = width // self.num_heads
        self.scratch("qkv", (steps, 3 * width))
        self.scratch("attention", (self.num_heads * steps, steps))  # P of every head
        self.scratch("context", (steps, width))
        self.workspace("head", (3, steps, size))  # Q, K and V of one head
        self.workspace("d_head", (3, steps, size))
        self.workspace("c", (1, steps, size))  # C or dC
        self.workspace("ds", (steps, steps))
        self.workspace("turned", (steps, steps))  # a matrix transposed; on Zen 4 with its product 4.1 us, the product alone 5.8
        small = 3 * width * width * 32 <= SMALL  # as in Linear
        self.workspace("in_proj_weight_t", (3 * width, width) if small else (0, 0))
        self.workspace("out_proj_weight_t", (width, width) if small else (0, 0))
        return in_shape

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        steps, width = in_shape
        return steps * (parameters + 2 * steps * width)

    @staticmethod
    def forward(
        x, mask, in_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias, num_heads, steps, scale, causal,
        qkv, attention, context, head, c, out,
    ):  # fmt: skip
        np.dot(x, in_proj_weight, qkv)
        add_bias(in_proj_bias, qkv)
        q, k, v = head[0], head[1], head[2]
        for n in range(x.shape[0] // steps):
            for h in range(num_heads):
                _take(qkv, n * steps, h * q.shape[1], head)
                begin = (n * num_heads + h) * steps
                p = attention[begin : begin + steps]
                np.dot(q, k.T, p)
                _attend(p, scale, mask, n, causal)
                np.dot(p, v, c[0])
                _put(c, context, n * steps, h * q.shape[1])
        np.dot(context, out_proj_weight, out)
        add_bias(out_proj_bias, out)

    @staticmethod
    def backward(
        x, out_proj_weight, grad_out, num_heads, steps, scale, qkv, attention, context, head, d_head, c, ds, turned,
        out_proj_weight_t, grad_context, grad_qkv,
        grad_in_proj_weight, grad_in_proj_bias, grad_out_proj_weight, grad_out_proj_bias,
    ):  # fmt: skip
        np.dot(context.T, grad_out, grad_out_proj_weight)
        sum_rows(grad_out, grad_out_proj_bias)
        dot_transposed(grad_out, out_proj_weight, out_proj_weight_t, grad_context)
        q, k, v = head[0], head[1], head[2]
        for n in range(x.shape[0] // steps):
            for h in range(num_heads):
                _take(qkv, n * steps, h * q.shape[1], head)
                _take(grad_context, n * steps, h * q.shape[1], c)
                begin = (n * num_heads + h) * steps
                p = attention[begin : begin + steps]
                np.dot(c[0], v.T, ds)  # dP
                for t in range(steps):
                    row = ds[t]
                    softmax_row_backward(p[t], row)
                    for key in range(steps):
                        row[key] *= scale
                np.dot(ds, k, d_head[0])
                transpose(ds, turned)
                np.dot(turned, q, d_head[1])
                transpose(p, turned)
                np.dot(turned, c[0], d_head[2])
                _put(d_head, grad_qkv, n * steps, h * q.shape[1])
        np.dot(x.T, grad_qkv, grad_in_proj_weight)
        sum_rows(grad_qkv, grad_in_proj_bias)

    @staticmethod
    def backward_x(in_proj_weight, grad_qkv, in_proj_weight_t, grad_x):
        dot_transposed(grad_qkv, in_proj_weight, in_proj_weight_t, grad_x)

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        ours = {name.replace(".", "_"): array for name, array in arrays.items()}
        return {name: array.T for name, array in ours.items()}  # the bias, a vector, is its own transpose

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (3, 4)), Example(cls(1, causal=True, bias=False), (5, 3))]


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

    def __init__(self, max_len: int | None = None) -> None:
        self.max_len = max_len
        if max_len is not None:
            self.require_size("max_len")

    def build(self, in_shape: Shape) -> Shape:
        steps, width = _require_sequence(self, in_shape)
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

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 4)), Example(cls(5), (3, 4))]
