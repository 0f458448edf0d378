"""The other end around rows, as on a circle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.layers.padding.layer import Padding

__all__ = ["CircularPad1d", "CircularPad2d", "CircularPad3d"]


class _Circular(Padding):
    """Outside, the places that are kept come again."""

    onnx_mode = None
    c_source = "{p} = first_{p} + ({p} - first_{p} + kept_{p}) % kept_{p};"

    @staticmethod
    def source(places: NDArray[np.int64], size: int, first: int, kept: int) -> NDArray[np.int64]:
        return first + (places - first) % kept

    def require_room(self, in_shape: Shape, size: int, kept: int, most: int) -> None:
        if most > kept:
            raise ShapeError(f"{self!r}: expected at most as much padding as places along its axis are kept, {kept}, "
                             f"got {most} for rows of {in_shape}")  # fmt: skip


@register("circular_pad1d")
class CircularPad1d(_Circular):
    """The other end around each channel of a sequence, as on a circle.

    Place -p is place L - p, and place L - 1 + p is p - 1. grad_x is the sum of grad_out over all places that a number has gone
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
        Rows are not (C, L), there is more padding along an axis than places, or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.CircularPad1d(1)]).build((1, 2)).predict([[[1.0, 2.0]]]).ravel()
    array([2., 1., 2., 1.], dtype=float32)
    """

    dims = 1


@register("circular_pad2d")
class CircularPad2d(_Circular):
    """The other end around an image, as on a circle.

    Place -p is place L - p, and place L - 1 + p is p - 1, along every axis. grad_x is the sum of grad_out over all places that
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
        Rows are not (C, H, W), there is more padding along an axis than places, or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.CircularPad2d((1, 1, 0, 0))]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]]).ravel()
    array([2., 1., 2., 1.], dtype=float32)
    """

    dims = 2


@register("circular_pad3d")
class CircularPad3d(_Circular):
    """The other end around a volume, as on a circle.

    Place -p is place L - p, and place L - 1 + p is p - 1, along every axis. grad_x is the sum of grad_out over all places that
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
        Rows are not (C, D, H, W), there is more padding along an axis than places, or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.CircularPad3d((1, 1, 0, 0, 0, 0))]).build((1, 1, 1, 2)).predict([[[[[1.0, 2.0]]]]]).ravel()
    array([2., 1., 2., 1.], dtype=float32)
    """

    dims = 3
