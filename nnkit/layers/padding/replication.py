"""The numbers at the edges around rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnkit.core.registry import register
from nnkit.layers.padding.layer import Padding

__all__ = ["ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d"]


class _Replication(Padding):
    """Outside, there is what lies at the edge."""

    onnx_mode = "edge"
    c_source = "{p} = {p} < 0 ? 0 : {p} < {size} ? {p} : {size} - 1;"

    @staticmethod
    def source(places: NDArray[np.int64], size: int, first: int, kept: int) -> NDArray[np.int64]:
        return np.clip(places, 0, size - 1)


@register("replication_pad1d")
class ReplicationPad1d(_Replication):
    """The numbers at the edges around each channel of a sequence.

    Places before the first are the first, those behind the last the last. grad_x is the sum of grad_out over all places that a
    number has gone to.

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
    >>> nn.Sequential([nn.ReplicationPad1d(1)]).build((1, 2)).predict([[[1.0, 2.0]]]).ravel()
    array([1., 1., 2., 2.], dtype=float32)
    """

    dims = 1


@register("replication_pad2d")
class ReplicationPad2d(_Replication):
    """The numbers at the edges around an image.

    Places before the first are the first, those behind the last the last. grad_x is the sum of grad_out over all places that a
    number has gone to.

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
    >>> nn.Sequential([nn.ReplicationPad2d((1, 1, 0, 0))]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]]).ravel()
    array([1., 1., 2., 2.], dtype=float32)
    """

    dims = 2


@register("replication_pad3d")
class ReplicationPad3d(_Replication):
    """The numbers at the edges around a volume.

    Places before the first are the first, those behind the last the last. grad_x is the sum of grad_out over all places that a
    number has gone to.

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
    >>> nn.Sequential([nn.ReplicationPad3d((1, 1, 0, 0, 0, 0))]).build((1, 1, 1, 2)).predict([[[[[1.0, 2.0]]]]]).ravel()
    array([1., 1., 2., 2.], dtype=float32)
    """

    dims = 3
