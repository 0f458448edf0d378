"""Normalization: numbers of mean 0 and variance 1, of each row, or as the training data were; or of mean square 1."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

import numpy as np

from nnkit.core.arrays import numeric
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.engine.operands import Constant, constant
from nnkit.errors import ParameterError, ShapeError
from nnkit.kernels.gemm import sum_rows
from nnkit.kernels.math import real

__all__ = ["LayerNorm", "RMSNorm", "Standardize"]


def _require_features(layer: Layer, in_shape: Shape) -> int:
    if not in_shape:
        raise ShapeError(f"{layer!r}: expected input rows with a feature axis, (N, ..., features), got shape (N,)")
    return in_shape[-1]


class _OverLastAxes(Layer):
    """What is normalised over the last axis, or over several, which kernels see as one."""

    folds_rows = True
    passes_mask = True
    normalized_shape: Any

    def require_normalized_shape(self) -> None:
        """Refuse a shape that is none."""
        shape = self.normalized_shape
        several = shape if isinstance(shape, tuple | list) else (shape,)
        whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in several)
        named = shape is None or (whole and len(several) > 0)
        self.require("normalized_shape", named, "None, a size of at least 1, or those of the last axes")

    @property
    def axes(self) -> int:
        """How many there are."""
        return len(self.normalized_shape) if isinstance(self.normalized_shape, tuple | list) else 1

    def last_axes(self, in_shape: Shape) -> Shape:
        """Their sizes."""
        if self.normalized_shape is None:
            return (_require_features(self, in_shape),)
        given = self.normalized_shape
        shape = tuple(map(int, given)) if isinstance(given, tuple | list) else (int(given),)
        if in_shape[-len(shape) :] != shape:
            raise ShapeError(f"{self!r}: expected input rows that end in {shape}, got {in_shape}")
        self.passes_mask = len(in_shape) == 1 or len(shape) < len(in_shape)  # or steps are none any more
        return shape

    def as_one(self, shape: Shape, in_shape: Shape) -> None:
        """Let kernels see several last axes as one, once all is declared."""
        if len(shape) > 1:
            rows = prod(in_shape) // prod(shape)
            self.view(x=(rows, prod(shape)), out=(rows, prod(shape)))
            self.view(**{name: (rows, item.shape[-1]) for name, item in self._built.scratch.items()})
            self.view(**{name: (prod(item.shape),) for name, item in self._built.parameters.items()})

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        features = prod(self.last_axes(in_shape))
        return parameters * (prod(in_shape) // features) + prod(out_shape)


def inverse_root_mean_square(values, eps):
    """1 / sqrt(mean of the squares + eps), also where the squares are larger than the largest number."""
    count = real(values.shape[0])
    total = 0.0
    for j in range(values.shape[0]):
        total += values[j] * values[j]
    if np.isfinite(total):
        return 1.0 / np.sqrt(total / count + eps)
    largest = 0.0
    for j in range(values.shape[0]):
        largest = max(largest, abs(values[j]))
    total = 0.0
    for j in range(values.shape[0]):
        total += (values[j] / largest) * (values[j] / largest)
    return 1.0 / (largest * np.sqrt(total / count))


@register("layer_norm")
class LayerNorm(_OverLastAxes):
    """Every row with mean 0 and variance 1 over its last axis, or several, then scaled and shifted as learnt.

    With the mean m and the variance v of the D numbers of a row, r = 1 / sqrt(v + eps) and y_j = (x_j - m) r,

        out_j = y_j weight_j + bias_j.

    The mean is computed, and subtracted, in two pieces: a sum, and what is left of it among the differences. So the digits
    of rows far from zero are kept, and a constant row gives exactly the bias.

    Backward, with d_j = grad_out_j weight_j:

    - grad_x_j = r (d_j - mean(d) - y_j mean(d y)), the means over j,
    - dL/dweight_j = sum of grad_out_j y_j over all rows, dL/dbias_j = sum of grad_out_j.

    Parameters
    ----------
    normalized_shape : None for the last axis, its size, or a tuple of the sizes of the last axes, which are normalised together
    eps : float > 0
    elementwise_affine : bool, whether there are weight and bias
    bias : bool, whether there is a bias beside the weight

    Shape
    -----
    x: (N, ..., features) -> out: (N, ..., features); weight, bias: (features,), or (*normalized_shape,).

    Raises
    ------
    ShapeError
        The input has no feature axis, or its last axes are others than normalized_shape.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.LayerNorm(3)]).build((3,)).predict([[1e6, 1e6 + 1.0, 1e6 + 2.5]]).round(3)
    array([[-1.136, -0.162,  1.298]], dtype=float32)
    >>> nn.Sequential([nn.LayerNorm()]).build((2,)).predict([[1.0, 5.0]]).round(4)
    array([[-1.,  1.]], dtype=float32)
    >>> nn.Sequential([nn.LayerNorm(eps=0.5, bias=False)]).build((3,)).predict([[1.0, 5.0, 0.0]]).round(4)
    array([[-0.4399,  1.3198, -0.8799]], dtype=float32)

    References
    ----------
    Ba, Kiros and Hinton 2016, "Layer normalization", eq. 3.
    """

    elsewhere = ("normalized_shape", "eps", "elementwise_affine", "bias")

    def __init__(
        self, normalized_shape: Any = None, *, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True
    ) -> None:
        self.normalized_shape = normalized_shape
        self.require_normalized_shape()
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.bias = bias
        self.require_eps()

    def build(self, in_shape: Shape) -> Shape:
        shape = self.last_axes(in_shape)
        rows = in_shape[: -len(shape)]
        self.parameter("weight", shape if self.elementwise_affine else (0,), init="ones")
        self.parameter("bias", shape if self.elementwise_affine and self.bias else (0,))
        self.scratch("mean", (*rows, 2))  # its two pieces
        self.scratch("scale", (*rows, 1))  # r
        self.as_one(shape, in_shape)
        return in_shape

    def c(self) -> str:
        return """
            void forward(const real x[J], const real weight[J], const real bias[J], real out[J])
            {
                real mean = 0.0, rest = 0.0, variance = 0.0;
                for (int j = 0; j < J; j++)
                    mean += x[j];
                mean /= J;
                for (int j = 0; j < J; j++)
                    rest += x[j] - mean;
                rest /= J;
                for (int j = 0; j < J; j++)
                    variance += (x[j] - mean - rest) * (x[j] - mean - rest);
                variance /= J;
                for (int j = 0; j < J; j++)
                    out[j] = (x[j] - mean - rest) / sqrt(variance + eps) * (weight ? weight[j] : 1.0) + (bias ? bias[j] : 0.0);
            }"""

    @staticmethod
    def forward(x, weight, bias, eps, mean, scale, out):
        features = real(x.shape[1])
        weighted, shifted = weight.shape[0] > 0, bias.shape[0] > 0
        for n in range(x.shape[0]):
            a, b = x[n], out[n]
            total = 0.0
            for j in range(a.shape[0]):
                total += a[j]
            m, rest = total / features, 0.0
            for j in range(a.shape[0]):
                b[j] = a[j] - m  # stored: else the compiler would subtract the sum of both pieces
                rest += b[j]
            rest /= features
            for j in range(a.shape[0]):
                b[j] -= rest
            r = inverse_root_mean_square(b, eps)
            for j in range(a.shape[0]):
                b[j] = b[j] * r * (weight[j] if weighted else 1.0) + (bias[j] if shifted else 0.0)
            mean[n, 0], mean[n, 1], scale[n, 0] = m, rest, r

    @staticmethod
    def backward(x, weight, mean, scale, grad_out, grad_x, grad_weight, grad_bias):
        features = real(x.shape[1])
        weighted = weight.shape[0] > 0
        sum_rows(grad_out, grad_bias)
        grad_weight[:] = 0.0
        for n in range(x.shape[0]):
            a, g, b = x[n], grad_out[n], grad_x[n]
            m, rest, r = mean[n, 0], mean[n, 1], scale[n, 0]
            for j in range(a.shape[0]):
                b[j] = a[j] - m
            total, along = 0.0, 0.0
            for j in range(a.shape[0]):
                b[j] = (b[j] - rest) * r  # y
                d = g[j] * (weight[j] if weighted else 1.0)
                total += d
                along += d * b[j]
            total, along = total / features, along / features
            for j in range(grad_weight.shape[0]):
                grad_weight[j] += g[j] * b[j]
            for j in range(a.shape[0]):
                b[j] = r * (g[j] * (weight[j] if weighted else 1.0) - total - b[j] * along)

    def onnx(self, graph, x):
        ones = np.ones(self._built.in_shape[-self.axes :], graph.real)
        weight = graph.array("weight") if self.elementwise_affine else ones
        return graph.node("LayerNormalization", x, weight, graph.array("bias"), axis=-self.axes, epsilon=self.eps)

    @classmethod
    def from_onnx(cls, at):
        """The operator, or what programs write for earlier opsets."""
        if (node := at.take("LayerNormalization")) is None:
            return at.like([cls(), cls(bias=False), cls(elementwise_affine=False)], cls._in_steps)
        if (axis := node.attributes["axis"] % (1 + at.rank)) == 0:  # with the batch
            return None
        shape = at.shape[axis - 1 :] if axis < at.rank else None
        bias = {"bias": node.constant(2)} if node.input(2) is not None else {}
        if not at.belongs(node.input(1)) and not bias:
            return at.found(cls(shape, eps=node.attributes["epsilon"], elementwise_affine=False))
        return at.found(cls(shape, eps=node.attributes["epsilon"], bias=bool(bias)), weight=node.constant(1), **bias)

    def _in_steps(self, graph, x):
        centered = x - graph.node("ReduceMean", x, [-1])
        variance = graph.node("ReduceMean", centered**2, [-1])
        y = centered / graph.node("Sqrt", variance + self.eps)
        for name, op in (("weight", "Mul"), ("bias", "Add")):
            array = graph.array(name)
            y = y if array is None else graph.node(op, y, array)
        return y

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (5,)), Example(cls(bias=False), (2, 3)), Example(cls(eps=1e-3, elementwise_affine=False), (4,)),
                Example(cls((2, 3)), (2, 2, 3))]  # fmt: skip


@register("rms_norm")
class RMSNorm(_OverLastAxes):
    """Every row with mean square 1 over its last axis, or several, then scaled as learnt.

    With r = 1 / sqrt(mean(x**2) + eps), the mean over the D numbers of a row,

        out_j = x_j r weight_j.

    Backward, with d_j = grad_out_j weight_j:

    - grad_x_j = r (d_j - x_j r**2 mean(d x)),
    - dL/dweight_j = sum of grad_out_j x_j r over all rows.

    Parameters
    ----------
    normalized_shape : None for the last axis, its size, or a tuple of the sizes of the last axes, which are normalised together
    eps : float > 0, or None for the distance from 1 to the next number of the model's dtype
    elementwise_affine : bool, whether there is a weight

    Shape
    -----
    x: (N, ..., features) -> out: (N, ..., features); weight: (features,), or (*normalized_shape,).

    Raises
    ------
    ShapeError
        The input has no feature axis, or its last axes are others than normalized_shape.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.RMSNorm()]).build((2,)).predict([[3.0, 3.0]]).round(4)
    array([[1., 1.]], dtype=float32)
    >>> nn.Sequential([nn.RMSNorm(eps=0.5)]).build((3,)).predict([[3.0, 1.0, -2.0]]).round(4)
    array([[ 1.3198,  0.4399, -0.8799]], dtype=float32)

    References
    ----------
    Zhang and Sennrich 2019, "Root mean square layer normalization", eq. 4.
    """

    elsewhere = ("normalized_shape", "eps", "elementwise_affine")

    def __init__(self, normalized_shape: Any = None, *, eps: float | None = None, elementwise_affine: bool = True) -> None:
        self.normalized_shape = normalized_shape
        self.require_normalized_shape()
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if eps is not None:
            self.require_eps()

    def build(self, in_shape: Shape) -> Shape:
        shape = self.last_axes(in_shape)
        self.least = 0.0 if self.eps is None else float(self.eps)
        self.parameter("weight", shape if self.elementwise_affine else (0,), init="ones")
        self.scratch("scale", (*in_shape[: -len(shape)], 1))  # r
        self.as_one(shape, in_shape)
        return in_shape

    def c(self) -> str:
        return """
            void forward(const real x[J], const real weight[J], real out[J])
            {
                real squares = 0.0;
                for (int j = 0; j < J; j++)
                    squares += x[j] * x[j];
                const real r = 1.0 / sqrt(squares / J + least);
                for (int j = 0; j < J; j++)
                    out[j] = x[j] * r * (weight ? weight[j] : 1.0);
            }"""

    def number(self, name: str, real: str) -> Constant:
        """Beside the attributes, the smallest mean square: it depends on the dtype, unless it is given."""
        return constant(float(np.finfo(real).eps), real) if name == "least" and self.eps is None else super().number(name, real)

    @staticmethod
    def forward(x, weight, least, scale, out):
        weighted = weight.shape[0] > 0
        for n in range(x.shape[0]):
            a, b = x[n], out[n]
            r = inverse_root_mean_square(a, least)
            for j in range(a.shape[0]):
                b[j] = a[j] * r * (weight[j] if weighted else 1.0)
            scale[n, 0] = r

    @staticmethod
    def backward(x, weight, scale, grad_out, grad_x, grad_weight):
        features = real(x.shape[1])
        weighted = weight.shape[0] > 0
        grad_weight[:] = 0.0
        for n in range(x.shape[0]):
            a, g, b = x[n], grad_out[n], grad_x[n]
            r = scale[n, 0]
            along = 0.0
            for j in range(a.shape[0]):
                along += g[j] * (weight[j] if weighted else 1.0) * (a[j] * r)
            along /= features
            for j in range(a.shape[0]):
                b[j] = r * (g[j] * (weight[j] if weighted else 1.0) - a[j] * r * along)
            for j in range(grad_weight.shape[0]):
                grad_weight[j] += g[j] * a[j] * r

    def onnx(self, graph, x):
        eps = float(np.finfo(graph.real).eps) if self.eps is None else self.eps
        square = graph.node("ReduceMean", x * x, list(range(-self.axes, 0)), keepdims=1)
        y = x / graph.node("Sqrt", square + eps)
        return y * graph.array("weight") if self.elementwise_affine else y

    @classmethod
    def from_onnx(cls, at):
        """The operator, which later opsets have, or what it is made of."""
        if (node := at.take("RMSNormalization")) is not None and (axis := node.attributes["axis"] % (1 + at.rank)) != 0:
            shape = at.shape[axis - 1 :] if axis < at.rank else None
            return at.found(cls(shape, eps=node.attributes["epsilon"]), weight=node.constant(1))
        shapes = [None, *(at.shape[-axes:] for axes in range(2, at.rank + 1))]
        parts = [cls(shape, eps=1e-6, elementwise_affine=affine) for shape in shapes for affine in (True, False)]
        return at.like(parts) or at.like(parts[:2], cls._in_steps)

    def _in_steps(self, graph, x):
        """As PyTorch writes it."""
        square = graph.node("ReduceMean", graph.node("Pow", x, 2.0), [len(self._built.in_shape)], keepdims=1)
        y = x * graph.node("Reciprocal", graph.node("Sqrt", square + self.eps))
        return y * graph.array("weight") if self.elementwise_affine else y

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (5,)), Example(cls(eps=1e-3, elementwise_affine=False), (2, 3)), Example(cls([2, 2]), (2, 2))]


@register("standardize")
class Standardize(Layer):
    """Every feature minus a known mean, divided by a known spread: out_j = (x_j - mean_j) / std_j.

    Backward, grad_x_j = grad_out_j / std_j.

    As the first layer, it lets a net learn from, and predict with, numbers in whatever units they come in. Nothing is learnt:
    the numbers are given, or taken from data once, by `of`.

    Parameters
    ----------
    mean : number, or one for each feature
    std : number > 0, or one for each feature

    Shape
    -----
    x: (N, ..., features) -> out: (N, ..., features)

    Raises
    ------
    ShapeError
        The input has no feature axis, or another number of features.

    Examples
    --------
    >>> import nnkit as nn
    >>> X = [[1000.0, 1.0], [3000.0, 2.0]]
    >>> nn.Standardize.of(X)
    Standardize(mean=[2000.0, 1.5], std=[1000.0, 0.5])
    >>> nn.Sequential([nn.Standardize.of(X)]).build((2,)).predict(X)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)

    References
    ----------
    LeCun, Bottou, Orr and Mueller 1998, "Efficient backprop", section 4.3.
    """

    elsewhere = ("mean", "std", "inplace")
    inplace = folds_rows = passes_mask = True

    def __init__(self, mean: Any = 0.0, std: Any = 1.0) -> None:
        self.mean = mean
        self.std = std
        for name, value in (("mean", mean), ("std", std)):
            try:
                numbers = np.asarray(value, np.float64)
            except (TypeError, ValueError):
                numbers = np.empty((0, 0))
            self.require(name, numbers.ndim < 2 and numbers.size > 0 and bool(np.isfinite(numbers).all()),
                         "a finite number, or one for each feature")  # fmt: skip
        self.require("std", bool((np.asarray(std) > 0).all()), "above 0")

    @classmethod
    def of(cls, X: Any) -> Self:
        """The layer that gives every feature of ``X`` (N, ..., features) mean 0 and standard deviation 1.

        A feature that is the same in all rows becomes 0.
        """
        rows = np.asarray(numeric(X, "Standardize.of: X"), np.float64)
        if rows.ndim < 2 or rows.size == 0:
            raise ShapeError(f"Standardize.of: expected X of shape (N, ..., features), got {rows.shape}")
        if not np.isfinite(rows).all():
            raise ParameterError("Standardize.of: expected finite numbers, got NaN or infinity; impute them or drop the rows")
        rows = rows.reshape(-1, rows.shape[-1])
        _, size = np.frexp(np.abs(rows).max(axis=0))
        small = np.ldexp(rows, -size)  # below 1, so that no square overflows
        mean, std = np.ldexp(small.mean(axis=0), size), np.ldexp(small.std(axis=0), size)
        same = rows.min(axis=0) == rows.max(axis=0)  # rounding may leave a spread
        return cls(np.where(same, rows[0], mean).tolist(), np.where(same, 1.0, std).tolist())

    def build(self, in_shape: Shape) -> Shape:
        features = _require_features(self, in_shape)
        for name, value in (("mean", self.mean), ("std", self.std)):
            if np.shape(value) not in ((), (features,)):
                raise ShapeError(f"{self!r}: expected rows of {np.size(value)} features, as many as {name} has, got {in_shape}")
            self.constant(name, np.broadcast_to(value, (features,)))
        return in_shape

    def c(self) -> str:
        return """
            void forward(const real x[J], const real mean[J], const real std[J], real out[J])
            {
                for (int j = 0; j < J; j++)
                    out[j] = (x[j] - mean[j]) / std[j];
            }"""

    @staticmethod
    def forward(x, mean, std, out):
        for n in range(x.shape[0]):
            a, b = x[n], out[n]
            for j in range(mean.shape[0]):
                b[j] = (a[j] - mean[j]) / std[j]

    @staticmethod
    def backward(grad_out, std, grad_x):
        for n in range(grad_out.shape[0]):
            a, b = grad_out[n], grad_x[n]
            for j in range(std.shape[0]):
                b[j] = a[j] / std[j]

    def onnx(self, graph, x):
        return (x - graph.array("mean")) / graph.array("std")

    @classmethod
    def from_onnx(cls, at):
        """Sub and Div, each of a number or of one for each feature."""
        if (node := at.take("Sub")) is None or not node.is_constant(1):
            return None
        mean = node.constant(1)
        if (node := at.take("Div")) is None or not node.is_constant(1):
            return None
        std = node.constant(1)
        features = at.shape[-1:]
        if not {mean.shape, std.shape} <= {(), features} or not (std > 0).all():
            return None
        arrays = {"mean": np.broadcast_to(mean, features), "std": np.broadcast_to(std, features)}
        return at.found(cls(mean.tolist(), std.tolist()), **arrays)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls([0.5, -1.0, 2.0], [2.0, 0.25, 1.0]), (3,)), Example(cls(0.5, 4.0), (2, 3))]
