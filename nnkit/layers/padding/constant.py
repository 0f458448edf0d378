"""A number around rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.layers.padding.layer import Padding

__all__ = ["ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d"]


class _Constant(Padding):
    """Outside, there is a number."""

    onnx_mode = "constant"
    onnx_value = True
    c_source = "if ({p} >= {size}) {p} = -1;"

    @staticmethod
    def source(places: NDArray[np.int64], size: int, first: int, kept: int) -> NDArray[np.int64]:
        return np.where((places >= 0) & (places < size), places, -1)


class _Zero(_Constant):
    """Outside, there are zeros; it is read from ONNX as a constant padding with value 0."""

    @classmethod
    def from_onnx(cls, at):
        return None


class _ConstantOf(_Constant):
    """Outside, there is a number that is given."""

    elsewhere = ("padding", "value")

    def __init__(self, padding: Any, value: float) -> None:
        self.value = value
        super().__init__(padding)
        self.require_number("value")

    @classmethod
    def read(cls, padding, value):
        return cls(padding, value)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        pads, shape = (1, 2, -1, 1, 2, 0)[: 2 * cls.dims], (2, *(3, 2, 3)[-cls.dims :])
        return [Example(cls(pads, -1.5), shape)]


@register("zero_pad1d")
class ZeroPad1d(_Zero):
    """Zeros around each channel of a sequence.

    out is x where there is one, else 0; grad_x is grad_out without what lies outside.

    Parameters
    ----------
    padding : int on all sides, or (left, right); what is negative is cut off

    Shape
    -----
    x: (N, C, L) -> out: (N, C, left + L + right)

    Raises
    ------
    ShapeError
        Rows are not (C, L), or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ZeroPad1d(1)]).build((1, 2)).predict([[[1.0, 2.0]]]).ravel()
    array([0., 1., 2., 0.], dtype=float32)
    """

    dims = 1


@register("zero_pad2d")
class ZeroPad2d(_Zero):
    """Zeros around an image.

    out is x where there is one, else 0; grad_x is grad_out without what lies outside.

    Parameters
    ----------
    padding : int on all sides, or (left, right, top, bottom); what is negative is cut off

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, top + H + bottom, left + W + right)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ZeroPad2d((1, 1, 0, 0))]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]]).ravel()
    array([0., 1., 2., 0.], dtype=float32)
    """

    dims = 2


@register("zero_pad3d")
class ZeroPad3d(_Zero):
    """Zeros around a volume.

    out is x where there is one, else 0; grad_x is grad_out without what lies outside.

    Parameters
    ----------
    padding : int on all sides, or (left, right, top, bottom, front, back); what is negative is cut off

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, front + D + back, top + H + bottom, left + W + right)

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ZeroPad3d((1, 1, 0, 0, 0, 0))]).build((1, 1, 1, 2)).predict([[[[[1.0, 2.0]]]]]).ravel()
    array([0., 1., 2., 0.], dtype=float32)
    """

    dims = 3


@register("constant_pad1d")
class ConstantPad1d(_ConstantOf):
    """A number around each channel of a sequence.

    out is x where there is one, else value; grad_x is grad_out without what lies outside.

    Parameters
    ----------
    padding : int on all sides, or (left, right); what is negative is cut off
    value : float, the number outside

    Shape
    -----
    x: (N, C, L) -> out: (N, C, left + L + right)

    Raises
    ------
    ShapeError
        Rows are not (C, L), or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ConstantPad1d(1, 7.0)]).build((1, 2)).predict([[[1.0, 2.0]]]).ravel()
    array([7., 1., 2., 7.], dtype=float32)
    """

    dims = 1


@register("constant_pad2d")
class ConstantPad2d(_ConstantOf):
    """A number around an image.

    out is x where there is one, else value; grad_x is grad_out without what lies outside.

    Parameters
    ----------
    padding : int on all sides, or (left, right, top, bottom); what is negative is cut off
    value : float, the number outside

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, top + H + bottom, left + W + right)

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ConstantPad2d((1, 1, 0, 0), 7.0)]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]]).ravel()
    array([7., 1., 2., 7.], dtype=float32)
    """

    dims = 2


@register("constant_pad3d")
class ConstantPad3d(_ConstantOf):
    """A number around a volume.

    out is x where there is one, else value; grad_x is grad_out without what lies outside.

    Parameters
    ----------
    padding : int on all sides, or (left, right, top, bottom, front, back); what is negative is cut off
    value : float, the number outside

    Shape
    -----
    x: (N, C, D, H, W) -> out: (N, C, front + D + back, top + H + bottom, left + W + right)

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W), or nothing is left.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ConstantPad3d((1, 1, 0, 0, 0, 0), 7.0)]).build((1, 1, 1, 2)).predict([[[[[1.0, 2.0]]]]]).ravel()
    array([7., 1., 2., 7.], dtype=float32)
    """

    dims = 3
