"""The contract of a learning-rate schedule."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Part
from nnkit.core.registry import Registry

__all__ = ["Schedule"]


class Schedule(Part):
    """The learning rate as a function of time: ``lr * factor(epoch, epochs)``.

    Time is counted in epochs and is fractional: 2.5 is the middle of the third one.
    """

    registry: ClassVar[Registry[Any]] = Registry("schedule")

    adaptive: ClassVar[bool] = False  # reads the losses of past epochs through `observe`

    @abstractmethod
    def factor(self, epoch: NDArray[np.float64], epochs: float) -> NDArray[np.float64]:
        """What the learning rate is multiplied by, at each of the times ``epoch`` of ``epochs`` in all."""

    def observe(self, loss: float) -> None:
        """Take note of the loss at the end of an epoch (of the validation loss, where there is one)."""
