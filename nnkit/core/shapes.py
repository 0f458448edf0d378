"""Shapes with which a loop over several arrays of a layer stays within each."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from nnkit.core.part import Shape
from nnkit.errors import KernelError, ShapeError

__all__ = ["require_one_loop", "require_views"]


def require_views(layer: object, arrays: Mapping[str, Shape], views: Mapping[str, Shape]) -> None:
    """Refuse views of what is not there, or of other sizes.

    Raises
    ------
    KernelError, ShapeError
    """
    for name, view in views.items():
        if name not in arrays:
            raise KernelError(f"{layer!r}: expected views of {', '.join(arrays)}, got one of {name!r}")
        if prod(view) != prod(arrays[name]):
            raise ShapeError(f"{layer!r}: expected a view of {name!r} with as many numbers as {arrays[name]}, got {view}")


def require_one_loop(layer: object, x: Shape, out: Shape, *, pointwise: bool, folded: bool) -> None:
    """Refuse rows of x and out through which kernels cannot go in one loop, though they see them so.

    Parameters
    ----------
    layer : whose they are, for messages
    x, out : the shapes of rows
    pointwise : kernels give one number of out for each one of x
    folded : kernels see all axes but the last one as rows

    Raises
    ------
    ShapeError
    """
    if pointwise and prod(out) != prod(x):
        raise ShapeError(f"{layer!r}: expected build to return a shape of as many numbers as {x}, as each of them gives one, "
                         f"got {out}")  # fmt: skip
    if folded and prod(out[:-1]) != prod(x[:-1]):
        raise ShapeError(f"{layer!r}: expected build to return a shape with the axes {x[:-1]} of x before the last one, as "
                         f"these are folded into the rows, got {out}")  # fmt: skip
