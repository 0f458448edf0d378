"""The contract of a learning-rate schedule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Part, kernel_names
from nnkit.core.registry import Registry
from nnkit.errors import ParameterError

__all__ = ["Schedule", "SteeredMomentum", "at_times", "followed", "is_timed"]


class Schedule(Part):
    """The learning rate as a function of time: ``lr * factor(epoch, epochs)``.

    Time is counted in epochs and is fractional: 2.5 is the middle of the third one.

    Another number than the learning rate can follow one, too: ``nn.Dropout(0.5 * nn.CosineSchedule())`` begins with a rate of
    0.5, and ``nn.AdamW(weight_decay=0.1 * nn.CosineSchedule())`` with a decay of 0.1. It is computed anew for every step.
    It works for numbers that kernels read: hyper-parameters of optimizers, layers and losses, and each of an optimizer's betas.

    Hooks
    -----
    What a schedule may have, and what stands where it has none. ``needed``: it has to have it; ``method``: there is one, which
    may be overridden, and is described below.

    ==============  ==========  ===============================================================================================
    hook            default     what it is
    ==============  ==========  ===============================================================================================
    factor          needed      what the learning rate is multiplied by at some times, float64 in [0, 1]
    extremes        (0.0, 1.0)  the least and the greatest factor
    adaptive        False       it goes by the losses of past epochs, which `observe` is told: `fit` looks at every epoch
    momentum        method      what the optimizer's momentum is at some times, beside the learning rate: its own
    cycle_momentum  False       `momentum` is asked; an optimizer without momentum or betas is refused
    observe         method      is told the loss of an epoch; does nothing
    observed        method      what it has noted, for a file: all attributes that are no hyper-parameters
    resume          method      goes on with what another one has `observed`
    examples        method      class method: ready-made ones, with legal inputs, that the checks take; one with its defaults,
                                where the constructor needs no arguments
    acts_outside    False       it writes files, runs commands or the like: a file from somebody else does not bring it along
    elsewhere       ()          what PyTorch's or Keras' constructor takes by position, in its words, where that is not as here
    ==============  ==========  ===============================================================================================

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> class InverseTime(nn.Schedule):
    ...     def __init__(self, decay=1.0):
    ...         self.decay = decay
    ...     def factor(self, epoch, epochs):
    ...         return 1.0 / (1.0 + self.decay * epoch)
    >>> InverseTime(0.5).factor(np.array([0.0, 2.0]), 10.0)
    array([1. , 0.5])
    >>> optimizer = nn.Adam(lr=0.01, schedule=InverseTime(0.5))
    """

    registry: ClassVar[Registry[Any]] = Registry("schedule")
    needed = ("factor",)
    hooks = (
        *Part.hooks, "factor", "extremes", "adaptive", "momentum", "cycle_momentum", "observe", "observed", "resume",
    )  # fmt: skip

    extremes: tuple[float, float] = (0.0, 1.0)
    adaptive: ClassVar[bool] = False
    cycle_momentum: bool = False

    @abstractmethod
    def factor(self, epoch: NDArray[np.float64], epochs: float) -> NDArray[np.float64]:
        """What the learning rate is multiplied by, at each of the times ``epoch`` of ``epochs`` in all."""

    def momentum(self, epoch: NDArray[np.float64], epochs: float, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the optimizer's momentum, or the first of its betas, is at these times; ``own`` is what it was made with."""
        return own

    def then(self, schedule: Schedule | str, after: float) -> Schedule:
        """Another schedule after this one, which has the first ``after`` epochs.

        Examples
        --------
        >>> import nnkit as nn
        >>> nn.LinearSchedule().then("cosine", after=5)
        SequentialSchedule(schedules=[LinearSchedule(), 'cosine'], milestones=[5])
        """
        made: Schedule = self.registry.find("sequential")([self, schedule], milestones=[after])
        return made

    def __rmul__(self, scale: float) -> Schedule:
        """``scale * schedule``: what a number follows whose greatest value is another one than 1."""
        made: Schedule = self.registry.find("scaled")(scale, schedule=self)
        return made

    def at(self, epoch: float, epochs: float) -> float:
        """The factor at one time."""
        return float(self.factor(np.array([float(epoch)]), float(epochs))[0])

    @classmethod
    def positions(cls, args: Sequence[Any]) -> tuple[str, ...]:
        """Elsewhere, the optimizer comes first; here it is given the schedule."""
        own = super().positions(args)
        return ("optimizer", *own) if isinstance(args[0], Part) else own

    def observe(self, loss: float) -> None:
        """Take note of the loss at the end of an epoch (of the validation loss, where there is one)."""

    def observed(self) -> dict[str, Any]:
        """What it has noted beside its hyper-parameters, as numbers by name, for a file; `resume` reads it."""
        own = {name: value for name, value in vars(self).items() if name not in self.hyperparameters()}
        return {name: _noted(value) for name, value in own.items()}

    def resume(self, observed: Mapping[str, Any]) -> None:
        """Go on with what a schedule with the same hyper-parameters had `observed`.

        Raises
        ------
        ParameterError
            This schedule notes nothing of the kind.
        """
        for name, value in observed.items():
            mine = vars(self).get(name)
            within, theirs = (given if isinstance(given, list) else [given] for given in (mine, value))
            parts = [part for part in within if isinstance(part, Schedule)]
            like = isinstance(value, float if isinstance(mine, float) else type(mine))
            if parts and len(parts) == len(theirs) and all(isinstance(noted, dict) for noted in theirs):
                for part, noted in zip(parts, theirs, strict=True):
                    part.resume(noted)
            elif parts or name in self.hyperparameters() or not like:
                raise ParameterError(f"{self!r}: expected what such a schedule has noted, got {name!r}")
            else:
                setattr(self, name, value)


class SteeredMomentum(Schedule):
    """The momentum that a schedule of the learning rate says, as a schedule of its own.

    Parameters
    ----------
    schedule : that of the learning rate
    own : the optimizer's momentum, a number or a schedule
    """

    def __init__(self, schedule: Schedule, own: Any) -> None:
        self.schedule, self.own = schedule, own

    def factor(self, epoch: NDArray[np.float64], epochs: float) -> NDArray[np.float64]:
        return self.schedule.momentum(epoch, epochs, np.broadcast_to(at_times(self.own, epoch, epochs), epoch.shape))


def is_timed(value: Any) -> bool:
    """Whether a hyper-parameter follows a schedule, or one of several numbers does."""
    return isinstance(value, Schedule) or (isinstance(value, tuple | list) and any(map(is_timed, value)))


def at_times(value: Any, epoch: NDArray[np.float64], epochs: float) -> Any:
    """A hyper-parameter with what its schedules say at some times."""
    if isinstance(value, Schedule):
        return value.factor(epoch, epochs)
    return tuple(at_times(item, epoch, epochs) for item in value) if is_timed(value) else value


def followed(part: Part, kernels: Iterable[Callable[..., Any]]) -> dict[str, Schedule]:
    """What the numbers of a part follow that kernels name, where they follow schedules."""
    named = {name for function in kernels for name in kernel_names(function)}
    return {name: value for name, value in vars(part).items() if name in named and isinstance(value, Schedule)}


def _noted(value: Any) -> Any:
    """What a file has of an attribute; of schedules, what they have noted."""
    if isinstance(value, list):
        return [_noted(item) for item in value]
    return value.observed() if isinstance(value, Schedule) else value
