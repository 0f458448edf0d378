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
    and ``fit.stop(reason)``.
    """

    registry: ClassVar[Registry[Any]] = Registry("callback")

    def on_fit_begin(self, fit: Fit) -> None:
        """Before the first step."""

    def on_batch_end(self, fit: Fit) -> None:
        """After every step: costs a return to Python each."""

    def on_epoch_end(self, fit: Fit) -> None:
        """After every epoch, validation and metrics included."""

    def on_fit_end(self, fit: Fit) -> None:
        """After the last step, also when training was stopped or interrupted."""

    def watches(self, event: str) -> bool:
        """Whether this callback overrides ``event``."""
        return getattr(type(self), event) is not getattr(Callback, event)
