"""Losses of numbers that are to come near others. p is the prediction, t the target."""

from __future__ import annotations

from nnkit.core.loss import Loss
from nnkit.core.registry import register
from nnkit.kernels.math import softplus, tanh

__all__ = ["HalfSquaredErrorLoss", "HuberLoss", "L1Loss", "LogCoshLoss", "MSELoss", "QuantileLoss", "SmoothL1Loss"]


@register("half_squared_error")
class HalfSquaredErrorLoss(Loss):
    """The textbook's loss: l = (p - t)**2 / 2, dl/dp = p - t; by default summed over everything.

    Mind the sign: with t - p in the square, the minus of the inner derivative gives p - t again.

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.HalfSquaredErrorLoss()([[0.3, 0.5, 0.2]], [[0.0, 1.0, 0.0]])
    >>> round(float(loss), 6), grad.round(6).tolist()
    (0.19, [[0.3, -0.5, 0.2]])

    References
    ----------
    Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors", eqs. 3 and 4.
    """

    least_squares = True

    def __init__(self, *, reduction: str = "sum") -> None:
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, target):
        return 0.5 * (prediction - target) * (prediction - target)

    @staticmethod
    def backward(prediction, target):
        return prediction - target


@register("mse")
class MSELoss(Loss):
    """Squared error: l = (p - t)**2, dl/dp = 2 (p - t); by default the mean over everything.

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.MSELoss()([[1.0, 3.0]], [[0.0, 0.0]])
    >>> float(loss), grad.tolist()
    (5.0, [[1.0, 3.0]])

    References
    ----------
    Legendre 1805, "Nouvelles methodes pour la determination des orbites des cometes".
    """

    least_squares = True

    @staticmethod
    def forward(prediction, target):
        return (prediction - target) * (prediction - target)

    @staticmethod
    def backward(prediction, target):
        return 2.0 * (prediction - target)


@register("mae")
class L1Loss(Loss):
    """Absolute error: l = |p - t|, dl/dp = sign(p - t) (0 at 0). Its minimum is the median.

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.L1Loss()([[1.0, -3.0]], [[0.0, 0.0]])
    >>> float(loss), grad.tolist()
    (2.0, [[0.5, -0.5]])
    """

    kinks = (0.0,)

    @staticmethod
    def forward(prediction, target):
        return abs(prediction - target)

    @staticmethod
    def backward(prediction, target):
        error = prediction - target
        return (1.0 if error > 0.0 else 0.0) - (1.0 if error < 0.0 else 0.0)


@register("huber")
class HuberLoss(Loss):
    """Quadratic near 0, linear beyond: with e = p - t, l = e**2 / 2 for |e| <= d, else d (|e| - d / 2).

    dl/dp = e, cut off to [-d, d].

    Parameters
    ----------
    delta : float > 0, d, in units of the target
    reduction : {"mean", "sum"}

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.HuberLoss(delta=1.0)([[0.5, -3.0]], [[0.0, 0.0]])
    >>> float(loss), grad.tolist()
    (1.3125, [[0.25, -0.5]])

    References
    ----------
    Huber 1964, "Robust estimation of a location parameter".
    """

    least_squares = True

    def __init__(self, *, delta: float = 1.0, reduction: str = "mean") -> None:
        self.delta = delta
        self.require_number("delta", 0.0, above=True)
        super().__init__(reduction=reduction)

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return (-self.delta, self.delta)  # of the second derivative

    @property
    def prediction_low(self) -> float:  # type: ignore[override]
        return -self.prediction_high

    @property
    def prediction_high(self) -> float:  # type: ignore[override]
        return 2.0 * max(self.delta, 1.0)

    @staticmethod
    def forward(prediction, target, delta):
        size = abs(prediction - target)
        return 0.5 * size * size if size <= delta else delta * (size - 0.5 * delta)

    @staticmethod
    def backward(prediction, target, delta):
        error = prediction - target
        cut = delta if error > delta else error
        return -delta if cut < -delta else cut


@register("smooth_l1")
class SmoothL1Loss(Loss):
    """`HuberLoss` divided by its width: with e = p - t, l = e**2 / (2 b) for |e| < b, else |e| - b / 2.

    dl/dp = e / b, cut off to [-1, 1].

    Parameters
    ----------
    beta : float > 0, b, in units of the target
    reduction : {"mean", "sum"}

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.SmoothL1Loss(beta=2.0)([[1.0, -3.0]], [[0.0, 0.0]])
    >>> float(loss), grad.tolist()
    (1.125, [[0.25, -0.5]])

    References
    ----------
    Girshick 2015, "Fast R-CNN", eq. 3.
    """

    least_squares = True

    def __init__(self, *, beta: float = 1.0, reduction: str = "mean") -> None:
        self.beta = beta
        self.require_number("beta", 0.0, above=True)
        super().__init__(reduction=reduction)

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return (-self.beta, self.beta)  # of the second derivative

    @property
    def prediction_low(self) -> float:  # type: ignore[override]
        return -self.prediction_high

    @property
    def prediction_high(self) -> float:  # type: ignore[override]
        return 2.0 * max(self.beta, 1.0)

    @staticmethod
    def forward(prediction, target, beta):
        size = abs(prediction - target)
        return 0.5 * size * size / beta if size < beta else size - 0.5 * beta

    @staticmethod
    def backward(prediction, target, beta):
        error = (prediction - target) / beta
        cut = 1.0 if error > 1.0 else error
        return -1.0 if cut < -1.0 else cut


@register("log_cosh")
class LogCoshLoss(Loss):
    """l = log(cosh(e)) with e = p - t, dl/dp = tanh(e): about e**2 / 2 near 0 and |e| - log(2) far out.

    Computed as |e| + softplus(-2 |e|) - log(2), which does not overflow.

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.LogCoshLoss()([[0.0, 100.0]], [[0.0, 0.0]])
    >>> round(float(loss), 4), grad.tolist()
    (49.6534, [[0.0, 0.5]])
    """

    least_squares = True

    @staticmethod
    def forward(prediction, target):
        size = abs(prediction - target)
        return size + softplus(-2.0 * size) - 0.6931471805599453

    @staticmethod
    def backward(prediction, target):
        return tanh(prediction - target)


@register("quantile")
class QuantileLoss(Loss):
    """Pinball loss, whose minimum is the q-quantile: with e = t - p, l = q e for e >= 0, else (q - 1) e.

    dl/dp = -q for p < t, 1 - q for p > t (0 at p = t).

    Parameters
    ----------
    quantile : float in (0, 1), q
    reduction : {"mean", "sum"}

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.QuantileLoss(quantile=0.75, reduction="sum")([[0.0, 3.0]], [[1.0, 1.0]])
    >>> float(loss), grad.tolist()
    (1.25, [[-0.75, 0.25]])

    References
    ----------
    Koenker and Bassett 1978, "Regression quantiles".
    """

    kinks = (0.0,)

    def __init__(self, *, quantile: float = 0.5, reduction: str = "mean") -> None:
        self.quantile = quantile
        self.require_number("quantile", 0.0, 1.0, above=True, below=True)
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, target, quantile):
        error = target - prediction
        return quantile * error if error > 0.0 else (quantile - 1.0) * error

    @staticmethod
    def backward(prediction, target, quantile):
        over = 1.0 - quantile if prediction > target else 0.0
        return -quantile if prediction < target else over
