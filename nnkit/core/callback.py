"""The contract of a callback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from nnkit.core.part import Part
from nnkit.core.registry import Registry

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
        vars(self).update(noted)

    def watches(self, event: str) -> bool:
        """Whether this callback overrides ``event``."""
        return getattr(type(self), event) is not getattr(Callback, event)
