"""Convolutions, and their transpose."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.taps import convolve, convolve_transposed, gradient_of_weight
from nnkit.layers.windows import Spatial, require_sizes, sizes

__all__ = ["Conv1d", "Conv2d", "ConvTranspose2d"]


def fill_channels(bias, out):
    """Out = the bias of each channel, or 0."""
    for b in range(out.shape[0]):
        for k in range(out.shape[1]):
            value = bias[k] if bias.shape[0] > 0 else 0.0
            channel = out[b, k].reshape(out.shape[2] * out.shape[3] * out.shape[4])
            for i in range(channel.shape[0]):
                channel[i] = value


def add_channels(grad_out, grad_bias):
    """The gradient of the bias: the sum of grad_out over rows and positions."""
    for k in range(grad_bias.shape[0]):
        grad_bias[k] = 0.0
    if grad_bias.shape[0] > 0:
        for b in range(grad_out.shape[0]):
            for k in range(grad_out.shape[1]):
                channel = grad_out[b, k].reshape(grad_out.shape[2] * grad_out.shape[3] * grad_out.shape[4])
                total = grad_bias[k] * 0.0
                for i in range(channel.shape[0]):
                    total += channel[i]
                grad_bias[k] += total


class _Convolution(Layer, Spatial):
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
        self._check_padding()

    def _check_padding(self) -> None:
        if self.padding == "same":
            self.require("stride", set(sizes(self.stride, self.dims)) == {1}, "1 where padding is 'same'")
        else:
            require_sizes(self, "padding", self.dims, low=0, words="or 'same'")

    def _in_groups(self, in_shape: Shape) -> int:
        """Channels of the input, which the groups share out."""
        channels = self.channels_of(in_shape)
        if channels % self.groups:
            raise ShapeError(f"{self!r}: expected channels that groups={self.groups} share out evenly, got {channels}")
        return channels

    def onnx(self, graph, x):
        arrays = graph.array("weight"), graph.array("bias")
        return graph.node(self.operator, x, *arrays, group=self.groups, **self.onnx_window())

    @classmethod
    def from_onnx(cls, at):
        if (node := at.take(cls.operator)) is None or at.rank != 1 + cls.dims:
            return None
        weight, groups = node.constant(1), node.attributes["group"]
        bias = {"bias": node.constant(2)} if node.input(2) is not None else {}
        filters = weight.shape[cls.filters_axis] * (groups if cls.filters_axis else 1)
        if not bias and (shift := per_channel(at, "Add", filters)) is not None:
            bias = {"bias": shift}
        window = at.window(node, cls.dims, weight.shape[2:])
        return at.found(cls(filters, groups=groups, bias=bool(bias), **window), weight=weight, **bias)


def per_channel(at, op, channels):
    """Come by an operator that has one number for each channel, the same for all rows and places; the numbers."""
    node = at.ahead(op)
    array = node.constant(1) if node is not None and node.is_constant(1) else None
    if array is None or array.shape[-at.rank :] != (channels, *(1,) * (at.rank - 1)) or array.size != channels:
        return None
    at.after(node)
    return array.reshape(-1)


class _Conv(_Convolution):
    operator = "Conv"
    filters_axis = 0

    @classmethod
    def from_onnx(cls, at):
        """The operator, or a factor, a summand, or both, for each channel: a convolution of one place and channel."""
        if at.rank != 1 + cls.dims:
            return None
        channels = at.shape[0]
        scale, shift = per_channel(at, "Mul", channels), per_channel(at, "Add", channels)
        if scale is None and shift is None:
            return super().from_onnx(at)
        weight = np.ones(channels, "float32") if scale is None else scale
        bias = {} if shift is None else {"bias": shift}
        layer = cls(channels, 1, groups=channels, bias=bool(bias))
        return at.found(layer, weight=weight.reshape(channels, 1, *(1,) * cls.dims), **bias)

    def build(self, in_shape: Shape) -> Shape:
        depth = self._in_groups(in_shape) // self.groups
        kernel = sizes(self.kernel_size, self.dims)
        out_shape = (self.out_channels, *self.windows(in_shape, self.stride))
        self.parameter("weight", (self.out_channels, depth, *kernel), init=self.weight_init)
        self.parameter("bias", (self.out_channels,) if self.bias else (0,), init=self.bias_init)
        self.workspace("packed", (self.out_channels * depth * prod(kernel),))
        taps = (self.out_channels, depth, *(1, *kernel)[-2:])
        self.view(x=self.with_two_axes(in_shape), out=self.with_two_axes(out_shape), weight=taps)
        return out_shape

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return parameters * prod(out_shape[1:])

    def c(self) -> str:
        return """
            void forward(const real x[C][H][W], const real weight[K][D][KH][KW], const real bias[K], real out[K][OH][OW])
            {
                for (int k = 0; k < K; k++) {
                    const int first = k / (K / groups) * D; /* channel of its group */
                    for (int oh = 0; oh < OH; oh++)
                        for (int ow = 0; ow < OW; ow++)
                            out[k][oh][ow] = bias ? bias[k] : 0.0;
                    for (int c = 0; c < D; c++)
                        for (int i = 0; i < KH; i++)
                            for (int j = 0; j < KW; j++) {
                                const int shift = dilation_w * j - padding_w; /* column = stride_w * ow + shift */
                                const int begin = shift < 0 ? (stride_w - 1 - shift) / stride_w : 0;
                                const int end = W <= shift ? 0 : (W - 1 - shift) / stride_w + 1;
                                for (int oh = 0; oh < OH; oh++) {
                                    const int h = stride_h * oh - padding_h + dilation_h * i;
                                    if (0 <= h && h < H)
                                        for (int ow = begin; ow < end && ow < OW; ow++)
                                            out[k][oh][ow] += weight[k][c][i][j] * x[first + c][h][stride_w * ow + shift];
                                }
                            }
                }
            }"""

    @staticmethod
    def forward(
        x, weight, bias, packed, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, out
    ):
        fill_channels(bias, out)
        convolve(x, weight, packed, (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w), groups, out)

    @staticmethod
    def backward(
        x, grad_out, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, grad_weight, grad_bias
    ):
        add_channels(grad_out, grad_bias)
        strides, paddings, dilations = (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w)
        gradient_of_weight(grad_out, x, strides, paddings, dilations, groups, grad_weight)

    @staticmethod
    def backward_x(
        weight, grad_out, packed, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, grad_x
    ):
        strides, paddings, dilations = (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w)
        clear(grad_x)
        convolve_transposed(grad_out, weight, packed, strides, paddings, dilations, groups, grad_x)


@register("conv1d")
class Conv1d(_Conv):
    """A convolution along one axis: every output is a weighted sum of a window of the input.

    out[n, k, o] = bias[k] + sum over c, i of weight[k, c, i] x[n, c, s o - p + d i], where x is 0 outside, with stride s,
    padding p, dilation d. Backward as in `Conv2d`, with one axis.

    Parameters
    ----------
    out_channels : int >= 1; the number of input channels is inferred
    kernel_size : int >= 1
    stride : int >= 1
    padding : int >= 0 on both sides, or "same": the output is as long as the input
    dilation : int >= 1, distance of neighbouring taps
    groups : int that divides the channels: each group of outputs sees one group of inputs
    bias : bool, default True
    weight_init, bias_init : initializer or its name; the weight begins as PyTorch's, uniform within 1/sqrt(fan_in)

    Shape
    -----
    x: (N, C, L) -> out: (N, out_channels, floor((L + 2p - d (kernel_size - 1) - 1) / s) + 1); weight: (out_channels,
    C / groups, kernel_size).

    Raises
    ------
    ShapeError
        Rows are not (C, L), the groups do not divide C, or the window is longer than the padded input.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Conv1d(4, 3, padding="same")]).build((2, 10)).out_shape
    (4, 10)
    >>> convolution = nn.Conv1d(2, 2, stride=2, padding=1, dilation=2, groups=2, bias=False)
    >>> model = nn.Sequential([convolution]).build((2, 5), random_state=0)
    >>> model.predict([[[1.0, 3.0, 2.0, 0.0, 4.0], [2.0, -1.0, 5.0, 1.0, 1.0]]]).round(3)
    array([[[-0.977,  0.581,  0.   ],
            [ 0.684, -0.035, -0.649]]], dtype=float32)

    References
    ----------
    LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition".
    """

    dims = 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3, 3), (2, 6)), Example(cls(4, 2, stride=2, padding=2, dilation=3, groups=2, bias=False), (2, 7))]


@register("conv2d")
class Conv2d(_Conv):
    """A convolution: every output is a weighted sum of a window of the image.

    With stride s, padding p, dilation d and x = 0 outside of the image,

    - out[n, k, oh, ow] = bias[k] + sum over c, i, j of weight[k, c, i, j] x[n, c, s oh - p + d i, s ow - p + d j].

    Given delta = dL/dout (``grad_out``), backward is

    - dL/dweight[k, c, i, j] = sum over n, oh, ow of delta[n, k, oh, ow] x[n, c, s oh - p + d i, s ow - p + d j],
    - dL/dbias[k] = sum over n, oh, ow of delta[n, k, oh, ow],
    - dL/dx[n, c, h, w] = sum over k, i, j of weight[k, c, i, j] delta[n, k, oh, ow], over all oh, ow with
      s oh - p + d i = h and s ow - p + d j = w.

    Parameters
    ----------
    out_channels : int >= 1; the number of input channels is inferred
    kernel_size : int or (height, width)
    stride : int or (vertical, horizontal)
    padding : int or (vertical, horizontal), zeros on both sides; or "same": the output is as large as the input (the odd zero
        goes to the right and below)
    dilation : int or (vertical, horizontal), distance of neighbouring taps
    groups : int that divides the channels: each group of outputs sees one group of inputs; with as many groups as
        channels it is depthwise
    bias : bool, default True
    weight_init, bias_init : initializer or its name; the weight begins as PyTorch's, uniform within 1/sqrt(fan_in)

    Shape
    -----
    x: (N, C, H, W) -> out: (N, out_channels, OH, OW) with OH = floor((H + 2p - d (kernel_size - 1) - 1) / s) + 1, likewise OW;
    weight: (out_channels, C / groups, *kernel_size); bias: (out_channels,).

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), the groups do not divide C, or the window is larger than the padded image.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Conv2d(1, 2, weight_init="ones")]).build((1, 2, 3))
    >>> model.predict([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    array([[[[12., 16.]]]], dtype=float32)

    References
    ----------
    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition". Dumoulin and Visin
    2016, "A guide to convolution arithmetic for deep learning" (shapes).
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        several = cls(4, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
        depthwise = cls(2, 2, padding="same", groups=2)
        return [Example(cls(3, 2), (2, 3, 4)), Example(several, (2, 4, 5)), Example(depthwise, (2, 3, 2))]


@register("conv_transpose2d")
class ConvTranspose2d(_Convolution):
    """The transpose of a convolution: what `Conv2d` does to gradients, this does to values. It makes images larger.

    With stride s, padding p, dilation d,

    - out[n, k, h, w] = bias[k] + sum over c, i, j of weight[c, k, i, j] x[n, c, oh, ow], over all oh, ow with
      s oh - p + d i = h and s ow - p + d j = w.

    Given delta = dL/dout (``grad_out``), 0 outside of the image, backward is

    - dL/dx[n, c, oh, ow] = sum over k, i, j of weight[c, k, i, j] delta[n, k, s oh - p + d i, s ow - p + d j],
    - dL/dweight[c, k, i, j] = sum over n, oh, ow of x[n, c, oh, ow] delta[n, k, s oh - p + d i, s ow - p + d j],
    - dL/dbias[k] = sum over n, h, w of delta[n, k, h, w].

    Parameters
    ----------
    out_channels : int >= 1; the number of input channels is inferred
    kernel_size : int or (height, width)
    stride : int or (vertical, horizontal)
    padding : int or (vertical, horizontal): so much is cut off the output on both sides
    output_padding : int or (vertical, horizontal), below stride or dilation: so much is added to it below and to the right
    groups : int that divides the channels
    bias : bool, default True
    dilation : int or (vertical, horizontal)
    weight_init, bias_init : initializer or its name

    Shape
    -----
    x: (N, C, H, W) -> out: (N, out_channels, OH, OW) with OH = s (H - 1) - 2p + d (kernel_size - 1) + output_padding + 1,
    likewise OW; weight: (C, out_channels / groups, *kernel_size).

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), the groups do not divide C, or nothing is left of the output.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ConvTranspose2d(3, 4, stride=2, padding=1)]).build((8, 7, 7)).out_shape
    (3, 14, 14)
    >>> model = nn.Sequential([nn.ConvTranspose2d(1, 2, stride=2, weight_init="ones")]).build((2, 1, 2))
    >>> model.predict([[[[1.0, 3.0]], [[2.0, -1.0]]]])[0, 0]
    array([[3., 3., 2., 2.],
           [3., 3., 2., 2.]], dtype=float32)

    References
    ----------
    Zeiler, Krishnan, Taylor and Fergus 2010, "Deconvolutional networks".
    """

    dims = 2
    operator = "ConvTranspose"
    filters_axis = 1
    elsewhere = (
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "groups", "bias", "dilation",
    )  # fmt: skip

    def __init__(
        self, out_channels: int, kernel_size: Any, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True, dilation: Any = 1, weight_init: Any = "linear_uniform", bias_init: Any = "zeros",
    ) -> None:  # fmt: skip
        self.output_padding = output_padding
        super().__init__(
            out_channels, kernel_size, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias,
            weight_init=weight_init, bias_init=bias_init,
        )  # fmt: skip
        require_sizes(self, "output_padding", self.dims, low=0)

    def _check_padding(self) -> None:
        require_sizes(self, "padding", self.dims, low=0)

    def build(self, in_shape: Shape) -> Shape:
        channels = self._in_groups(in_shape)
        kernel, paddings, extra = (sizes(item, 2) for item in (self.kernel_size, self.padding, self.output_padding))
        strides, dilations = sizes(self.stride, 2), sizes(self.dilation, 2)
        if any(more >= max(s, d) for more, s, d in zip(extra, strides, dilations, strict=True)):
            raise ShapeError(f"{self!r}: expected output_padding smaller than stride or dilation")
        image = tuple(s * (size - 1) - 2 * p + d * (k - 1) + more + 1 for size, s, p, d, k, more
                      in zip(in_shape[1:], strides, paddings, dilations, kernel, extra, strict=True))  # fmt: skip
        if min(image) < 1:
            raise ShapeError(f"{self!r}: for rows of {in_shape} nothing is left of the output, its shape would be {image}")
        self.set_window(strides, paddings, dilations, kernel)
        filters = self.out_channels // self.groups
        self.parameter("weight", (channels, filters, *kernel), init=self.weight_init)
        self.parameter("bias", (self.out_channels,) if self.bias else (0,), init=self.bias_init)
        self.workspace("packed", (channels * filters * prod(kernel),))
        return (self.out_channels, *image)

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return parameters * prod(in_shape[1:])

    def c(self) -> str:
        return """
            void forward(const real x[C][OH][OW], const real weight[C][F][KH][KW], const real bias[K], real out[K][H][W])
            {
                for (int k = 0; k < K; k++)
                    for (int h = 0; h < H; h++)
                        for (int w = 0; w < W; w++)
                            out[k][h][w] = bias ? bias[k] : 0.0;
                for (int c = 0; c < C; c++) {
                    const int first = c / (C / groups) * F; /* output channel of its group */
                    for (int f = 0; f < F; f++)
                        for (int i = 0; i < KH; i++)
                            for (int j = 0; j < KW; j++)
                                for (int oh = 0; oh < OH; oh++) {
                                    const int h = stride_h * oh - padding_h + dilation_h * i;
                                    if (0 <= h && h < H)
                                        for (int ow = 0; ow < OW; ow++) {
                                            const int w = stride_w * ow - padding_w + dilation_w * j;
                                            if (0 <= w && w < W)
                                                out[first + f][h][w] += weight[c][f][i][j] * x[c][oh][ow];
                                        }
                                }
                }
            }"""

    @staticmethod
    def forward(
        x, weight, bias, packed, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, out
    ):
        fill_channels(bias, out)
        strides, paddings, dilations = (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w)
        convolve_transposed(x, weight, packed, strides, paddings, dilations, groups, out)

    @staticmethod
    def backward(
        x, grad_out, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, grad_weight, grad_bias
    ):
        add_channels(grad_out, grad_bias)
        strides, paddings, dilations = (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w)
        gradient_of_weight(x, grad_out, strides, paddings, dilations, groups, grad_weight)

    @staticmethod
    def backward_x(
        weight, grad_out, packed, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, grad_x
    ):
        strides, paddings, dilations = (stride_h, stride_w), (padding_h, padding_w), (dilation_h, dilation_w)
        clear(grad_x)
        convolve(grad_out, weight, packed, strides, paddings, dilations, groups, grad_x)

    def onnx_window(self) -> dict[str, list[int]]:
        return {**super().onnx_window(), "output_padding": list(sizes(self.output_padding, self.dims))}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2, 2), (3, 2, 3)), Example(cls(2, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 2, 3))]
