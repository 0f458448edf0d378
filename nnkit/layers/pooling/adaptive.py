"""Means over a grid of parts of an image, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.math import real
from nnkit.layers.pooling.sums import average, share_out
from nnkit.layers.windows import require_sizes, sizes

__all__ = ["AdaptiveAvgPool2d", "GlobalAvgPool"]


class _Adaptive(Layer):
    """Means over a grid of parts of an image, whatever its size."""

    blocked = True

    def c(self) -> str:
        return """
            void forward(const real x[C][H][W], real out[C][OH][OW])
            {
                for (int c = 0; c < C; c++)
                    for (int oh = 0; oh < OH; oh++) {
                        const int top = oh * H / OH, bottom = ((oh + 1) * H + OH - 1) / OH;
                        for (int ow = 0; ow < OW; ow++) {
                            const int left = ow * W / OW, right = ((ow + 1) * W + OW - 1) / OW;
                            real sum = 0.0;
                            for (int h = top; h < bottom; h++)
                                for (int w = left; w < right; w++)
                                    sum += x[c][h][w];
                            out[c][oh][ow] = sum / ((bottom - top) * (right - left));
                        }
                    }
            }"""

    @staticmethod
    def forward(x, out):
        height, width, out_h, out_w = x.shape[2], x.shape[3], out.shape[2], out.shape[3]
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                for oh in range(out_h):
                    top, bottom = part(oh, height, out_h)
                    for ow in range(out_w):
                        left, right = part(ow, width, out_w)
                        count = real((bottom - top) * (right - left))
                        average(x[b, c, top:bottom, left:right], count, out[b, c, oh, ow])

    @staticmethod
    def backward(grad_out, grad_x):
        height, width, out_h, out_w = grad_x.shape[2], grad_x.shape[3], grad_out.shape[2], grad_out.shape[3]
        clear(grad_x)
        for b in range(grad_x.shape[0]):
            for c in range(grad_x.shape[1]):
                for oh in range(out_h):
                    top, bottom = part(oh, height, out_h)
                    for ow in range(out_w):
                        left, right = part(ow, width, out_w)
                        count = real((bottom - top) * (right - left))
                        share_out(grad_out[b, c, oh, ow], count, grad_x[b, c, top:bottom, left:right])


def part(number, size, parts):
    """Where a part of an axis begins, and the place behind its end."""
    return number * size // parts, -(-(number + 1) * size // parts)


def shares(size, parts):
    """Matrix (parts, size): how much of each place there is in the mean of each part."""
    first, behind = part(np.arange(parts), size, parts)
    within = (np.arange(size) >= first[:, None]) & (np.arange(size) < behind[:, None])
    return within / within.sum(axis=1, keepdims=True)


@register("adaptive_avg_pool2d")
class AdaptiveAvgPool2d(_Adaptive):
    """Means over a grid of ``output_size`` parts of an image of any size.

    Part (oh, ow) has the rows from floor(oh H / OH) up to ceil((oh + 1) H / OH), likewise the columns; out is its mean, and
    each of its places gets grad_out divided by their number.

    Parameters
    ----------
    output_size : int or (height, width)

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, *output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AdaptiveAvgPool2d((2, 3))]).build((4, 7, 5)).out_shape
    (4, 2, 3)
    >>> nn.Sequential([nn.AdaptiveAvgPool2d((1, 2))]).build((1, 2, 3)).predict([[[[1.0, 3.0, 2.0], [5.0, 0.0, 8.0]]]])
    array([[[[2.25, 3.25]]]], dtype=float32)

    References
    ----------
    He, Zhang, Ren and Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition".
    """

    def __init__(self, output_size: Any = 1) -> None:
        self.output_size = output_size
        require_sizes(self, "output_size", 2)

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 3:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, height, width), got {in_shape}")
        return (in_shape[0], *sizes(self.output_size, 2))

    def onnx(self, graph, x):
        """Means along an axis are a product with a matrix of shares."""
        _, *image = self._built.in_shape
        high, wide = sizes(self.output_size, 2)
        if high == wide == 1:
            return graph.node("GlobalAveragePool", x)
        rows, columns = (shares(size, parts).astype(graph.real) for size, parts in zip(image, (high, wide), strict=True))
        return graph.node("MatMul", graph.node("MatMul", rows, x), columns.T)

    @classmethod
    def from_onnx(cls, at):
        if at.rank != 3:
            return None
        if mean_of_places(at):
            return at.found(cls())
        rows = at.ahead("MatMul", place=1)
        columns = at.copy().after(rows).ahead("MatMul") if rows else None
        if columns is None or (rows.constant(0).shape[-1], columns.constant(1).shape[0]) != at.shape[1:]:
            return None
        return at.like([cls((rows.constant(0).shape[0], columns.constant(1).shape[-1]))])

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls((2, 3)), (2, 3, 4))]


def mean_of_places(at):
    """Come by a mean over all places of every channel; whether it leaves axes of size 1 behind; None where there is none."""
    if at.take("GlobalAveragePool") is not None:
        return True
    node = at.ahead("ReduceMean")
    if node is None or {axis % (at.rank + 1) for axis in node.integers(1)} != set(range(2, at.rank + 1)):
        return None
    at.after(node)
    return node.flag("keepdims")


@register("global_avg_pool")
class GlobalAvgPool(_Adaptive):
    """The mean of every channel: out[n, c] = 1/P sum over all P places of x[n, c, ...]; each place gets grad_out / P.

    Shape
    -----
    x: (N, C, ...) -> out: (N, C)

    Raises
    ------
    ShapeError
        Rows have no axis behind the channels.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.GlobalAvgPool()]).build((8, 5, 5)).out_shape
    (8,)
    >>> nn.Sequential([nn.GlobalAvgPool()]).build((2, 1, 2)).predict([[[[1.0, 3.0]], [[5.0, 0.0]]]])
    array([[2. , 2.5]], dtype=float32)

    References
    ----------
    Lin, Chen and Yan 2014, "Network in network".
    """

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) < 2:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, ...), got {in_shape}")
        self.view(x=(in_shape[0], 1, prod(in_shape[1:])), out=(in_shape[0], 1, 1))
        return in_shape[:1]

    def onnx(self, graph, x):
        return graph.node("Flatten", graph.node("GlobalAveragePool", x), axis=1)

    @classmethod
    def from_onnx(cls, at):
        """GlobalAveragePool without the axes of size 1 that it leaves, or ReduceMean."""
        if at.rank < 2:
            return None
        if (kept := mean_of_places(at)) is None:
            return None
        if not kept:
            return at.found(cls())
        if (node := at.take("Flatten")) is not None:
            fits = node.attributes["axis"] in (1, -at.rank)
        elif (node := at.take("Squeeze")) is not None:
            fits = {axis % (at.rank + 1) for axis in node.integers(1)} == set(range(2, at.rank + 1))
        else:
            sizes = node.integers(1) if (node := at.take("Reshape")) is not None else []
            fits = (len(sizes) == 2 and sizes[0] in (0, -1) and sizes[1] == at.shape[0]) or sizes == [0, -1]
        return at.found(cls()) if fits else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2, 3, 2)), Example(cls(), (2, 3))]
