"""Schedules that are made of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.core.schedule import Schedule

__all__ = ["ChainedSchedule", "ScaledSchedule", "SequentialSchedule"]

Times = NDArray[np.float64]


class _Several(Schedule):
    """Others, which may go by losses."""

    def __init__(self, schedules: Sequence[Any]) -> None:
        self.schedules = schedules
        self.require("schedules", isinstance(schedules, list | tuple) and len(schedules) > 0, "a list of schedules")
        self._made = [Schedule.make(schedule) for schedule in schedules]

    @property
    def adaptive(self) -> bool:  # type: ignore[override]
        return any(schedule.adaptive for schedule in self._made)

    @property
    def cycle_momentum(self) -> bool:  # type: ignore[override]
        return any(schedule.cycle_momentum for schedule in self._made)


@register("sequential")
class SequentialSchedule(_Several):
    """One schedule after the other: the next begins at each of the milestones, and with a clock of its own.

    factor(t) = f_k(t - m_k) for m_k <= t < m_{k+1}; for f_k, training takes from m_k to m_{k+1} epochs. It is what
    ``first.then(second, after=5)`` makes.

    Parameters
    ----------
    schedules : schedules or their names
    milestones : times in epochs, in order, one less than there are schedules

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> schedule = nn.LinearSchedule(initial=0.5, length=2).then("cosine", after=2)
    >>> schedule
    SequentialSchedule(schedules=[LinearSchedule(initial=0.5, length=2), 'cosine'], milestones=[2])
    >>> schedule.factor(np.array([0.0, 1.0, 2.0, 6.0, 10.0]), 10).round(6)
    array([0.5 , 0.75, 1.  , 0.5 , 0.  ])
    """

    elsewhere = ("schedulers", "milestones")

    def __init__(self, schedules: Sequence[Any] = ("linear", "constant"), *, milestones: Sequence[float] = (5.0,)) -> None:
        super().__init__(schedules)
        self.milestones = milestones
        fit = isinstance(milestones, list | tuple) and len(milestones) == len(schedules) - 1
        times = [0.0, *milestones] if fit else []
        self.require("milestones", fit and times == sorted(times), "times in order, one less than there are schedules")
        self._observed = 0

    def factor(self, epoch: Times, epochs: float) -> Times:
        factor = np.ones_like(epoch)
        for schedule, begin, within, length in self._spans(epoch, epochs):
            factor = np.where(epoch >= begin, schedule.factor(within, length), factor)
        return factor

    def momentum(self, epoch: Times, epochs: float, own: Times) -> Times:
        momentum = own
        for schedule, begin, within, length in self._spans(epoch, epochs):
            momentum = np.where(epoch >= begin, schedule.momentum(within, length, own), momentum)
        return momentum

    def _spans(self, epoch: Times, epochs: float) -> Iterator[tuple[Schedule, float, Times, float]]:
        """Each schedule, when it begins, the times by its clock, and how long training takes by that."""
        begins = [0.0, *self.milestones]
        for schedule, begin, end in zip(self._made, begins, [*self.milestones, epochs], strict=True):
            yield schedule, begin, np.maximum(epoch - begin, 0.0), max(end - begin, 1e-9)

    @property
    def extremes(self) -> tuple[float, float]:  # type: ignore[override]
        lows, highs = zip(*(schedule.extremes for schedule in self._made), strict=True)
        return min(lows), max(highs)

    def observe(self, loss: float) -> None:
        self._made[int(np.searchsorted(self.milestones, self._observed, side="right"))].observe(loss)
        self._observed += 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(["linear_warmup", "cosine", "step"], milestones=[1, 4.5]))]


@register("chained")
class ChainedSchedule(_Several):
    """factor(t) = f_1(t) f_2(t) ...: several at once.

    Parameters
    ----------
    schedules : schedules or their names

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.ChainedSchedule([nn.StepSchedule(2, gamma=0.5), nn.ExponentialSchedule(0.9)]).factor(np.array([0.0, 1.0, 2.0]), 10)
    array([1.   , 0.9  , 0.405])
    """

    elsewhere = ("schedulers",)

    def __init__(self, schedules: Sequence[Any] = ("linear", "exponential")) -> None:
        super().__init__(schedules)

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.asarray(np.prod([schedule.factor(epoch, epochs) for schedule in self._made], axis=0))

    def momentum(self, epoch: Times, epochs: float, own: Times) -> Times:
        for schedule in self._made:  # the last one that says something counts
            own = schedule.momentum(epoch, epochs, own)
        return own

    def observe(self, loss: float) -> None:
        for schedule in self._made:
            schedule.observe(loss)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(["cosine", "reduce_on_plateau"]))]


@register("scaled")
class ScaledSchedule(Schedule):
    """factor(t) = scale f(t), where f is another schedule's factor: ``0.5 * CosineSchedule()``, for a number that follows it.

    Parameters
    ----------
    scale : float, the number where f is 1
    schedule : Schedule or its name

    Raises
    ------
    ParameterError
        The schedule goes by losses: such a one changes the learning rate alone.

    Examples
    --------
    >>> import nnkit as nn
    >>> 0.5 * nn.CosineSchedule()
    0.5 * CosineSchedule()
    >>> model = nn.Sequential([nn.Linear(8), nn.Dropout(0.5 * nn.CosineSchedule()), nn.Linear(1)])
    >>> history = model.fit([[1.0], [2.0]], [[2.0], [4.0]], epochs=4, batch_size=1, random_state=0)
    >>> model.states()["1.rate"]  # at the end of the last step
    array([0.], dtype=float32)
    """

    def __init__(self, scale: float = 1.0, *, schedule: Any = "constant") -> None:
        self.scale = scale
        self.schedule = schedule
        self.require_number("scale")
        self._schedule = Schedule.make(schedule)
        self.require("schedule", not self._schedule.adaptive, "one that goes by time, not by losses")

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.asarray(self.scale * self._schedule.factor(epoch, epochs))

    @property
    def cycle_momentum(self) -> bool:  # type: ignore[override]
        return self._schedule.cycle_momentum

    def momentum(self, epoch: Times, epochs: float, own: Times) -> Times:
        return self._schedule.momentum(epoch, epochs, own)

    def __rmul__(self, scale: float) -> Schedule:
        return ScaledSchedule(scale * self.scale, schedule=self.schedule)

    @property
    def extremes(self) -> tuple[float, float]:  # type: ignore[override]
        low, high = sorted(self.scale * end for end in self._schedule.extremes)
        return low, high

    def __repr__(self) -> str:
        return f"{self.scale!r} * {self._schedule!r}"

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(0.5, schedule="cosine"))]
