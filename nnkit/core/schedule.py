"""The contract of a learning-rate schedule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Part
from nnkit.core.registry import Registry
from nnkit.errors import ParameterError

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

    def observed(self) -> dict[str, Any]:
        """What it has noted beside its hyper-parameters, as numbers by name, for a file; `resume` reads it."""
        own = {name: value for name, value in vars(self).items() if name not in self.hyperparameters()}
        return {name: value.observed() if isinstance(value, Schedule) else value for name, value in own.items()}

    def resume(self, observed: Mapping[str, Any]) -> None:
        """Go on with what a schedule with the same hyper-parameters had `observed`.

        Raises
        ------
        ParameterError
            This schedule notes nothing of the kind.
        """
        for name, value in observed.items():
            mine = vars(self).get(name)
            if isinstance(mine, Schedule) and isinstance(value, dict):
                mine.resume(value)
            elif name in self.hyperparameters() or not isinstance(value, float if isinstance(mine, float) else type(mine)):
                raise ParameterError(f"{self!r}: expected what such a schedule has noted, got {name!r}")
            else:
                setattr(self, name, value)
