"""Embeddings of numbers: several learnt functions of each feature, for nets that are to see more of it than its size."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.initializers import Normal, Uniform
from nnkit.kernels.math import cospi, sinpi

__all__ = ["PeriodicEmbedding", "PiecewiseLinearEmbedding"]

FAR = float(np.finfo(np.float32).max)  # where a bin ends that nothing is in


def _require_plain(layer: Layer, in_shape: Shape) -> int:
    """How many features rows have."""
    if len(in_shape) != 1:
        raise ShapeError(f"{layer!r}: expected input rows of shape (features,), got {in_shape}")
    return in_shape[0]


def set_products(target, start, factors, rows):
    """Target[i] = start + sum_k factors[k] rows[k, i], three at a time: to read and to write takes longer than a product."""
    count, whole = factors.shape[0], factors.shape[0] // 3 * 3
    target[:] = start
    for k in range(0, whole, 3):
        u, v, w, a, b, c = factors[k], factors[k + 1], factors[k + 2], rows[k], rows[k + 1], rows[k + 2]
        for i in range(target.shape[0]):
            target[i] += u * a[i] + v * b[i] + w * c[i]
    for k in range(whole, count):
        u, a = factors[k], rows[k]
        for i in range(target.shape[0]):
            target[i] += u * a[i]


def add_dots(target, factor, rows):
    """Target[k] += sum_i factor[i] rows[k, i], three at a time."""
    count, whole = target.shape[0], target.shape[0] // 3 * 3
    for k in range(0, whole, 3):
        a, b, c, u, v, w = rows[k], rows[k + 1], rows[k + 2], 0.0, 0.0, 0.0
        for i in range(factor.shape[0]):
            u += factor[i] * a[i]
            v += factor[i] * b[i]
            w += factor[i] * c[i]
        target[k] += u
        target[k + 1] += v
        target[k + 2] += w
    for k in range(whole, count):
        a, u = rows[k], 0.0
        for i in range(factor.shape[0]):
            u += factor[i] * a[i]
        target[k] += u


@register("periodic_embedding")
class PeriodicEmbedding(Layer):
    """Learnt waves of each feature, mixed into a few numbers, and the feature itself.

    With the frequencies w, phases p, weights W and biases b of feature j, the waves are c_h = cos(2 pi w_jh x_j + p_jh), and

        out_jo = sum_h c_h W_jho + b_jo for o < O,    out_jO = x_j.

    Backward, with g_jo = grad_out_jo and the slopes s_h = -sin(2 pi w_jh x_j + p_jh) sum_{o < O} W_jho g_jo:

    - grad_x_j = g_jO + 2 pi sum_h w_jh s_h,
    - dL/dW_jho = sum of c_h g_jo over all rows, dL/db_jo = sum of g_jo,
    - dL/dp_jh = sum of s_h, dL/dw_jh = 2 pi sum of x_j s_h.

    Features should be of the order of 1. Behind it, `nnkit.Flatten` makes one row of all features' numbers.

    Parameters
    ----------
    out_features : int >= 1, O: numbers for each feature, beside itself
    hidden_features : int >= 1, waves of each feature
    sigma : float > 0, standard deviation of the first frequencies

    Shape
    -----
    x: (N, features) -> out: (N, features, out_features + 1); frequency, phase: (features, hidden_features), weight: (features,
    hidden_features, out_features), bias: (features, out_features). At first, phases are uniform in [-pi, pi], weights and
    biases in [-1/sqrt(hidden_features), 1/sqrt(hidden_features)].

    Raises
    ------
    ShapeError
        Rows have other axes than one of features.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.PeriodicEmbedding(), nn.Flatten()]).build((5,), random_state=0)
    >>> model.out_shape
    (20,)
    >>> model.predict([[1.0, 2.0, 3.0, 4.0, 5.0]])[0, 3::4]
    array([1., 2., 3., 4., 5.], dtype=float32)

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    section 3: PBLD. Gorishniy, Rubachev and Babenko 2022, "On embeddings for numerical features in tabular deep learning",
    section 3.3, with cos and sin of each wave instead of phases, and without the feature itself.
    """

    blocked = True

    def __init__(self, out_features: int = 3, *, hidden_features: int = 16, sigma: float = 0.1) -> None:
        self.out_features = out_features
        self.hidden_features = hidden_features
        self.sigma = sigma
        self.require_size("out_features")
        self.require_size("hidden_features")
        self.require_number("sigma", 0.0, above=True)

    def build(self, in_shape: Shape) -> Shape:
        features, hidden, outputs = _require_plain(self, in_shape), self.hidden_features, self.out_features
        self.parameter("frequency", (features, hidden), init=Normal(std=self.sigma))
        self.parameter("phase", (features, hidden), init=Uniform(-pi, pi))
        self.parameter("weight", (features, hidden, outputs), init=Uniform(-1 / sqrt(hidden), 1 / sqrt(hidden)))
        self.parameter("bias", (features, outputs), init=Uniform(-1 / sqrt(hidden), 1 / sqrt(hidden)))
        self.scratch("wave", (max(2, hidden),))  # those of a feature; or one, and what its gradient is
        return (features, outputs + 1)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return 10 * in_shape[0] * self.hidden_features + parameters

    def c(self) -> str:
        return """
            void forward(const real x[F], const real frequency[F][H], const real phase[F][H], const real weight[F][H][O],
                         const real bias[F][O], real out[F][P])
            {
                for (int f = 0; f < F; f++) {
                    for (int o = 0; o < O; o++)
                        out[f][o] = bias[f][o];
                    for (int h = 0; h < H; h++) {
                        const real wave = cos(6.283185307179586 * frequency[f][h] * x[f] + phase[f][h]);
                        for (int o = 0; o < O; o++)
                            out[f][o] += weight[f][h][o] * wave;
                    }
                    out[f][P - 1] = x[f];
                }
            }"""

    @staticmethod
    def forward(x, frequency, phase, weight, bias, wave, out):
        outputs = bias.shape[1]
        for b in range(x.shape[0]):
            c = wave[b]
            for f in range(x.shape[1]):
                values, last = x[b, f], out[b, f, outputs]
                for i in range(values.shape[0]):
                    last[i] = values[i]
                for h in range(frequency.shape[1]):
                    w, p, row = 2.0 * frequency[f, h], phase[f, h] / np.pi, c[h]  # of half a turn
                    for i in range(values.shape[0]):
                        row[i] = cospi(w * values[i] + p)
                for o in range(outputs):
                    set_products(out[b, f, o], bias[f, o], weight[f, :, o], c)

    @staticmethod
    def backward(x, frequency, phase, weight, wave, grad_out, grad_x, grad_frequency, grad_phase, grad_weight, grad_bias):
        outputs = grad_bias.shape[1]
        grad_frequency[:], grad_phase[:], grad_weight[:], grad_bias[:] = 0.0, 0.0, 0.0, 0.0
        for b in range(x.shape[0]):
            c, d = wave[b, 0], wave[b, 1]
            for f in range(x.shape[1]):
                values, target, g = x[b, f], grad_x[b, f], grad_out[b, f]
                for o in range(outputs):
                    grad_bias[f, o] += g[o].sum()
                for i in range(target.shape[0]):
                    target[i] = g[outputs, i]
                for h in range(frequency.shape[1]):
                    w, p = 2.0 * frequency[f, h], phase[f, h] / np.pi
                    set_products(d, 0.0, weight[f, h], g)
                    slope, along = 0.0, 0.0
                    for i in range(values.shape[0]):
                        c[i] = cospi(w * values[i] + p)
                        s = -sinpi(w * values[i] + p) * d[i]
                        slope += s
                        along += s * values[i]
                        target[i] += np.pi * w * s
                    add_dots(grad_weight[f, h], c, g)
                    grad_phase[f, h] += slope
                    grad_frequency[f, h] += 2.0 * np.pi * along

    def onnx(self, graph, x):
        features, hidden = self._built.parameters["frequency"].shape
        each = graph.node("Reshape", x, [-1, features, 1])
        waves = graph.node("Cos", each * graph.array("frequency") * (2 * np.pi) + graph.array("phase"))
        mixed = graph.node("Reshape", waves, [-1, features, 1, hidden]) @ graph.array("weight")
        mixed = graph.node("Reshape", mixed, [-1, features, self.out_features]) + graph.array("bias")
        return graph.node("Concat", mixed, each, axis=2)

    @classmethod
    def from_onnx(cls, at):
        ahead = at.copy()
        steps = [ahead.take(op) for op in ("Reshape", "Mul", "Mul", "Add", "Cos", "Reshape", "MatMul")]
        if None in steps or steps[-1].constant(1).ndim != 3:
            return None
        _, hidden, outputs = steps[-1].constant(1).shape
        return at.like([cls(outputs, hidden_features=hidden)])

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3,)), Example(cls(2, hidden_features=5, sigma=0.3), (2,))]


def bin_of(value, ends):
    """The last bin that begins at or below a value, of those that there are; the first for what lies below them all."""
    low, high = 0, ends.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if ends[middle] <= value and ends[middle + 1] < FAR:
            low = middle
        else:
            high = middle
    return low


@register("piecewise_linear_embedding")
class PiecewiseLinearEmbedding(Layer):
    """A learnt function of each feature that is linear in each of some bins, once for every output.

    The bins of feature j begin at b_j0 < b_j1 < ...; e_jt = (x_j - b_jt) / (b_j,t+1 - b_jt), cut off at 0 and 1, is how much
    of bin t lies below x_j. (Below 0 it is not cut off in the first bin, nor above 1 in the last.) Then

        out_jd = slope_jd x_j + bias_jd + sum_t e_jt weight_jtd.

    In all bins below that of x_j, e is 1, and in all above it is 0: with the sums of the weights up to each bin, a number costs
    one look at them, whatever the number of bins. Backward, with k the bin of x_j and g = grad_out:

    - grad_x_j = sum_d g_jd (slope_jd + weight_jkd / (b_j,k+1 - b_jk)),
    - dL/dweight_jtd = the sum of e_jt g_jd over all rows; dL/dslope_jd that of x_j g_jd, dL/dbias_jd that of g_jd.

    The first `fit` puts the ends of the bins at quantiles of its rows, of equal ones but one. Before that, they lie evenly
    in [-3, 3].

    Parameters
    ----------
    out_features : int >= 1, numbers for each feature
    bins : int >= 1, at most, of each feature

    Shape
    -----
    x: (N, features) -> out: (N, features, out_features); weight: (features, bins, out_features), at first 0; slope, bias:
    (features, out_features), at first uniform in [-1/sqrt(out_features), 1/sqrt(out_features)].

    Raises
    ------
    ShapeError
        Rows have other axes than one of features.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> X = np.random.default_rng(0).uniform(size=(200, 1))
    >>> model = nn.Sequential([nn.PiecewiseLinearEmbedding(8, bins=4), nn.Flatten(), nn.Linear()])
    >>> history = model.fit(X, np.sin(9 * X), epochs=2, random_state=0)
    >>> model.states()["0.ends"].round(2)
    array([[0.  , 0.29, 0.56, 0.82, 1.  ]], dtype=float32)

    References
    ----------
    Gorishniy, Rubachev and Babenko 2022, "On embeddings for numerical features in tabular deep learning", sections 3.1 and 3.2.
    Gorishniy, Kotelnikov and Babenko 2025, "TabM: advancing tabular deep learning with parameter-efficient ensembling", for the
    line beside the bins, and weights that begin at 0.
    """

    from_data = True
    far = FAR

    def __init__(self, out_features: int = 16, *, bins: int = 48) -> None:
        self.out_features = out_features
        self.bins = bins
        self.require_size("out_features")
        self.require_size("bins")

    def build(self, in_shape: Shape) -> Shape:
        features, outputs = _require_plain(self, in_shape), self.out_features
        line = Uniform(-1 / sqrt(outputs), 1 / sqrt(outputs))
        self.parameter("weight", (features, self.bins, outputs))
        self.parameter("slope", (features, outputs), init=line)
        self.parameter("bias", (features, outputs), init=line)
        self.constant("ends", np.tile(np.linspace(-3, 3, self.bins + 1), (features, 1)))  # FAR where there are no more bins
        self.workspace("sums", (features, self.bins, outputs))
        return (features, outputs)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return 4 * prod(out_shape)

    def initialise(self, x: NDArray[Any], random: np.random.Generator) -> dict[str, NDArray[Any]]:
        ends = np.full((x.shape[1], self.bins + 1), FAR)
        quantiles = np.quantile(x.astype(np.float64), np.linspace(0, 1, self.bins + 1), axis=0).astype(x.dtype)
        for feature, several in enumerate(quantiles.T):
            distinct = np.unique(several)
            ends[feature, : len(distinct)] = distinct
        return {"ends": ends}

    def c(self) -> str:
        return """
            void forward(const real x[F], const real weight[F][T][D], const real slope[F][D], const real bias[F][D],
                         const real ends[F][E], real out[F][D])
            {
                for (int f = 0; f < F; f++) {
                    int k = 0;
                    for (int d = 0; d < D; d++)
                        out[f][d] = slope[f][d] * x[f] + bias[f][d];
                    for (; k + 1 < T && ends[f][k + 1] <= x[f] && ends[f][k + 2] < far; k++)
                        for (int d = 0; d < D; d++)
                            out[f][d] += weight[f][k][d];
                    for (int d = 0; d < D; d++)
                        out[f][d] += (x[f] - ends[f][k]) / (ends[f][k + 1] - ends[f][k]) * weight[f][k][d];
                }
            }"""

    @staticmethod
    def forward(x, weight, slope, bias, ends, sums, out):
        for f in range(weight.shape[0]):  # what bins give that lie below each bin
            first = sums[f, 0]
            for d in range(first.shape[0]):
                first[d] = bias[f, d]
            for t in range(1, weight.shape[1]):
                below, before, total = weight[f, t - 1], sums[f, t - 1], sums[f, t]
                for d in range(total.shape[0]):
                    total[d] = before[d] + below[d]
        for n in range(x.shape[0]):
            for f in range(x.shape[1]):
                value = x[n, f]
                k = bin_of(value, ends[f])
                e = (value - ends[f, k]) / (ends[f, k + 1] - ends[f, k])
                below, within, line, row = sums[f, k], weight[f, k], slope[f], out[n, f]
                for d in range(row.shape[0]):
                    row[d] = below[d] + e * within[d] + value * line[d]

    @staticmethod
    def backward(x, weight, slope, ends, sums, grad_out, grad_x, grad_weight, grad_slope, grad_bias):
        grad_weight[:], grad_slope[:], grad_bias[:], sums[:] = 0.0, 0.0, 0.0, 0.0
        for n in range(x.shape[0]):
            for f in range(x.shape[1]):
                value = x[n, f]
                k = bin_of(value, ends[f])
                width, total = ends[f, k + 1] - ends[f, k], 0.0
                e = (value - ends[f, k]) / width
                g, within, line, passed = grad_out[n, f], weight[f, k], slope[f], sums[f, k]
                grad_within, grad_line = grad_weight[f, k], grad_slope[f]
                for d in range(g.shape[0]):
                    passed[d] += g[d]
                for d in range(g.shape[0]):
                    grad_within[d] += e * g[d]
                    grad_line[d] += value * g[d]
                for d in range(g.shape[0]):
                    total += g[d] * (within[d] / width + line[d])
                grad_x[n, f] = total
        for f in range(weight.shape[0]):  # a row counts in all bins below its own
            total = grad_bias[f]
            for t in range(weight.shape[1] - 1, -1, -1):
                passed, grad_within = sums[f, t], grad_weight[f, t]
                for d in range(total.shape[0]):
                    grad_within[d] += total[d]
                    total[d] += passed[d]

    def onnx(self, graph, x):
        features, bins, outputs = self._built.parameters["weight"].shape
        ends = graph.array("ends").array
        least, most = np.zeros_like(ends[:, 1:]), np.ones_like(ends[:, 1:])
        least[:, 0] = -FAR
        most[np.arange(features), np.maximum((ends < FAR).sum(axis=1) - 2, 0)] = FAR
        each = graph.node("Reshape", x, [-1, features, 1])
        above = each - graph.constant(ends[:, :-1], "lower ends")
        e = above / (above + (graph.constant(ends[:, 1:], "upper ends") - each))
        e = graph.node("Min", graph.node("Max", e, graph.constant(least, "least")), graph.constant(most, "most"))
        out = graph.node("Reshape", e, [-1, features, 1, bins]) @ graph.array("weight")
        out = graph.node("Reshape", out, [-1, features, outputs])
        return out + each * graph.array("slope") + graph.array("bias")

    @classmethod
    def from_onnx(cls, at):
        ahead = at.copy()
        steps = [ahead.take(op) for op in ("Reshape", "Sub", "Div", "Max", "Min", "Reshape", "MatMul")]
        if None in steps or steps[-1].constant(1).ndim != 3:
            return None
        _, bins, outputs = steps[-1].constant(1).shape
        each = at.copy()
        each.take("Reshape")
        upper = each.ahead("Sub", place=1)
        if upper is None or not upper.is_constant(0) or not steps[1].is_constant(1):
            return None
        ends = np.concatenate([steps[1].constant(1), upper.constant(0)[:, -1:]], axis=1)
        return at.like([cls(outputs, bins=bins)], ends=ends)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(4, bins=3), (3,), kinks=(-1.0, 1.0)), Example(cls(2, bins=1), (2,))]
