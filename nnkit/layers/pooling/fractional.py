"""The largest number of every window, of windows that lie anew in every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.math import real
from nnkit.kernels.random import uniform_bits
from nnkit.layers.pooling.layer import Spans
from nnkit.layers.pooling.maximum import Largest, give_back, largest_along, maxima
from nnkit.layers.windows import ROWS, require_sizes, sizes

__all__ = ["FractionalMaxPool2d", "FractionalMaxPool3d"]


class _FractionalMaxPool(Largest):
    """Windows begin at places that are drawn: along an axis, int((o + u) a) - int(u a) with u in [0, 1)."""

    elsewhere = ("kernel_size", "output_size", "output_ratio", "return_indices")

    def __init__(self, kernel_size: Any, output_size: Any = None, *, output_ratio: Any = None) -> None:
        self.kernel_size = kernel_size
        self.output_size = output_size
        self.output_ratio = output_ratio
        require_sizes(self, "kernel_size", self.dims)
        self.require("output_size", (output_size is None) != (output_ratio is None), "given where output_ratio is not, only")
        if output_size is not None:
            require_sizes(self, "output_size", self.dims)
        ratios = output_ratio if isinstance(output_ratio, tuple | list) else (output_ratio,) * self.dims
        between = output_ratio is None or all(isinstance(ratio, float) and 0.0 < ratio < 1.0 for ratio in ratios)
        self.require("output_ratio", between and len(ratios) == self.dims, f"a number in (0, 1), or {self.dims} of them")

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 1 + self.dims:
            raise ShapeError(f"{self!r}: expected input rows of shape {ROWS[self.dims]}, got {in_shape}")
        kernel, image = sizes(self.kernel_size, self.dims), in_shape[1:]
        if self.output_size is not None:
            counts = sizes(self.output_size, self.dims)
        else:
            several = isinstance(self.output_ratio, tuple | list)
            ratios = self.output_ratio if several else (self.output_ratio,) * self.dims
            counts = tuple(int(size * ratio) for size, ratio in zip(image, ratios, strict=True))
        if min(counts) < 1 or any(count + k - 1 > size for size, count, k in zip(image, counts, kernel, strict=True)):
            raise ShapeError(f"{self!r}: expected rows with room for {counts} windows of {kernel}, got {in_shape}")
        self.kernel_d, self.kernel_h, self.kernel_w = (1, *kernel)[-3:]
        spans = [windows(count, size, k, 0.5) for size, count, k in zip(image, counts, kernel, strict=True)]
        self.see(in_shape, (in_shape[0], *counts), spans)
        self.workspace("drawn", (len(self.spans_d) + len(self.spans_h) + len(self.spans_w), 2), "int64")
        return (in_shape[0], *counts)

    def c(self) -> str:
        """With a table of where windows begin, out of training."""
        begins = [f"static const int begin_{axis}[] = {{{', '.join(map(str, table[:, 0].tolist()))}}};"
                  for axis in "dhw" for table in [getattr(self, f"spans_{axis}")]]  # fmt: skip
        return f"""
            void forward(const real x[C][D][H][W], real out[C][OD][OH][OW])
            {{
                {" ".join(begins)}
                for (int c = 0; c < C; c++)
                    for (int od = 0; od < OD; od++)
                        for (int oh = 0; oh < OH; oh++)
                            for (int ow = 0; ow < OW; ow++) {{
                                {self.c_begin}
                                for (int d = begin_d[od]; d < begin_d[od] + kernel_d; d++)
                                    for (int h = begin_h[oh]; h < begin_h[oh] + kernel_h; h++)
                                        for (int w = begin_w[ow]; w < begin_w[ow] + kernel_w; w++)
                                            {self.c_each}
                                {self.c_end}
                            }}
            }}"""

    @staticmethod
    def forward(x, training, seed, spans_d, spans_h, spans_w, kernel_d, kernel_h, kernel_w, drawn, place, out):
        high, wide = out.shape[2] + out.shape[3], out.shape[2] + out.shape[3] + out.shape[4]
        for c in range(out.shape[1]):
            draw(seed, 3 * c, training, spans_d, x.shape[2], kernel_d, drawn[: out.shape[2]])
            draw(seed, 3 * c + 1, training, spans_h, x.shape[3], kernel_h, drawn[out.shape[2] : high])
            draw(seed, 3 * c + 2, training, spans_w, x.shape[4], kernel_w, drawn[high:wide])
            for b in range(out.shape[0]):
                maxima(x[b, c], drawn[: out.shape[2]], drawn[out.shape[2] : high], drawn[high:wide], (1, 1, 1), place[b, c],
                       out[b, c])  # fmt: skip

    @staticmethod
    def backward(grad_out, training, seed, spans_d, spans_h, spans_w, kernel_d, kernel_h, kernel_w, drawn, place, grad_x):
        clear(grad_x)
        high = grad_out.shape[2] + grad_out.shape[3]
        wide = high + grad_out.shape[4]
        for c in range(grad_x.shape[1]):
            draw(seed, 3 * c, training, spans_d, grad_x.shape[2], kernel_d, drawn[: grad_out.shape[2]])
            draw(seed, 3 * c + 1, training, spans_h, grad_x.shape[3], kernel_h, drawn[grad_out.shape[2] : high])
            draw(seed, 3 * c + 2, training, spans_w, grad_x.shape[4], kernel_w, drawn[high:wide])
            for b in range(grad_x.shape[0]):
                give_back(grad_out[b, c], drawn[: grad_out.shape[2]], drawn[grad_out.shape[2] : high], drawn[high:wide],
                          (1, 1, 1), place[b, c], grad_x[b, c])  # fmt: skip

    def onnx(self, graph, x):
        """As out of training: along each axis, the largest of the numbers of every window."""
        for axis, name in enumerate("dhw"[-self.dims :], 2):
            places = getattr(self, f"spans_{name}")[:, :1] + np.arange(getattr(self, f"kernel_{name}"))
            x = largest_along(graph, x, axis, places)
        return x

    @classmethod
    def examples(cls) -> Sequence[Example]:
        sized, by_ratio = cls(2, (1, 3, 2)[-cls.dims :]), cls((2, 3, 2)[-cls.dims :], output_ratio=0.5)
        return [Example(sized, (2, *(3, 5, 4)[-cls.dims :])), Example(by_ratio, (1, *(4, 4, 5)[-cls.dims :]))]


def begin(number, count, size, kernel, draw):
    """Where a window begins, of ``count`` along an axis; the last one ends with the axis."""
    if number == count - 1:
        return size - kernel
    step = real(size - kernel) / real(count - 1)
    return int((real(number) + draw) * step) - int(draw * step)


def windows(count: int, size: int, kernel: int, draw: float) -> Spans:
    """Where all windows along an axis lie."""
    return np.array([[begin(number, count, size, kernel, draw), kernel, kernel] for number in range(count)], np.int64)


def draw(seed, counter, training, spans, size, kernel, drawn):
    """Draw where windows lie in training; else they lie where they are said to."""
    share = real(uniform_bits(seed, counter)) * 2.3283064365386963e-10
    for number in range(drawn.shape[0]):
        drawn[number, 0] = begin(number, drawn.shape[0], size, kernel, share) if training else spans[number, 0]
        drawn[number, 1] = kernel


@register("fractional_max_pool2d")
class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest number of every window of an image; in training, the windows lie anew in every step.

    Along an axis of L places, window o begins at int((o + u) a) - int(u a) with a = (L - kernel_size) / (output_size - 1), the
    last one ends with the axis. u is drawn from [0, 1) for each axis and channel in every step, for all rows of a batch alike;
    out of training it is 1/2. grad_out goes to the first place where the largest number of a window stands.

    Parameters
    ----------
    kernel_size : int or (height, width)
    output_size : int or (height, width), how many windows; or else
    output_ratio : number in (0, 1) or (vertical, horizontal): so many of the input's size

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, *output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or have no room for so many windows.

    Examples
    --------
    >>> import nnkit as nn
    >>> X = [[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]]
    >>> nn.Sequential([nn.FractionalMaxPool2d(2, 2)]).build((1, 3, 3)).predict(X)
    array([[[[5., 6.],
             [8., 9.]]]], dtype=float32)

    References
    ----------
    Graham 2014, "Fractional max-pooling".
    """

    dims = 2


@register("fractional_max_pool3d")
class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest number of every window of a volume; in training, the windows lie anew in every step.

    Along an axis of L places, window o begins at int((o + u) a) - int(u a) with a = (L - kernel_size) / (output_size - 1), the
    last one ends with the axis. u is drawn from [0, 1) for each axis and channel in every step, for all rows of a batch alike;
    out of training it is 1/2. grad_out goes to the first place where the largest number of a window stands.

    Parameters
    ----------
    kernel_size : int or (depth, height, width)
    output_size : int or (depth, height, width), how many windows; or else
    output_ratio : number in (0, 1) or one for each axis: so many of the input's size

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, *output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), or have no room for so many windows.

    Examples
    --------
    >>> import nnkit as nn
    >>> X = [[[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[7.0, 8.0, 9.0], [0.0, 0.0, 0.0]]]]]
    >>> nn.Sequential([nn.FractionalMaxPool3d(2, (1, 1, 2))]).build((1, 2, 2, 3)).predict(X)
    array([[[[[8., 9.]]]]], dtype=float32)

    References
    ----------
    Graham 2014, "Fractional max-pooling".
    """

    dims = 3
