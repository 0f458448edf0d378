"""Pooling: windows of an image become single numbers. And the opposite, `Upsample`."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, prod
from typing import Any, ClassVar

import numpy as np

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import OnnxError, ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.lanes import everywhere, load, store, where
from nnkit.kernels.math import real
from nnkit.layers.windows import Spatial, require_sizes, sizes

__all__ = ["AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "GlobalAvgPool", "MaxPool1d", "MaxPool2d", "Upsample"]


class _Pool(Layer, Spatial):
    """What pooling with windows shares."""

    blocked = True
    elsewhere: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: bool = False) -> None:
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        require_sizes(self, "kernel_size", self.dims)
        if stride is not None:
            require_sizes(self, "stride", self.dims)
        require_sizes(self, "padding", self.dims, low=0)
        halves = zip(sizes(padding, self.dims), sizes(kernel_size, self.dims), strict=True)
        self.require("padding", all(2 * pad <= kernel for pad, kernel in halves), "at most half of kernel_size")

    def build(self, in_shape: Shape) -> Shape:
        channels = self.channels_of(in_shape)
        out_shape = (channels, *self.windows(in_shape, self.stride, self.ceil_mode))
        self.view(x=self.with_two_axes(in_shape), out=self.with_two_axes(out_shape))
        return out_shape

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return prod(out_shape) * prod(sizes(self.kernel_size, self.dims)) // 4

    def onnx_window(self) -> dict[str, Any]:
        """What ONNX calls the sizes of a window. Where a last window in the padding does not count, programs disagree about
        ceil_mode: the padding behind is then as long as the windows that count.
        """
        window: dict[str, Any] = {**super().onnx_window(), "ceil_mode": int(self.ceil_mode)}
        kernel, strides, dilations = (window[name] for name in ("kernel_shape", "strides", "dilations"))
        before, around = window["pads"][: self.dims], []
        for size, count, k, s, d, pad in zip(self._built.in_shape[1:], self._built.out_shape[1:], kernel, strides, dilations,
                                             before, strict=True):  # fmt: skip
            reach = d * (k - 1) + 1
            around.append((max(0, (count - 1) * s + reach - size - pad), -(-(size + 2 * pad - reach) // s) + 1 > count))
        if self.ceil_mode and any(dropped for _, dropped in around):
            window |= {"pads": [*before, *(behind for behind, _ in around)], "ceil_mode": 0}
        return window

    @classmethod
    def read(cls, at, node, **modes):
        """The layer with the windows of a node; modes are what else its constructor takes."""
        kernel, dims = list(node.attributes["kernel_shape"]), cls.dims
        pads, ceil_mode = at.pads(node, dims, kernel), node.flag("ceil_mode")
        if pads[:dims] != pads[dims:]:
            return cls.read_unevenly(at, node, kernel, pads, ceil_mode, modes)
        window = at.window(node, dims)
        if window["stride"] == window["kernel_size"]:  # which goes without saying
            window["stride"] = None
        return at.found(cls(ceil_mode=ceil_mode, **window, **modes))

    @classmethod
    def read_unevenly(cls, at, node, kernel, pads, ceil_mode, modes):
        """The layer with as many windows as a node whose padding behind is another than the one before.

        How far a window that begins before the rows end reaches beyond them makes no difference, but to means with
        ``count_include_pad``: their windows have to end within both paddings.
        """
        dims, counted = cls.dims, modes.get("count_include_pad", False)
        strides, dilations = (list(node.attributes.get(name) or [1] * dims) for name in ("strides", "dilations"))
        before, counts = pads[:dims], []
        for axis, size in enumerate(at.shape[1:]):
            k, s, d, pad, behind = (each[axis] for each in (kernel, strides, dilations, before, pads[dims:]))
            room = size + pad + behind - d * (k - 1) - 1
            counts.append((-(-room // s) if ceil_mode else room // s) + 1)
            begin = (counts[-1] - 1) * s - pad
            end = begin + d * (k - 1) + 1
            if room < 0 or begin >= size or (counted and end > size + min(pad, behind)):
                return None
            if counts[-1] == d == 1 and end >= size and not counted:  # a single window, which has them all
                kernel[axis], before[axis] = size, 0
        sizes = {"kernel_size": kernel, "stride": strides, "padding": before, "dilation": dilations}
        window = {name: each[0] if len(set(each)) == 1 else tuple(each) for name, each in sizes.items()}
        if window["dilation"] == 1:
            del window["dilation"]
        for rounded in (True, False):
            layer = cls(ceil_mode=rounded, **window, **modes)
            if layer.place(at.shape).out_shape[1:] == tuple(counts):
                return at.found(layer)
        return None


class _MaxPool(_Pool):
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
    def forward(
        x, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, kernel_h, kernel_w, place, out
    ):
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
    def backward(
        grad_out, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, kernel_h, kernel_w, place, grad_x
    ):
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
    >>> nn.Sequential([nn.MaxPool1d(2)]).build((1, 5)).predict([[[1.0, 3.0, 2.0, 0.0, 9.0]]])
    array([[[3., 2.]]], dtype=float32)

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

    References
    ----------
    Ranzato, Huang, Boureau and LeCun 2007, "Unsupervised learning of invariant feature hierarchies".
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (2, 4, 3)), Example(cls((3, 2), stride=(2, 1), padding=1, ceil_mode=True), (1, 4, 4))]


class _AvgPool(_Pool):
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


def average(values, count, out):
    """Out = the sum of a window (height, width, lanes), divided by ``count``."""
    total = everywhere(0.0, out)
    for h in range(values.shape[0]):
        for w in range(values.shape[1]):
            total = total + load(values[h, w])
    store(total / count, out)


def share_out(given, count, values):
    """Add to every number of a window what is given, divided by ``count``."""
    share = load(given) / count
    for h in range(values.shape[0]):
        for w in range(values.shape[1]):
            increase(share, values[h, w])


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

    References
    ----------
    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition" (subsampling).
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        uneven = cls((2, 3), stride=(2, 1), padding=(1, 0), ceil_mode=True, count_include_pad=False)
        return [Example(cls(2), (2, 4, 3)), Example(uneven, (1, 4, 4))]


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
                    top, bottom = oh * height // out_h, -(-(oh + 1) * height // out_h)
                    for ow in range(out_w):
                        left, right = ow * width // out_w, -(-(ow + 1) * width // out_w)
                        count = real((bottom - top) * (right - left))
                        average(x[b, c, top:bottom, left:right], count, out[b, c, oh, ow])

    @staticmethod
    def backward(grad_out, grad_x):
        height, width, out_h, out_w = grad_x.shape[2], grad_x.shape[3], grad_out.shape[2], grad_out.shape[3]
        clear(grad_x)
        for b in range(grad_x.shape[0]):
            for c in range(grad_x.shape[1]):
                for oh in range(out_h):
                    top, bottom = oh * height // out_h, -(-(oh + 1) * height // out_h)
                    for ow in range(out_w):
                        left, right = ow * width // out_w, -(-(ow + 1) * width // out_w)
                        count = real((bottom - top) * (right - left))
                        share_out(grad_out[b, c, oh, ow], count, grad_x[b, c, top:bottom, left:right])


def shares(size, parts):
    """Matrix (parts, size): how much of each place there is in the mean of each part."""
    first = np.arange(parts) * size // parts
    behind = -(-(np.arange(parts) + 1) * size // parts)
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


@register("upsample")
class Upsample(Layer):
    """A larger image: every place of the output is read from the input, at the same relative position.

    With r = (oh + 1/2) / scale_factor - 1/2, likewise for columns:

    - ``"nearest"``: out[n, c, oh, ow] = x[n, c, floor(oh / scale_factor), floor(ow / scale_factor)];
    - ``"bilinear"``: the mean of the four places around (r_h, r_w), weighed by how near they are, r below 0 counting as 0
      (PyTorch's ``align_corners=False``).

    Each place of x gets the sum of grad_out over all places that read it, weighed alike.

    Parameters
    ----------
    scale_factor : number or (vertical, horizontal), above 0
    mode : "nearest" or "bilinear"

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, floor(H scale_factor), floor(W scale_factor))

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or nothing is left of the output.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Upsample(scale_factor=2)]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]])
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]], dtype=float32)
    """

    elsewhere = ("size", "scale_factor", "mode")
    blocked = True

    def __init__(self, *, scale_factor: Any = 2, mode: str = "nearest") -> None:
        self.scale_factor = scale_factor
        self.mode = mode
        several = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor,) * 2
        numbers = all(isinstance(f, int | float | np.number) and not isinstance(f, bool) and 0 < f < np.inf for f in several)
        self.require("scale_factor", len(several) == 2 and numbers, "a number above 0, or two of them")
        self.require("mode", mode in ("nearest", "bilinear"), "'nearest' or 'bilinear'")

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 3:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, height, width), got {in_shape}")
        factors = self.scale_factor if isinstance(self.scale_factor, tuple | list) else (self.scale_factor,) * 2
        image = tuple(floor(size * factor) for size, factor in zip(in_shape[1:], factors, strict=True))
        if min(image) < 1:
            raise ShapeError(f"{self!r}: for rows of {in_shape} nothing is left of the output, its shape would be {image}")
        self.ratio_h, self.ratio_w = (1.0 / float(factor) for factor in factors)
        self.linear = self.mode == "bilinear"
        return (in_shape[0], *image)

    def c(self) -> str:
        return """
            void forward(const real x[C][H][W], real out[C][OH][OW])
            {
                for (int c = 0; c < C; c++)
                    for (int oh = 0; oh < OH; oh++) {
                        const real row = linear ? fmax((oh + 0.5) * ratio_h - 0.5, 0.0) : oh * ratio_h;
                        const int top = (int)row < H ? (int)row : H - 1, bottom = top + 1 < H ? top + 1 : top;
                        for (int ow = 0; ow < OW; ow++) {
                            const real column = linear ? fmax((ow + 0.5) * ratio_w - 0.5, 0.0) : ow * ratio_w;
                            const int left = (int)column < W ? (int)column : W - 1, right = left + 1 < W ? left + 1 : left;
                            const real down = linear ? row - top : 0.0, along = linear ? column - left : 0.0;
                            const real above = x[c][top][left] * (1.0 - along) + x[c][top][right] * along;
                            const real below = x[c][bottom][left] * (1.0 - along) + x[c][bottom][right] * along;
                            out[c][oh][ow] = above * (1.0 - down) + below * down;
                        }
                    }
            }"""

    @staticmethod
    def forward(x, linear, ratio_h, ratio_w, out):
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                for oh in range(out.shape[2]):
                    top, bottom, down = neighbours(oh, ratio_h, x.shape[2], linear)
                    for ow in range(out.shape[3]):
                        left, right, along = neighbours(ow, ratio_w, x.shape[3], linear)
                        above = load(x[b, c, top, left]) * (1.0 - along) + load(x[b, c, top, right]) * along
                        below = load(x[b, c, bottom, left]) * (1.0 - along) + load(x[b, c, bottom, right]) * along
                        store(above * (1.0 - down) + below * down, out[b, c, oh, ow])

    @staticmethod
    def backward(grad_out, linear, ratio_h, ratio_w, grad_x):
        clear(grad_x)
        for b in range(grad_out.shape[0]):
            for c in range(grad_out.shape[1]):
                for oh in range(grad_out.shape[2]):
                    top, bottom, down = neighbours(oh, ratio_h, grad_x.shape[2], linear)
                    for ow in range(grad_out.shape[3]):
                        left, right, along = neighbours(ow, ratio_w, grad_x.shape[3], linear)
                        given = load(grad_out[b, c, oh, ow])
                        increase(given * ((1.0 - down) * (1.0 - along)), grad_x[b, c, top, left])
                        increase(given * ((1.0 - down) * along), grad_x[b, c, top, right])
                        increase(given * (down * (1.0 - along)), grad_x[b, c, bottom, left])
                        increase(given * (down * along), grad_x[b, c, bottom, right])

    def onnx(self, graph, x):
        several = self.scale_factor if isinstance(self.scale_factor, tuple | list) else (self.scale_factor,) * 2
        scales = np.array([1, 1, *several], "float32")
        if self.linear:
            return graph.node("Resize", x, None, scales, mode="linear", coordinate_transformation_mode="half_pixel")
        place = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return graph.node("Resize", x, None, scales, mode="nearest", **place)

    @classmethod
    def from_onnx(cls, at):
        """By factors, or to sizes that are multiples; the places in between as `forward` finds them."""
        if (node := at.take("Resize")) is None or at.rank != 3:
            return None
        if node.input(1) is not None and node.constant(1).size:
            raise OnnxError("expected no region of interest, got one")
        if node.input(2) is not None and node.constant(2).size:
            scales = node.constant(2).tolist()
        else:
            sizes = node.integers(3)
            scales = [1, *(size / own for size, own in zip(sizes[1:], at.shape, strict=False))]
            if len(sizes) != 4 or sizes[0] not in (1, at.rows) or not all(float(factor).is_integer() for factor in scales):
                raise OnnxError(f"expected multiples of the sizes of rows {at.shape}, got {sizes}")
        if len(scales) != 4 or scales[:2] != [1, 1]:
            raise OnnxError(f"expected factors for the last two of four axes, got {scales}")
        factors = tuple(int(factor) if factor == int(factor) else at.number(np.array(factor)) for factor in scales[2:])
        scale_factor = factors if len(set(factors)) > 1 else factors[0]
        return at.found(cls(scale_factor=scale_factor, mode=cls._onnx_mode(node, at.shape, factors)))

    @staticmethod
    def _onnx_mode(node, shape, factors):
        """The mode that reads the places that the operator does."""
        mode, place, rounding = (node.attributes[name] for name in ("mode", "coordinate_transformation_mode", "nearest_mode"))
        if mode == "nearest":
            whole = all(isinstance(factor, int) for factor in factors)  # then the nearest place is no matter of rounding
            if (place, rounding) == ("asymmetric", "floor") or (whole and place == "half_pixel" and "round" in rounding):
                return "nearest"
            raise OnnxError(f"expected places by 'asymmetric' and 'floor', got {place!r} and {rounding!r}")
        several = all(int(size * factor) > 1 for size, factor in zip(shape[1:], factors, strict=True))
        smooth = {"linear": "bilinear"}.get(mode)
        if smooth and (place == "half_pixel" or (place == "pytorch_half_pixel" and several)):
            return smooth
        raise OnnxError(f"expected mode 'nearest', or 'linear' by 'half_pixel', got {mode!r} by {place!r}")

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(scale_factor=2), (1, 2, 3)), Example(cls(scale_factor=(1.5, 2.6), mode="bilinear"), (2, 3, 2))]


def increase(more, target):
    """Target += more, lane by lane."""
    store(load(target) + more, target)


def neighbours(place, ratio, size, linear):
    """The two places that ``place`` of a larger image is read from, and the weight of the second."""
    if linear:
        position = max(0.0, (real(place) + 0.5) * ratio - 0.5)
        first = min(int(position), size - 1)
        return first, min(first + 1, size - 1), position - real(first)
    nearest = min(int(real(place) * ratio), size - 1)
    return nearest, nearest, ratio * 0.0
