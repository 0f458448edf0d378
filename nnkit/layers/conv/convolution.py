"""Convolutions over one to three axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.taps import convolve, convolve_transposed, gradient_of_weight
from nnkit.layers.conv.layer import Convolution, add_channels, fill_channels, per_channel
from nnkit.layers.conv.margins import circular, gather, reflect, replicate, scatter
from nnkit.layers.windows import sizes

__all__ = ["Conv1d", "Conv2d", "Conv3d"]


# What may lie around the input, by PyTorch's name: where it is read, ONNX's name (wrap came with opset 19), and how much longer
# than it the input has to be.
MARGINS = {"reflect": (reflect, "reflect", 1), "replicate": (replicate, "edge", None), "circular": (circular, None, 0)}

# In C, where what lies around is read from the input.
WITH_MARGINS = """
void forward(const real x[C][Z][H][W], const real weight[K][D][KZ][KH][KW], const real bias[K], real out[K][OZ][OH][OW])
{
    for (int k = 0; k < K; k++) {
        const int first = k / (K / groups) * D; /* channel of its group */
        for (int oz = 0; oz < OZ; oz++)
            for (int oh = 0; oh < OH; oh++)
                for (int ow = 0; ow < OW; ow++) {
                    out[k][oz][oh][ow] = bias ? bias[k] : 0.0;
                    for (int c = 0; c < D; c++)
                        for (int t = 0; t < KZ; t++)
                            for (int i = 0; i < KH; i++)
                                for (int j = 0; j < KW; j++) {
                                    const int z = (int) margin(stride_d * oz - padding_d + dilation_d * t, Z);
                                    const int h = (int) margin(stride_h * oh - padding_h + dilation_h * i, H);
                                    const int w = (int) margin(stride_w * ow - padding_w + dilation_w * j, W);
                                    out[k][oz][oh][ow] += weight[k][c][t][i][j] * x[first + c][z][h][w];
                                }
                }
    }
}"""


class _Conv(Convolution):
    """The kernels of convolutions over one to three axes: where there are fewer, the first ones are one long."""

    sources: NDArray[np.int64] | None = None  # where margins are read, unless they are zeros
    operator = "Conv"
    filters_axis = 0
    elsewhere = (*Convolution.elsewhere, "padding_mode")

    def __init__(
        self, out_channels: int, kernel_size: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        bias: bool = True, padding_mode: str = "zeros", weight_init: Any = "linear_uniform", bias_init: Any = "zeros",
    ) -> None:  # fmt: skip
        self.padding_mode = padding_mode
        super().__init__(
            out_channels, kernel_size, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias,
            weight_init=weight_init, bias_init=bias_init,
        )  # fmt: skip
        modes = ["zeros", *MARGINS]
        self.require("padding_mode", padding_mode in modes, f"one of {', '.join(map(repr, modes))}")

    @classmethod
    def from_onnx(cls, at):
        """The operator, or a factor, a summand, or both, for each channel: a convolution of one place and channel."""
        if at.rank != 1 + cls.dims:
            return None
        channels = at.shape[0]
        scale, shift = per_channel(at, "Mul", channels), per_channel(at, "Add", channels)
        if scale is None and shift is None:
            return cls._with_margins(at.copy()) or super().from_onnx(at)
        weight = np.ones(channels, "float32") if scale is None else scale
        bias = {} if shift is None else {"bias": shift}
        layer = cls(channels, 1, groups=channels, bias=bool(bias))
        return at.found(layer, weight=weight.reshape(channels, 1, *(1,) * cls.dims), **bias)

    @classmethod
    def _with_margins(cls, at):
        """Pad of such a kind, or what reads from the other end, and the operator, which adds no padding."""
        modes = {name: mode for mode, (_, name, _) in MARGINS.items() if name is not None}
        if (pad := at.take("Pad")) is not None:
            mode = modes.get(pad.attributes["mode"])
            before, behind = pad.integers(1)[2 : 2 + cls.dims], pad.integers(1)[4 + cls.dims :]
        else:
            mode, before, behind, places = "circular", [], [], []
            for axis, size in enumerate(at.shape[1:], 2):
                if (node := at.take("Gather")) is None or node.attributes["axis"] != axis or 0 not in node.integers(1):
                    return None
                places.append(node.integers(1))
                before.append(places[-1].index(0))
                behind.append(len(places[-1]) - size - before[-1])
        if mode is None:
            return None
        padding = "same" if before != behind else before[0] if len(set(before)) == 1 else tuple(before)
        in_shape = at.shape
        found = cls.read(at, padding=padding, padding_mode=mode)
        if found is None or found.layer.pads() != (before, behind):
            return None
        same = mode != "circular" or [read.tolist() for read in found.layer.read_from(in_shape)[-cls.dims :]] == places
        return found if same else None

    def build(self, in_shape: Shape) -> Shape:
        depth, kernel = self.in_groups(in_shape) // self.groups, sizes(self.kernel_size, self.dims)
        out_shape = (self.out_channels, *self.windows(in_shape, self.stride))
        padded = self._margins(in_shape) if self.padding_mode in MARGINS else (0,)
        self.scratch("padded", padded)
        return self.declare(in_shape, (self.out_channels, depth, *kernel), out_shape)

    def _margins(self, in_shape: Shape) -> Shape:
        """Find out where the input with its margins is read; its shape."""
        _, _, longer = MARGINS[self.padding_mode]
        sides = zip(*self.pads(), in_shape[1:], strict=True)
        if longer is not None and any(max(pads) + longer > size for *pads, size in sides):
            raise ShapeError(f"{self!r}: expected rows longer than their margins, got {in_shape}")
        sources = self.read_from(in_shape)
        self.sources = np.concatenate(sources)
        self.paddings = (0, 0, 0)
        return in_shape[0], *map(len, sources)

    def read_from(self, in_shape: Shape) -> list[NDArray[np.int64]]:
        """The places that are read along each of three axes."""
        source, _, _ = MARGINS[self.padding_mode]
        before, behind = ([0, 0, *sides][-3:] for sides in self.pads())
        sizes = self.with_three_axes(in_shape)[1:]
        return [np.array([source(place, size) for place in range(-first, size + last)], np.int64)
                for size, first, last in zip(sizes, before, behind, strict=True)]  # fmt: skip

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return parameters * prod(out_shape[1:])

    def onnx(self, graph, x):
        if self.padding_mode not in MARGINS:
            return super().onnx(graph, x)
        _, mode, _ = MARGINS[self.padding_mode]
        before, behind = self.pads()
        if mode is not None:
            return super().onnx(graph, graph.node("Pad", x, [0, 0, *before, 0, 0, *behind], mode=mode))
        for axis, places in enumerate(self.read_from(self._built.in_shape)[-self.dims :], 2):
            x = graph.node("Gather", x, places.tolist(), axis=axis)
        return super().onnx(graph, x)

    def onnx_window(self) -> dict[str, list[int]]:
        return super().onnx_window() | ({"pads": [0] * 2 * self.dims} if self.padding_mode in MARGINS else {})

    def c(self) -> str:
        if self.padding_mode in MARGINS:
            return WITH_MARGINS.replace("margin", self.padding_mode)
        return """
            void forward(const real x[C][Z][H][W], const real weight[K][D][KZ][KH][KW], const real bias[K],
                         real out[K][OZ][OH][OW])
            {
                for (int k = 0; k < K; k++) {
                    const int first = k / (K / groups) * D; /* channel of its group */
                    for (int oz = 0; oz < OZ; oz++)
                        for (int oh = 0; oh < OH; oh++)
                            for (int ow = 0; ow < OW; ow++)
                                out[k][oz][oh][ow] = bias ? bias[k] : 0.0;
                    for (int c = 0; c < D; c++)
                        for (int t = 0; t < KZ; t++)
                            for (int i = 0; i < KH; i++)
                                for (int j = 0; j < KW; j++) {
                                    const int shift = dilation_w * j - padding_w; /* column = stride_w * ow + shift */
                                    const int begin = shift < 0 ? (stride_w - 1 - shift) / stride_w : 0;
                                    const int end = W <= shift ? 0 : (W - 1 - shift) / stride_w + 1;
                                    for (int oz = 0; oz < OZ; oz++) {
                                        const int z = stride_d * oz - padding_d + dilation_d * t;
                                        for (int oh = 0; oh < OH; oh++) {
                                            const int h = stride_h * oh - padding_h + dilation_h * i;
                                            if (0 <= z && z < Z && 0 <= h && h < H)
                                                for (int ow = begin; ow < end && ow < OW; ow++)
                                                    out[k][oz][oh][ow] += weight[k][c][t][i][j]
                                                                          * x[first + c][z][h][stride_w * ow + shift];
                                        }
                                    }
                                }
                }
            }"""

    @staticmethod
    def forward(x, weight, bias, packed, padded, sources, strides, paddings, dilations, groups, out):
        fill_channels(bias, out)
        if sources is None:
            convolve(x, weight, packed, strides, paddings, dilations, groups, out)
        else:
            gather(x, sources, padded)
            convolve(padded, weight, packed, strides, paddings, dilations, groups, out)

    @staticmethod
    def backward(x, padded, grad_out, sources, strides, paddings, dilations, groups, grad_weight, grad_bias):
        add_channels(grad_out, grad_bias)
        if sources is None:
            gradient_of_weight(grad_out, x, strides, paddings, dilations, groups, grad_weight)
        else:
            gradient_of_weight(grad_out, padded, strides, paddings, dilations, groups, grad_weight)

    @staticmethod
    def backward_x(weight, grad_out, packed, sources, strides, paddings, dilations, groups, grad_padded, grad_x):
        if sources is None:
            clear(grad_x)
            convolve_transposed(grad_out, weight, packed, strides, paddings, dilations, groups, grad_x)
        else:
            clear(grad_padded)
            convolve_transposed(grad_out, weight, packed, strides, paddings, dilations, groups, grad_padded)
            scatter(grad_padded, sources, grad_x)


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
    padding : int >= 0 on both sides, or "same": the output is as long as the input; or "valid": 0
    dilation : int >= 1, distance of neighbouring taps
    groups : int that divides the channels: each group of outputs sees one group of inputs
    bias : bool, default True
    padding_mode : what lies around: "zeros", "reflect" (the mirror image, without the last place itself), "replicate" (the last
        place again and again) or "circular" (the other end)
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
        several = cls(4, 2, stride=2, padding=2, dilation=3, groups=2, bias=False)
        mirrored = cls(2, 3, stride=2, padding=2, padding_mode="reflect")
        return [Example(cls(3, 3), (2, 6)), Example(several, (2, 7)), Example(mirrored, (2, 4))]


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
        goes to the right and below); or "valid": 0
    dilation : int or (vertical, horizontal), distance of neighbouring taps
    groups : int that divides the channels: each group of outputs sees one group of inputs; with as many groups as
        channels it is depthwise
    bias : bool, default True
    padding_mode : what lies around: "zeros", "reflect" (the mirror image, without the last place itself), "replicate" (the last
        place again and again) or "circular" (the other end)
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
        around = cls(2, (2, 3), padding="same", padding_mode="replicate", groups=2)
        return [Example(cls(3, 2), (2, 3, 4)), Example(several, (2, 4, 5)), Example(depthwise, (2, 3, 2)),
                Example(around, (2, 2, 3))]  # fmt: skip


@register("conv3d")
class Conv3d(_Conv):
    """A convolution of volumes, or of pictures one after the other: every output is a weighted sum of a window of them.

    With stride s, padding p, dilation f and x = 0 outside of the volume,

    - out[n, k, od, oh, ow] = bias[k] + sum over c, t, i, j of weight[k, c, t, i, j] x[n, c, d, h, w]
      with d = s od - p + f t, h = s oh - p + f i, w = s ow - p + f j.

    Given delta = dL/dout (``grad_out``), backward is, with the same d, h and w,

    - dL/dweight[k, c, t, i, j] = sum over n, od, oh, ow of delta[n, k, od, oh, ow] x[n, c, d, h, w],
    - dL/dbias[k] = sum over n, od, oh, ow of delta[n, k, od, oh, ow],
    - dL/dx[n, c, d, h, w] = sum over k, t, i, j of weight[k, c, t, i, j] delta[n, k, od, oh, ow], over all od, oh, ow that lead
      there.

    Parameters
    ----------
    out_channels : int >= 1; the number of input channels is inferred
    kernel_size : int or (depth, height, width)
    stride : int or one for each axis
    padding : int or one for each axis, zeros on both sides; or "same": the output is as large as the input (the odd zero goes
        behind); or "valid": 0
    dilation : int or one for each axis, distance of neighbouring taps
    groups : int that divides the channels: each group of outputs sees one group of inputs
    bias : bool, default True
    padding_mode : what lies around: "zeros", "reflect" (the mirror image, without the last place itself), "replicate" (the last
        place again and again) or "circular" (the other end)
    weight_init, bias_init : initializer or its name; the weight begins as PyTorch's, uniform within 1/sqrt(fan_in)

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, out_channels, OD, OH, OW) with OD = floor((D + 2p - f (kernel_size - 1) - 1) / s) + 1,
    likewise OH and OW; weight: (out_channels, C / groups, *kernel_size); bias: (out_channels,).

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), the groups do not divide C, or the window is larger than the padded volume.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Sequential([nn.Conv3d(4, 3, stride=(1, 2, 2), padding=1)]).build((2, 5, 8, 8)).out_shape
    (4, 5, 4, 4)
    >>> model = nn.Sequential([nn.Conv3d(1, 2, bias=False, weight_init="ones")]).build((1, 2, 2, 3))
    >>> model.predict(np.arange(12.0).reshape(1, 1, 2, 2, 3))
    array([[[[[40., 48.]]]]], dtype=float32)

    References
    ----------
    Ji, Xu, Yang and Yu 2013, "3D convolutional neural networks for human action recognition". Tran et al. 2015, "Learning
    spatiotemporal features with 3D convolutional networks".
    """

    dims = 3

    @classmethod
    def examples(cls) -> Sequence[Example]:
        several = cls(2, (1, 2, 1), stride=(2, 1, 1), padding=(1, 0, 1), dilation=(1, 2, 1), groups=2, bias=False)
        return [Example(cls(2, 2, padding="same"), (1, 2, 3, 2)), Example(several, (2, 3, 3, 2))]
