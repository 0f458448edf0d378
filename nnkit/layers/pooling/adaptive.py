"""A grid of parts of an image, whatever its size: their means, or their largest numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.layers.pooling.average import Mean
from nnkit.layers.pooling.layer import MOST, Boxes, Spans
from nnkit.layers.pooling.maximum import Maximum, largest_along
from nnkit.layers.windows import ROWS, require_sizes

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "GlobalAvgPool",
]  # fmt: skip


class Parts(Boxes):
    """Boxes are the parts of a grid."""

    def c(self) -> str:
        return f"""
            void forward(const real x[C][D][H][W], real out[C][OD][OH][OW])
            {{
                for (int c = 0; c < C; c++)
                    for (int od = 0; od < OD; od++) {{
                        const int front = od * D / OD, back = ((od + 1) * D + OD - 1) / OD;
                        for (int oh = 0; oh < OH; oh++) {{
                            const int top = oh * H / OH, bottom = ((oh + 1) * H + OH - 1) / OH;
                            for (int ow = 0; ow < OW; ow++) {{
                                const int left = ow * W / OW, right = ((ow + 1) * W + OW - 1) / OW;
                                {self.c_begin}
                                for (int d = front; d < back; d++)
                                    for (int h = top; h < bottom; h++)
                                        for (int w = left; w < right; w++)
                                            {self.c_each}
                                {self.c_end}
                            }}
                        }}
                    }}
            }}"""


class _MeanOfParts(Mean, Parts):
    """The mean of every part."""

    c_end = "out[c][od][oh][ow] = sum / ((back - front) * (bottom - top) * (right - left));"


def part(number, size, parts):
    """Where a part of an axis begins, and the place behind its end."""
    return number * size // parts, -(-(number + 1) * size // parts)


def parts_of(size: int, parts: int) -> Spans:
    """Where all parts of an axis lie, and how large they are."""
    first, behind = part(np.arange(parts, dtype=np.int64), size, parts)
    return np.stack([first, behind - first, behind - first], axis=1)


def shares(size, parts):
    """Matrix (parts, size): how much of each place there is in the mean of each part."""
    first, behind = part(np.arange(parts), size, parts)
    within = (np.arange(size) >= first[:, None]) & (np.arange(size) < behind[:, None])
    return within / within.sum(axis=1, keepdims=True)


class _Grid(Parts):
    """A grid of parts whose size is given."""

    def __init__(self, output_size: Any = 1) -> None:
        self.output_size = output_size
        if isinstance(output_size, tuple | list) and len(output_size) == self.dims > 1:
            known = tuple(1 if size is None else size for size in output_size)
            self.require("output_size", all(map(_is_size, known)), f"integers of at least 1 (or None), {self.dims} of them")
        else:
            require_sizes(self, "output_size", self.dims)

    def grid(self, in_shape: Shape) -> Shape:
        """How many parts each axis has."""
        several = isinstance(self.output_size, tuple | list)
        given = self.output_size if several else (self.output_size,) * self.dims
        return tuple(size if parts is None else int(parts) for size, parts in zip(in_shape[1:], given, strict=True))

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 1 + self.dims:
            raise ShapeError(f"{self!r}: expected input rows of shape {ROWS[self.dims]}, got {in_shape}")
        grid = self.grid(in_shape)
        if max(grid) > MOST:
            raise ShapeError(f"{self!r}: expected at most {MOST} parts along an axis, got {max(grid)}")
        self.see(in_shape, (in_shape[0], *grid), list(map(parts_of, in_shape[1:], grid)))
        return (in_shape[0], *grid)

    @classmethod
    def of_grid(cls, at, sizes):
        """The layer with a grid, if it is what comes there."""
        return at.like([cls(sizes[0] if len(set(sizes)) == 1 else tuple(sizes))]) if sizes else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        grid, image = (3, 2, 3)[-cls.dims :], (2, 3, 4)[-cls.dims :]
        return [Example(cls(grid if cls.dims > 1 else grid[0]), (2, *image))]


def _is_size(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1


class _AdaptiveAvgPool(_MeanOfParts, _Grid):
    """The means of a grid of parts."""

    def onnx(self, graph, x):
        """Means along an axis are a product with a matrix of shares."""
        channels, *image = self._built.in_shape
        grid = self.grid(self._built.in_shape)
        if set(grid) == {1}:
            return graph.node("GlobalAveragePool", x)
        *others, columns = (shares(size, parts).astype(graph.real) for size, parts in zip(image, grid, strict=True))
        if self.dims == 3:
            x = graph.node("Reshape", x, [0, channels, image[0], image[1] * image[2]])
            x = graph.node("Reshape", graph.node("MatMul", others[0], x), [0, channels, grid[0], *image[1:]])
        if self.dims > 1:
            x = graph.node("MatMul", others[-1], x)
        return graph.node("MatMul", x, columns.T)

    @classmethod
    def from_onnx(cls, at):
        if at.rank != 1 + cls.dims:
            return None
        if mean_of_places(begin := at.copy()):
            return begin.found(cls())
        sizes: list[int] = []
        here = at.copy()
        for place in (1,) * (cls.dims - 1) + (0,):
            if cls.dims == 3 and not sizes:
                here.take("Reshape")
            if (node := here.take("MatMul", place)) is None or not node.is_constant(1 - place):
                return None
            sizes.append(node.constant(1 - place).shape[-1 if place == 0 else 0])
            if cls.dims == 3 and len(sizes) == 1:
                here.take("Reshape")
        return cls.of_grid(at, sizes)


class _AdaptiveMaxPool(Maximum, _Grid):
    """The largest numbers of a grid of parts."""

    def onnx(self, graph, x):
        """Along each axis, the largest of as many numbers as the largest part has; a smaller one has its last number again."""
        grid = self.grid(self._built.in_shape)
        if set(grid) == {1}:
            return graph.node("GlobalMaxPool", x)
        for axis, (size, parts) in enumerate(zip(self._built.in_shape[1:], grid, strict=True), 2):
            first, count, _ = parts_of(size, parts).T
            places = first[:, None] + np.minimum(np.arange(count.max()), count[:, None] - 1)
            x = largest_along(graph, x, axis, places)
        return x

    @classmethod
    def from_onnx(cls, at):
        if at.rank != 1 + cls.dims:
            return None
        if at.ahead("GlobalMaxPool") is not None:
            return at.after(at.ahead("GlobalMaxPool")).found(cls())
        sizes: list[int] = []
        here = at.copy()
        for _ in range(cls.dims):
            node = here.take("Gather")
            if node is None or not node.is_constant(1) or node.constant(1).ndim != 2 or here.take("ReduceMax") is None:
                return None
            sizes.append(len(node.constant(1)))
        return cls.of_grid(at, sizes)


@register("adaptive_avg_pool1d")
class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means over a grid of ``output_size`` parts of a sequence of any size.

    Part o has the places from floor(o L / parts) up to ceil((o + 1) L / parts); out is its mean, and each of its places gets
    grad_out divided by their number.

    Parameters
    ----------
    output_size : int

    Shape
    -----
    x: (N, C, L) -> out: (N, C, output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, L).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AdaptiveAvgPool1d(2)]).build((1, 3)).predict([[[1.0, 3.0, 2.0]]])
    array([[[2. , 2.5]]], dtype=float32)

    References
    ----------
    He, Zhang, Ren and Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition".
    """

    dims = 1


@register("adaptive_avg_pool2d")
class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means over a grid of ``output_size`` parts of an image of any size.

    Part (oh, ow) has the rows from floor(oh H / OH) up to ceil((oh + 1) H / OH), likewise the columns; out is its mean, and
    each of its places gets grad_out divided by their number.

    Parameters
    ----------
    output_size : int or (height, width); None is as many as there are

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, *output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AdaptiveAvgPool2d((2, 3))]).build((4, 7, 5)).out_shape
    (4, 2, 3)
    >>> nn.Sequential([nn.AdaptiveAvgPool2d((1, 2))]).build((1, 2, 3)).predict([[[[1.0, 3.0, 2.0], [5.0, 0.0, 8.0]]]])
    array([[[[2.25, 3.25]]]], dtype=float32)

    References
    ----------
    He, Zhang, Ren and Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition".
    """

    dims = 2


@register("adaptive_avg_pool3d")
class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means over a grid of ``output_size`` parts of a volume of any size.

    Part o has the places from floor(o L / parts) up to ceil((o + 1) L / parts), along every axis; out is its mean, and each of
    its places gets grad_out divided by their number.

    Parameters
    ----------
    output_size : int or (depth, height, width); None is as many as there are

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, *output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AdaptiveAvgPool3d((1, 1, 2))]).build((1, 1, 2, 3)).predict([[[[[1.0, 3.0, 2.0], [5.0, 0.0, 7.0]]]]])
    array([[[[[2.25, 3.  ]]]]], dtype=float32)

    References
    ----------
    He, Zhang, Ren and Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition".
    """

    dims = 3


@register("adaptive_max_pool1d")
class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest numbers of a grid of ``output_size`` parts of a sequence of any size.

    Part o has the places from floor(o L / parts) up to ceil((o + 1) L / parts); out is its largest number, and grad_out goes to
    the first place where that stands.

    Parameters
    ----------
    output_size : int

    Shape
    -----
    x: (N, C, L) -> out: (N, C, output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, L).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AdaptiveMaxPool1d(2)]).build((1, 3)).predict([[[1.0, 3.0, 2.0]]])
    array([[[3., 3.]]], dtype=float32)

    References
    ----------
    He, Zhang, Ren and Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition".
    """

    dims = 1


@register("adaptive_max_pool2d")
class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest numbers of a grid of ``output_size`` parts of an image of any size.

    Part o has the places from floor(o L / parts) up to ceil((o + 1) L / parts), along every axis; out is its largest number,
    and grad_out goes to the first place where that stands.

    Parameters
    ----------
    output_size : int or (height, width); None is as many as there are

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, *output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AdaptiveMaxPool2d((1, 2))]).build((1, 2, 3)).predict([[[[1.0, 3.0, 2.0], [5.0, 0.0, 7.0]]]])
    array([[[[5., 7.]]]], dtype=float32)

    References
    ----------
    He, Zhang, Ren and Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition".
    """

    dims = 2


@register("adaptive_max_pool3d")
class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest numbers of a grid of ``output_size`` parts of a volume of any size.

    Part o has the places from floor(o L / parts) up to ceil((o + 1) L / parts), along every axis; out is its largest number,
    and grad_out goes to the first place where that stands.

    Parameters
    ----------
    output_size : int or (depth, height, width); None is as many as there are

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, *output_size)

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.AdaptiveMaxPool3d((1, 1, 2))]).build((1, 1, 2, 3)).predict([[[[[1.0, 3.0, 2.0], [5.0, 0.0, 7.0]]]]])
    array([[[[[5., 7.]]]]], dtype=float32)

    References
    ----------
    He, Zhang, Ren and Sun 2014, "Spatial pyramid pooling in deep convolutional networks for visual recognition".
    """

    dims = 3


def mean_of_places(at):
    """Come by a mean over all places of every channel; whether it leaves axes of size 1 behind; None where there is none."""
    if at.take("GlobalAveragePool") is not None:
        return True
    node = at.ahead("ReduceMean")
    if node is None or {axis % (at.rank + 1) for axis in node.integers(1)} != set(range(2, at.rank + 1)):
        return None
    at.after(node)
    return node.flag("keepdims")


@register("global_avg_pool")
class GlobalAvgPool(_MeanOfParts):
    """The mean of every channel: out[n, c] = 1/P sum over all P places of x[n, c, ...]; each place gets grad_out / P.

    Shape
    -----
    x: (N, C, ...) -> out: (N, C)

    Raises
    ------
    ShapeError
        Rows have no axis behind the channels.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.GlobalAvgPool()]).build((8, 5, 5)).out_shape
    (8,)
    >>> nn.Sequential([nn.GlobalAvgPool()]).build((2, 1, 2)).predict([[[[1.0, 3.0]], [[5.0, 0.0]]]])
    array([[2. , 2.5]], dtype=float32)

    References
    ----------
    Lin, Chen and Yan 2014, "Network in network".
    """

    dims = 1  # all places in a line

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) < 2:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, ...), got {in_shape}")
        places = prod(in_shape[1:])
        self.see((in_shape[0], places), (in_shape[0], 1), [parts_of(places, 1)])
        return in_shape[:1]

    def onnx(self, graph, x):
        return graph.node("Flatten", graph.node("GlobalAveragePool", x), axis=1)

    @classmethod
    def from_onnx(cls, at):
        """GlobalAveragePool without the axes of size 1 that it leaves, or ReduceMean."""
        if at.rank < 2:
            return None
        if (kept := mean_of_places(at)) is None:
            return None
        if not kept:
            return at.found(cls())
        if (node := at.take("Flatten")) is not None:
            fits = node.attributes["axis"] in (1, -at.rank)
        elif (node := at.take("Squeeze")) is not None:
            fits = {axis % (at.rank + 1) for axis in node.integers(1)} == set(range(2, at.rank + 1))
        else:
            sizes = node.integers(1) if (node := at.take("Reshape")) is not None else []
            fits = (len(sizes) == 2 and sizes[0] in (0, -1) and sizes[1] == at.shape[0]) or sizes == [0, -1]
        return at.found(cls()) if fits else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2, 3, 2)), Example(cls(), (2, 3))]
