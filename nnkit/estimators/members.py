"""Nets that predict together: one net of several, the mean of what they say, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.metric import Metric
from nnkit.layers import Branches, Reshape
from nnkit.model import Sequential

__all__ = ["ACCURACY", "RMSE", "MeanAccuracy", "MeanError", "OfMembers", "by_member", "side_by_side"]

ACCURACY, RMSE = "accuracy", "rmse"


def by_member(outputs: NDArray[Any], width: int) -> NDArray[np.float64]:
    """What a net gives, as (rows, members, width); a net of one net has one member."""
    return np.asarray(outputs, np.float64).reshape(len(outputs), -1, width)


def side_by_side(models: Sequence[Sequential], width: int) -> Sequential:
    """One net of several: it gives what each of them gives, (members, width)."""
    if len(models) == 1:
        return models[0]
    branches = [[*model.layers, Reshape((-1, width))] for model in models]
    whole = Sequential([Branches(*branches)]).build(models[0].in_shape, 0)
    for place, model in enumerate(models):
        for mine, its in ((whole.parameters(), model.parameters()), (whole.states(), model.states())):
            for name, array in its.items():
                mine[f"0.{place}.{name}"] = array
    return whole


class OfMembers(Metric):
    """A figure of what members say together; a target is the same for all of them."""

    name: ClassVar[str]

    def __init__(self, width: int) -> None:
        self.width = width

    def _mean(self, given: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[Any] | None) -> tuple[Any, Any, Any]:
        weights = None if sample_weight is None else sample_weight.reshape(len(given), -1).mean(axis=1)
        return by_member(given, self.width).mean(axis=1), y.reshape(len(given), -1), weights


class MeanAccuracy(OfMembers):
    """Share of the rows of which the mean of the members' probabilities is largest for the right class."""

    name = ACCURACY
    greater_is_better = True

    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        mean, labels, weights = self._mean(loss.probabilities(prediction), y, sample_weight)  # type: ignore[arg-type]
        return float(np.average(mean.argmax(axis=1) == labels[:, 0], weights=weights))


class MeanError(OfMembers):
    """Root of the mean squared error of the members' mean, over rows and outputs."""

    name = RMSE
    greater_is_better = False

    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        mean, targets, weights = self._mean(prediction, y, sample_weight)
        return float(np.sqrt(np.average(((mean - targets[:, : self.width]) ** 2).mean(axis=1), weights=weights)))
