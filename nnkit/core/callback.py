"""The contract of a callback."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Part
from nnkit.core.registry import Registry
from nnkit.core.training import RunningFit
from nnkit.errors import KernelError, ParameterError

__all__ = ["Callback"]


EVENTS = ("on_fit_begin", "on_batch_end", "on_epoch_end", "on_fit_end")


class Callback(Part):
    """Watches and steers a fit. Override what you need; only what is overridden makes the compiled loop stop for it.

    ``fit`` is the running fit (see `nnkit.core.training.RunningFit`): ``fit.model``, ``fit.history``, ``fit.epoch``,
    ``fit.step``, ``fit.loss`` (of the last step), and ``fit.stop(reason)``. Do not keep it: what a callback keeps goes into
    checkpoints.

    A callback may do anything, so it is suspected of it: `nnkit.load` leaves out those that a file brings, unless the file is
    trusted. One that neither writes files nor runs commands, sends messages or the like says so: ``acts_outside = False``.

    Hooks
    -----
    What a callback may have, one of the first four at least, and what stands where it has none. ``method``: there is one, which
    may be overridden, and is described below.

    =============  =======  ====================================================================================================
    hook           default  what it is
    =============  =======  ====================================================================================================
    on_fit_begin   method   before the first step; does nothing
    on_batch_end   method   after every step, or as many as `interval` says; does nothing
    on_epoch_end   method   after every epoch; does nothing
    on_fit_end     method   after the last step, however training has ended; does nothing
    shares         method   a mean of the parameters is kept, which moves towards them by these shares; none is
    anew           False    where states follow the batches, they are computed anew for that mean, from the training data
    interval       method   how many steps lie between two calls of `on_batch_end`: 1
    noted          method   what it has noted, for a checkpoint: numbers among the attributes that are no hyper-parameters
    resume         method   goes on with what another one has `noted`
    checkpoint     method   the file that it has written for ``fit(..., resume=True)``: None
    late           False    it is called after all callbacks that are not, and is no part of checkpoints
    interruptible  True     signals come in while it works; else Ctrl-C waits until it is done
    acts_outside   True     it writes files, runs commands, sends messages or the like, as above
    unsaved        ()       hyper-parameters that files do not hold, as they mean something in this run alone
    examples       method   class method: ready-made ones, with legal inputs, that the checks take; one with its defaults, where
                            the constructor needs no arguments
    elsewhere      ()       what PyTorch's or Keras' constructor takes by position, in its words, where that is not as here
    =============  =======  ====================================================================================================

    Examples
    --------
    >>> import nnkit as nn
    >>> class StopBelow(nn.Callback):
    ...     acts_outside = False
    ...     def __init__(self, loss=0.1):
    ...         self.loss = loss
    ...     def on_epoch_end(self, fit):
    ...         if fit.history["loss"][-1] < self.loss:
    ...             fit.stop("good enough")
    >>> nn.Sequential(["linear"]).fit([[1.0], [2.0]], [[2.0], [4.0]], epochs=9, callbacks=[StopBelow(100.0)]).stopped
    'good enough'
    """

    registry: ClassVar[Registry[Any]] = Registry("callback")
    hooks = (*Part.hooks, *EVENTS, "shares", "anew", "interval", "noted", "resume", "checkpoint", "late", "interruptible",
             "unsaved")  # fmt: skip

    acts_outside: ClassVar[bool] = True
    late: ClassVar[bool] = False
    anew: ClassVar[bool] = False
    interruptible: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        events = [name for name in vars(cls) if name.startswith("on_")]
        unknown = [name for name in events if not any(hasattr(base, name) for base in cls.__bases__)]
        if unknown:
            raise KernelError(f"{cls.__name__}: expected methods on_... to be among {', '.join(EVENTS)}, got {unknown[0]!r}, "
                              "which nobody calls")  # fmt: skip

    @classmethod
    def require_event(cls) -> None:
        """Refuse a class that no fit would call."""
        if not any(getattr(cls, event) is not getattr(Callback, event) for event in (*EVENTS, "shares")):
            raise KernelError(f"{cls.__name__}: expected one of {', '.join(EVENTS)}, all missing")

    def on_fit_begin(self, fit: RunningFit) -> None:
        """Before the first step."""

    def on_batch_end(self, fit: RunningFit) -> None:
        """After every step, or every ``interval(fit)`` steps: costs a return to Python each."""

    def on_epoch_end(self, fit: RunningFit) -> None:
        """After every epoch, validation and metrics included."""

    def on_fit_end(self, fit: RunningFit) -> None:
        """After the last step, also when training was stopped or interrupted."""

    def shares(
        self, begin: NDArray[np.float64], end: NDArray[np.float64], epochs: float
    ) -> NDArray[np.float64]:
        """By which share a mean of the parameters moves towards them after each of these steps, from ``begin`` to ``end``.

        Times are counted in epochs. 1 lets the mean begin with these parameters, and 0 leaves the step out. After an epoch,
        what is measured is the mean, and so is the net at the end of the fit.
        """
        return np.zeros_like(begin)

    def interval(self, fit: RunningFit) -> int:
        """How many steps lie between two calls of `on_batch_end`."""
        return 1

    def noted(self) -> dict[str, Any]:
        """What it has noted since the fit began, for a checkpoint: its numbers, arrays of them, and lists and dicts of these.

        Strings, too, where it does not act outside of the model; else they may be paths, and those belong to this run alone.
        """
        own = {name: value for name, value in vars(self).items() if name not in self.hyperparameters()}
        return {name: value for name, value in own.items() if not self.acts_outside or _leads_nowhere(value, strings=False)}

    def resume(self, noted: dict[str, Any]) -> None:
        """Go on, after `on_fit_begin`, with what such a callback had `noted` in the fit that was interrupted.

        Raises
        ------
        ParameterError
            That is not what it notes: hyper-parameters, methods, and what in this run is no number, stay as they are.
        """
        strings = not self.acts_outside
        for name, value in noted.items():
            fixed = hasattr(Callback, name) or name in self.hyperparameters()
            if fixed or not all(_leads_nowhere(item, strings) for item in (value, getattr(self, name, None))):
                raise ParameterError(f"{self!r}: expected what such a callback has noted, got {name[:80]!r}")
        vars(self).update(noted)

    def checkpoint(self) -> Any:
        """The file that it has written for ``fit(..., resume=True)`` to go on from; None where there is none yet."""
        return None

    def watches(self, event: str) -> bool:
        """Whether this callback overrides ``event``, or another method."""
        return getattr(type(self), event) is not getattr(Callback, event)


def _leads_nowhere(value: Any, strings: bool) -> bool:
    """Whether a value is made of numbers, and maybe of strings, alone."""
    if isinstance(value, list | tuple):
        return all(_leads_nowhere(item, strings) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and _leads_nowhere(item, strings) for key, item in value.items())
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return value is None or isinstance(value, int | float | np.number | np.bool_) or (strings and isinstance(value, str))
