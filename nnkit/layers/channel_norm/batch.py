"""Normalisation of channels over the batch, whose shards meet for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.lanes import everywhere, lane_numbers, load, store, total, where
from nnkit.kernels.math import real
from nnkit.layers.windows import ROWS

__all__ = ["BY_STATISTICS", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "as_batch_normalization"]


def combine(all_moments, shards, running_mean, running_var, training, eps, mean, scale):
    """Mean and 1 / sqrt(var + eps) of each channel; in training those of all shards' rows (Chan, Golub, LeVeque 1979).

    A mean is in two pieces, so that far from zero its digits are kept: a sum divided by the count, in front, and what is left
    of it among the differences, behind. Moments are the number of values, then each channel's mean, the rest of it, and the
    sum of squared deviations. Returns the number of values, and leaves the variances in ``scale``, behind the factors.
    """
    channels = running_mean.shape[0]
    count = all_moments[0, 0] * 0.0
    for c in range(channels):
        center, rest, variance = running_mean[c], running_mean[c] * 0.0, running_var[c]
        if training:
            count, center = all_moments[0, 0], all_moments[0, 1 + c]
            rest, squares = all_moments[0, 1 + channels + c], all_moments[0, 1 + 2 * channels + c]
            for s in range(1, shards):
                more, difference = all_moments[s, 0], all_moments[s, 1 + c] - center
                difference += all_moments[s, 1 + channels + c] - rest
                share = more / (count + more)
                squares += all_moments[s, 1 + 2 * channels + c] + difference * difference * count * share
                rest += difference * share
                count += more
            variance = squares / count
        mean[c], mean[channels + c] = center, rest
        scale[c] = 1.0 / np.sqrt(variance + eps)
        scale[channels + c] = variance
    return count


def deviation(squares, count, rest):
    """The sum of squared deviations from a mean, from those of the differences to its first piece."""
    return max(squares - count * rest * rest, squares * 0.0)


def affine(weight, bias, mean, scale, factors):
    """Write each channel's factor, and behind them what is added: out = (x - mean) factor + shift.

    They are stored: else the compiler would add the two pieces of the mean up.
    """
    channels = scale.shape[0] // 2
    for c in range(channels):
        factor = scale[c] * weight[c] if weight.shape[0] > 0 else scale[c]
        factors[c] = factor
        factors[channels + c] = (bias[c] if bias.shape[0] > 0 else 0.0) - mean[channels + c] * factor


def follow(count, share, mean, scale, running_mean, running_var):
    """Move the running statistics by a share towards those of the batch; the variance without bias.

    A single value says nothing of a variance: it stays as it was.
    """
    channels = running_mean.shape[0]
    for c in range(channels):
        running_mean[c] += share * (mean[c] - running_mean[c] + mean[channels + c])
        if count > 1.0:
            running_var[c] += share * (count / (count - 1.0) * scale[channels + c] - running_var[c])


def pace(momentum, num_batches_tracked):
    """How far the running statistics move towards those of a batch: where the batches are counted, to the mean of all."""
    if num_batches_tracked is None:
        return momentum
    num_batches_tracked[0] += 1.0
    return 1.0 / num_batches_tracked[0]


def add_up(all_sums, shards, totals):
    """The sums of all shards."""
    for i in range(totals.shape[0]):
        totals[i] = all_sums[0, i]
    for s in range(1, shards):
        for i in range(totals.shape[0]):
            totals[i] += all_sums[s, i]


BY_STATISTICS = """
void forward(const real x[N], const real weight[C], const real bias[C], const real running_mean[C],
             const real running_var[C], real out[N])
{
    for (int c = 0; c < C; c++) {
        const real factor = (weight ? weight[c] : 1.0) / sqrt(running_var[c] + eps);
        for (int i = c * (N / C); i < (c + 1) * (N / C); i++)
            out[i] = (x[i] - running_mean[c]) * factor + (bias ? bias[c] : 0.0);
    }
}
"""  # in C, out of training


def as_batch_normalization(layer, graph, x):
    """A layer that has running statistics, as it is out of training.

    ONNX has no word for the mean of all batches: there, the statistics then stay as they are.
    """
    channels = layer._built.in_shape[0]
    weight = graph.array("weight") if layer.affine else np.ones(channels, graph.real)
    bias = graph.array("bias") if layer.affine and layer.bias else np.zeros(channels, graph.real)
    statistics = graph.array("running_mean"), graph.array("running_var")
    kept = 1.0 if layer.momentum is None else 1.0 - layer.momentum  # of what was before, not of what is new
    numbers = {"epsilon": float(layer.eps), "momentum": kept}
    return graph.node("BatchNormalization", x, weight, bias, *statistics, **numbers)


class _BatchNorm(Layer):
    """What batch norms share; these kernels are for rows in blocks, x (blocks, C, places, lanes)."""

    elsewhere = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    mixes_rows = True
    ranks: ClassVar[tuple[int, ...]]  # numbers of axes that rows may have

    def __init__(
        self, *, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, bias: bool = True
    ) -> None:
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.bias = bias
        self.require_eps()
        if momentum is not None:
            self.require_number("momentum", 0.0, 1.0)

    def declare(self, channels: int) -> None:
        """Declare everything for so many channels."""
        self.parameter("weight", (channels if self.affine else 0,), init="ones")
        self.parameter("bias", (channels if self.affine and self.bias else 0,), init="zeros")
        self.state("running_mean", (channels,), init="zeros")
        self.state("running_var", (channels,), init="ones")
        if self.momentum is None:
            self.state("num_batches_tracked", (1,), init="zeros")
        else:
            self.num_batches_tracked = None
        self.partial("moments", (1 + 3 * channels,))
        self.partial("sums", (2 * channels,))
        self.workspace("mean", (2 * channels,))
        self.workspace("scale", (2 * channels,))
        self.workspace("totals", (2 * channels,))

    def onnx(self, graph, x):
        return as_batch_normalization(self, graph, x)

    @classmethod
    def from_onnx(cls, at):
        if at.rank not in cls.ranks or (node := at.take("BatchNormalization")) is None or node.flag("training_mode"):
            return None
        names = ("weight", "bias", "running_mean", "running_var")
        arrays = {name: node.constant(place) for place, name in enumerate(names, start=1)}
        affine = at.belongs(node.input(1)) or at.belongs(node.input(2))
        arrays = {name: array for name, array in arrays.items() if affine or name not in names[:2]}
        eps, kept = node.attributes["epsilon"], node.attributes["momentum"]
        return at.found(cls(eps=eps, momentum=round(1.0 - kept, 7), affine=affine), **arrays)

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        declared = self._built.declared()
        return {name: np.atleast_1d(array) for name, array in arrays.items() if name in declared}

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return 4 * prod(in_shape)

    def c(self) -> str:
        return BY_STATISTICS

    @staticmethod
    def forward_partial(x, rows, moments):
        channels, places, lanes = x.shape[1], x.shape[2], x.shape[3]
        moments[0] = real(rows * places)
        number = lane_numbers(x[0, 0, 0])
        for c in range(channels):
            sums = number * 0.0
            for b in range(x.shape[0]):
                filled = number < real(rows - b * lanes)
                for p in range(places):
                    sums = sums + where(filled, load(x[b, c, p]), 0.0)
            center = total(sums) / moments[0]
            level, squares = number * 0.0, number * 0.0
            for b in range(x.shape[0]):
                filled = number < real(rows - b * lanes)
                for p in range(places):
                    difference = where(filled, load(x[b, c, p]) - center, 0.0)
                    level = level + difference
                    squares = squares + difference * difference
            rest = total(level) / moments[0]
            moments[1 + c], moments[1 + channels + c] = center, rest
            moments[1 + 2 * channels + c] = deviation(total(squares), moments[0], rest)

    @staticmethod
    def forward(
        x, weight, bias, running_mean, running_var, all_moments, shards, first_row, training, eps, momentum,
        num_batches_tracked, mean, scale, totals, out,
    ):  # fmt: skip
        count = combine(all_moments, shards, running_mean, running_var, training, eps, mean, scale)
        if training and first_row == 0:
            follow(count, pace(momentum, num_batches_tracked), mean, scale, running_mean, running_var)
        affine(weight, bias, mean, scale, totals)
        for b in range(x.shape[0]):
            for c in range(x.shape[1]):
                center, factor, shift = mean[c], totals[c], totals[x.shape[1] + c]
                values = x[b, c].reshape(x.shape[2] * x.shape[3])
                target = out[b, c].reshape(x.shape[2] * x.shape[3])
                for i in range(values.shape[0]):
                    target[i] = (values[i] - center) * factor + shift

    @staticmethod
    def backward_partial(
        x, grad_out, running_mean, running_var, all_moments, shards, training, eps, mean, scale, sums, grad_weight, grad_bias
    ):
        combine(all_moments, shards, running_mean, running_var, training, eps, mean, scale)
        channels = x.shape[1]
        for c in range(channels):
            level = everywhere(0.0, x[0, 0, 0])
            tilt = everywhere(0.0, x[0, 0, 0])
            for b in range(x.shape[0]):
                for p in range(x.shape[2]):
                    given = load(grad_out[b, c, p])
                    level = level + given
                    tilt = tilt + given * (load(x[b, c, p]) - mean[c])
            sums[c] = total(level)
            sums[channels + c] = (total(tilt) - mean[channels + c] * sums[c]) * scale[c]
            if grad_weight.shape[0] > 0:
                grad_weight[c] = sums[channels + c]
            if grad_bias.shape[0] > 0:
                grad_bias[c] = sums[c]

    @staticmethod
    def backward(x, grad_out, weight, all_moments, all_sums, shards, rows, training, mean, scale, totals, grad_x):
        channels, places, lanes = x.shape[1], x.shape[2], x.shape[3]
        add_up(all_sums, shards, totals)
        number = lane_numbers(x[0, 0, 0])
        count = all_moments[0, 0] * 0.0
        for s in range(shards):
            count += all_moments[s, 0]
        for c in range(channels):
            tilt = totals[channels + c] * scale[c] / count if training else 0.0
            totals[c] = (totals[c] / count if training else 0.0) - mean[channels + c] * tilt
            totals[channels + c] = tilt
        for b in range(x.shape[0]):
            filled = number < real(rows - b * lanes)
            for c in range(channels):
                factor = scale[c] * weight[c] if weight.shape[0] > 0 else scale[c]
                level, tilt = totals[c], totals[channels + c]
                for p in range(places):
                    inner = load(grad_out[b, c, p]) - level - (load(x[b, c, p]) - mean[c]) * tilt
                    store(where(filled, inner * factor, 0.0), grad_x[b, c, p])


class _OfRows:
    """The same kernels for rows (N, C): loops over the channels of a row are the long ones."""

    @staticmethod
    def forward_partial(x, rows, moments):
        channels = x.shape[1]
        moments[0] = real(rows)
        center, rest = moments[1 : 1 + channels], moments[1 + channels : 1 + 2 * channels]
        squares = moments[1 + 2 * channels :]
        for c in range(channels):
            center[c] = 0.0
            rest[c] = 0.0
            squares[c] = 0.0
        for n in range(x.shape[0]):
            values = x[n]
            for c in range(channels):
                center[c] += values[c]
        share = 1.0 / moments[0]
        for c in range(channels):
            center[c] *= share
        for n in range(x.shape[0]):
            values = x[n]
            for c in range(channels):
                rest[c] += values[c] - center[c]
                squares[c] += (values[c] - center[c]) * (values[c] - center[c])
        for c in range(channels):
            rest[c] *= share
            squares[c] = deviation(squares[c], moments[0], rest[c])

    @staticmethod
    def forward(
        x, weight, bias, running_mean, running_var, all_moments, shards, first_row, training, eps, momentum,
        num_batches_tracked, mean, scale, totals, out,
    ):  # fmt: skip
        count = combine(all_moments, shards, running_mean, running_var, training, eps, mean, scale)
        if training and first_row == 0:
            follow(count, pace(momentum, num_batches_tracked), mean, scale, running_mean, running_var)
        channels = x.shape[1]
        affine(weight, bias, mean, scale, totals)
        factor, shift = totals[:channels], totals[channels:]
        for n in range(x.shape[0]):
            values, target = x[n], out[n]
            for c in range(channels):
                target[c] = (values[c] - mean[c]) * factor[c] + shift[c]

    @staticmethod
    def backward_partial(
        x, grad_out, running_mean, running_var, all_moments, shards, training, eps, mean, scale, sums, grad_weight, grad_bias
    ):
        combine(all_moments, shards, running_mean, running_var, training, eps, mean, scale)
        channels = x.shape[1]
        level, tilt = sums[:channels], sums[channels:]
        for c in range(channels):
            level[c] = 0.0
            tilt[c] = 0.0
        for n in range(x.shape[0]):
            values, given = x[n], grad_out[n]
            for c in range(channels):
                level[c] += given[c]
            for c in range(channels):
                tilt[c] += given[c] * (values[c] - mean[c])
        for c in range(channels):
            tilt[c] = (tilt[c] - mean[channels + c] * level[c]) * scale[c]
        for c in range(grad_weight.shape[0]):
            grad_weight[c] = tilt[c]
        for c in range(grad_bias.shape[0]):
            grad_bias[c] = level[c]

    @staticmethod
    def backward(x, grad_out, weight, all_moments, all_sums, shards, training, mean, scale, totals, grad_x):
        channels = x.shape[1]
        add_up(all_sums, shards, totals)
        count = all_moments[0, 0] * 0.0
        for s in range(shards):
            count += all_moments[s, 0]
        # grad_x = factor grad_out - tilt (x - mean) + level, the three in place of scale and totals
        factor, tilt, level = scale[:channels], totals[channels:], totals[:channels]
        for c in range(channels):
            full = factor[c] * weight[c] if weight.shape[0] > 0 else factor[c]
            slope = full * tilt[c] * factor[c] / count if training else 0.0
            level[c] = slope * mean[channels + c] - (full * level[c] / count if training else 0.0)
            tilt[c] = slope
            factor[c] = full
        for n in range(x.shape[0]):
            values, given, target = x[n], grad_out[n], grad_x[n]
            for c in range(channels):
                target[c] = factor[c] * given[c] + level[c]
            for c in range(channels):
                target[c] -= tilt[c] * (values[c] - mean[c])


@register("batch_norm1d")
class BatchNorm1d(_BatchNorm):
    """Normalise every feature over the batch.

    With the mean m and the variance v of each feature over the rows of the batch (and the places of (C, L)),

    - out = (x - m) / sqrt(v + eps) * weight + bias.

    Given delta = dL/dout (``grad_out``), y = (x - m) / sqrt(v + eps) and P values of a feature in the batch, backward is

    - dL/dbias = sum delta and dL/dweight = sum delta y,
    - dL/dx = weight / sqrt(v + eps) * (delta - 1/P sum delta - y/P sum delta y).

    Training moves running_mean and running_var by ``momentum`` towards m and v P / (P - 1); without one, by 1 / the number of
    batches so far, which num_batches_tracked counts. Out of training they take the places of m and v, and dL/dx = weight /
    sqrt(v + eps) * delta. Shards of a batch meet to put their sums together, in a fixed order: the statistics are those of the
    whole batch.

    Parameters
    ----------
    eps : float >= 0
    momentum : float in [0, 1], or None: the running statistics are the means over all batches so far
    affine : bool, whether there are weight and bias
    bias : bool, whether there is a bias beside the weight

    Shape
    -----
    x: (N, C) or (N, C, L) -> out: the same; weight, bias, running_mean, running_var: (C,); num_batches_tracked: (1,)

    Raises
    ------
    ShapeError
        Rows are neither (C,) nor (C, L).

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.BatchNorm1d()]).build((1,))
    >>> model.forward([[1.0], [3.0]], training=True).round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> model = nn.Sequential([nn.BatchNorm1d(eps=0.5, momentum=0.25, affine=False)]).build((2,))
    >>> X = [[1.0, -2.0], [3.0, 5.0], [2.0, 0.0]]
    >>> model.forward(X, training=True).round(3).ravel()
    array([-0.926, -0.991,  0.926,  1.321,  0.   , -0.33 ], dtype=float32)
    >>> again = model.forward(X, training=True)
    >>> print(*(state.round(3) for state in model.states().values()))
    [0.875 0.438] [1.   6.25]
    >>> model.predict([[1.0, -2.0]]).round(3)  # by the running mean and variance
    array([[ 0.102, -0.938]], dtype=float32)
    >>> model = nn.Sequential([nn.BatchNorm1d(momentum=0.5)]).build((2, 3))  # of sequences, over their steps
    >>> model.forward([[[1.0, 2.0, 6.0], [0.0, 4.0, 2.0]]], training=True).round(3)
    array([[[-0.926, -0.463,  1.389],
            [-1.225,  1.225,  0.   ]]], dtype=float32)
    >>> print(*model.states().values())
    [1.5 1. ] [4.  2.5]

    References
    ----------
    Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training by reducing internal covariate shift".
    """

    ranks = (1, 2)

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) not in (1, 2):
            raise ShapeError(f"{self!r}: expected input rows of shape (features,) or (channels, length), got {in_shape}")
        self.blocked = len(in_shape) == 2
        self.declare(in_shape[0])
        return in_shape

    def kernels(self) -> dict[str, Callable[..., Any]]:
        if self.blocked:
            return super().kernels()
        return {stage: getattr(_OfRows, stage) for stage in super().kernels()}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3,)), Example(cls(affine=False), (2,)), Example(cls(momentum=None, bias=False), (2,)),
                Example(cls(eps=1e-3, momentum=0.3), (2, 3))]  # fmt: skip


class _OfImages(_BatchNorm):
    """Rows of channels that have places along several axes: kernels see them in one line."""

    blocked = True

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) not in self.ranks:
            raise ShapeError(f"{self!r}: expected input rows of shape {ROWS[self.ranks[0] - 1]}, got {in_shape}")
        self.declare(in_shape[0])
        seen = (in_shape[0], prod(in_shape[1:]))
        self.view(x=seen, out=seen)
        return in_shape


@register("batch_norm2d")
class BatchNorm2d(_OfImages):
    """Normalise every channel of images over the batch.

    With the mean m and the variance v of each channel over the rows of the batch and all places,

    - out = (x - m) / sqrt(v + eps) * weight + bias.

    Given delta = dL/dout (``grad_out``), y = (x - m) / sqrt(v + eps) and P values of a channel in the batch, backward is

    - dL/dbias = sum delta and dL/dweight = sum delta y,
    - dL/dx = weight / sqrt(v + eps) * (delta - 1/P sum delta - y/P sum delta y).

    Training moves running_mean and running_var by ``momentum`` towards m and v P / (P - 1); without one, by 1 / the number of
    batches so far, which num_batches_tracked counts. Out of training they take the places of m and v, and dL/dx = weight /
    sqrt(v + eps) * delta. Shards of a batch meet to put their sums together, in a fixed order: the statistics are those of the
    whole batch.

    Parameters
    ----------
    eps : float >= 0
    momentum : float in [0, 1], or None: the running statistics are the means over all batches so far
    affine : bool, whether there are weight and bias
    bias : bool, whether there is a bias beside the weight

    Shape
    -----
    x: (N, C, H, W) -> out: the same; weight, bias, running_mean, running_var: (C,); num_batches_tracked: (1,)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Conv2d(8, 3), nn.BatchNorm2d(), nn.ReLU()]).build((1, 8, 8))
    >>> sorted(model.states())
    ['1.running_mean', '1.running_var']
    >>> model = nn.Sequential([nn.BatchNorm2d(eps=0.5, momentum=0.25, affine=False)]).build((2, 1, 2))
    >>> X = [[[[1.0, 3.0]], [[-2.0, 4.0]]], [[[5.0, 0.0]], [[2.0, 1.0]]]]
    >>> model.forward(X, training=True).round(3).ravel()
    array([-0.611,  0.367, -1.427,  1.207,  1.344, -1.1  ,  0.329, -0.11 ],
          dtype=float32)
    >>> again = model.forward(X, training=True)
    >>> print(*(state.round(3) for state in model.states().values()))
    [0.984 0.547] [2.714 3.297]
    >>> model.predict([[[[1.0, 3.0]], [[-2.0, 4.0]]]]).round(3).ravel()  # by the running mean and variance
    array([ 0.009,  1.124, -1.307,  1.772], dtype=float32)

    References
    ----------
    Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training by reducing internal covariate shift".
    """

    ranks = (3,)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2, 2, 3)), Example(cls(momentum=None), (2, 1, 2))]


@register("batch_norm3d")
class BatchNorm3d(_OfImages):
    """Normalise every channel of volumes over the batch.

    With the mean m and the variance v of each channel over the rows of the batch and all places,

    - out = (x - m) / sqrt(v + eps) * weight + bias.

    Backward, running statistics and shards as in `BatchNorm2d`.

    Parameters
    ----------
    eps : float >= 0
    momentum : float in [0, 1], or None: the running statistics are the means over all batches so far
    affine : bool, whether there are weight and bias
    bias : bool, whether there is a bias beside the weight

    Shape
    -----
    x: (N, C, D, H, W) -> out: the same; weight, bias, running_mean, running_var: (C,); num_batches_tracked: (1,)

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W).

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential([nn.BatchNorm3d(momentum=0.25, affine=False)]).build((2, 1, 2, 2))
    >>> X = np.arange(16.0).reshape(2, 2, 1, 2, 2) ** 2
    >>> model.forward(X, training=True)[0].round(3).ravel()
    array([-1.02 , -0.999, -0.934, -0.827, -1.152, -1.039, -0.9  , -0.737],
          dtype=float32)
    >>> again = model.forward(X, training=True)
    >>> print(*(state.round(2) for state in model.states().values()))
    [20.78 47.03] [1084.69 3154.69]
    >>> model.predict(X)[0].round(3).ravel()  # by the running means and variances
    array([-0.631, -0.601, -0.51 , -0.358, -0.552, -0.392, -0.196,  0.035],
          dtype=float32)

    References
    ----------
    Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training by reducing internal covariate shift".
    """

    ranks = (4,)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(bias=False), (2, 2, 1, 3))]
