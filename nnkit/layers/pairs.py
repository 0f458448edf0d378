"""Two values of a row together: their product, how alike they are, how far apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, prod, sqrt

import numpy as np

from nnkit.core.fields import fields
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import ShapeError
from nnkit.initializers import Uniform
from nnkit.kernels.gemm import ACROSS, STRIP, add_bias, dot, dot_transposed, sum_rows
from nnkit.kernels.math import real
from nnkit.layers.merge import packed

__all__ = ["Bilinear", "CosineSimilarity", "PairwiseDistance"]


def _require_equal(layer: Layer, in_shape: dict[str, Shape]) -> Shape:
    first, second = in_shape.values()
    if first != second:
        raise ShapeError(f"{layer!r}: expected two values of one shape, got {first} and {second}")
    return first


def inner(u, v, q):
    """The inner product of two matrices' columns ``q``."""
    total = 0.0
    if u.shape[1] == 1:
        a, b = u.reshape(u.size), v.reshape(v.size)
        for j in range(a.shape[0]):
            total += a[j] * b[j]
    else:
        for j in range(u.shape[0]):
            total += u[j, q] * v[j, q]
    return total


@register("bilinear")
class Bilinear(Layer):
    """Every output is a weighted sum of all products of two values' numbers: out_k = sum_ij x1_i weight_kij x2_j + bias_k.

    With T_ki = sum_j weight_kij x2_j, which is a matrix product over all rows, out_k = sum_i x1_i T_ki + bias_k. Backward, with
    d = grad_out:

    - grad_x1_i = sum_k d_k T_ki, dL/dT_ki = d_k x1_i,
    - grad_x2 and the weight's gradient follow from dL/dT as in `Linear`, dL/dbias_k = sum of d_k over all rows.

    Parameters
    ----------
    out_features : int >= 1; the numbers of inputs are inferred
    bias : bool, default True

    Shape
    -----
    x1: (N, ..., in1), x2: (N, ..., in2) -> out: (N, ..., out_features); weight: (out_features, in1, in2), bias:
    (out_features,), at first uniform in [-1/sqrt(in1), 1/sqrt(in1)].

    Raises
    ------
    ShapeError
        An input has no feature axis, or the axes before it differ.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(out=(("question", "answer"), nn.Bilinear(1)))
    >>> nn.Sequential([net]).build({"question": (8,), "answer": (5,)}).out_shape
    (1,)

    References
    ----------
    Tenenbaum and Freeman 2000, "Separating style and content with bilinear models", eq. 1.
    """

    inputs = ("x1", "x2")
    folds_rows = passes_mask = True
    gives = Span()
    elsewhere = ("in1_features", "in2_features", "out_features", "bias")

    def __init__(self, out_features: int = 1, *, bias: bool = True) -> None:
        self.out_features = out_features
        self.bias = bias
        self.require_size("out_features")

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        first, second = in_shape["x1"], in_shape["x2"]
        if not first or not second or first[:-1] != second[:-1]:
            raise ShapeError(f"{self!r}: expected two values that differ in their features alone, got {first} and {second}")
        *leading, features = first
        init = Uniform(-1 / sqrt(features), 1 / sqrt(features))
        self.parameter("weight", (self.out_features, features, second[-1]), init)
        self.parameter("bias", (self.out_features if self.bias else 0,), init)
        self.scratch("products", (*leading, self.out_features * features))  # T
        self.workspace("strip", (STRIP, ACROSS))
        return (*leading, self.out_features)

    def work(self, in_shape: dict[str, Shape], out_shape: Shape, parameters: int) -> int:
        return prod(out_shape[:-1]) * parameters

    @staticmethod
    def forward(x1, x2, weight, bias, products, strip, out):
        outputs, features, others = weight.shape
        dot_transposed(x2, weight.reshape((outputs * features, others)), strip, products)
        for n in range(x1.shape[0]):
            row, product = x1[n], products[n]
            for k in range(outputs):
                total = row[0] * product[k * features]
                for i in range(1, features):
                    total += row[i] * product[k * features + i]
                out[n, k] = total
        add_bias(bias, out)

    @staticmethod
    def backward(x1, x2, weight, products, grad_products, grad_out, grad_x1, grad_x2, grad_weight, grad_bias):
        outputs, features, others = weight.shape
        for n in range(x1.shape[0]):
            row, grad, product, delta = x1[n], grad_x1[n], products[n], grad_products[n]
            grad[:] = 0.0
            for k in range(outputs):
                d = grad_out[n, k]
                for i in range(features):
                    grad[i] += d * product[k * features + i]
                    delta[k * features + i] = d * row[i]
        dot(grad_products, weight.reshape((outputs * features, others)), grad_x2)
        dot(grad_products.T, x2, grad_weight.reshape((outputs * features, others)))
        sum_rows(grad_out, grad_bias)

    def onnx(self, graph, x):
        weight = graph.array("weight").array
        outputs, features, others = weight.shape
        leading = [0] * (len(self._built.out_shape))
        products = x["x2"] @ graph.constant(weight.reshape(outputs * features, others).T, "weight")
        products = graph.node("Reshape", products, [*leading, outputs, features])
        both = products * graph.node("Unsqueeze", x["x1"], [-2])
        out = graph.node("ReduceSum", both, [-1], keepdims=0)
        return out + graph.array("bias") if self.bias else out

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            packed(cls(3), x1=(2,), x2=(4,)),
            packed(cls(2, bias=False), x1=(2, 3), x2=(2, 2)),
        ]


@register("cosine_similarity")
class CosineSimilarity(Layer):
    """The cosine of the angle between two values along an axis: out = x1 . x2 / (max(|x1|, eps) max(|x2|, eps)).

    With a = max(|x1|, eps), b = max(|x2|, eps) and d = grad_out: grad_x1 = d (x2 / (a b) - out x1 / a**2), the second term only
    where |x1| > eps; likewise grad_x2. (PyTorch leaves it there as if there was no eps, which is not the derivative.)

    Parameters
    ----------
    dim : int, the axis, counted as in PyTorch: from 1 (0 is the batch), or from the end
    eps : float in (0, 1), keeps the quotient finite

    Shape
    -----
    x1, x2: (N, ..., D, ...), both alike -> out: (N, ...), without the axis

    Raises
    ------
    ShapeError
        The two have other shapes, or there is no such axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.CosineSimilarity()]).build({"x1": (2,), "x2": (2,)})
    >>> model.predict({"x1": [[3.0, 0.0], [1.0, 1.0]], "x2": [[5.0, 0.0], [-2.0, 2.0]]})
    array([1., 0.], dtype=float32)
    """

    inputs = ("x1", "x2")
    gives = Span(-1.0, 1.0)
    elsewhere = ("dim", "eps")

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim = dim
        self.eps = eps
        self.require_axis("dim")
        self.require_eps()

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        shape = _require_equal(self, in_shape)
        self.axis = self.axis_of_row(self.dim, shape)
        seen = (prod(shape[: self.axis]), shape[self.axis], prod(shape[self.axis + 1 :]))
        self.view(x1=seen, x2=seen, out=(seen[0], seen[2]))
        return (*shape[: self.axis], *shape[self.axis + 1 :])

    def work(self, in_shape: dict[str, Shape], out_shape: Shape, parameters: int) -> int:
        return 3 * prod(in_shape["x1"])

    @staticmethod
    def forward(x1, x2, eps, out):
        for n in range(x1.shape[0]):
            for p in range(x1.shape[1]):
                for q in range(x1.shape[3]):
                    u, v = x1[n, p], x2[n, p]
                    out[n, p, q] = inner(u, v, q) / max(np.sqrt(inner(u, u, q)), eps) / max(np.sqrt(inner(v, v, q)), eps)

    @staticmethod
    def backward(x1, x2, eps, grad_out, grad_x1, grad_x2):
        for n in range(x1.shape[0]):
            for p in range(x1.shape[1]):
                for q in range(x1.shape[3]):
                    u, v, grad_u, grad_v = x1[n, p], x2[n, p], grad_x1[n, p], grad_x2[n, p]
                    a, b, product = np.sqrt(inner(u, u, q)), np.sqrt(inner(v, v, q)), inner(u, v, q)
                    both = grad_out[n, p, q] / max(a, eps) / max(b, eps)
                    first = both * product / (a * a) if a > eps else 0.0
                    second = both * product / (b * b) if b > eps else 0.0
                    for j in range(u.shape[0]):
                        grad_u[j, q] = both * v[j, q] - first * u[j, q]
                        grad_v[j, q] = both * u[j, q] - second * v[j, q]

    def onnx(self, graph, x):
        u, v = fields(x).values()
        axes = [self.axis + 1]
        a, b = (graph.node("Max", graph.node("ReduceL2", part, axes, keepdims=0), self.eps) for part in (u, v))
        return graph.node("ReduceSum", u * v, axes, keepdims=0) / a / b

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [packed(cls(), x1=(4,), x2=(4,)), replace(packed(cls(-2, eps=0.5), x1=(2, 3), x2=(2, 3)), low=-0.6, high=0.6)]


def share_of_largest(d, grad):
    """D becomes the gradient of the largest of |d|, which all that are the largest share."""
    largest, count = 0.0, 0
    for j in range(d.shape[0]):
        largest = max(largest, abs(d[j]))
    for j in range(d.shape[0]):
        count += abs(d[j]) == largest
    share = grad / real(count)
    for j in range(d.shape[0]):
        d[j] = share * np.sign(d[j]) if abs(d[j]) == largest else 0.0


@register("pairwise_distance")
class PairwiseDistance(Layer):
    """How far apart two values are along the last axis: out = (sum_j |d_j|**p)**(1/p), with d = x1 - x2 + eps.

    With p = infinity it is the largest |d_j|. Backward, g being grad_out: grad_x1_j = g sign(d_j) (|d_j| / out)**(p - 1), or 0
    where out is; with p = infinity g sign(d_j) where |d_j| is the largest, shared by all that are. grad_x2 = -grad_x1.

    Parameters
    ----------
    p : float > 0, or infinity
    eps : float in (0, 1), added to each difference
    keepdim : bool, default False: keep the last axis, with one number

    Shape
    -----
    x1, x2: (N, ..., D), both alike -> out: (N, ...) or (N, ..., 1)

    Raises
    ------
    ShapeError
        The two have other shapes, or no feature axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.PairwiseDistance()]).build({"x1": (2,), "x2": (2,)})
    >>> model.predict({"x1": [[3.0, 4.0]], "x2": [[0.0, 0.0]]}).round(3)
    array([5.], dtype=float32)
    """

    inputs = ("x1", "x2")
    gives = Span(0.0)
    elsewhere = ("p", "eps", "keepdim")

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        self.p = p
        self.eps = eps
        self.keepdim = keepdim
        if p != inf:
            self.require_number("p", 0.0, above=True)
        self.require_eps()

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        shape = _require_equal(self, in_shape)
        if not shape:
            raise ShapeError(f"{self!r}: expected values with a feature axis, (N, ..., features), got shape (N,)")
        seen = (prod(shape[:-1]), shape[-1])
        self.view(x1=seen, x2=seen, out=seen[:1])
        return (*shape[:-1], 1) if self.keepdim else shape[:-1]

    def work(self, in_shape: dict[str, Shape], out_shape: Shape, parameters: int) -> int:
        return 2 * prod(in_shape["x1"])

    @staticmethod
    def forward(x1, x2, p, eps, out):
        for n in range(x1.shape[0]):
            for r in range(x1.shape[1]):
                u, v, largest, total = x1[n, r], x2[n, r], 0.0, 0.0
                if p == 2.0:
                    for j in range(u.shape[0]):
                        d = u[j] - v[j] + eps
                        total += d * d
                    out[n, r] = np.sqrt(total)
                    continue
                for j in range(u.shape[0]):
                    largest = max(largest, abs(u[j] - v[j] + eps))
                if largest > 0.0 and p != np.inf:
                    for j in range(u.shape[0]):
                        total += (abs(u[j] - v[j] + eps) / largest) ** p
                    largest *= total ** (1.0 / p)
                out[n, r] = largest

    @staticmethod
    def backward(x1, x2, p, eps, out, grad_out, grad_x1, grad_x2):
        for n in range(x1.shape[0]):
            for r in range(x1.shape[1]):
                u, v, first, second, norm = x1[n, r], x2[n, r], grad_x1[n, r], grad_x2[n, r], out[n, r]
                for j in range(u.shape[0]):
                    first[j] = u[j] - v[j] + eps
                if p == 2.0:
                    squares = 0.0
                    for j in range(u.shape[0]):
                        squares += first[j] * first[j]
                    factor = grad_out[n, r] / np.sqrt(squares) if squares > 0.0 else 0.0
                    for j in range(u.shape[0]):
                        first[j] *= factor
                elif p == np.inf:
                    share_of_largest(first, grad_out[n, r])
                else:
                    for j in range(u.shape[0]):
                        d = first[j]
                        first[j] = grad_out[n, r] * np.sign(d) * (abs(d) / norm) ** (p - 1.0) if d != 0.0 else 0.0
                for j in range(u.shape[0]):
                    second[j] = -first[j]

    def onnx(self, graph, x):
        u, v = fields(x).values()
        apart, axes, keep = abs(u - v + self.eps), [len(self._built.in_shape["x1"])], int(self.keepdim)
        if self.p == inf:
            return graph.node("ReduceMax", apart, axes, keepdims=keep)
        if self.p in (1, 2):
            return graph.node(f"ReduceL{self.p:.0f}", apart, axes, keepdims=keep)
        return graph.node("ReduceSum", apart**self.p, axes, keepdims=keep) ** (1 / self.p)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            packed(cls(), x1=(4,), x2=(4,)),
            packed(cls(eps=0.2, keepdim=True), x1=(2, 3), x2=(2, 3)),
            packed(cls(3.0, eps=0.1), x1=(4,), x2=(4,)),
            packed(cls(inf, eps=0.1), x1=(3,), x2=(3,)),
        ]
