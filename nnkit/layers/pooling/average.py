"""The mean of every window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.kernels.blocks import clear
from nnkit.kernels.math import real
from nnkit.layers.pooling.layer import Pool
from nnkit.layers.pooling.sums import average, share_out

__all__ = ["AvgPool1d", "AvgPool2d"]


class _AvgPool(Pool):
    """The kernels of AvgPool1d and AvgPool2d."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: bool = False, count_include_pad: bool = True
    ) -> None:
        self.count_include_pad = count_include_pad
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)

    def c(self) -> str:
        return """
            void forward(const real x[C][H][W], real out[C][OH][OW])
            {
                for (int c = 0; c < C; c++)
                    for (int oh = 0; oh < OH; oh++)
                        for (int ow = 0; ow < OW; ow++) {
                            real sum = 0.0;
                            int count = 0;
                            for (int i = 0; i < kernel_h; i++) {
                                const int h = stride_h * oh - padding_h + i;
                                for (int j = 0; j < kernel_w; j++) {
                                    const int w = stride_w * ow - padding_w + j;
                                    if (0 <= h && h < H && 0 <= w && w < W) {
                                        sum += x[c][h][w];
                                        count++;
                                    } else if (count_include_pad && h < H + padding_h && w < W + padding_w)
                                        count++;
                                }
                            }
                            out[c][oh][ow] = sum / count;
                        }
            }"""

    @staticmethod
    def forward(x, stride_h, stride_w, padding_h, padding_w, kernel_h, kernel_w, count_include_pad, out):
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                for oh in range(out.shape[2]):
                    h, high, all_high = window(stride_h * oh - padding_h, kernel_h, x.shape[2], padding_h)
                    for ow in range(out.shape[3]):
                        w, wide, all_wide = window(stride_w * ow - padding_w, kernel_w, x.shape[3], padding_w)
                        count = real(all_high * all_wide if count_include_pad else high * wide)
                        average(x[b, c, h : h + high, w : w + wide], count, out[b, c, oh, ow])

    @staticmethod
    def backward(grad_out, stride_h, stride_w, padding_h, padding_w, kernel_h, kernel_w, count_include_pad, grad_x):
        clear(grad_x)
        for b in range(grad_x.shape[0]):
            for c in range(grad_x.shape[1]):
                for oh in range(grad_out.shape[2]):
                    h, high, all_high = window(stride_h * oh - padding_h, kernel_h, grad_x.shape[2], padding_h)
                    for ow in range(grad_out.shape[3]):
                        w, wide, all_wide = window(stride_w * ow - padding_w, kernel_w, grad_x.shape[3], padding_w)
                        count = real(all_high * all_wide if count_include_pad else high * wide)
                        share_out(grad_out[b, c, oh, ow], count, grad_x[b, c, h : h + high, w : w + wide])

    def onnx(self, graph, x):
        window = {name: size for name, size in self.onnx_window().items() if name != "dilations"}
        counted = int(self.count_include_pad)
        before = window["pads"][: self.dims]
        if counted and self.ceil_mode and not window["ceil_mode"]:  # the padding counts, what is beyond it does not
            x = graph.node("Pad", x, [0, 0, *before, 0, 0, *before], 0.0)
            beyond = [max(0, behind - pad) for behind, pad in zip(window["pads"][self.dims :], before, strict=True)]
            window["pads"], counted = [*[0] * self.dims, *beyond], 0
        return graph.node("AveragePool", x, count_include_pad=counted, **window)

    @classmethod
    def from_onnx(cls, at):
        begin = at.copy()
        padded = at.take("Pad")
        if (node := at.take("AveragePool")) is None or at.rank != 1 + cls.dims:
            return None
        if padded is not None:
            strides = node.attributes.get("strides") or [1] * cls.dims
            given = (node.attributes["kernel_shape"], strides, padded.integers(1)[2:])
            window = (size[0] if cls.dims == 1 else tuple(size[: cls.dims]) for size in given)
            return begin.like([cls(*window, ceil_mode=True)])
        if set(node.attributes.get("dilations") or [1]) != {1}:
            return None
        return cls.read(at, node, count_include_pad=node.flag("count_include_pad"))


def window(origin, kernel, size, padding):
    """Where a window begins within the image, how many places it has there, and how many with those of the padding."""
    first = max(0, origin)
    return first, min(origin + kernel, size) - first, min(origin + kernel, size + padding) - origin


@register("avg_pool1d")
class AvgPool1d(_AvgPool):
    """The mean of every window along one axis.

    out[n, c, o] = 1/count sum over i of x[n, c, s o - p + i]; every place of a window gets grad_out / count.

    Parameters
    ----------
    kernel_size : int >= 1
    stride : int >= 1, by default kernel_size
    padding : int >= 0, at most half of kernel_size: zeros on both sides
    ceil_mode : bool: a last window that does not fit counts, too
    count_include_pad : bool: whether count has the zeros in it

    Shape
    -----
    x: (N, C, L) -> out: (N, C, floor((L + 2p - kernel_size) / s) + 1), with ceil_mode rounded up

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AvgPool1d(2)]).build((1, 4)).predict([[[1.0, 3.0, 2.0, 0.0]]])
    array([[[2., 1.]]], dtype=float32)
    >>> nn.Sequential([nn.AvgPool1d(3, stride=2, padding=1)]).build((1, 6)).predict([[[1.0, 3.0, 2.0, 0.0, 4.0, 9.0]]]).round(3)
    array([[[1.333, 1.667, 4.333]]], dtype=float32)
    """

    dims = 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3, stride=2, padding=1), (2, 5))]


@register("avg_pool2d")
class AvgPool2d(_AvgPool):
    """The mean of every window of an image.

    out[n, c, oh, ow] = 1/count sum over i, j of x[n, c, s oh - p + i, s ow - p + j]; every place of a window gets
    grad_out / count.

    Parameters
    ----------
    kernel_size : int or (height, width)
    stride : int or (vertical, horizontal), by default kernel_size
    padding : int or (vertical, horizontal), at most half of kernel_size: zeros on both sides
    ceil_mode : bool: last windows that do not fit count, too
    count_include_pad : bool: whether count has the zeros in it

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, OH, OW) with OH = floor((H + 2p - kernel_size) / s) + 1 (with ceil_mode rounded up),
    likewise OW

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or smaller than the window.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AvgPool2d(2)]).build((6, 24, 24)).out_shape
    (6, 12, 12)
    >>> X = [[[[1.0, 3.0, 2.0, 0.0], [5.0, 2.0, 7.0, 8.0], [0.0, 9.0, 4.0, 6.0]]]]
    >>> nn.Sequential([nn.AvgPool2d((2, 3), stride=(1, 2), padding=1)]).build((1, 3, 4)).predict(X)[0, 0].round(3)
    array([[0.667, 0.833],
           [1.833, 3.667],
           [2.667, 6.   ],
           [1.5  , 3.167]], dtype=float32)
    >>> nn.Sequential([nn.AvgPool2d(2, stride=1)]).build((1, 3, 4)).predict(X)[0, 0]
    array([[2.75, 3.5 , 4.25],
           [4.  , 5.5 , 6.25]], dtype=float32)

    References
    ----------
    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition" (subsampling).
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        uneven = cls((2, 3), stride=(2, 1), padding=(1, 0), ceil_mode=True, count_include_pad=False)
        return [Example(cls(2), (2, 4, 3)), Example(uneven, (1, 4, 4))]
