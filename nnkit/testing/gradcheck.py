"""Derivatives by central differences, in float64: the oracle for every backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["central_differences", "draw", "keep_away"]

STEP = 1e-5  # truncation ~ STEP**2, rounding ~ 1e-16 / STEP: both about 1e-11
MARGIN = 1e-2  # how far inputs keep away from kinks: many steps


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
    gradient = np.empty(array.shape)
    for place in np.ndindex(array.shape):
        here = float(array[place])
        step = STEP * max(1.0, abs(here))
        array[place] = here + step
        above = function()
        array[place] = here - step
        below = function()
        array[place] = here
        gradient[place] = (above - below) / (2 * step)
    return gradient


def keep_away(x: NDArray[np.float64], kinks: Sequence[float]) -> NDArray[np.float64]:
    """``x`` with every number that is near a kink moved away from it.

    Examples
    --------
    >>> import numpy as np
    >>> keep_away(np.array([-0.001, 0.001, 1.0]), kinks=[0.0])
    array([-0.01,  0.01,  1.  ])
    """
    for kink in kinks:
        distance = x - kink
        x = np.where(np.abs(distance) < MARGIN, kink + np.where(distance < 0, -MARGIN, MARGIN), x)
    return x


def draw(
    random: np.random.Generator, shape: Sequence[int], low: float, high: float, kinks: Sequence[float] = ()
) -> NDArray[np.float64]:
    """Uniform numbers in [low, high), away from kinks."""
    return keep_away(random.uniform(low, high, tuple(shape)), kinks)
