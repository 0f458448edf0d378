"""How far to go along a direction: the strong conditions of Wolfe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Point", "strong_wolfe"]

DECREASE, CURVATURE = 1e-4, 0.9  # c1 and c2
MOST = 25  # trials
FARTHER = 10.0  # how much farther a trial may lie than the one before
NARROW = 0.1  # of an interval: how near to its ends a trial may lie


class Point(NamedTuple):
    """What a function is at ``t`` along a direction.

    Attributes
    ----------
    t : how far it is from where the search began
    value, slope : of the function along the direction
    gradient : of the function
    """

    t: float
    value: float
    slope: float
    gradient: NDArray[np.float64]


def strong_wolfe(along: Callable[[float], Point], start: Point, first: float, reach: float) -> Point:
    """A point with f(t) <= f(0) + c1 t f'(0) and |f'(t)| <= c2 |f'(0)|; if none was found, the lowest one that was.

    Trials go out until an interval holds such a point, and then into it; each lies where the cubic through the values and
    slopes of two others has its minimum.

    Parameters
    ----------
    along : the function
    start : at t = 0, where its slope is below 0
    first : the first trial
    reach : by how much a number moves at t = 1, at most; an interval in which none moves by 1e-9 is not looked into

    References
    ----------
    Nocedal and Wright 2006, "Numerical Optimization", algorithms 3.5 and 3.6, and eq. 3.59; More and Thuente 1994, "Line
    search algorithms with guaranteed sufficient decrease".
    """
    before, here, trials = start, along(first), 1
    while not _too_high(here, start) and not (trials > 1 and here.value >= before.value):
        if abs(here.slope) <= -CURVATURE * start.slope:
            return here
        if here.slope >= 0.0 or trials > MOST:
            break
        farther = here.t + 0.01 * (here.t - before.t), FARTHER * here.t
        before, here, trials = here, along(_minimum(before, here, *farther)), trials + 1
    ends, stuck = [before, here], False
    for _ in range(trials, MOST + 1):
        ends.sort(key=lambda point: point.value)  # a stable order: the lowest comes first
        low, high = ends
        left, right = sorted((low.t, high.t))
        if (right - left) * reach < 1e-9:
            break
        t, stuck = _inside(_minimum(low, high, left, right), left, right, stuck)
        here = along(t)
        if _too_high(here, start) or here.value >= low.value:
            ends = [low, here]
            continue
        if abs(here.slope) <= -CURVATURE * start.slope:
            return here
        ends = [here, low if here.slope * (high.t - low.t) >= 0.0 else high]
    return min(ends, key=lambda point: point.value)


def _too_high(here: Point, start: Point) -> bool:
    """Whether it is not far enough down for how far it is out; what is not a number is."""
    return not here.value <= start.value + DECREASE * here.t * start.slope


def _minimum(one: Point, other: Point, low: float, high: float) -> float:
    """Where the cubic through two points has its minimum, in [low, high]; the middle where it has none."""
    a, b = sorted((one, other), key=lambda point: point.t)
    if not (np.isfinite(a.value) and np.isfinite(b.value)):
        return (low + high) / 2.0
    bend = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.t - b.t)
    square = bend * bend - a.slope * b.slope
    if not square >= 0.0:
        return (low + high) / 2.0
    root = math.sqrt(square)
    under = b.slope - a.slope + 2.0 * root
    t = b.t - (b.t - a.t) * (b.slope + root - bend) / under if under else math.nan
    return min(max(t, low), high) if math.isfinite(t) else (low + high) / 2.0


def _inside(t: float, left: float, right: float, stuck: bool) -> tuple[float, bool]:
    """A trial that is too near to an end of the interval may be so once; then it moves off, or the interval hardly shrinks."""
    margin = NARROW * (right - left)
    if min(t - left, right - t) >= margin:
        return t, False
    if not (stuck or t >= right or t <= left):
        return t, True
    return (right - margin if right - t < t - left else left + margin), False
