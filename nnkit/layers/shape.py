"""Layers that see the same numbers in another shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError

__all__ = ["Flatten", "Reshape"]


class _View(Layer):
    """out is x, and grad_x is grad_out, seen in another shape: nothing is computed, so there are no kernels."""

    def kernels(self) -> dict[str, Callable[..., Any]]:
        return {}

    @classmethod
    def require_kernels(cls) -> None:
        """It has none."""


@register("flatten")
class Flatten(_View):
    """All axes of a row as one: out[n] = x[n].ravel(); grad_x is grad_out in the shape of x.

    Shape
    -----
    x: (N, d1, ..., dk) -> out: (N, d1 * ... * dk)

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Flatten()]).build((2, 3)).out_shape
    (6,)
    """

    def build(self, in_shape: Shape) -> Shape:
        return (prod(in_shape),)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2, 3))]


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

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls((3, -1)), (6,))]
