"""Derivatives by central differences, in float64: the oracle for every backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["central_differences"]

STEP = 1e-5  # truncation ~ STEP**2, rounding ~ 1e-16 / STEP: both about 1e-11


def central_differences(
    function: Callable[[], float], array: NDArray[np.float64], places: Iterable[tuple[int, ...]] | None = None
) -> NDArray[np.float64]:
    """Gradient of ``function()`` by the numbers of ``array``, which it reads: (f(a + h) - f(a - h)) / 2 h for each.

    Parameters
    ----------
    function : of no arguments; reads ``array`` at every call
    array : float64, changed while the function is called, restored afterwards
    places : indices of the numbers to differentiate by, all by default; elsewhere the result is NaN

    Examples
    --------
    >>> import numpy as np
    >>> a = np.array([1.0, 2.0])
    >>> central_differences(lambda: float(a[0] * a[1]), a).round(6)
    array([2., 1.])
    """
    gradient = np.full(array.shape, np.nan)
    for place in np.ndindex(array.shape) if places is None else places:
        here = float(array[place])
        step = STEP * max(1.0, abs(here))
        array[place] = here + step
        above = function()
        array[place] = here - step
        below = function()
        array[place] = here
        gradient[place] = (above - below) / (2 * step)
    return gradient
