"""Inputs to check derivatives at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw", "go_near", "keep_away"]

MARGIN = 1e-3  # how far inputs keep away from kinks: many steps of central differences


def keep_away(x: NDArray[np.float64], kinks: Sequence[float]) -> NDArray[np.float64]:
    """``x`` with every number that is near a kink moved away from it.

    Examples
    --------
    >>> import numpy as np
    >>> keep_away(np.array([-0.0001, 0.0001, 1.0]), kinks=[0.0])
    array([-0.001,  0.001,  1.   ])
    """
    for kink in kinks:
        distance = x - kink
        x = np.where(np.abs(distance) < MARGIN, kink + np.where(distance < 0, -MARGIN, MARGIN), x)
    return x


def draw(
    random: np.random.Generator, shape: Sequence[int], low: float, high: float, kinks: Sequence[float] = ()
) -> NDArray[np.float64]:
    """Uniform numbers in [low, high), away from kinks; where there are many, some are as near to kinks as they may be."""
    x = random.uniform(low, high, tuple(shape))
    return keep_away(go_near(random, x, [kink for kink in kinks if low < kink < high]), kinks)


def go_near(random: np.random.Generator, x: NDArray[np.float64], kinks: Sequence[float]) -> NDArray[np.float64]:
    """``x`` with a number on each side of each kink, wherever; it stays as it is where those were more than a fourth.

    A kink that lies a little beside where it should is seen by nobody else.
    """
    wanted = [end for kink in kinks for end in (kink - MARGIN, kink + MARGIN)]
    if 4 * len(wanted) <= x.size:
        x = x.copy()
        x.flat[random.choice(x.size, len(wanted), replace=False)] = wanted
    return x
