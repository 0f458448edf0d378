"""What each row of some data weighs in a loss of all of them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkit.core.arrays import numeric
from nnkit.core.part import Shape
from nnkit.errors import ShapeError

__all__ = ["RowWeights"]


class Weighing(Protocol):
    """What a loss says of its weights; `nnkit.Loss` describes it."""

    reduction: str

    def places(self, out_shape: Shape) -> Shape: ...

    def terms(self, out_shape: Shape) -> int: ...

    def counts(self, y: NDArray[Any], out_shape: Shape) -> NDArray[np.float64] | None: ...

    def there(self, y: NDArray[Any], out_shape: Shape) -> NDArray[np.bool_] | None: ...

    def relative_weights(
        self, weights: NDArray[np.float64] | None, counts: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64] | None: ...


class RowWeights:
    """What the rows of some data, and the places in them, weigh in a loss of all of them.

    Attributes
    ----------
    share : (rows, 1) or (rows, places) float64, what each loss is multiplied by
    absent : of the same shape, which have weight 0, whatever their loss is; None if there is none
    """

    def __init__(self, loss: Weighing, target: NDArray[Any], out_shape: Shape, sample_weight: ArrayLike | None) -> None:
        rows, places = len(target), loss.places(out_shape)
        self.absent: NDArray[np.bool_] | None = None
        self.share = np.full((rows, 1), 1.0 / (rows * loss.terms(out_shape)) if loss.reduction == "mean" else 1.0)
        given, counts, there = None, loss.counts(target, out_shape), loss.there(target, out_shape)
        if sample_weight is not None:
            given = numeric(sample_weight, "sample_weight").astype(np.float64)
            if given.shape not in ((rows,), (rows, *places)):
                each = f" or {(rows, *places)}" if places else ""
                raise ShapeError(f"{type(loss).__name__}: expected sample_weight of shape {(rows,)}{each}, got {given.shape}")
            given = given.reshape(rows, -1)
        counted = given if counts is None else counts if given is None else given * counts
        relative = loss.relative_weights(given, counts) if counted is None or counted.any() else given
        if relative is not None:
            self.share = self.share * relative
        if there is not None:
            self.share = np.where(there, self.share, 0.0)
        if not self.share.all():
            self.absent = self.share == 0

    def weighed(self, losses: NDArray[Any]) -> NDArray[np.float64]:
        """The terms of each row, (rows, places), times what they weigh."""
        with np.errstate(over="ignore", invalid="ignore"):  # they may be infinite, or NaN
            weighed: NDArray[np.float64] = np.multiply(losses, self.share, dtype=np.float64)
        if self.absent is not None:
            weighed[np.broadcast_to(self.absent, weighed.shape)] = 0.0
        return weighed

    def total(self, losses: NDArray[Any]) -> float:
        """The loss, from the terms of each row, (rows, places)."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.share.shape[1] == 1:
                losses = losses.sum(axis=1, dtype=np.float64, keepdims=True)
            return float(self.weighed(losses).sum())
