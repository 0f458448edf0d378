"""A mirror image around rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.layers.padding.layer import Padding

__all__ = ["ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d"]


class _Reflection(Padding):
    """Outside, there is what lies as far within."""

    onnx_mode = "reflect"
    c_source = "{p} = {p} < 0 ? -{p} : {p} < {size} ? {p} : 2 * ({size} - 1) - {p};"

    @staticmethod
    def source(places: NDArray[np.int64], size: int, first: int, kept: int) -> NDArray[np.int64]:
        return size - 1 - abs(size - 1 - abs(places))

    def require_room(self, in_shape: Shape, size: int, kept: int, most: int) -> None:
        if most >= size:
            raise ShapeError(f"{self!r}: expected less padding than places along its axis, got {most} for rows of {in_shape}")


@register("reflection_pad1d")
class ReflectionPad1d(_Reflection):
    """A mirror image around each channel of a sequence; the places at the edges are not repeated.

    Place -p is place p, and place L - 1 + p is L - 1 - p. grad_x is the sum of grad_out over all places that a number has gone
    to.

    Parameters
    ----------
    padding : int on all sides, or (left, right); what is negative is cut off

    Shape
    -----
    x: (N, C, L) -> out: (N, C, left + L + right)

    Raises
    ------
    ShapeError
        Rows are not (C, L), there is as much padding along an axis as places, or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ReflectionPad1d(1)]).build((1, 2)).predict([[[1.0, 2.0]]]).ravel()
    array([2., 1., 2., 1.], dtype=float32)
    """

    dims = 1


@register("reflection_pad2d")
class ReflectionPad2d(_Reflection):
    """A mirror image around an image; the places at the edges are not repeated.

    Place -p is place p, and place L - 1 + p is L - 1 - p, along every axis. grad_x is the sum of grad_out over all places that
    a number has gone to.

    Parameters
    ----------
    padding : int on all sides, or (left, right, top, bottom); what is negative is cut off

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, top + H + bottom, left + W + right)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), there is as much padding along an axis as places, or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ReflectionPad2d((1, 1, 0, 0))]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]]).ravel()
    array([2., 1., 2., 1.], dtype=float32)
    """

    dims = 2


@register("reflection_pad3d")
class ReflectionPad3d(_Reflection):
    """A mirror image around a volume; the places at the edges are not repeated.

    Place -p is place p, and place L - 1 + p is L - 1 - p, along every axis. grad_x is the sum of grad_out over all places that
    a number has gone to.

    Parameters
    ----------
    padding : int on all sides, or (left, right, top, bottom, front, back); what is negative is cut off

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, front + D + back, top + H + bottom, left + W + right)

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), there is as much padding along an axis as places, or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ReflectionPad3d((1, 1, 0, 0, 0, 0))]).build((1, 1, 1, 2)).predict([[[[[1.0, 2.0]]]]]).ravel()
    array([2., 1., 2., 1.], dtype=float32)
    """

    dims = 3
