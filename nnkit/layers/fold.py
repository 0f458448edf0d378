"""All windows of an image side by side, and the reverse."""

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
from nnkit.kernels.lanes import everywhere, load, store
from nnkit.layers.windows import Spatial, require_sizes, sizes

__all__ = ["Fold", "Unfold"]


class _Folding(Layer, Spatial):
    """What both share: the windows, which kernels see as (C, taps, windows high, windows wide) beside the image (C, H, W)."""

    blocked = True
    dims = 2
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding_h: int
    padding_w: int
    dilation_h: int
    dilation_w: int

    def keep(self, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> None:
        """Keep the sizes of the windows."""
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride
        for name in ("kernel_size", "dilation", "stride"):
            require_sizes(self, name, 2)
        require_sizes(self, "padding", 2, low=0)

    def folded(self, image: Shape) -> tuple[Shape, Shape]:
        """The shape of all windows of an image, and as kernels see it."""
        high, wide = self.windows(image, self.stride)
        taps = self.kernel_h * self.kernel_w
        return (image[0] * taps, high * wide), (image[0], taps, high, wide)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return max(prod(in_shape), prod(out_shape)) // 4


def gather(x, strides, paddings, dilations, kernel_w, out):
    """Out[c, i * kernel_w + j, oh, ow] = x[c, h, w] with h = stride * oh - padding + dilation * i, likewise w; else 0."""
    height, width = x.shape[2], x.shape[3]
    for b in range(out.shape[0]):
        for c in range(out.shape[1]):
            for tap in range(out.shape[2]):
                for oh in range(out.shape[3]):
                    h = strides[0] * oh - paddings[0] + dilations[0] * (tap // kernel_w)
                    for ow in range(out.shape[4]):
                        w = strides[1] * ow - paddings[1] + dilations[1] * (tap % kernel_w)
                        target = out[b, c, tap, oh, ow]
                        if 0 <= h < height and 0 <= w < width:
                            store(load(x[b, c, h, w]), target)
                        else:
                            store(everywhere(0.0, target), target)


def add_up(windows, strides, paddings, dilations, kernel_w, out):
    """The transpose of `gather`: out[c, h, w] = the sum of all places in windows that stand for it."""
    height, width = out.shape[2], out.shape[3]
    clear(out)
    for b in range(windows.shape[0]):
        for c in range(windows.shape[1]):
            for tap in range(windows.shape[2]):
                for oh in range(windows.shape[3]):
                    h = strides[0] * oh - paddings[0] + dilations[0] * (tap // kernel_w)
                    for ow in range(windows.shape[4]):
                        w = strides[1] * ow - paddings[1] + dilations[1] * (tap % kernel_w)
                        if 0 <= h < height and 0 <= w < width:
                            target = out[b, c, h, w]
                            store(load(target) + load(windows[b, c, tap, oh, ow]), target)


@register("unfold")
class Unfold(_Folding):
    """All windows of an image side by side: out[n, (c k + i) k + j, oh OW + ow] = x[n, c, s oh - p + d i, s ow - p + d j].

    Outside of the image there are zeros. Each place of x gets the sum of grad_out over all windows that it is in.

    Parameters
    ----------
    kernel_size : int or (height, width)
    dilation : int or (vertical, horizontal), distance d of neighbouring places in a window
    padding : int or (vertical, horizontal), zeros p on both sides
    stride : int or (vertical, horizontal), distance s of neighbouring windows

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C k k, OH OW) with OH = floor((H + 2p - d (k - 1) - 1) / s) + 1, likewise OW

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or smaller than the window.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Unfold((1, 2))]).build((1, 1, 4)).predict([[[[1.0, 2.0, 3.0, 4.0]]]])
    array([[[1., 2., 3.],
            [2., 3., 4.]]], dtype=float32)
    """

    elsewhere = ("kernel_size", "dilation", "padding", "stride")

    def __init__(self, kernel_size: Any, *, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        self.keep(kernel_size, dilation, padding, stride)

    def build(self, in_shape: Shape) -> Shape:
        self.channels_of(in_shape)
        out_shape, seen = self.folded(in_shape)
        self.view(x=in_shape, out=seen)
        return out_shape

    def c(self) -> str:
        return """
            void forward(const real x[C][H][W], real out[C][T][OH][OW])
            {
                for (int c = 0; c < C; c++)
                    for (int t = 0; t < T; t++)
                        for (int oh = 0; oh < OH; oh++)
                            for (int ow = 0; ow < OW; ow++) {
                                const int h = stride_h * oh - padding_h + dilation_h * (t / kernel_w);
                                const int w = stride_w * ow - padding_w + dilation_w * (t % kernel_w);
                                out[c][t][oh][ow] = 0 <= h && h < H && 0 <= w && w < W ? x[c][h][w] : 0.0;
                            }
            }"""

    @staticmethod
    def forward(x, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, kernel_w, out):
        gather(x, (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w), kernel_w, out)

    @staticmethod
    def backward(grad_out, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, kernel_w, grad_x):
        add_up(grad_out, (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w), kernel_w, grad_x)

    def onnx(self, graph, x):
        """Read by number along each axis, from the image with its zeros."""
        out = self._built.out_shape
        pads = [self.padding_h, self.padding_w]
        if any(pads):
            x = graph.node("Pad", x, [0, 0, *pads, 0, 0, *pads], 0.0)
        _, _, high, wide = self._built.views["out"]
        rows = self.dilation_h * np.arange(self.kernel_h)[:, None] + self.stride_h * np.arange(high)
        columns = self.dilation_w * np.arange(self.kernel_w)[:, None] + self.stride_w * np.arange(wide)
        windows = graph.node("Gather", graph.node("Gather", x, rows, axis=2), columns, axis=4)
        return graph.node("Reshape", graph.node("Transpose", windows, perm=[0, 1, 2, 4, 3, 5]), [0, *out])

    @classmethod
    def from_onnx(cls, at):
        if at.rank != 3:
            return None
        here, pads = at.copy(), (0, 0)
        if (node := here.take("Pad")) is not None:
            pads = tuple(node.integers(1)[2:4])
        found = []
        for _ in range(2):
            if (node := here.take("Gather")) is None or not node.is_constant(1) or node.constant(1).ndim != 2:
                return None
            places = node.constant(1)
            steps = [int(np.diff(places, axis=axis).max(initial=1)) for axis in (0, 1)]
            found.append((len(places), max(1, steps[0]), max(1, steps[1])))
        kernel, dilation, stride = zip(*found, strict=True)
        return at.like([cls(kernel, dilation=dilation, padding=pads, stride=stride)])

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls((2, 3), dilation=(1, 2), padding=(1, 2), stride=(2, 1)), (2, 3, 4)), Example(cls(2), (1, 2, 3))]


@register("fold")
class Fold(_Folding):
    """An image of windows that are added up, the transpose of `Unfold`: each place is the sum of what windows have for it.

    Each number of a window gets grad_out where it was added to.

    Parameters
    ----------
    output_size : int or (height, width), of the image
    kernel_size : int or (height, width)
    dilation : int or (vertical, horizontal), distance d of neighbouring places in a window
    padding : int or (vertical, horizontal), places p on both sides of the image that are left out
    stride : int or (vertical, horizontal), distance s of neighbouring windows

    Shape
    -----
    x: (N, C k k, OH OW) -> out: (N, C, *output_size) with OH = floor((H + 2p - d (k - 1) - 1) / s) + 1, likewise OW

    Raises
    ------
    ShapeError
        Rows are not (C k k, windows), or the image has another number of windows.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Fold((1, 4), (1, 2))]).build((2, 3)).predict([[[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]])
    array([[[[1., 4., 6., 4.]]]], dtype=float32)
    """

    elsewhere = ("output_size", "kernel_size", "dilation", "padding", "stride")

    def __init__(self, output_size: Any, kernel_size: Any, *, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        self.output_size = output_size
        require_sizes(self, "output_size", 2)
        self.keep(kernel_size, dilation, padding, stride)

    def build(self, in_shape: Shape) -> Shape:
        taps = prod(sizes(self.kernel_size, 2))
        if len(in_shape) != 2 or in_shape[0] % taps:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels * {taps}, windows), got {in_shape}")
        out_shape = (in_shape[0] // taps, *sizes(self.output_size, 2))
        expected, seen = self.folded(out_shape)
        if expected != in_shape:
            raise ShapeError(f"{self!r}: expected input rows of shape {expected}, as there are so many windows, got {in_shape}")
        self.view(x=seen, out=out_shape)
        return out_shape

    def c(self) -> str:
        return """
            void forward(const real x[C][T][OH][OW], real out[C][H][W])
            {
                for (int c = 0; c < C; c++) {
                    for (int h = 0; h < H; h++)
                        for (int w = 0; w < W; w++)
                            out[c][h][w] = 0.0;
                    for (int t = 0; t < T; t++)
                        for (int oh = 0; oh < OH; oh++)
                            for (int ow = 0; ow < OW; ow++) {
                                const int h = stride_h * oh - padding_h + dilation_h * (t / kernel_w);
                                const int w = stride_w * ow - padding_w + dilation_w * (t % kernel_w);
                                if (0 <= h && h < H && 0 <= w && w < W)
                                    out[c][h][w] += x[c][t][oh][ow];
                            }
                }
            }"""

    @staticmethod
    def forward(x, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, kernel_w, out):
        add_up(x, (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w), kernel_w, out)

    @staticmethod
    def backward(grad_out, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, kernel_w, grad_x):
        gather(grad_out, (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w), kernel_w, grad_x)

    def onnx(self, graph, x):
        window = {"dilations": [self.dilation_h, self.dilation_w], "strides": [self.stride_h, self.stride_w]}
        pads = [self.padding_h, self.padding_w] * 2
        return graph.node("Col2Im", x, list(self._built.out_shape[1:]), [self.kernel_h, self.kernel_w], pads=pads, **window)

    @classmethod
    def from_onnx(cls, at):
        if at.rank != 2 or (node := at.take("Col2Im")) is None or len(node.integers(1)) != 2:
            return None
        pads, kernel = list(node.attributes.get("pads") or [0] * 4), tuple(node.integers(2))
        if pads[:2] != pads[2:]:
            return None
        dilation, stride = (tuple(node.attributes.get(name) or (1, 1)) for name in ("dilations", "strides"))
        return at.found(cls(tuple(node.integers(1)), kernel, dilation=dilation, padding=tuple(pads[:2]), stride=stride))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        windows = cls((3, 4), (2, 3), dilation=(1, 2), padding=(1, 2), stride=(2, 1))
        return [Example(windows, (12, 8)), Example(cls((2, 3), 2), (4, 2))]
