"""What pooling with windows shares: their sizes, also as ONNX says them."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

from nnkit.core.layer import Layer
from nnkit.core.part import Shape
from nnkit.layers.windows import Spatial, require_sizes, sizes

__all__ = ["Pool"]


class Pool(Layer, Spatial):
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
