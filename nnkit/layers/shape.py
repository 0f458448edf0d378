"""Layers that see the same numbers in another shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.gemm import transpose

__all__ = ["Flatten", "Permute", "Rearranged", "Reshape", "Squeeze", "Unflatten"]


class _View(Layer):
    """out is x, and grad_x is grad_out, seen in another shape: nothing is computed, so there are no kernels."""

    needed = ()

    def c(self) -> str:
        return ""

    def kernels(self) -> dict[str, Callable[..., Any]]:
        return {}


@register("flatten")
class Flatten(_View):
    """Neighbouring axes of a row as one, by default all of them: out[n] = x[n].ravel(); grad_x is grad_out in the shape of x.

    Parameters
    ----------
    start_dim, end_dim : int, the first and the last of the axes, counted as in PyTorch: from 1 (0 is the batch), or from
        the end

    Shape
    -----
    x: (N, d1, ..., dk) -> out: (N, d1 * ... * dk)

    Raises
    ------
    ShapeError
        There are no such axes.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Flatten()]).build((2, 3)).out_shape
    (6,)
    """

    elsewhere = ("start_dim", "end_dim")

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim
        self.require_axis("start_dim")
        self.require_axis("end_dim")

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape:
            return (1,)
        start, end = (self.axis_of_row(dim, in_shape) for dim in (self.start_dim, self.end_dim))
        if start > end:
            raise ShapeError(f"{self!r}: expected start_dim before end_dim, got axes {start + 1} and {end + 1} of {in_shape}")
        return (*in_shape[:start], prod(in_shape[start : end + 1]), *in_shape[end + 1 :])

    def onnx(self, graph, x):
        out = self._built.out_shape
        return graph.node("Flatten", x, axis=1) if len(out) == 1 else graph.node("Reshape", x, [0, *out])

    @classmethod
    def from_onnx(cls, at):
        node = at.take("Flatten")
        return at.found(cls()) if node and node.attributes["axis"] in (1, -at.rank) else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2, 3)), Example(cls(2), (2, 3, 4))]


@register("squeeze")
class Squeeze(_View):
    """Rows without their axes of size 1; grad_x is grad_out in the shape of x.

    Parameters
    ----------
    dim : int, optional: this axis only, and only if its size is 1; counted as in PyTorch: from 1 (0 is the batch), or from
        the end

    Shape
    -----
    x: (N, ..., 1, ...) -> out: (N, ..., ...)

    Raises
    ------
    ShapeError
        There is no such axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Squeeze()]).build((2, 1, 3)).out_shape
    (2, 3)
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim
        if dim is not None:
            self.require_axis("dim")

    def build(self, in_shape: Shape) -> Shape:
        chosen = range(len(in_shape)) if self.dim is None else [self.axis_of_row(self.dim, in_shape)]
        return tuple(size for axis, size in enumerate(in_shape) if size != 1 or axis not in chosen)

    def onnx(self, graph, x):
        shape = self._built.in_shape
        chosen = range(len(shape)) if self.dim is None else [self.axis_of_row(self.dim, shape)]
        axes = [axis + 1 for axis in chosen if shape[axis] == 1]
        return graph.node("Squeeze", x, axes) if axes else x

    @classmethod
    def from_onnx(cls, at):
        if (node := at.take("Squeeze")) is None or node.input(1) is None:
            return None
        axes = sorted(axis % (at.rank + 1) for axis in node.integers(1))
        if axes == [axis + 1 for axis, size in enumerate(at.shape) if size == 1]:
            return at.found(cls())
        return at.found(cls(at.dim(axes[0]))) if len(axes) == 1 and axes[0] > 0 else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2, 1, 3)), Example(cls(-1), (1, 4, 1))]


def _merged(order: Sequence[int], sizes: Shape) -> tuple[list[int], list[int]]:
    """Sizes of the output's axes, and their strides in the input; axes that stay neighbours are one, those of size 1 none."""
    strides = [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    shape, steps = [1], [0]
    for axis in order:
        if sizes[axis] == 1:
            continue
        if steps[-1] == sizes[axis] * strides[axis]:
            shape[-1] *= sizes[axis]
            steps[-1] = strides[axis]
        else:
            shape.append(sizes[axis])
            steps.append(strides[axis])
    return shape[1:], steps[1:]


class Rearranged(Layer):
    """The numbers of a row in another order, as their axes are; grad_x is grad_out with the axes put back."""

    flat = True

    def arrange(self, sizes: Shape, order: Sequence[int]) -> None:
        """Set what the kernels need for rows of ``sizes``: where each axis of the output comes from.

        An axis that stays the first counts as rows.
        """
        counts, strides = _merged(order, sizes)
        if len(counts) > 1 and strides[0] == prod(counts[1:]):
            del counts[0], strides[0]
        if len(counts) > 4:
            raise ShapeError(
                f"{self!r}: expected at most 4 groups of axes that stay together, got {len(counts)}; permute twice"
            )
        empty = 4 - len(counts)
        self.n1, self.n2, self.n3, self.n4 = [1] * empty + counts  # of the output
        self.s1, self.s2, self.s3, self.s4 = [0] * empty + strides  # in the input

    def c(self) -> str:
        return """
            void forward(const real x[N], real out[N])
            {
                int i = 0;
                for (int start = 0; start < N; start += n1 * n2 * n3 * n4)
                    for (int a = 0; a < n1; a++)
                        for (int b = 0; b < n2; b++)
                            for (int c = 0; c < n3; c++)
                                for (int d = 0; d < n4; d++)
                                    out[i++] = x[start + a * s1 + b * s2 + c * s3 + d * s4];
            }"""

    @staticmethod
    def forward(x, n1, n2, n3, n4, s1, s2, s3, s4, out):
        inner, outer = n3 * n4, n1 * n2
        for place in range(out.shape[0] // inner):
            start = place // outer * outer * inner + place // n2 % n1 * s1 + place % n2 * s2
            target = out[place * inner : (place + 1) * inner].reshape(n3, n4)
            if s3 == 1 and s4 == n3:  # of a matrix that lies in one piece
                transpose(x[start : start + inner].reshape(n4, n3), target)
            else:
                for k in range(n3):
                    row, source = target[k], x[start + k * s3 :]
                    if s4 == 1:
                        for i in range(n4):
                            row[i] = source[i]
                    else:
                        for i in range(n4):
                            row[i] = source[i * s4]

    @staticmethod
    def backward(grad_out, n1, n2, n3, n4, s1, s2, s3, s4, grad_x):
        inner, outer = n3 * n4, n1 * n2
        for place in range(grad_out.shape[0] // inner):
            start = place // outer * outer * inner + place // n2 % n1 * s1 + place % n2 * s2
            source = grad_out[place * inner : (place + 1) * inner].reshape(n3, n4)
            if s3 == 1 and s4 == n3:
                transpose(source, grad_x[start : start + inner].reshape(n4, n3))
            else:
                for k in range(n3):
                    row, target = source[k], grad_x[start + k * s3 :]
                    if s4 == 1:
                        for i in range(n4):
                            target[i] = row[i]
                    else:
                        for i in range(n4):
                            target[i * s4] = row[i]


@register("permute")
class Permute(Rearranged):
    """Rows with their axes in another order: out[n] = x[n].transpose(...); grad_x is grad_out with the axes put back.

    Parameters
    ----------
    dims : tuple of int: where each axis of the output comes from, counted as in PyTorch from 1, as axis 0 is the batch and
        stays where it is: ``permute(0, 2, 1)`` is ``Permute((2, 1))``

    Shape
    -----
    x: (N, d1, ..., dk) -> out: (N, d_dims[0], ..., d_dims[k - 1])

    Raises
    ------
    ShapeError
        The rows have more axes, or fewer; or the order has more than four groups of axes that do not stay together.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Permute((2, 1))]).build((2, 3)).predict([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    array([[[1., 4.],
            [2., 5.],
            [3., 6.]]], dtype=float32)
    """

    def __init__(self, dims: Sequence[int]) -> None:
        self.dims = dims
        sequence = isinstance(dims, list | tuple)
        self.require("dims", sequence and sorted(dims) == list(range(1, len(dims) + 1)),
                     "the numbers 1, 2, ... of a row's axes in another order (0, the batch, is left out)")  # fmt: skip

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != len(self.dims):
            raise ShapeError(f"{self!r}: expected input rows of {len(self.dims)} axes, got {in_shape}")
        order = [dim - 1 for dim in self.dims]
        self.arrange(in_shape, order)
        return tuple(in_shape[axis] for axis in order)

    def onnx(self, graph, x):
        return graph.node("Transpose", x, perm=[0, *self.dims])

    @classmethod
    def from_onnx(cls, at):
        if (node := at.take("Transpose")) is None:
            return None
        batch, *dims = node.attributes.get("perm") or range(at.rank, -1, -1)
        return at.found(cls(tuple(dims))) if batch == 0 else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls((2, 1)), (3, 4)), Example(cls((3, 2, 1)), (2, 3, 2))]


@register("reshape")
class Reshape(_View):
    """Rows in another shape: out[n] = x[n].reshape(shape); grad_x is grad_out in the shape of x.

    Parameters
    ----------
    shape : tuple of int, without the batch axis; one of them may be -1, which stands for what is left

    Shape
    -----
    x: (N, ...) -> out: (N, *shape)

    Raises
    ------
    ShapeError
        The shapes do not hold equally many numbers.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Reshape((2, -1))]).build((6,)).out_shape
    (2, 3)
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = shape
        sizes = [size for size in shape if size != -1]
        self.require("shape", len(shape) - len(sizes) <= 1 and all(size > 0 for size in sizes),
                     "positive integers, at most one of them -1")  # fmt: skip

    def build(self, in_shape: Shape) -> Shape:
        total, known = prod(in_shape), prod(size for size in self.shape if size != -1)
        shape = tuple(total // known if size == -1 else size for size in self.shape)
        if prod(shape) != total:
            raise ShapeError(f"{self!r}: expected input rows of {known} numbers (or a multiple, with -1), got {in_shape}")
        return shape

    def onnx(self, graph, x):
        return graph.node("Reshape", x, [0, *self._built.out_shape])

    @classmethod
    def from_onnx(cls, at):
        """Reshape or Unsqueeze, where the batch stays by itself."""
        if (node := at.take("Unsqueeze")) is not None:
            rank = at.rank + 1 + len(node.integers(1))
            axes = {axis % rank for axis in node.integers(1)}
            sizes = iter(at.shape)
            return None if 0 in axes else at.found(cls(tuple(1 if axis in axes else next(sizes) for axis in range(1, rank))))
        if (node := at.take("Reshape")) is None:
            return None
        batch, *shape = node.integers(1)
        shape = [at.shape[axis] if size == 0 and axis < at.rank else size for axis, size in enumerate(shape)]
        known = prod(size for size in shape if size != -1)
        whole = prod(at.shape) == known if batch == -1 or -1 not in shape else known > 0 and prod(at.shape) % known == 0
        return at.found(cls(tuple(shape))) if batch in (0, -1) and min(shape, default=1) != 0 and whole else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls((3, -1)), (6,))]


@register("unflatten")
class Unflatten(_View):
    """One axis of a row as several: out[n] = x[n].reshape(...); grad_x is grad_out in the shape of x.

    Parameters
    ----------
    dim : int, the axis, counted as in PyTorch: from 1 (0 is the batch), or from the end
    unflattened_size : tuple of int: its size as those of several axes; one of them may be -1, which stands for what is left

    Shape
    -----
    x: (N, ..., d, ...) -> out: (N, ..., *unflattened_size, ...)

    Raises
    ------
    ShapeError
        There is no such axis, or its size is not the product of the others.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Unflatten(1, (2, -1))]).build((6, 5)).out_shape
    (2, 3, 5)
    """

    elsewhere = ("dim", "unflattened_size")

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = dim
        self.unflattened_size = unflattened_size
        self.require_axis("dim")
        sizes = unflattened_size if isinstance(unflattened_size, list | tuple) else [0]
        whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) for size in sizes)
        self.require("unflattened_size", whole and len(sizes) > 0 and all(size > 0 or size == -1 for size in sizes)
                     and list(sizes).count(-1) <= 1, "positive integers, at most one of them -1")  # fmt: skip

    def build(self, in_shape: Shape) -> Shape:
        axis = self.axis_of_row(self.dim, in_shape)
        known = prod(size for size in self.unflattened_size if size != -1)
        sizes = tuple(in_shape[axis] // known if size == -1 else size for size in self.unflattened_size)
        if prod(sizes) != in_shape[axis]:
            raise ShapeError(f"{self!r}: expected axis {self.dim} of size {known} (or a multiple, with -1), got rows of "
                             f"{in_shape}")  # fmt: skip
        return (*in_shape[:axis], *sizes, *in_shape[axis + 1 :])

    def onnx(self, graph, x):
        """A Reshape, as which it is read."""
        return graph.node("Reshape", x, [0, *self._built.out_shape])

    @classmethod
    def from_onnx(cls, at):
        return None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(1, (2, -1)), (4, 3)), Example(cls(-1, (3, 2)), (2, 6))]
