"""The largest number of every window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.kernels.blocks import clear
from nnkit.kernels.lanes import everywhere, load, store, where
from nnkit.kernels.math import real
from nnkit.layers.pooling.layer import Pool
from nnkit.layers.pooling.sums import increase
from nnkit.layers.windows import require_sizes

__all__ = ["MaxPool1d", "MaxPool2d"]


class _MaxPool(Pool):
    """The kernels of MaxPool1d and MaxPool2d; ``place`` is where in its plane the largest number stands, h * W + w."""

    elsewhere = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
        self.dilation = dilation
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        require_sizes(self, "dilation", self.dims)

    def build(self, in_shape: Shape) -> Shape:
        out_shape = super().build(in_shape)
        self.scratch("place", self.with_two_axes(out_shape))
        return out_shape

    def c(self) -> str:
        return """
            void forward(const real x[C][H][W], real out[C][OH][OW])
            {
                for (int c = 0; c < C; c++)
                    for (int oh = 0; oh < OH; oh++)
                        for (int ow = 0; ow < OW; ow++) {
                            real largest = -INFINITY;
                            for (int i = 0; i < kernel_h; i++) {
                                const int h = stride_h * oh - padding_h + dilation_h * i;
                                for (int j = 0; j < kernel_w; j++) {
                                    const int w = stride_w * ow - padding_w + dilation_w * j;
                                    if (0 <= h && h < H && 0 <= w && w < W && (x[c][h][w] > largest || isnan(x[c][h][w])))
                                        largest = x[c][h][w];
                                }
                            }
                            out[c][oh][ow] = largest;
                        }
            }"""

    @staticmethod
    def forward(x, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, kernel_h, kernel_w, place, out):
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                for oh in range(out.shape[2]):
                    for ow in range(out.shape[3]):
                        target = out[b, c, oh, ow]
                        largest, best = everywhere(-np.inf, target), everywhere(-1.0, target)
                        for i in range(kernel_h):
                            h = stride_h * oh - padding_h + dilation_h * i
                            if 0 <= h < x.shape[2]:
                                for j in range(kernel_w):
                                    w = stride_w * ow - padding_w + dilation_w * j
                                    if 0 <= w < x.shape[3]:
                                        value = load(x[b, c, h, w])
                                        larger = (value > largest) | (value != value) | (best < 0.0)  # NaN stays NaN
                                        largest = where(larger, value, largest)
                                        best = where(larger, real(h * x.shape[3] + w), best)
                        store(largest, target)
                        store(best, place[b, c, oh, ow])

    @staticmethod
    def backward(grad_out, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, kernel_h, kernel_w, place, grad_x):
        clear(grad_x)
        for b in range(grad_x.shape[0]):
            for c in range(grad_x.shape[1]):
                for oh in range(grad_out.shape[2]):
                    for ow in range(grad_out.shape[3]):
                        given, best = load(grad_out[b, c, oh, ow]), load(place[b, c, oh, ow])
                        for i in range(kernel_h):
                            h = stride_h * oh - padding_h + dilation_h * i
                            if 0 <= h < grad_x.shape[2]:
                                for j in range(kernel_w):
                                    w = stride_w * ow - padding_w + dilation_w * j
                                    if 0 <= w < grad_x.shape[3]:
                                        target = grad_x[b, c, h, w]
                                        here = best == real(h * grad_x.shape[3] + w)
                                        increase(where(here, given, 0.0), target)

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
        Rows are not (C, H, W), or smaller than the window.

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
