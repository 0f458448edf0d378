"""Normalisation of every channel of every row by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.lanes import everywhere, lane_numbers, load, store, total, where
from nnkit.kernels.math import real
from nnkit.layers.channel_norm.batch import BY_STATISTICS, as_batch_normalization
from nnkit.layers.channel_norm.group import GroupNorm, normalise, normalise_backward
from nnkit.layers.windows import ROWS

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


def follow(all_moments, shards, places, momentum, running_mean, running_var):
    """Move the running statistics by ``momentum`` towards the means over all shards' rows.

    A single value says nothing of a variance: it stays as it was.
    """
    channels = running_mean.shape[0]
    rows = all_moments[0, 0] * 0.0
    for s in range(shards):
        rows += all_moments[s, 0]
    for c in range(channels):
        mean, variance = rows * 0.0, rows * 0.0
        for s in range(shards):
            mean += all_moments[s, 1 + c]
            variance += all_moments[s, 1 + channels + c]
        running_mean[c] += momentum * (mean / rows - running_mean[c])
        if places > 1:
            running_var[c] += momentum * (variance / rows - running_var[c])


class _InstanceNorm(GroupNorm):
    """A group norm with a group for each channel; its own kernels keep running statistics, x (blocks, C, 1, places, lanes)."""

    elsewhere = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    dims: ClassVar[int]

    def __init__(
        self, *, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False, track_running_stats: bool = False,
        bias: bool = True,
    ) -> None:  # fmt: skip
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.bias = bias
        self.require_eps()
        self.require_number("momentum", 0.0, 1.0)

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 1 + self.dims:
            raise ShapeError(f"{self!r}: expected input rows of shape {ROWS[self.dims]}, got {in_shape}")
        self.num_groups = channels = in_shape[0]
        super().build(in_shape)
        if self.track_running_stats:
            self.state("running_mean", (channels,), init="zeros")
            self.state("running_var", (channels,), init="ones")
            self.partial("moments", (1 + 2 * channels,))
        return in_shape

    def kernels(self) -> dict[str, Callable[..., Any]]:
        if self.track_running_stats:
            return super().kernels()
        return {"forward": GroupNorm.forward, "backward": GroupNorm.backward}

    def c(self) -> str:
        return BY_STATISTICS if self.track_running_stats else super().c()

    def onnx(self, graph, x, like=None):
        if self.track_running_stats:
            return as_batch_normalization(self, graph, x)
        channels = self._built.in_shape[0]
        weight = graph.array("weight") if self.affine else np.ones(channels, graph.real)
        bias = graph.array("bias") if self.affine and self.bias else np.zeros(channels, graph.real)
        return graph.node("InstanceNormalization", x, weight, bias, epsilon=self.eps)

    @classmethod
    def from_onnx(cls, at):
        if at.rank != 1 + cls.dims or (node := at.take("InstanceNormalization")) is None:
            return None
        arrays = {"weight": node.constant(1), "bias": node.constant(2)}
        affine = at.belongs(node.input(1)) or at.belongs(node.input(2))
        return at.found(cls(eps=node.attributes["epsilon"], affine=affine), **(arrays if affine else {}))

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: array for name, array in arrays.items() if name in self._built.declared()}  # not num_batches_tracked

    @staticmethod
    def forward_partial(x, rows, moments):
        channels, places, lanes = x.shape[1], x.shape[3], x.shape[4]
        count = real(places)
        moments[0] = real(rows)
        number = lane_numbers(x[0, 0, 0, 0])
        for c in range(channels):
            means, variances = number * 0.0, number * 0.0
            for b in range(x.shape[0]):
                filled = number < real(rows - b * lanes)
                center, rest, squares = number * 0.0, number * 0.0, number * 0.0
                for p in range(places):
                    center = center + load(x[b, c, 0, p])
                center = center / count
                for p in range(places):
                    difference = load(x[b, c, 0, p]) - center
                    rest = rest + difference
                    squares = squares + difference * difference
                rest = rest / count
                variance = (squares - rest * rest * count) / real(max(1, places - 1))
                means = means + where(filled, center + rest, 0.0)
                variances = variances + where(filled, variance, 0.0)
            moments[1 + c], moments[1 + channels + c] = total(means), total(variances)

    @staticmethod
    def forward(  # type: ignore[override]
        x, weight, bias, running_mean, running_var, all_moments, shards, first_row, training, eps, momentum, mean, scale, out
    ):
        if training:
            normalise(x, weight, bias, eps, mean, scale, out)
            if first_row == 0:
                follow(all_moments, shards, x.shape[3], momentum, running_mean, running_var)
        else:
            for b in range(x.shape[0]):
                for c in range(x.shape[1]):
                    factor = 1.0 / np.sqrt(running_var[c] + eps)
                    store(everywhere(running_mean[c], scale[b, c]), mean[b, 0, c])
                    store(everywhere(0.0, scale[b, c]), mean[b, 1, c])
                    store(everywhere(factor, scale[b, c]), scale[b, c])
                    gain = factor * weight[c] if weight.shape[0] > 0 else factor
                    shift = bias[c] if bias.shape[0] > 0 else 0.0
                    for p in range(x.shape[3]):
                        store((load(x[b, c, 0, p]) - running_mean[c]) * gain + shift, out[b, c, 0, p])

    @staticmethod
    def backward(x, grad_out, weight, mean, scale, training, grad_x, grad_weight, grad_bias):  # type: ignore[override]
        normalise_backward(x, grad_out, weight, mean, scale, training, grad_x, grad_weight, grad_bias)


@register("instance_norm1d")
class InstanceNorm1d(_InstanceNorm):
    """Normalise every channel of every row over its places.

    With the mean m and the variance v of the P places of a channel in a row,

    - out = (x - m) / sqrt(v + eps) * weight + bias.

    Given delta = dL/dout (``grad_out``) and y = (x - m) / sqrt(v + eps), backward is

    - dL/dbias = sum delta and dL/dweight = sum delta y, over rows and places,
    - dL/dx = weight / sqrt(v + eps) * (delta - 1/P sum delta - y/P sum delta y), the sums over the places of the row.

    With ``track_running_stats``, training moves running_mean and running_var by ``momentum`` towards the means, over the rows
    of the batch, of m and v P / (P - 1); out of training they take the places of m and v.

    Parameters
    ----------
    eps : float >= 0
    momentum : float in [0, 1], of the running statistics
    affine : bool, whether there are weight and bias
    track_running_stats : bool, whether there are running statistics
    bias : bool, whether there is a bias beside the weight

    Shape
    -----
    x: (N, C, L) -> out: the same; weight, bias, running_mean, running_var: (C,)

    Raises
    ------
    ShapeError
        Rows are not (C, L).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.InstanceNorm1d()]).build((1, 3)).predict([[[1e6, 1e6 + 1.0, 1e6 + 2.5]]]).round(3)
    array([[[-1.136, -0.162,  1.298]]], dtype=float32)
    >>> model = nn.Sequential([nn.InstanceNorm1d(eps=0.5, momentum=0.25, track_running_stats=True)]).build((2, 3))
    >>> X = [[[1.0, 3.0, 5.0], [-2.0, 4.0, 0.0]], [[2.0, 0.0, 1.0], [6.0, 1.0, 2.0]]]
    >>> model.forward(X, training=True).round(3).ravel()
    array([-1.124,  0.   ,  1.124, -1.029,  1.286, -0.257,  0.926, -0.926,
            0.   ,  1.32 , -0.88 , -0.44 ], dtype=float32)
    >>> again = model.forward(X, training=True)
    >>> print(*(state.round(3) for state in model.states().values()))
    [0.875 0.802] [1.656 4.135]
    >>> model.predict(X[:1]).round(3).ravel()  # by the running means and variances
    array([ 0.085,  1.447,  2.809, -1.301,  1.485, -0.373], dtype=float32)

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky 2016, "Instance normalization: the missing ingredient for fast stylization".
    """

    dims = 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2, 3)), Example(cls(affine=True, track_running_stats=True, momentum=0.3), (2, 4))]


@register("instance_norm2d")
class InstanceNorm2d(_InstanceNorm):
    """Normalise every channel of every image over its places.

    With the mean m and the variance v of the P places of a channel in an image, out = (x - m) / sqrt(v + eps) * weight + bias.
    Backward and running statistics as in `InstanceNorm1d`.

    Parameters
    ----------
    eps : float >= 0
    momentum : float in [0, 1], of the running statistics
    affine : bool, whether there are weight and bias
    track_running_stats : bool, whether there are running statistics
    bias : bool, whether there is a bias beside the weight

    Shape
    -----
    x: (N, C, H, W) -> out: the same; weight, bias, running_mean, running_var: (C,)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Conv2d(8, 3), nn.InstanceNorm2d(affine=True), nn.ReLU()]).build((1, 8, 8))
    >>> sorted(model.parameters())
    ['0.bias', '0.weight', '1.bias', '1.weight']
    >>> model = nn.Sequential([nn.InstanceNorm2d(eps=0.5, momentum=0.25, track_running_stats=True)]).build((2, 1, 3))
    >>> X = [[[[1.0, 3.0, 5.0]], [[-2.0, 4.0, 0.0]]], [[[2.0, 0.0, 1.0]], [[6.0, 1.0, 2.0]]]]
    >>> model.forward(X, training=True).round(3).ravel()
    array([-1.124,  0.   ,  1.124, -1.029,  1.286, -0.257,  0.926, -0.926,
            0.   ,  1.32 , -0.88 , -0.44 ], dtype=float32)
    >>> again = model.forward(X, training=True)
    >>> print(*(state.round(3) for state in model.states().values()))
    [0.875 0.802] [1.656 4.135]
    >>> model.predict(X[:1]).round(3).ravel()  # by the running means and variances
    array([ 0.085,  1.447,  2.809, -1.301,  1.485, -0.373], dtype=float32)

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky 2016, "Instance normalization: the missing ingredient for fast stylization".
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        tracking = cls(affine=True, track_running_stats=True, bias=False)
        return [Example(cls(affine=True), (2, 2, 3)), Example(tracking, (2, 2, 1))]


@register("instance_norm3d")
class InstanceNorm3d(_InstanceNorm):
    """Normalise every channel of every volume over its places.

    With the mean m and the variance v of the P places of a channel in a volume, out = (x - m) / sqrt(v + eps) * weight + bias.
    Backward and running statistics as in `InstanceNorm1d`.

    Parameters
    ----------
    eps : float >= 0
    momentum : float in [0, 1], of the running statistics
    affine : bool, whether there are weight and bias
    track_running_stats : bool, whether there are running statistics
    bias : bool, whether there is a bias beside the weight

    Shape
    -----
    x: (N, C, D, H, W) -> out: the same; weight, bias, running_mean, running_var: (C,)

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.InstanceNorm3d()]).build((1, 1, 1, 3)).predict([[[[[1e6, 1e6 + 1.0, 1e6 + 2.5]]]]]).round(3)
    array([[[[[-1.136, -0.162,  1.298]]]]], dtype=float32)
    >>> nn.Sequential([nn.InstanceNorm3d(eps=0.5)]).build((1, 1, 2, 2)).predict([[[[[1.0, 3.0], [2.0, 8.0]]]]]).round(3)
    array([[[[[-0.898, -0.18 ],
              [-0.539,  1.616]]]]], dtype=float32)

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky 2016, "Instance normalization: the missing ingredient for fast stylization".
    """

    dims = 3

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(affine=True, bias=False), (2, 2, 1, 2))]
