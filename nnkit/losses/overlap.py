"""Losses of how much two sets overlap, such as the pixels that are something and those that are said to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.core.span import Span

__all__ = ["DiceLoss"]

ALL = 16  # axes of a row at most


@register("dice")
class DiceLoss(Loss):
    """One minus the Dice coefficient of a whole row: l = 1 - (2 sum_i p_i t_i + s) / (sum_i p_i + sum_i t_i + s).

    With A the numerator and B the denominator, dl/dp_i = (A / B - 2 t_i) / B. What is rare counts as much as what is frequent:
    unlike a mean over pixels, it does not fall by saying that there is nothing.

    Parameters
    ----------
    smooth : float > 0, s: keeps the quotient finite where there is nothing, and says how much a few numbers count there
    reduction : {"mean", "sum", "none"}; a term is a row

    Shape
    -----
    prediction, target: (N, ...) in [0, 1]

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.DiceLoss()([[1.0, 0.5, 0.5, 0.0]], [[1.0, 1.0, 0.0, 0.0]])
    >>> round(float(loss), 4), grad.round(4).tolist()
    (0.2, [[-0.24, -0.24, 0.16, 0.16]])

    References
    ----------
    Milletari, Navab and Ahmadi 2016, "V-Net", eq. 2, there with squares in the denominator; Dice 1945, "Measures of the amount
    of ecologic association between species".
    """

    rowwise = True
    row_axes = ALL
    target_low, target_high = 0.0, 1.0
    prediction_low, prediction_high = 0.05, 0.95
    expects = (Span(0.0, 1.0),)
    advice = "end with Sigmoid()"

    def __init__(self, *, smooth: float = 1.0, reduction: str = "mean") -> None:
        self.smooth = smooth
        self.require_number("smooth", 0.0, above=True)
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, target, smooth):
        p, t = prediction.reshape(-1), target.reshape(-1)
        above, below = smooth, smooth
        for i in range(p.shape[0]):
            above += 2.0 * p[i] * t[i]
            below += p[i] + t[i]
        return 1.0 - above / below

    @staticmethod
    def backward(prediction, target, smooth, grad_prediction):
        p, t, g = prediction.reshape(-1), target.reshape(-1), grad_prediction.reshape(-1)
        above, below = smooth, smooth
        for i in range(p.shape[0]):
            above += 2.0 * p[i] * t[i]
            below += p[i] + t[i]
        for i in range(p.shape[0]):
            g[i] = (above / below - 2.0 * t[i]) / below

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        return prediction

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return (prediction > 0.5).astype(np.int64)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        low, high = cls.prediction_low, cls.prediction_high
        return [Example(cls(), (4,), low, high), Example(cls(smooth=0.5), (2, 3), low, high)]
