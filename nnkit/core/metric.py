"""The contract of a metric."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.part import Part
from nnkit.core.registry import Registry

__all__ = ["Metric", "MetricLike"]


class Metric(Part):
    """A figure for people: computed once an epoch from all predictions, not differentiated. One method, `__call__`.

    Hooks
    -----
    What a metric may have, and what stands where it has none. ``needed``: it has to have it; ``method``: there is one, which
    may be overridden.

    =================  =======  ===============================================================================================
    hook               default  what it is
    =================  =======  ===============================================================================================
    __call__           needed   the figure, a float
    greater_is_better  None     who compares epochs by this figure (`EarlyStopping`) goes by it; where it is None, they have to
                                be told
    examples           method   class method: ready-made ones, with legal inputs, that the checks take; one with its defaults,
                                where the constructor needs no arguments
    acts_outside       False    it writes files, runs commands or the like: a file from somebody else does not bring it along
    elsewhere          ()       what PyTorch's or Keras' constructor takes by position, in its words, where that is not as here
    =================  =======  ===============================================================================================

    Examples
    --------
    >>> import numpy as np
    >>> import nnkit as nn
    >>> class LargestError(nn.Metric):
    ...     greater_is_better = False
    ...     def __call__(self, y, prediction, loss, sample_weight=None):
    ...         return float(np.abs(y - loss.decide(prediction)).max())
    >>> X = np.array([[1.0], [2.0]])
    >>> history = nn.Sequential(["linear"]).fit(X, 2 * X, metrics=[LargestError()], epochs=1, random_state=0,
    ...                                         callbacks=[nn.EarlyStopping("LargestError")])
    >>> list(history)
    ['loss', 'lr', 'LargestError']
    """

    registry: ClassVar[Registry[Any]] = Registry("metric")
    needed = ("__call__",)
    hooks = (*Part.hooks, "__call__", "greater_is_better")

    greater_is_better: ClassVar[bool | None] = None

    @abstractmethod
    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        """Score raw predictions; ``loss`` says what they mean (``loss.decide``, ``loss.probabilities``)."""


MetricLike = Metric | str | Callable[..., Any]  # a function is one of y and predictions
