"""The mean of every box: of windows, of a grid of parts, of everything."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.layers.pooling.layer import Boxes, Pool, Spans
from nnkit.layers.pooling.sums import average, share_out

__all__ = ["AvgPool1d", "AvgPool2d", "AvgPool3d", "Mean"]


class Mean(Boxes):
    """The mean of every box."""

    c_begin, c_each = "real sum = 0.0;", "sum += x[c][d][h][w];"

    @staticmethod
    def forward(x, spans_d, spans_h, spans_w, out):
        average(x, spans_d, spans_h, spans_w, out)

    @staticmethod
    def backward(grad_out, spans_d, spans_h, spans_w, grad_x):
        share_out(grad_out, spans_d, spans_h, spans_w, grad_x)


class _AvgPool(Mean, Pool):
    """Means of windows."""

    divisor_override: int | None = None

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: bool = False, count_include_pad: bool = True
    ) -> None:
        self.count_include_pad = count_include_pad
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)

    def spans(self, axis: str, size: int, count: int) -> Spans:
        spans = super().spans(axis, size, count)
        if self.divisor_override is not None:
            spans[:, 2] = self.divisor_override if axis == "w" else 1
        elif not self.count_include_pad:
            spans[:, 2] = spans[:, 1]
        return spans

    @property
    def c_end(self) -> str:  # type: ignore[override]
        """Divided by as many places as the spans count."""
        if self.divisor_override is not None:
            return "out[c][od][oh][ow] = sum / divisor_override;"
        axes = ("d", "front"), ("h", "top"), ("w", "left")
        counted = self.count_include_pad
        ends = [f"({first} + kernel_{p} < {size} ? {first} + kernel_{p} : {size})" for p, first in axes
                for size in [f"{p.upper()} + padding_{p}" if counted else p.upper()]]  # fmt: skip
        begins = [first if counted else f"({first} > 0 ? {first} : 0)" for _, first in axes]
        count = " * ".join(f"({end} - {begin})" for end, begin in zip(ends, begins, strict=True))
        return f"out[c][od][oh][ow] = sum / ({count});"

    def onnx(self, graph, x):
        window = {name: size for name, size in self.onnx_window().items() if name != "dilations"}
        counted = int(self.count_include_pad)
        before = window["pads"][: self.dims]
        if self.divisor_override is not None:  # what is beyond counts as zeros
            kernel, strides = window["kernel_shape"], window["strides"]
            image, counts = self._built.in_shape[1:], self._built.out_shape[1:]
            behind = [max(0, (count - 1) * step + k - size - pad) for size, count, k, step, pad in
                      zip(image, counts, kernel, strides, before, strict=True)]  # fmt: skip
            if any(before + behind):
                x = graph.node("Pad", x, [0, 0, *before, 0, 0, *behind], 0.0)
            means = graph.node("AveragePool", x, kernel_shape=kernel, strides=strides)
            return means * (prod(kernel) / self.divisor_override)
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


class _AvgPoolOf(_AvgPool):
    """Means of windows whose divisor may be given."""

    elsewhere = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        self.divisor_override = divisor_override
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad)
        if divisor_override is not None:
            self.require_size("divisor_override")

    @classmethod
    def from_onnx(cls, at):
        """Means of whole windows times a number are sums, divided by what is left of it."""
        here = at.copy()
        padded, node, factor = here.take("Pad"), here.take("AveragePool"), here.ahead("Mul")
        if node is None or factor is None or not factor.is_constant(1) or factor.constant(1).size != 1:
            return super().from_onnx(at)
        kernel = tuple(node.attributes["kernel_shape"])
        sizes = {"stride": tuple(node.attributes.get("strides") or (1,) * len(kernel)),
                 "padding": tuple(padded.integers(1)[2 : 2 + len(kernel)]) if padded else 0,
                 "divisor_override": max(1, round(prod(kernel) / here.number(factor.constant(1))))}  # fmt: skip
        return at.like([cls(kernel, ceil_mode=ceil_mode, **sizes) for ceil_mode in (False, True)]) or super().from_onnx(at)


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
    >>> nn.Sequential([nn.AvgPool1d(3, stride=2, padding=1)]).build((1, 6)).predict([[[1.0, 3.0, 2.0, 0.0, 4.0, 9.0]]]).round(3)
    array([[[1.333, 1.667, 4.333]]], dtype=float32)
    """

    dims = 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3, stride=2, padding=1), (2, 5))]


@register("avg_pool2d")
class AvgPool2d(_AvgPoolOf):
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
    divisor_override : int >= 1, optional: what stands for count

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
    >>> X = [[[[1.0, 3.0, 2.0, 0.0], [5.0, 2.0, 7.0, 8.0], [0.0, 9.0, 4.0, 6.0]]]]
    >>> nn.Sequential([nn.AvgPool2d((2, 3), stride=(1, 2), padding=1)]).build((1, 3, 4)).predict(X)[0, 0].round(3)
    array([[0.667, 0.833],
           [1.833, 3.667],
           [2.667, 6.   ],
           [1.5  , 3.167]], dtype=float32)
    >>> nn.Sequential([nn.AvgPool2d(2, stride=1)]).build((1, 3, 4)).predict(X)[0, 0]
    array([[2.75, 3.5 , 4.25],
           [4.  , 5.5 , 6.25]], dtype=float32)

    References
    ----------
    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition" (subsampling).
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        uneven = cls((2, 3), stride=(2, 1), padding=(1, 0), ceil_mode=True, count_include_pad=False)
        divided = cls(2, padding=1, divisor_override=3)
        return [Example(cls(2), (2, 4, 3)), Example(uneven, (1, 4, 4)), Example(divided, (1, 3, 4))]


@register("avg_pool3d")
class AvgPool3d(_AvgPoolOf):
    """The mean of every window of a volume.

    out[n, c, od, oh, ow] = 1/count sum over i, j, k of x[n, c, s od - p + i, s oh - p + j, s ow - p + k]; every place of a
    window gets grad_out / count.

    Parameters
    ----------
    kernel_size : int or (depth, height, width)
    stride : int or one for each axis, by default kernel_size
    padding : int or one for each axis, at most half of kernel_size: zeros on both sides
    ceil_mode : bool: last windows that do not fit count, too
    count_include_pad : bool: whether count has the zeros in it
    divisor_override : int >= 1, optional: what stands for count

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, OD, OH, OW) with OD = floor((D + 2p - kernel_size) / s) + 1 (with ceil_mode rounded up),
    likewise OH and OW

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), or smaller than the window.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AvgPool3d(2)]).build((6, 4, 24, 24)).out_shape
    (6, 2, 12, 12)
    >>> nn.Sequential([nn.AvgPool3d((2, 1, 2))]).build((1, 2, 1, 2)).predict([[[[[1.0, 3.0]], [[5.0, 0.0]]]]])
    array([[[[[2.25]]]]], dtype=float32)
    """

    dims = 3

    @classmethod
    def examples(cls) -> Sequence[Example]:
        uneven = cls((3, 2, 2), stride=(2, 1, 1), padding=(1, 0, 1), ceil_mode=True)
        return [Example(uneven, (1, 4, 3, 3))]
