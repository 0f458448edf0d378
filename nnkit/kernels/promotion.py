"""How whole numbers take part in the arithmetic of float32 kernels; compiled code only."""

from __future__ import annotations

from numba import types
from numba.extending import overload

__all__ = ["strong"]


def strong(number, beside):
    """A whole number of an array, beside another number: with a float32 it makes a float64, as in NumPy."""
    return number


@overload(strong, inline="always")
def _strong(number, beside):
    widens = isinstance(number, types.Integer) and beside == types.float32
    return (lambda number, beside: types.float64(number)) if widens else (lambda number, beside: number)
