"""The contract of a callback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from nnkit.core.part import Part
from nnkit.core.registry import Registry
from nnkit.errors import ParameterError

if TYPE_CHECKING:
    from nnkit.training.fit import Fit

__all__ = ["Callback"]


class Callback(Part):
    """Watches and steers a fit. Override what you need; only what is overridden makes the compiled loop stop for it.

    ``fit`` is the running `Fit`: ``fit.model``, ``fit.history``, ``fit.epoch``, ``fit.step``, ``fit.loss`` (of the last step),
    and ``fit.stop(reason)``. Do not keep it: what a callback keeps goes into checkpoints.
    """

    registry: ClassVar[Registry[Any]] = Registry("callback")

    late: ClassVar[bool] = False  # is called after all callbacks that are not
    interruptible: ClassVar[bool] = True  # signals come in while it works; else Ctrl-C waits until it is done

    def on_fit_begin(self, fit: Fit) -> None:
        """Before the first step."""

    def on_batch_end(self, fit: Fit) -> None:
        """After every step, or every ``interval(fit)`` steps: costs a return to Python each."""

    def on_epoch_end(self, fit: Fit) -> None:
        """After every epoch, validation and metrics included."""

    def on_fit_end(self, fit: Fit) -> None:
        """After the last step, also when training was stopped or interrupted."""

    def interval(self, fit: Fit) -> int:
        """How many steps lie between two calls of `on_batch_end`."""
        return 1

    def noted(self) -> dict[str, Any]:
        """What it has noted since the fit began, for a checkpoint: numbers, strings, arrays and dicts of them by name."""
        return {name: value for name, value in vars(self).items() if name not in self.hyperparameters()}

    def resume(self, noted: dict[str, Any]) -> None:
        """Go on, after `on_fit_begin`, with what such a callback had `noted` in the fit that was interrupted."""
        known = [name for name in noted if hasattr(type(self), name) or name in self.hyperparameters()]
        if known:
            raise ParameterError(f"{self!r}: expected what such a callback has noted, got {known[0]!r}")
        vars(self).update(noted)

    def checkpoint(self) -> Any:
        """The file that it has written for ``fit(..., resume=True)`` to go on from; None where there is none yet."""
        return None

    def watches(self, event: str) -> bool:
        """Whether this callback overrides ``event``, or another method."""
        return getattr(type(self), event) is not getattr(Callback, event)
