"""Normalisation of groups of channels, in every row."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import numpy as np

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.lanes import everywhere, load, root, store, total, where
from nnkit.kernels.math import real

__all__ = ["GroupNorm", "normalise", "normalise_backward"]


def normalise(x, weight, bias, eps, mean, scale, out):
    """Normalise the groups of x (blocks, groups, depth, places, lanes); keep their means, in two pieces, and their factors."""
    depth, places = x.shape[2], x.shape[3]
    count = real(depth * places)
    for b in range(x.shape[0]):
        for g in range(x.shape[1]):
            center = everywhere(0.0, scale[b, g])
            for c in range(depth):
                for p in range(places):
                    center = center + load(x[b, g, c, p])
            center = center / count
            rest = everywhere(0.0, scale[b, g])
            for c in range(depth):
                for p in range(places):
                    difference = load(x[b, g, c, p]) - center
                    store(difference, out[b, g, c, p])  # or the compiler would subtract the sum of both pieces
                    rest = rest + difference
            rest = rest / count
            variance = everywhere(0.0, scale[b, g])
            for c in range(depth):
                for p in range(places):
                    difference = load(out[b, g, c, p]) - rest
                    variance = variance + difference * difference
            factor = 1.0 / root(variance / count + eps)
            if not np.isfinite(total(variance)):  # squares larger than the largest number: those of the shares of one
                size = everywhere(1.0, scale[b, g])
                for c in range(depth):
                    for p in range(places):
                        difference = load(out[b, g, c, p]) - rest
                        size = where(difference > size, difference, where(0.0 - difference > size, 0.0 - difference, size))
                variance = everywhere(0.0, scale[b, g])
                for c in range(depth):
                    for p in range(places):
                        share = (load(out[b, g, c, p]) - rest) / size
                        variance = variance + share * share
                factor = 1.0 / (size * root(variance / count + eps / size / size))
            store(center, mean[b, 0, g])
            store(rest, mean[b, 1, g])
            store(factor, scale[b, g])
            for c in range(depth):
                gain = weight[g * depth + c] if weight.shape[0] > 0 else 1.0
                shift = bias[g * depth + c] if bias.shape[0] > 0 else 0.0
                for p in range(places):
                    store((load(out[b, g, c, p]) - rest) * factor * gain + shift, out[b, g, c, p])


def normalise_backward(x, grad_out, weight, mean, scale, moving, grad_x, grad_weight, grad_bias):
    """The gradients of `normalise`; ``moving`` says that mean and factor came from x, and so move with it."""
    depth, places = x.shape[2], x.shape[3]
    share = 1.0 / real(depth * places) if moving else 0.0
    for c in range(grad_weight.shape[0]):
        grad_weight[c] = 0.0
    for c in range(grad_bias.shape[0]):
        grad_bias[c] = 0.0
    for b in range(x.shape[0]):
        for g in range(x.shape[1]):
            center, rest, factor = load(mean[b, 0, g]), load(mean[b, 1, g]), load(scale[b, g])
            level = everywhere(0.0, scale[b, g])
            tilt = everywhere(0.0, scale[b, g])
            for c in range(depth):
                gain = weight[g * depth + c] if weight.shape[0] > 0 else 1.0
                sums = everywhere(0.0, scale[b, g])
                products = everywhere(0.0, scale[b, g])
                for p in range(places):
                    given = load(grad_out[b, g, c, p])
                    difference = load(x[b, g, c, p]) - center
                    store(difference, grad_x[b, g, c, p])
                    sums = sums + given
                    products = products + given * (difference - rest) * factor
                level = level + sums * gain
                tilt = tilt + products * gain
                if grad_weight.shape[0] > 0:
                    grad_weight[g * depth + c] += total(products)
                if grad_bias.shape[0] > 0:
                    grad_bias[g * depth + c] += total(sums)
            for c in range(depth):
                gain = weight[g * depth + c] if weight.shape[0] > 0 else 1.0
                for p in range(places):
                    y = (load(grad_x[b, g, c, p]) - rest) * factor
                    store(factor * (load(grad_out[b, g, c, p]) * gain - (level + y * tilt) * share), grad_x[b, g, c, p])


@register("group_norm")
class GroupNorm(Layer):
    """Normalise groups of channels of every row.

    With the mean m and the variance v of a row's group over its channels and places, P values,

    - out = (x - m) / sqrt(v + eps) * weight + bias, weight and bias being those of the channel.

    Given delta = dL/dout (``grad_out``), y = (x - m) / sqrt(v + eps) and d = delta * weight, backward is

    - dL/dbias = sum delta and dL/dweight = sum delta y, over rows and places,
    - dL/dx = 1 / sqrt(v + eps) * (d - 1/P sum d - y/P sum d y), the sums over the group.

    Parameters
    ----------
    num_groups : int that divides the channels; 1 normalises the row as a whole, as many as channels each by itself
    eps : float >= 0
    affine : bool, whether there are weight and bias
    bias : bool, whether there is a bias beside the weight

    Shape
    -----
    x: (N, C, ...) -> out: the same; weight, bias: (C,)

    Raises
    ------
    ShapeError
        The groups do not divide the channels.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.GroupNorm(2)]).build((2, 2)).predict([[[1.0, 3.0], [2.0, 8.0]]]).round(3)
    array([[[-1.,  1.],
            [-1.,  1.]]], dtype=float32)
    >>> X = [[[1.0, 3.0], [2.0, 8.0], [0.0, 5.0], [-1.0, 4.0]]]
    >>> nn.Sequential([nn.GroupNorm(2, eps=0.5, affine=False)]).build((4, 2)).predict(X).round(3).ravel()
    array([-0.898, -0.18 , -0.539,  1.616, -0.756,  1.134, -1.134,  0.756],
          dtype=float32)

    References
    ----------
    Wu and He 2018, "Group normalization".
    """

    elsewhere: ClassVar[tuple[str, ...]] = ("num_groups", "num_channels", "eps", "affine")
    blocked = True

    def __init__(self, num_groups: int, *, eps: float = 1e-5, affine: bool = True, bias: bool = True) -> None:
        self.num_groups = num_groups
        self.eps = eps
        self.affine = affine
        self.bias = bias
        self.require_size("num_groups")
        self.require_eps()

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape or in_shape[0] % self.num_groups:
            raise ShapeError(f"{self!r}: expected channels that num_groups={self.num_groups} share out evenly, got rows of "
                             f"{in_shape}")  # fmt: skip
        channels = in_shape[0]
        self.parameter("weight", (channels if self.affine else 0,), init="ones")
        self.parameter("bias", (channels if self.affine and self.bias else 0,), init="zeros")
        self.scratch("mean", (2, self.num_groups))  # its two pieces: a sum, and what is left of it among the differences
        self.scratch("scale", (self.num_groups,))
        seen = (self.num_groups, channels // self.num_groups, prod(in_shape[1:]))
        self.view(x=seen, out=seen)
        return in_shape

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return 4 * prod(in_shape)

    def c(self) -> str:
        return """
            void forward(const real x[G][D][P], const real weight[C], const real bias[C], real out[G][D][P])
            {
                for (int g = 0; g < G; g++) {
                    real mean = 0.0, rest = 0.0, variance = 0.0;
                    for (int d = 0; d < D; d++)
                        for (int p = 0; p < P; p++)
                            mean += x[g][d][p];
                    mean /= D * P;
                    for (int d = 0; d < D; d++)
                        for (int p = 0; p < P; p++)
                            rest += x[g][d][p] - mean;
                    rest /= D * P;
                    for (int d = 0; d < D; d++)
                        for (int p = 0; p < P; p++)
                            variance += (x[g][d][p] - mean - rest) * (x[g][d][p] - mean - rest);
                    variance /= D * P;
                    for (int d = 0; d < D; d++)
                        for (int p = 0; p < P; p++)
                            out[g][d][p] = (x[g][d][p] - mean - rest) / sqrt(variance + eps)
                                           * (weight ? weight[g * D + d] : 1.0) + (bias ? bias[g * D + d] : 0.0);
                }
            }"""

    @staticmethod
    def forward(x, weight, bias, eps, mean, scale, out):
        normalise(x, weight, bias, eps, mean, scale, out)

    @staticmethod
    def backward(x, grad_out, weight, mean, scale, grad_x, grad_weight, grad_bias):
        normalise_backward(x, grad_out, weight, mean, scale, True, grad_x, grad_weight, grad_bias)

    def onnx(self, graph, x, like=None):
        shape, groups = self._built.in_shape, self.num_groups
        channel = (shape[0], *(1,) * (len(shape) - 1))
        ones, zeros = np.ones(groups, graph.real), np.zeros(groups, graph.real)
        grouped = graph.node("Reshape", x, [0, groups, -1])
        y = graph.node("InstanceNormalization", grouped, ones, zeros, epsilon=self.eps)
        out = graph.node("Reshape", y, [0, *shape] if like is None else like)
        out = out * graph.array("weight", channel) if self.affine else out
        return out + graph.array("bias", channel) if self.affine and self.bias else out

    @classmethod
    def from_onnx(cls, at):
        if (node := at.take("GroupNormalization")) is not None:
            groups, channels = node.attributes["num_groups"], at.shape[0]
            scale, bias = node.constant(1), node.constant(2)
            if scale.shape == bias.shape == (groups,):  # as it was in opset 18
                scale, bias = (np.repeat(array, channels // groups) for array in (scale, bias))
            return at.found(cls(groups, eps=node.attributes["epsilon"]), weight=scale, bias=bias)
        if at.rank not in (2, 3, 4) and (node := at.take("InstanceNormalization")) is not None:  # these are instance norms
            return at.found(cls(at.shape[0], eps=node.attributes["epsilon"]), weight=node.constant(1), bias=node.constant(2))
        node = at.ahead("Reshape")
        groups = node.integers(1)[1] if node and len(node.integers(1)) == 3 else 0
        parts = [cls(groups), cls(groups, bias=False), cls(groups, affine=False)] if groups > 0 else []
        return at.like(parts) or at.like(parts, lambda layer, graph, x: layer.onnx(graph, x, graph.node("Shape", x)))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (4, 2, 2)), Example(cls(1, affine=False), (3,)), Example(cls(2, bias=False), (4,))]
