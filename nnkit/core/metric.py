"""The contract of a metric."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.part import Part
from nnkit.core.registry import Registry

__all__ = ["Metric"]


class Metric(Part):
    """A figure for people: computed once an epoch from all predictions, not differentiated."""

    registry: ClassVar[Registry[Any]] = Registry("metric")

    @abstractmethod
    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        """Score raw predictions; ``loss`` says what they mean (``loss.decide``, ``loss.probabilities``)."""
