"""What all pooling shares: which numbers of the input one of the output is made of, also as ONNX says it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Shape
from nnkit.errors import ShapeError
from nnkit.layers.windows import Spatial, require_sizes, sizes

__all__ = ["Boxes", "Pool", "Windows"]

MOST = 2**24  # windows along an axis, for each of which it is kept where it lies
Spans = NDArray[np.int64]


class Boxes(Layer):
    """Each number of the output is made of the numbers in a box of the input.

    Kernels see three axes, whatever their number is. ``spans_d``, ``spans_h`` and ``spans_w`` (windows, 3) say for each window
    along an axis where its first place is, how many it has within the image, and how many count as its size.
    """

    blocked = True
    dims: ClassVar[int]
    dilation_d: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    # What a box becomes, in C: before its numbers, for each of them, x[c][d][h][w], and behind them.
    c_begin: ClassVar[str]
    c_each: ClassVar[str]
    c_end: ClassVar[str]

    def see(self, in_shape: Shape, out_shape: Shape, spans: Sequence[Spans]) -> None:
        """Let the kernels see three axes, of which the last ones have these spans."""
        self.set_spans(spans)
        self.view(x=three_axes(in_shape), out=three_axes(out_shape))

    def set_spans(self, spans: Sequence[Spans]) -> None:
        """Say where boxes lie along the last axes; along those before, there is one place."""
        whole = np.array([[0, 1, 1]], np.int64)
        self.spans_d, self.spans_h, self.spans_w = [whole] * (3 - self.dims) + list(spans)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        box = prod(int(spans[:, 1].max(initial=1)) for spans in (self.spans_d, self.spans_h, self.spans_w))
        return prod(out_shape) * box // 4


def three_axes(shape: Shape) -> Shape:
    """(C, L) as (C, 1, 1, L), (C, H, W) as (C, 1, H, W)."""
    return (shape[0], *(1, 1, *shape[1:])[-3:])


class Windows(Boxes, Spatial):
    """Boxes are windows that step over the image; ``image`` and ``counts`` are how many places and windows each axis has."""

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

    def see_windows(self, shape: Shape) -> Shape:
        """Let the kernels see an image of this shape, and what its windows become; the shape of that."""
        counts = self.windows(shape, self.stride, self.ceil_mode)
        if max(counts) > MOST:
            raise ShapeError(f"{self!r}: expected at most {MOST} windows along an axis, got {max(counts)}")
        self.image, self.counts = shape[1:], counts
        self.see(shape, (shape[0], *counts), [self.spans(axis, size, count) for axis, size, count in zip(
            "dhw"[-self.dims :], shape[1:], counts, strict=True)])  # fmt: skip
        return (shape[0], *counts)

    def spans(self, axis: str, size: int, count: int) -> Spans:
        """Where the windows along an axis lie; as many places count as there are within the image and its padding."""
        names = ("stride", "padding", "dilation", "kernel")
        stride, padding, dilation, kernel = (getattr(self, f"{name}_{axis}") for name in names)
        origin = stride * np.arange(count, dtype=np.int64) - padding
        skipped = np.maximum(0, -(origin // dilation))  # places before the first of the image
        first = origin + dilation * skipped
        within = np.clip(-(-(size - first) // dilation), 0, kernel - skipped)
        return np.stack([first, within, np.minimum(origin + kernel, size + padding) - origin], axis=1)

    def onnx_window(self) -> dict[str, Any]:
        """What ONNX calls the sizes of a window. Where a last window in the padding does not count, programs disagree about
        ceil_mode: the padding behind is then as long as the windows that count.
        """
        window: dict[str, Any] = {**super().onnx_window(), "ceil_mode": int(self.ceil_mode)}
        kernel, strides, dilations = (window[name] for name in ("kernel_shape", "strides", "dilations"))
        before, around = window["pads"][: self.dims], []
        for size, count, k, s, d, pad in zip(self.image, self.counts, kernel, strides, dilations, before, strict=True):
            reach = d * (k - 1) + 1
            around.append((max(0, (count - 1) * s + reach - size - pad), -(-(size + 2 * pad - reach) // s) + 1 > count))
        if self.ceil_mode and any(dropped for _, dropped in around):
            window |= {"pads": [*before, *(behind for behind, _ in around)], "ceil_mode": 0}
        return window


class Pool(Windows):
    """Each window becomes a number."""

    elsewhere: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def build(self, in_shape: Shape) -> Shape:
        self.channels_of(in_shape)
        return self.see_windows(in_shape)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return prod(out_shape) * prod(sizes(self.kernel_size, self.dims)) // 4

    def c(self) -> str:
        return f"""
            void forward(const real x[C][D][H][W], real out[C][OD][OH][OW])
            {{
                for (int c = 0; c < C; c++)
                    for (int od = 0; od < OD; od++)
                        for (int oh = 0; oh < OH; oh++)
                            for (int ow = 0; ow < OW; ow++) {{
                                const int front = stride_d * od - padding_d;
                                const int top = stride_h * oh - padding_h;
                                const int left = stride_w * ow - padding_w;
                                {self.c_begin}
                                for (int i = 0; i < kernel_d; i++) {{
                                    const int d = front + dilation_d * i;
                                    for (int j = 0; j < kernel_h && 0 <= d && d < D; j++) {{
                                        const int h = top + dilation_h * j;
                                        for (int k = 0; k < kernel_w && 0 <= h && h < H; k++) {{
                                            const int w = left + dilation_w * k;
                                            if (0 <= w && w < W) {{
                                                {self.c_each}
                                            }}
                                        }}
                                    }}
                                }}
                                {self.c_end}
                            }}
            }}"""

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
