"""Nets that are several nets, its members: a row of numbers for each of them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.initializer import Initializer
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import ShapeError
from nnkit.initializers import Uniform
from nnkit.kernels.gemm import ACROSS, STRIP, add_bias, dot, dot_transposed, sum_rows

__all__ = ["BatchEnsembleLinear", "MemberLinear", "Members"]


class _Same(Initializer):
    """For each member the same numbers."""

    def __init__(self, init: Any) -> None:
        self.init = init

    def __call__(self, shape: Shape, random: np.random.Generator) -> NDArray[np.float64]:
        return np.broadcast_to(Initializer.make(self.init)(shape[1:], random), shape)


def _require_members(layer: Layer, in_shape: Shape) -> tuple[int, int]:
    """How many members there are, and numbers of each."""
    if len(in_shape) != 2:
        raise ShapeError(f"{layer!r}: expected input rows of shape (members, features), got {in_shape}; nn.Members makes them")
    return in_shape[0], in_shape[1]


@register("members")
class Members(Layer):
    """A row once for each member of an ensemble: out[n, m] = x[n].

    grad_x[n] = the sum of grad_out[n, m] over the members. Layers that work along the last axis, such as activations, dropout
    and `nnkit.Linear`, then do so for all members alike; `BatchEnsembleLinear` and `MemberLinear` have numbers of each.

    Parameters
    ----------
    members : int >= 1

    Shape
    -----
    x: (N, ...) -> out: (N, members, ...)

    Examples
    --------
    A net of 32 nets (TabM), which all learn from the same targets:

    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([
    ...     nn.Members(32), nn.BatchEnsembleLinear(64, in_init="signs"), nn.ReLU(), nn.BatchEnsembleLinear(64), nn.ReLU(),
    ...     nn.MemberLinear(3),
    ... ])
    >>> X, y = np.eye(3), np.arange(3)
    >>> history = model.fit(X, np.repeat(y[:, None], 32, axis=1), loss="cross_entropy", epochs=50, random_state=0)
    >>> nn.CrossEntropyLoss().probabilities(model.predict(X)).mean(axis=1).argmax(axis=1)
    array([0, 1, 2])

    References
    ----------
    Gorishniy, Kotelnikov and Babenko 2025, "TabM: advancing tabular deep learning with parameter-efficient ensembling".
    """

    def __init__(self, members: int = 32) -> None:
        self.members = members
        self.require_size("members")

    def build(self, in_shape: Shape) -> Shape:
        size = prod(in_shape)
        self.view(x=(size,), out=(self.members, size))
        return (self.members, *in_shape)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return prod(out_shape)

    def c(self) -> str:
        return """
            void forward(const real x[I], real out[M][J])
            {
                for (int m = 0; m < M; m++)
                    for (int j = 0; j < J; j++)
                        out[m][j] = x[j];
            }"""

    @staticmethod
    def forward(x, out):
        for n in range(out.shape[0]):
            row = x[n]
            for m in range(out.shape[1]):
                target = out[n, m]
                for j in range(target.shape[0]):
                    target[j] = row[j]

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_out.shape[0]):
            target = grad_x[n]
            target[:] = 0.0
            for m in range(grad_out.shape[1]):
                g = grad_out[n, m]
                for j in range(g.shape[0]):
                    target[j] += g[j]

    def onnx(self, graph, x):
        shape = self._built.in_shape
        one = graph.node("Reshape", x, [-1, 1, *shape])
        return graph.node("Expand", one, [1, self.members, *(1,) * len(shape)])

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3), (4,)), Example(cls(2), (2, 3))]


@register("batch_ensemble_linear")
class BatchEnsembleLinear(Layer):
    """Linear layers of several members that share one weight: out_m = s_m ((r_m x_m) @ weight) + bias_m.

    Member m has factors r_m for its inputs and s_m for its outputs, and a bias; the matrix product is one over the rows of all
    members. Backward, with d = grad_out, z_m = (r_m x_m) @ weight, e_m = (s_m d_m) @ weight.T and sums over all rows:

    - dL/dweight = sum_m (r_m x_m).T @ (s_m d_m), dL/dbias_m = sum of d_m,
    - dL/ds_m = sum of d_m z_m, dL/dr_m = sum of x_m e_m,
    - grad_x_m = r_m e_m.

    Parameters
    ----------
    out_features : int >= 1; members and inputs are inferred
    bias : bool
    weight_init : initializer or its name
    in_init, out_init : those of r and s; ``"signs"`` makes members differ, and is for r of the first layer in TabM
    bias_init : that of the biases, which are at first the same for all members; by default uniform in [-1/sqrt(in_features),
        1/sqrt(in_features)]

    Shape
    -----
    x: (N, members, in_features) -> out: (N, members, out_features); weight: (in_features, out_features), r: (members,
    in_features), s: (members, out_features), bias: (members, out_features).

    Raises
    ------
    ShapeError
        Rows have other axes than members and features.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Members(2), nn.BatchEnsembleLinear(1, weight_init="ones", bias_init="zeros")]).build((3,))
    >>> model.parameters()["1.r"] = [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    >>> model.predict([[1.0, 2.0, 3.0]])
    array([[[6.],
            [1.]]], dtype=float32)

    References
    ----------
    Wen, Tran and Ba 2020, "BatchEnsemble: an alternative approach to efficient ensemble and lifelong learning", eq. 5.
    Gorishniy, Kotelnikov and Babenko 2025, "TabM: advancing tabular deep learning with parameter-efficient ensembling".
    """

    gives = Span()

    def __init__(
        self, out_features: int = 1, *, bias: bool = True, weight_init: Any = "linear_uniform", in_init: Any = "ones",
        out_init: Any = "ones", bias_init: Any = None,
    ) -> None:  # fmt: skip
        self.out_features = out_features
        self.bias = bias
        self.weight_init = weight_init
        self.in_init = in_init
        self.out_init = out_init
        self.bias_init = bias_init
        self.require_size("out_features")

    def build(self, in_shape: Shape) -> Shape:
        members, inputs = _require_members(self, in_shape)
        outputs, bound = self.out_features, 1 / sqrt(inputs)
        self.parameter("weight", (inputs, outputs), init=self.weight_init)
        self.parameter("r", (members, inputs), init=self.in_init)
        self.parameter("s", (members, outputs), init=self.out_init)
        start = Uniform(-bound, bound) if self.bias_init is None else self.bias_init
        self.parameter("bias", (members if self.bias else 0, outputs), init=_Same(start))
        self.scratch("scaled", (members, inputs))  # r x
        self.scratch("z", (members, outputs))
        self.workspace("strip", (min(STRIP, outputs), ACROSS))
        return (members, outputs)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return in_shape[0] * (in_shape[1] * self.out_features + in_shape[1] + self.out_features)

    def c(self) -> str:
        return """
            void forward(const real x[M][I], const real weight[I][J], const real r[M][I], const real s[M][J],
                         const real bias[B], real out[M][J])
            {
                for (int m = 0; m < M; m++) {
                    for (int j = 0; j < J; j++)
                        out[m][j] = 0.0;
                    for (int i = 0; i < I; i++)
                        for (int j = 0; j < J; j++)
                            out[m][j] += r[m][i] * x[m][i] * weight[i][j];
                    for (int j = 0; j < J; j++)
                        out[m][j] = s[m][j] * out[m][j] + (bias ? bias[m * J + j] : 0.0);
                }
            }"""

    @staticmethod
    def forward(x, weight, r, s, bias, scaled, z, out):
        rows, members, inputs = x.shape
        outputs = weight.shape[1]
        for n in range(rows):
            for m in range(members):
                row, factor, target = x[n, m], r[m], scaled[n, m]
                for i in range(inputs):
                    target[i] = factor[i] * row[i]
        dot(scaled.reshape((rows * members, inputs)), weight, z.reshape((rows * members, outputs)))
        biased = bias.size > 0
        for n in range(rows):
            for m in range(members):
                row, factor, target = z[n, m], s[m], out[n, m]
                for j in range(outputs):
                    target[j] = factor[j] * row[j]
                if biased:
                    shift = bias[m]
                    for j in range(outputs):
                        target[j] += shift[j]

    @staticmethod
    def backward(
        x, weight, r, s, scaled, z, strip, grad_out, grad_z, grad_scaled, grad_x, grad_weight, grad_r, grad_s, grad_bias
    ):
        rows, members, inputs = x.shape
        outputs = weight.shape[1]
        grad_r[:], grad_s[:], grad_bias[:] = 0.0, 0.0, 0.0
        biased = grad_bias.size > 0
        for n in range(rows):
            for m in range(members):
                g, row, factor, target, along = grad_out[n, m], z[n, m], s[m], grad_z[n, m], grad_s[m]
                for j in range(outputs):
                    along[j] += g[j] * row[j]
                    target[j] = factor[j] * g[j]
                if biased:
                    shift = grad_bias[m]
                    for j in range(outputs):
                        shift[j] += g[j]
        flat_z, flat = grad_z.reshape((rows * members, outputs)), scaled.reshape((rows * members, inputs))
        dot(flat.T, flat_z, grad_weight)
        dot_transposed(flat_z, weight, strip, grad_scaled.reshape((rows * members, inputs)))
        for n in range(rows):
            for m in range(members):
                e, row, factor, target, along = grad_scaled[n, m], x[n, m], r[m], grad_x[n, m], grad_r[m]
                for i in range(inputs):
                    along[i] += e[i] * row[i]
                for i in range(inputs):
                    target[i] = factor[i] * e[i]

    def onnx(self, graph, x):
        out = (x * graph.array("r")) @ graph.array("weight") * graph.array("s")
        return out + graph.array("bias") if self.bias else out

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3, in_init="signs"), (2, 4)), Example(cls(2, bias=False), (3, 5))]


@register("member_linear")
class MemberLinear(Layer):
    """A linear layer of its own for each member: out_m = x_m @ weight_m + bias_m.

    Backward, with d = grad_out, over the rows of the batch: dL/dweight_m = x_m.T @ d_m, dL/dbias_m = sum of d_m, grad_x_m =
    d_m @ weight_m.T.

    Parameters
    ----------
    out_features : int >= 1; members and inputs are inferred
    bias : bool

    Shape
    -----
    x: (N, members, in_features) -> out: (N, members, out_features); weight: (members, in_features, out_features), bias:
    (members, out_features), both at first uniform in [-1/sqrt(in_features), 1/sqrt(in_features)].

    Raises
    ------
    ShapeError
        Rows have other axes than members and features.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Members(4), nn.MemberLinear(2)]).build((3,)).parameters()["1.weight"].shape
    (4, 3, 2)

    References
    ----------
    Gorishniy, Kotelnikov and Babenko 2025, "TabM: advancing tabular deep learning with parameter-efficient ensembling".
    """

    gives = Span()

    def __init__(self, out_features: int = 1, *, bias: bool = True) -> None:
        self.out_features = out_features
        self.bias = bias
        self.require_size("out_features")

    def build(self, in_shape: Shape) -> Shape:
        members, inputs = _require_members(self, in_shape)
        init = Uniform(-1 / sqrt(inputs), 1 / sqrt(inputs))
        self.parameter("weight", (members, inputs, self.out_features), init=init)
        self.parameter("bias", (members if self.bias else 0, self.out_features), init=init)
        self.workspace("strip", (min(STRIP, self.out_features), ACROSS))
        return (members, self.out_features)

    def c(self) -> str:
        return """
            void forward(const real x[M][I], const real weight[M][I][J], const real bias[B], real out[M][J])
            {
                for (int m = 0; m < M; m++) {
                    for (int j = 0; j < J; j++)
                        out[m][j] = bias ? bias[m * J + j] : 0.0;
                    for (int i = 0; i < I; i++)
                        for (int j = 0; j < J; j++)
                            out[m][j] += x[m][i] * weight[m][i][j];
                }
            }"""

    @staticmethod
    def forward(x, weight, bias, out):
        biased = bias.size > 0
        for m in range(weight.shape[0]):
            dot(x[:, m], weight[m], out[:, m])
            if biased:
                add_bias(bias[m], out[:, m])

    @staticmethod
    def backward(x, grad_out, grad_weight, grad_bias):
        biased = grad_bias.size > 0
        for m in range(grad_weight.shape[0]):
            dot(x[:, m].T, grad_out[:, m], grad_weight[m])
            if biased:
                sum_rows(grad_out[:, m], grad_bias[m])

    @staticmethod
    def backward_x(weight, grad_out, strip, grad_x):
        for m in range(weight.shape[0]):
            dot_transposed(grad_out[:, m], weight[m], strip, grad_x[:, m])

    def onnx(self, graph, x):
        out = graph.node("Transpose", x, perm=[1, 0, 2]) @ graph.array("weight")
        out = graph.node("Transpose", out, perm=[1, 0, 2])
        return out + graph.array("bias") if self.bias else out

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3), (2, 4)), Example(cls(1, bias=False), (3, 5))]
