"""What convolutions and their transposes share."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

from nnkit.core.layer import Layer
from nnkit.core.part import Shape
from nnkit.core.span import Span
from nnkit.errors import ShapeError
from nnkit.layers.windows import Spatial, require_sizes, sizes

__all__ = ["Convolution", "add_channels", "fill_channels", "per_channel"]


def fill_channels(bias, out):
    """Out = the bias of each channel, or 0."""
    for b in range(out.shape[0]):
        for k in range(out.shape[1]):
            value = bias[k] if bias.shape[0] > 0 else 0.0
            channel = out[b, k].reshape(out[b, k].size)
            for i in range(channel.shape[0]):
                channel[i] = value


def add_channels(grad_out, grad_bias):
    """The gradient of the bias: the sum of grad_out over rows and positions."""
    for k in range(grad_bias.shape[0]):
        grad_bias[k] = 0.0
    if grad_bias.shape[0] > 0:
        for b in range(grad_out.shape[0]):
            for k in range(grad_out.shape[1]):
                channel = grad_out[b, k].reshape(grad_out[b, k].size)
                total = grad_bias[k] * 0.0
                for i in range(channel.shape[0]):
                    total += channel[i]
                grad_bias[k] += total


class Convolution(Layer, Spatial):
    """What convolutions share: hyper-parameters, shapes, parameters."""

    blocked = True
    gives = Span()
    operator: ClassVar[str]  # its name in ONNX
    filters_axis: ClassVar[int]  # of the weight, the axis of the output's channels
    elsewhere: ClassVar[tuple[str, ...]] = (
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias",
    )  # fmt: skip

    def __init__(
        self, out_channels: int, kernel_size: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        bias: bool = True, weight_init: Any = "linear_uniform", bias_init: Any = "zeros",
    ) -> None:  # fmt: skip
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.bias = bias
        self.weight_init = weight_init
        self.bias_init = bias_init
        self.require_size("out_channels")
        self.require_size("groups")
        for name in ("kernel_size", "stride", "dilation"):
            require_sizes(self, name, self.dims)
        self.require("groups", out_channels % groups == 0, f"a divisor of out_channels={out_channels}")
        self.check_padding()

    def check_padding(self) -> None:
        """Refuse a padding that is none."""
        if self.padding == "same":
            self.require("stride", set(sizes(self.stride, self.dims)) == {1}, "1 where padding is 'same'")
        elif self.padding != "valid":
            require_sizes(self, "padding", self.dims, low=0, words="or 'same' or 'valid'")

    def in_groups(self, in_shape: Shape) -> int:
        """Channels of the input, which the groups share out."""
        channels = self.channels_of(in_shape)
        if channels % self.groups:
            raise ShapeError(f"{self!r}: expected channels that groups={self.groups} share out evenly, got {channels}")
        return channels

    def declare(self, in_shape: Shape, weight: Shape, out_shape: Shape) -> Shape:
        """Declare the parameters; kernels see three axes behind the channels."""
        self.parameter("weight", weight, init=self.weight_init)
        self.parameter("bias", (self.out_channels,) if self.bias else (0,), init=self.bias_init)
        self.workspace("packed", (prod(weight),))
        taps = (*weight[:2], *(1, 1, *weight[2:])[-3:])
        self.view(x=self.with_three_axes(in_shape), out=self.with_three_axes(out_shape), weight=taps)
        return out_shape

    def onnx(self, graph, x):
        arrays = graph.array("weight"), graph.array("bias")
        return graph.node(self.operator, x, *arrays, group=self.groups, **self.onnx_window())

    @classmethod
    def from_onnx(cls, at):
        return cls.read(at)

    @classmethod
    def read(cls, at, **around):
        """The operator; ``around`` says what comes before it in place of padding of its own."""
        if (node := at.take(cls.operator)) is None or at.rank != 1 + cls.dims:
            return None
        weight, groups = node.constant(1), node.attributes["group"]
        bias = {"bias": node.constant(2)} if node.input(2) is not None else {}
        filters = weight.shape[cls.filters_axis] * (groups if cls.filters_axis else 1)
        if not bias and (shift := per_channel(at, "Add", filters)) is not None:
            bias = {"bias": shift}
        window = at.window(node, cls.dims, weight.shape[2:])
        if around and "padding" in window:
            return None
        return at.found(cls(filters, groups=groups, bias=bool(bias), **window, **around), weight=weight, **bias)


def per_channel(at, op, channels):
    """Come by an operator that has one number for each channel, the same for all rows and places; the numbers."""
    node = at.ahead(op)
    array = node.constant(1) if node is not None and node.is_constant(1) else None
    if array is None or array.shape[-at.rank :] != (channels, *(1,) * (at.rank - 1)) or array.size != channels:
        return None
    at.after(node)
    return array.reshape(-1)
