"""Inputs to check derivatives at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw", "keep_away"]

MARGIN = 1e-2  # how far inputs keep away from kinks: many steps of central differences


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
