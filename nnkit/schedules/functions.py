"""Schedules that are a function of one's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnkit.core.registry import register
from nnkit.core.schedule import Schedule

__all__ = ["LambdaSchedule", "MultiplicativeSchedule"]

Times = NDArray[np.float64]


class _OfFunction(Schedule):
    """What a function says, which is not called before training."""

    def __init__(self, function: Callable[[float], float]) -> None:
        self.function = function
        self.require("function", callable(function), "a function of the time in epochs")

    def _at(self, time: float) -> float:
        """What the function says of a time."""
        return float(self.function(time))


@register("lambda")
class LambdaSchedule(_OfFunction):
    """factor(t) = function(t).

    The time is a real number, and goes on within an epoch: ``lambda t: 0.95 ** int(t)`` changes with the epochs alone. Files
    hold no functions, not even by name, as a file could then name any function there is: a class that derives from `Schedule`,
    and is registered, goes into them.

    Parameters
    ----------
    function : takes the time in epochs, gives the factor

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.LambdaSchedule(lambda t: 1 / (1 + t)).factor(np.array([0.0, 1.0, 3.0]), 10)
    array([1.  , 0.5 , 0.25])
    """

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.array([self._at(time) for time in epoch.tolist()])


@register("multiplicative")
class MultiplicativeSchedule(_OfFunction):
    """factor(t) = function(1) function(2) ... function(floor(t)): a factor for each epoch after the first.

    Parameters
    ----------
    function : takes the number of an epoch, counted from 0, gives what the rate of the one before is multiplied by

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.MultiplicativeSchedule(lambda epoch: 0.5 if epoch < 3 else 1.0).factor(np.array([0.0, 1.0, 2.5, 9.0]), 10)
    array([1.  , 0.5 , 0.25, 0.25])
    """

    def factor(self, epoch: Times, epochs: float) -> Times:
        passed = np.floor(epoch).astype(int)
        products = np.cumprod([1.0, *(self._at(number) for number in range(1, int(passed.max(initial=0)) + 1))])
        return np.asarray(products[passed])
