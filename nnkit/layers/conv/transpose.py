"""Transposes of convolutions over one to three axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.taps import convolve, convolve_transposed, gradient_of_weight
from nnkit.layers.conv.layer import Convolution, add_channels, fill_channels
from nnkit.layers.windows import require_sizes, sizes

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvTranspose(Convolution):
    """The kernels of transposes over one to three axes: where there are fewer, the first ones are one long."""

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

    def check_padding(self) -> None:
        require_sizes(self, "padding", self.dims, low=0)

    def build(self, in_shape: Shape) -> Shape:
        channels = self.in_groups(in_shape)
        given = (self.kernel_size, self.padding, self.output_padding, self.stride, self.dilation)
        kernel, paddings, extra, strides, dilations = (sizes(item, self.dims) for item in given)
        if any(more >= max(s, d) for more, s, d in zip(extra, strides, dilations, strict=True)):
            raise ShapeError(f"{self!r}: expected output_padding smaller than stride or dilation")
        image = tuple(s * (size - 1) - 2 * p + d * (k - 1) + more + 1 for size, s, p, d, k, more
                      in zip(in_shape[1:], strides, paddings, dilations, kernel, extra, strict=True))  # fmt: skip
        if min(image) < 1:
            raise ShapeError(f"{self!r}: for rows of {in_shape} nothing is left of the output, its shape would be {image}")
        self.set_window(strides, paddings, dilations, kernel)
        return self.declare(in_shape, (channels, self.out_channels // self.groups, *kernel), (self.out_channels, *image))

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return parameters * prod(in_shape[1:])

    def c(self) -> str:
        return """
            void forward(const real x[C][OZ][OH][OW], const real weight[C][F][KZ][KH][KW], const real bias[K],
                         real out[K][Z][H][W])
            {
                for (int k = 0; k < K; k++)
                    for (int z = 0; z < Z; z++)
                        for (int h = 0; h < H; h++)
                            for (int w = 0; w < W; w++)
                                out[k][z][h][w] = bias ? bias[k] : 0.0;
                for (int c = 0; c < C; c++) {
                    const int first = c / (C / groups) * F; /* output channel of its group */
                    for (int f = 0; f < F; f++)
                        for (int t = 0; t < KZ; t++)
                            for (int i = 0; i < KH; i++)
                                for (int j = 0; j < KW; j++)
                                    for (int oz = 0; oz < OZ; oz++) {
                                        const int z = stride_d * oz - padding_d + dilation_d * t;
                                        for (int oh = 0; oh < OH; oh++) {
                                            const int h = stride_h * oh - padding_h + dilation_h * i;
                                            if (0 <= z && z < Z && 0 <= h && h < H)
                                                for (int ow = 0; ow < OW; ow++) {
                                                    const int w = stride_w * ow - padding_w + dilation_w * j;
                                                    if (0 <= w && w < W)
                                                        out[first + f][z][h][w] += weight[c][f][t][i][j] * x[c][oz][oh][ow];
                                                }
                                        }
                                    }
                }
            }"""

    @staticmethod
    def forward(x, weight, bias, packed, strides, paddings, dilations, groups, out):
        fill_channels(bias, out)
        convolve_transposed(x, weight, packed, strides, paddings, dilations, groups, out)

    @staticmethod
    def backward(x, grad_out, strides, paddings, dilations, groups, grad_weight, grad_bias):
        add_channels(grad_out, grad_bias)
        gradient_of_weight(x, grad_out, strides, paddings, dilations, groups, grad_weight)

    @staticmethod
    def backward_x(weight, grad_out, packed, strides, paddings, dilations, groups, grad_x):
        clear(grad_x)
        convolve(grad_out, weight, packed, strides, paddings, dilations, groups, grad_x)

    def onnx_window(self) -> dict[str, list[int]]:
        return {**super().onnx_window(), "output_padding": list(sizes(self.output_padding, self.dims))}


@register("conv_transpose1d")
class ConvTranspose1d(_ConvTranspose):
    """The transpose of a convolution along one axis: what `Conv1d` does to gradients, this does to values.

    With stride s, padding p, dilation d,

    - out[n, k, l] = bias[k] + sum over c, i of weight[c, k, i] x[n, c, o], over all o with s o - p + d i = l.

    Backward as in `ConvTranspose2d`, with one axis.

    Parameters
    ----------
    out_channels : int >= 1; the number of input channels is inferred
    kernel_size : int >= 1
    stride : int >= 1
    padding : int >= 0: so much is cut off the output on both sides
    output_padding : int, below stride or dilation: so much is added to it behind
    groups : int that divides the channels
    bias : bool, default True
    dilation : int >= 1
    weight_init, bias_init : initializer or its name

    Shape
    -----
    x: (N, C, L) -> out: (N, out_channels, s (L - 1) - 2p + d (kernel_size - 1) + output_padding + 1); weight: (C,
    out_channels / groups, kernel_size).

    Raises
    ------
    ShapeError
        Rows are not (C, L), the groups do not divide C, or nothing is left of the output.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.ConvTranspose1d(1, 3, stride=2, bias=False, weight_init="ones")]).build((1, 3))
    >>> model.predict([[[1.0, 2.0, 5.0]]])
    array([[[1., 1., 3., 2., 7., 5., 5.]]], dtype=float32)

    References
    ----------
    Zeiler, Krishnan, Taylor and Fergus 2010, "Deconvolutional networks".
    """

    dims = 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(4, 3, stride=3, padding=2, output_padding=1, dilation=2, groups=2), (2, 3))]


@register("conv_transpose2d")
class ConvTranspose2d(_ConvTranspose):
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

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2, 2), (3, 2, 3)), Example(cls(2, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 2, 3))]


@register("conv_transpose3d")
class ConvTranspose3d(_ConvTranspose):
    """The transpose of a convolution of volumes: what `Conv3d` does to gradients, this does to values. It makes them larger.

    With stride s, padding p, dilation f,

    - out[n, k, d, h, w] = bias[k] + sum over c, t, i, j of weight[c, k, t, i, j] x[n, c, od, oh, ow], over all od, oh, ow with
      s od - p + f t = d, s oh - p + f i = h and s ow - p + f j = w.

    Backward as in `ConvTranspose2d`, with three axes.

    Parameters
    ----------
    out_channels : int >= 1; the number of input channels is inferred
    kernel_size : int or (depth, height, width)
    stride : int or one for each axis
    padding : int or one for each axis: so much is cut off the output on both sides
    output_padding : int or one for each axis, below stride or dilation: so much is added to it behind
    groups : int that divides the channels
    bias : bool, default True
    dilation : int or one for each axis
    weight_init, bias_init : initializer or its name

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, out_channels, OD, OH, OW) with OD = s (D - 1) - 2p + f (kernel_size - 1) + output_padding
    + 1, likewise OH and OW; weight: (C, out_channels / groups, *kernel_size).

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), the groups do not divide C, or nothing is left of the output.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ConvTranspose3d(3, 2, stride=2)]).build((8, 4, 5, 6)).out_shape
    (3, 8, 10, 12)
    >>> model = nn.Sequential([nn.ConvTranspose3d(1, (2, 1, 2), bias=False, weight_init="ones")]).build((1, 1, 1, 2))
    >>> model.predict([[[[[1.0, 2.0]]]]]).ravel()
    array([1., 3., 2., 1., 3., 2.], dtype=float32)

    References
    ----------
    Zeiler, Krishnan, Taylor and Fergus 2010, "Deconvolutional networks".
    """

    dims = 3

    @classmethod
    def examples(cls) -> Sequence[Example]:
        several = cls(2, (2, 1, 2), stride=(2, 1, 1), padding=(1, 0, 0), output_padding=(1, 0, 0), groups=2, bias=False)
        return [Example(cls(1, 2), (2, 2, 1, 2)), Example(several, (2, 2, 2, 2))]
