"""The norm of every window."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.kernels.math import real
from nnkit.layers.pooling.layer import Pool, Spans, three_axes
from nnkit.layers.pooling.sums import average, share_out
from nnkit.layers.windows import require_sizes, sizes

__all__ = ["LPPool1d", "LPPool2d", "LPPool3d"]


class _LPPool(Pool):
    """The root of the sum of powers of every window, as a mean of powers times the window's size."""

    elsewhere = ("norm_type", "kernel_size", "stride", "ceil_mode")
    padding = 0
    c_begin, c_each = "real sum = 0.0;", "sum += pow(x[c][d][h][w], norm_type);"

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, *, ceil_mode: bool = False) -> None:
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode
        self.require_number("norm_type", 0.0, above=True)
        require_sizes(self, "kernel_size", self.dims)
        if stride is not None:
            require_sizes(self, "stride", self.dims)

    def see(self, in_shape: Shape, out_shape: Shape, spans: Sequence[Spans]) -> None:
        super().see(in_shape, out_shape, spans)
        self.places = prod(sizes(self.kernel_size, self.dims))
        self.exponent = float(self.norm_type)
        self.scratch("powers", three_axes(in_shape))
        self.scratch("slopes", three_axes(out_shape))  # of the root of each mean of powers
        self.scratch("given", three_axes(out_shape))

    @property
    def c_end(self) -> str:  # type: ignore[override]
        """A window that does not fit counts as a whole one with the same mean of powers."""
        sizes = [f"({first} + kernel_{p} < {p.upper()} ? kernel_{p} : {p.upper()} - {first})"
                 for p, first in (("d", "front"), ("h", "top"), ("w", "left"))]  # fmt: skip
        return f"out[c][od][oh][ow] = pow(sum * places / ({' * '.join(sizes)}), 1.0 / norm_type);"

    @staticmethod
    def forward(x, norm_type, places, spans_d, spans_h, spans_w, powers, slopes, out):
        take_powers(x.reshape(x.size), norm_type, powers.reshape(x.size))
        average(powers, spans_d, spans_h, spans_w, slopes)
        take_roots(slopes.reshape(out.size), norm_type, real(places), out.reshape(out.size))

    @staticmethod
    def backward(x, norm_type, spans_d, spans_h, spans_w, slopes, given, grad_out, grad_x):
        size = grad_out.size
        multiply(grad_out.reshape(size), slopes.reshape(size), given.reshape(size))
        share_out(given, spans_d, spans_h, spans_w, grad_x)
        multiply_slopes(x.reshape(x.size), norm_type, grad_x.reshape(x.size))

    def onnx(self, graph, x):
        """The operator takes powers of |x|, and counts what a window has: where that matters, it is written in parts."""
        window = {name: size for name, size in self.onnx_window().items() if name != "dilations"}
        whole = all((spans[:, 1] == spans[0, 1]).all() for spans in (self.spans_d, self.spans_h, self.spans_w))
        if self.exponent % 2 == 0 and whole:
            given = {name: window[name] for name in ("kernel_shape", "strides")}
            return graph.node("LpPool", x, p=int(self.exponent), **given)
        powers = x if self.exponent == 1 else graph.node("Pow", x, self.exponent)
        sums = graph.node("AveragePool", powers, count_include_pad=0, **window) * float(self.places)
        return sums if self.exponent == 1 else graph.node("Pow", sums, 1.0 / self.exponent)

    @classmethod
    def from_onnx(cls, at):
        """The operator, where it takes even powers of whole windows; or what it is written in."""
        if at.rank != 1 + cls.dims:
            return None
        here = at.copy()
        power = here.take("Pow")
        node = here.take("LpPool" if power is None and here.ahead("LpPool") else "AveragePool")
        if node is None:
            return None
        window = here.window(node, cls.dims)
        if not {"padding", "dilation"}.isdisjoint(window):
            return None
        if node.op == "AveragePool":
            norm_type = 1.0 if power is None else here.number(power.constant(1))
            return at.like([cls(norm_type, **window, ceil_mode=ceil_mode) for ceil_mode in (False, True)])
        layer = cls(float(node.attributes["p"]), **window, ceil_mode=node.flag("ceil_mode"))
        built = layer.place(at.shape).layer
        whole = all((getattr(built, f"spans_{axis}")[:, 1] == getattr(built, f"kernel_{axis}")).all() for axis in "dhw")
        return here.found(layer) if layer.norm_type % 2 == 0 and whole else None


def take_powers(x, exponent, out):
    """Out = x ** exponent."""
    if exponent == 2.0:
        for i in range(x.shape[0]):
            out[i] = x[i] * x[i]
    else:
        for i in range(x.shape[0]):
            out[i] = x[i] ** exponent


def take_roots(means, exponent, places, out):
    """Out = the roots of ``places`` times the means; the means become the slopes of that, 0 where there is none."""
    if exponent == 2.0:
        for i in range(out.shape[0]):
            out[i] = np.sqrt(places * means[i])
    else:
        for i in range(out.shape[0]):
            out[i] = (places * means[i]) ** (1.0 / exponent)
    for i in range(out.shape[0]):
        means[i] = 0.0 if means[i] == 0.0 else out[i] / (exponent * means[i])


def multiply(a, b, out):
    """Out = a * b, number by number."""
    for i in range(out.shape[0]):
        out[i] = a[i] * b[i]


def multiply_slopes(x, exponent, grads):
    """Grads *= the slope of x ** exponent."""
    if exponent == 2.0:
        for i in range(x.shape[0]):
            grads[i] *= 2.0 * x[i]
    else:
        for i in range(x.shape[0]):
            grads[i] *= exponent * x[i] ** (exponent - 1.0)


@register("lp_pool1d")
class LPPool1d(_LPPool):
    """The p-norm of every window along one axis, for numbers that are not negative.

    out[n, c, o] = (sum over i of x[n, c, s o + i]**p)**(1/p); each x gets
    grad_out (x / out)**(p - 1), and where the sum is 0, nothing. A window that does not fit, which ``ceil_mode`` counts, too,
    is that of a whole window with the same mean of powers.

    Parameters
    ----------
    norm_type : float > 0, p
    kernel_size : int >= 1
    stride : int >= 1, by default kernel_size
    ceil_mode : bool: last windows that do not fit count, too

    Shape
    -----
    x: (N, C, L) -> out: (N, C, floor((L - kernel_size) / s) + 1), with ceil_mode rounded up

    Raises
    ------
    ShapeError
        Rows are not (C, L), or smaller than the window.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.LPPool1d(2.0, 2)]).build((1, 4)).predict([[[3.0, 4.0, -5.0, 12.0]]])
    array([[[ 5., 13.]]], dtype=float32)

    References
    ----------
    Boureau, Ponce and LeCun 2010, "A theoretical analysis of feature pooling in visual recognition".
    """

    dims = 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(4.0, 3, stride=2, ceil_mode=True), (2, 6))]


@register("lp_pool2d")
class LPPool2d(_LPPool):
    """The p-norm of every window of an image, for numbers that are not negative.

    out[n, c, oh, ow] = (sum over i, j of x[n, c, s oh + i, s ow + j]**p)**(1/p); each x gets
    grad_out (x / out)**(p - 1), and where the sum is 0, nothing. A window that does not fit, which ``ceil_mode`` counts, too,
    is that of a whole window with the same mean of powers.

    Parameters
    ----------
    norm_type : float > 0, p
    kernel_size : int or (height, width)
    stride : int or (vertical, horizontal), by default kernel_size
    ceil_mode : bool: last windows that do not fit count, too

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, OH, OW) with OH = floor((H - kernel_size) / s) + 1 (with ceil_mode rounded up), likewise OW

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or smaller than the window.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.LPPool2d(2.0, (1, 2))]).build((1, 1, 4)).predict([[[[3.0, 4.0, -5.0, 12.0]]]])
    array([[[[ 5., 13.]]]], dtype=float32)

    References
    ----------
    Boureau, Ponce and LeCun 2010, "A theoretical analysis of feature pooling in visual recognition".
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2.0, 2), (2, 4, 3)), Example(cls(2.0, (2, 3), stride=(1, 2), ceil_mode=True), (1, 3, 4))]


@register("lp_pool3d")
class LPPool3d(_LPPool):
    """The p-norm of every window of a volume, for numbers that are not negative.

    out[n, c, od, oh, ow] = (sum over i, j, k of x[n, c, s od + i, s oh + j, s ow + k]**p)**(1/p); each x gets
    grad_out (x / out)**(p - 1), and where the sum is 0, nothing. A window that does not fit, which ``ceil_mode`` counts, too,
    is that of a whole window with the same mean of powers.

    Parameters
    ----------
    norm_type : float > 0, p
    kernel_size : int or (depth, height, width)
    stride : int or one for each axis, by default kernel_size
    ceil_mode : bool: last windows that do not fit count, too

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, OD, OH, OW) with OD = floor((D - kernel_size) / s) + 1 (with ceil_mode rounded up),
    likewise OH and OW

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), or smaller than the window.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.LPPool3d(2.0, (1, 1, 2))]).build((1, 1, 1, 4)).predict([[[[[3.0, 4.0, -5.0, 12.0]]]]])
    array([[[[[ 5., 13.]]]]], dtype=float32)

    References
    ----------
    Boureau, Ponce and LeCun 2010, "A theoretical analysis of feature pooling in visual recognition".
    """

    dims = 3

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(1.0, (2, 1, 2), stride=1), (1, 3, 2, 2))]
