"""The largest number of every box: of windows, of a grid of parts."""

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
from nnkit.kernels.lanes import everywhere, load, store, where
from nnkit.kernels.math import real
from nnkit.layers.pooling.layer import Boxes, Pool, Spans, three_axes
from nnkit.layers.pooling.sums import increase, plane
from nnkit.layers.windows import require_sizes

__all__ = ["Largest", "MaxPool1d", "MaxPool2d", "MaxPool3d", "Maximum", "maxima", "require_places"]


MOST = 2**24  # places of a channel: float32 has a number for each of them


def require_places(layer: Layer, shape: Shape) -> None:
    """Refuse channels of so many places that a place is no number of float32."""
    if prod(shape[1:]) > MOST:
        raise ShapeError(f"{layer!r}: expected at most {MOST} places in a channel, got {shape}; cut the rows into pieces")


class Largest(Boxes):
    """What the largest number of every box needs: ``place`` is where in the image it stands, (d * H + h) * W + w."""

    c_begin = "real largest = -INFINITY;"
    c_each = "if (x[c][d][h][w] > largest || isnan(x[c][d][h][w])) largest = x[c][d][h][w];"
    c_end = "out[c][od][oh][ow] = largest;"

    def see(self, in_shape: Shape, out_shape: Shape, spans: Sequence[Spans]) -> None:
        require_places(self, in_shape)
        super().see(in_shape, out_shape, spans)
        self.scratch("place", three_axes(out_shape))


class Maximum(Largest):
    """The largest number of every box."""

    @staticmethod
    def forward(x, spans_d, spans_h, spans_w, dilation_d, dilation_h, dilation_w, place, out):
        dilations = (dilation_d, dilation_h, dilation_w)
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                maxima(x[b, c], spans_d, spans_h, spans_w, dilations, place[b, c], out[b, c])

    @staticmethod
    def backward(grad_out, spans_d, spans_h, spans_w, dilation_d, dilation_h, dilation_w, place, grad_x):
        clear(grad_x)
        dilations = (dilation_d, dilation_h, dilation_w)
        for b in range(grad_x.shape[0]):
            for c in range(grad_x.shape[1]):
                give_back(grad_out[b, c], spans_d, spans_h, spans_w, dilations, place[b, c], grad_x[b, c])


def maxima(x, spans_d, spans_h, spans_w, dilations, place, out):
    """Of one channel, the largest number of every box, and where it stands; of the spans, see `Boxes`."""
    height, width = x.shape[1], x.shape[2]
    image = plane(x)
    for od in range(out.shape[0]):
        front, deep = spans_d[od, 0], spans_d[od, 1]
        for oh in range(out.shape[1]):
            top, high = front * height + spans_h[oh, 0], spans_h[oh, 1]
            for ow in range(out.shape[2]):
                first, wide = top * width + spans_w[ow, 0], spans_w[ow, 1]
                target = out[od, oh, ow]
                largest, best = everywhere(-np.inf, target), everywhere(-1.0, target)
                for i in range(deep):
                    for j in range(high):
                        line = first + (dilations[0] * i * height + dilations[1] * j) * width
                        for k in range(wide):
                            here = max(0, line + dilations[2] * k)
                            value = load(image[here])
                            larger = (value > largest) | (value != value) | (best < 0.0)  # NaN stays NaN
                            largest = where(larger, value, largest)
                            best = where(larger, real(here), best)
                store(largest, target)
                store(best, place[od, oh, ow])


def give_back(grad_out, spans_d, spans_h, spans_w, dilations, place, grad_x):
    """Of one channel, add grad_out to where the largest numbers stand."""
    height, width = grad_x.shape[1], grad_x.shape[2]
    image = plane(grad_x)
    for od in range(grad_out.shape[0]):
        front, deep = spans_d[od, 0], spans_d[od, 1]
        for oh in range(grad_out.shape[1]):
            top, high = front * height + spans_h[oh, 0], spans_h[oh, 1]
            for ow in range(grad_out.shape[2]):
                first, wide = top * width + spans_w[ow, 0], spans_w[ow, 1]
                given, best = load(grad_out[od, oh, ow]), load(place[od, oh, ow])
                for i in range(deep):
                    for j in range(high):
                        line = first + (dilations[0] * i * height + dilations[1] * j) * width
                        for k in range(wide):
                            here = max(0, line + dilations[2] * k)
                            increase(where(best == real(here), given, 0.0), image[here])


def largest_along(graph, x, axis, places):
    """In ONNX, the largest along an axis of the numbers at ``places`` (windows, numbers of each)."""
    return graph.node("ReduceMax", graph.node("Gather", x, places, axis=axis), [axis + 1], keepdims=0)


class _MaxPool(Maximum, Pool):
    """The largest numbers of windows."""

    elsewhere = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
        self.dilation = dilation
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        require_sizes(self, "dilation", self.dims)

    def onnx(self, graph, x):
        return graph.node("MaxPool", x, **self.onnx_window())

    @classmethod
    def from_onnx(cls, at):
        node = at.take("MaxPool")
        return None if node is None or at.rank != 1 + cls.dims else cls.read(at, node)


@register("max_pool1d")
class MaxPool1d(_MaxPool):
    """The largest number of every window along one axis.

    out[n, c, o] = max over i of x[n, c, s o - p + d i]; grad_out goes to the first place where the largest number stands.

    Parameters
    ----------
    kernel_size : int >= 1
    stride : int >= 1, by default kernel_size
    padding : int >= 0, at most half of kernel_size: places outside, which never win
    dilation : int >= 1, distance of neighbouring places in a window
    ceil_mode : bool: a last window that does not fit counts, too

    Shape
    -----
    x: (N, C, L) -> out: (N, C, floor((L + 2p - d (kernel_size - 1) - 1) / s) + 1), with ceil_mode rounded up

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.MaxPool1d(2)]).build((1, 5)).predict([[[5.0, 3.0, 2.0, 0.0, 9.0]]])
    array([[[5., 2.]]], dtype=float32)
    >>> X = [[[1.0, 3.0, 2.0, 0.0, 9.0, 4.0, 5.0]]]
    >>> nn.Sequential([nn.MaxPool1d(2, stride=3, padding=1, dilation=2)]).build((1, 7)).predict(X)
    array([[[3., 9., 4.]]], dtype=float32)

    References
    ----------
    Yamaguchi, Sakamoto, Akabane and Fujimoto 1990, "A neural network for speaker-independent isolated word recognition".
    """

    dims = 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (2, 5))]


@register("max_pool2d")
class MaxPool2d(_MaxPool):
    """The largest number of every window of an image.

    out[n, c, oh, ow] = max over i, j of x[n, c, s oh - p + d i, s ow - p + d j]; grad_out goes to the first place where the
    largest number stands, and adds up where windows overlap.

    Parameters
    ----------
    kernel_size : int or (height, width)
    stride : int or (vertical, horizontal), by default kernel_size
    padding : int or (vertical, horizontal), at most half of kernel_size: places outside, which never win
    dilation : int or (vertical, horizontal), distance of neighbouring places in a window
    ceil_mode : bool: last windows that do not fit count, too

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, OH, OW) with OH = floor((H + 2p - d (kernel_size - 1) - 1) / s) + 1 (with ceil_mode rounded
    up), likewise OW

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or smaller than the window; a channel has more than 2**24 places.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.MaxPool2d(2)]).build((6, 24, 24)).out_shape
    (6, 12, 12)
    >>> X = [[[[6.0, 3.0, 2.0, 0.0], [5.0, 2.0, 7.0, 8.0], [0.0, 9.0, 4.0, 6.0]]]]
    >>> nn.Sequential([nn.MaxPool2d((2, 3), stride=(1, 2), padding=1)]).build((1, 3, 4)).predict(X)[0, 0]
    array([[6., 3.],
           [6., 8.],
           [9., 9.],
           [9., 9.]], dtype=float32)

    References
    ----------
    Ranzato, Huang, Boureau and LeCun 2007, "Unsupervised learning of invariant feature hierarchies".
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (2, 4, 3)), Example(cls((3, 2), stride=(2, 1), padding=1, ceil_mode=True), (1, 4, 4))]


@register("max_pool3d")
class MaxPool3d(_MaxPool):
    """The largest number of every window of a volume.

    out[n, c, od, oh, ow] = max over i, j, k of x[n, c, s od - p + d i, s oh - p + d j, s ow - p + d k]; grad_out goes to the
    first place where the largest number stands, and adds up where windows overlap.

    Parameters
    ----------
    kernel_size : int or (depth, height, width)
    stride : int or one for each axis, by default kernel_size
    padding : int or one for each axis, at most half of kernel_size: places outside, which never win
    dilation : int or one for each axis, distance of neighbouring places in a window
    ceil_mode : bool: last windows that do not fit count, too

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, OD, OH, OW) with OD = floor((D + 2p - d (kernel_size - 1) - 1) / s) + 1 (with ceil_mode
    rounded up), likewise OH and OW

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), or smaller than the window; a channel has more than 2**24 places.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.MaxPool3d(2)]).build((6, 4, 24, 24)).out_shape
    (6, 2, 12, 12)
    >>> nn.Sequential([nn.MaxPool3d((2, 1, 2))]).build((1, 2, 1, 2)).predict([[[[[1.0, 3.0]], [[5.0, 0.0]]]]])
    array([[[[[5.]]]]], dtype=float32)
    """

    dims = 3

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls((2, 3, 2), stride=(2, 1, 1), padding=(1, 0, 1), dilation=(2, 1, 1), ceil_mode=True), (1, 4, 3, 2))]
