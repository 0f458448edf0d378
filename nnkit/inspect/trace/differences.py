"""Derivatives by central differences, in float64: the oracle for every backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["central_differences", "sides"]

STEP = 1e-5  # truncation ~ STEP**2, rounding ~ 1e-16 / STEP: both about 1e-11


def sides(
    function: Callable[[], float], array: NDArray[np.float64], places: Iterable[tuple[int, ...]], step: float = STEP
) -> NDArray[np.float64]:
    """Slopes of ``function()`` to the left and to the right of each of some numbers of ``array``: (places, 2).

    They are (f(a) - f(a - h)) / h and (f(a + h) - f(a)) / h with h = step * max(1, |a|); their mean is the central difference.
    """
    here = function()
    slopes = []
    for place in places:
        value = float(array[place])
        h = step * max(1.0, abs(value))
        array[place] = value - h
        left = (here - function()) / h
        array[place] = value + h
        right = (function() - here) / h
        array[place] = value
        slopes.append((left, right))
    return np.array(slopes).reshape(-1, 2)


def central_differences(function: Callable[[], float], array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradient of ``function()`` by the numbers of ``array``, which it reads: (f(a + h) - f(a - h)) / 2 h for each.

    Parameters
    ----------
    function : of no arguments; reads ``array`` at every call
    array : float64, changed while the function is called, restored afterwards

    Examples
    --------
    >>> import numpy as np
    >>> a = np.array([1.0, 2.0])
    >>> central_differences(lambda: float(a[0] * a[1]), a).round(6)
    array([2., 1.])
    """
    return np.asarray(sides(function, array, np.ndindex(array.shape)).mean(axis=1).reshape(array.shape))
