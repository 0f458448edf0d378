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
from nnkit.kernels.gemm import ACROSS, STRIP, add_bias, dot, dot_transposed, sum_rows, transpose
from nnkit.kernels.lanes import everywhere, lane_numbers, load, store, where
from nnkit.kernels.math import exp, real
from nnkit.kernels.taps import contract, numbers_in_line

__all__ = ["MultiHeadAttention", "PositionalEmbedding"]

UNSEEN = -1e30  # the score of a step that is not to be seen: exp gives 0
LINE = 16  # numbers of a cache line in float32; in float64 it is two lines


def _require_sequence(layer: Layer, in_shape: Shape) -> Shape:
    if len(in_shape) != 2:
        raise ShapeError(f"{layer!r}: expected sequences as input rows, (N, steps, features), got rows of {in_shape}")
    return in_shape


def _take(rows, row, column, steps, size, part):
    """Gather a head: part[t, :size] = rows[row + t, column : column + size] for all steps t."""
    for t in range(steps):
        whole, own = rows[row + t], part[t]
        for j in range(size):
            own[j] = whole[column + j]


def _put(part, rows, row, column, steps, size):
    """The same the other way."""
    for t in range(steps):
        whole, own = rows[row + t], part[t]
        for j in range(size):
            whole[column + j] = own[j]


def _softmax(s, base, seen, scale, mask, n, first, causal):
    """Softmax of scaled scores over the keys: row ``base + key`` of s holds the scores of the queries from ``first`` on."""
    top = everywhere(-np.inf, s[base])
    for key in range(seen):
        row = s[base + key]
        score = load(row) * scale
        if key < mask.shape[1] and mask[n, key] == 0:
            score = everywhere(-np.inf, row)
        elif causal and key > first:
            score = where(lane_numbers(row) < real(key - first), -np.inf, score)
        top = where(score > top, score, top)
        store(score, row)
    top = where(top == -np.inf, 0.0, top)  # of a query that sees no key
    for key in range(seen):
        store(load(s[base + key]) - top, s[base + key])
    flat = s.reshape(s.size)[base * s.shape[1] : (base + seen) * s.shape[1]]
    for i in range(flat.shape[0]):
        flat[i] = exp(flat[i])
    total = everywhere(0.0, s[base])
    for key in range(seen):
        total = total + load(s[base + key])
    factor = where(total == 0.0, 0.0, 1.0 / total)
    for key in range(seen):
        store(load(s[base + key]) * factor, s[base + key])


def _softmax_backward(p, base, seen, scale, d):
    """D[key] -> scale * p[key] (d[key] - sum_k p[k] d[k]), for the queries of a row side by side."""
    mean = everywhere(0.0, d[0])
    for key in range(seen):
        mean = mean + load(p[base + key]) * load(d[key])
    for key in range(seen):
        store(load(p[base + key]) * (load(d[key]) - mean) * scale, d[key])


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

    Queries are worked on some at a time, a cache line of them side by side, from the matrix products to the softmax and back: P
    is kept as [queries, key, query]. With ``causal``, keys behind all of them are left out.

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
    >>> model.predict([[[1.0, 0.0, 2.0, -1.0], [0.0, 1.0, -1.0, 3.0], [2.0, 1.0, 0.0, 1.0]]]).round(3)
    array([[[ 0.597,  0.102, -0.011, -0.474],
            [ 0.522, -0.523, -0.243,  0.013],
            [ 0.551, -0.638, -0.284, -0.03 ]]], dtype=float32)
    >>> mean = nn.Sequential([nn.MultiHeadAttention(1, causal=True, bias=False)]).build((20, 1))
    >>> mean.parameters()["0.in_proj_weight"][:] = 0.0, 0.0, 1.0  # no step fits better than another
    >>> mean.parameters()["0.out_proj_weight"][:] = 1.0
    >>> mean.predict(np.arange(20.0).reshape(1, 20, 1))[0, 16:].round(3).ravel()  # of the steps so far
    array([8. , 8.5, 9. , 9.5], dtype=float32)

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need", section 3.2.
    """

    elsewhere = ("embed_dim", "num_heads", "dropout", "bias")
    folds_rows = passes_mask = True

    def __init__(self, num_heads: int, *, causal: bool = False, bias: bool = True) -> None:
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
        self.size = size = width // self.num_heads
        self.padded = padded = -(-steps // LINE) * LINE
        features = -(-size // LINE) * LINE
        self.scratch("qkv", (steps, 3 * width))
        self.scratch("attention", (self.num_heads * padded, steps))  # P of every head
        self.scratch("context", (steps, width))
        # Of one head, filled up with zeros to whole cache lines: Q, K, V and C or dC; their gradients; one of them transposed.
        self.workspace("head", (4, padded, features))
        self.workspace("d_head", (3, padded, features))
        self.workspace("turned", (features, padded))
        self.workspace("ds", (steps, LINE))
        self.workspace("strip", (STRIP, ACROSS))
        return in_shape

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        steps, width = in_shape
        return steps * (parameters + 2 * steps * width)

    @staticmethod
    def forward(
        x, mask, in_proj_weight, in_proj_bias, out_proj_weight, out_proj_bias, num_heads, steps, size, padded, scale, causal,
        qkv, attention, context, head, turned, out,
    ):  # fmt: skip
        dot(x, in_proj_weight, qkv)
        add_bias(in_proj_bias, qkv)
        head[:] = 0.0
        q, k, v, c = head[0], head[1], head[2], head[3]
        width, features, line = num_heads * size, head.shape[2], numbers_in_line(out)
        p = attention.reshape(attention.size // line, line)
        for i in range(x.shape[0] // steps * num_heads):  # heads of rows
            n, column = i // num_heads, i % num_heads * size
            _take(qkv, n * steps, column, steps, size, q)
            _take(qkv, n * steps, column + width, steps, size, k)
            _take(qkv, n * steps, column + 2 * width, steps, size, v)
            transpose(q, turned)
            c[:] = 0.0
            for first in range(0, steps, line):
                seen, base = min(first + line, steps) if causal else steps, (i * padded + first) * steps // line
                for key in range(seen):
                    store(everywhere(0.0, p[base]), p[base + key])
                contract(turned, first, (0, 0, padded), k, 0, (0, 0, 1, features), (1, 1, size), p, base * line, line, seen)
                _softmax(p, base, seen, scale, mask, n, first, causal)
                for j in range(0, size, line):
                    contract(v, j, (0, 0, features), p, base * line, (0, 0, line, 1), (1, 1, seen),
                             c, first * features + j, features, min(line, steps - first))  # fmt: skip
            _put(c, context, n * steps, column, steps, size)
        dot(context, out_proj_weight, out)
        add_bias(out_proj_bias, out)

    @staticmethod
    def backward(
        x, out_proj_weight, grad_out, num_heads, steps, size, padded, scale, causal, qkv, attention, context, head, d_head,
        turned, ds, strip, grad_context, grad_qkv,
        grad_in_proj_weight, grad_in_proj_bias, grad_out_proj_weight, grad_out_proj_bias,
    ):  # fmt: skip
        dot(context.T, grad_out, grad_out_proj_weight)
        sum_rows(grad_out, grad_out_proj_bias)
        dot_transposed(grad_out, out_proj_weight, strip, grad_context)
        head[:] = 0.0
        q, k, v, dc = head[0], head[1], head[2], head[3]
        dq, dk, dv = d_head[0], d_head[1], d_head[2]
        width, features, line = num_heads * size, head.shape[2], numbers_in_line(grad_out)
        p, d = attention.reshape(attention.size // line, line), ds.reshape(ds.size // line, line)
        for i in range(x.shape[0] // steps * num_heads):
            n, column = i // num_heads, i % num_heads * size
            _take(qkv, n * steps, column, steps, size, q)
            _take(qkv, n * steps, column + width, steps, size, k)
            _take(qkv, n * steps, column + 2 * width, steps, size, v)
            _take(grad_context, n * steps, column, steps, size, dc)
            transpose(dc, turned)
            d_head[:] = 0.0
            for first in range(0, steps, line):
                seen, base = min(first + line, steps) if causal else steps, (i * padded + first) * steps // line
                for key in range(seen):
                    store(everywhere(0.0, d[0]), d[key])
                contract(turned, first, (0, 0, padded), v, 0, (0, 0, 1, features), (1, 1, size), d, 0, line, seen)  # dP
                _softmax_backward(p, base, seen, scale, d)
                for j in range(0, size, line):
                    own = first * features + j
                    contract(k, j, (0, 0, features), d, 0, (0, 0, line, 1), (1, 1, seen),
                             dq, own, features, min(line, steps - first))  # fmt: skip
                    contract(q, own, (0, 0, features), d, 0, (0, 0, 1, line), (1, 1, line), dk, j, features, seen)
                    contract(dc, own, (0, 0, features), p, base * line, (0, 0, 1, line), (1, 1, line), dv, j, features, seen)
            _put(dq, grad_qkv, n * steps, column, steps, size)
            _put(dk, grad_qkv, n * steps, column + width, steps, size)
            _put(dv, grad_qkv, n * steps, column + 2 * width, steps, size)
        dot(x.T, grad_qkv, grad_in_proj_weight)
        sum_rows(grad_qkv, grad_in_proj_bias)

    @staticmethod
    def backward_x(in_proj_weight, grad_qkv, strip, grad_x):
        dot_transposed(grad_qkv, in_proj_weight, strip, grad_x)

    def onnx(self, graph, x):
        steps, width = self._built.in_shape
        qkv = x @ graph.array("in_proj_weight")
        if self.bias:
            qkv = qkv + graph.array("in_proj_bias")
        q, k, v = (graph.node("Reshape", part, [0, steps, self.num_heads, width // self.num_heads])
                   for part in graph.nodes(3, "Split", qkv, [width] * 3, axis=2))  # fmt: skip
        q, k, v = (graph.node("Transpose", part, perm=perm)
                   for part, perm in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3])))  # fmt: skip
        scores = (q @ k) * self.scale
        seen = None if graph.mask is None else graph.node("Unsqueeze", graph.mask, [1, 2])
        if self.causal:
            before = np.tri(steps, dtype=bool)
            seen = graph.constant(before) if seen is None else seen & before
        if seen is None:
            p = graph.node("Softmax", scores, axis=-1)
        else:
            p = graph.node("Softmax", graph.node("Where", seen, scores, UNSEEN), axis=-1)
        if graph.mask is not None:  # a step that sees none at all takes nothing
            p = graph.node("Where", seen, p, 0.0)
        context = graph.node("Reshape", graph.node("Transpose", p @ v, perm=[0, 2, 1, 3]), [0, steps, width])
        out = context @ graph.array("out_proj_weight")
        return out + graph.array("out_proj_bias") if self.bias else out

    @classmethod
    def from_onnx(cls, at):
        heads = at.copy()
        if at.rank != 2 or heads.take("MatMul") is None:
            return None
        bias = heads.take("Add") is not None
        if heads.take("Split") is None or (node := heads.take("Reshape")) is None or len(node.integers(1)) != 4:
            return None
        masks = (False, True) if at.shape[0] ** 2 <= at.largest else (False,)  # it would be among the constants
        return at.like(cls(node.integers(1)[2], causal=causal, bias=bias) for causal in masks)

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

    def __init__(self, *, max_len: int | None = None) -> None:
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
