"""Losses of predicted distributions. p is the prediction, t the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import ShapeError
from nnkit.kernels.math import exp, log

__all__ = ["GaussianNLLLoss", "KLDivLoss", "PoissonNLLLoss"]


@register("kl_div")
class KLDivLoss(Loss):
    """Kullback-Leibler divergence of the distribution exp(p) from t: l = sum_k t_k (log(t_k) - p_k), dl/dp_k = -t_k.

    Summed over the last axis; the mean is over rows, so that it is the divergence (PyTorch's ``reduction="batchmean"``;
    PyTorch's "mean" divides by K as well).

    Shape
    -----
    prediction: (N, ..., K) log-probabilities; target: (N, ..., K) probabilities

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> loss, grad = nn.KLDivLoss()(np.log([[0.5, 0.5]]), [[1.0, 0.0]])
    >>> round(float(loss), 4), (grad + 0).tolist()
    (0.6931, [[-1.0, 0.0]])

    References
    ----------
    Kullback and Leibler 1951, "On information and sufficiency".
    """

    rowwise = True
    target_low, target_high = 0.0, 1.0

    expects = (Span(-np.inf, 0.0, "exponentials"),)
    advice = "end with LogSoftmax()"

    @staticmethod
    def forward(prediction, target):
        total = 0.0
        for k in range(prediction.shape[0]):
            if target[k] > 0.0:
                total += target[k] * (log(target[k]) - prediction[k])
        return total

    @staticmethod
    def backward(prediction, target, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = -target[k]

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        return np.asarray(np.exp(prediction))


@register("poisson_nll")
class PoissonNLLLoss(Loss):
    """Negative log-likelihood of counts t: for a log-rate p, l = exp(p) - t p and dl/dp = exp(p) - t.

    With ``log_input=False`` p is the rate itself: l = p - t log(p + eps), dl/dp = 1 - t / (p + eps). The constant log(t!) is
    left out.

    Parameters
    ----------
    log_input : bool, default True
    eps : float > 0, default 1e-8
    reduction : {"mean", "sum"}

    Shape
    -----
    prediction: (N, ...); target: (N, ...) >= 0

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.PoissonNLLLoss()([[0.0]], [[3.0]])
    >>> float(loss), grad.tolist()
    (1.0, [[-2.0]])
    >>> loss, grad = nn.PoissonNLLLoss(log_input=False, eps=0.5)([[2.0]], [[3.0]])
    >>> round(float(loss), 4), grad.round(4).tolist()
    (-0.7489, [[-0.2]])

    References
    ----------
    McCullagh and Nelder 1989, "Generalized linear models", section 6.2.
    """

    target_low = 0.0

    def __init__(self, *, log_input: bool = True, eps: float = 1e-8, reduction: str = "mean") -> None:
        self.log_input = log_input
        self.eps = eps
        self.require("log_input", isinstance(log_input, bool), "True or False")
        self.require_eps()
        super().__init__(reduction=reduction)

    @property
    def expects(self) -> tuple[Span, ...]:  # type: ignore[override]
        return (Span() if self.log_input else Span(0.0),)

    @property
    def advice(self) -> str:  # type: ignore[override]
        if self.log_input:
            return "leave the activation out: the loss takes logarithms of rates, or rates with log_input=False"
        return "end with Softplus(), or without an activation and log_input=True"

    @property
    def prediction_low(self) -> float:  # type: ignore[override]
        return -2.0 if self.log_input else 0.2

    @property
    def prediction_high(self) -> float:  # type: ignore[override]
        return 2.0 if self.log_input else 3.0

    @staticmethod
    def forward(prediction, target, log_input, eps):
        if log_input:
            return exp(prediction) - target * prediction
        return prediction - target * log(prediction + eps)

    @staticmethod
    def backward(prediction, target, log_input, eps):
        if log_input:
            return exp(prediction) - target
        return 1.0 - target / (prediction + eps)

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.exp(prediction)) if self.log_input else prediction

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(part, (4,), part.prediction_low, part.prediction_high) for part in (cls(), cls(log_input=False))]


@register("gaussian_nll")
class GaussianNLLLoss(Loss):
    """Negative log-likelihood of a normal distribution whose mean and variance are both predicted.

    The last axis of the prediction holds D means m, then D log-variances v: l = sum_d (v_d + (t_d - m_d)**2 exp(-v_d)) / 2,
    dl/dm_d = (m_d - t_d) exp(-v_d), dl/dv_d = (1 - (t_d - m_d)**2 exp(-v_d)) / 2. The mean is over all D * N terms; the
    constant log(2 pi) / 2 is left out. (PyTorch takes the variance itself, which a raw output need not be.)

    Shape
    -----
    prediction: (N, ..., 2 D); target: (N, ..., D)

    Raises
    ------
    ShapeError
        The last axis of the prediction has an odd size.

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.GaussianNLLLoss()([[1.0, 0.0]], [[3.0]])
    >>> float(loss), grad.tolist()
    (2.0, [[-2.0, -1.5]])

    References
    ----------
    Nix and Weigend 1994, "Estimating the mean and variance of the target probability distribution".
    """

    rowwise = True

    expects = (Span(),)
    advice = "leave the activation out: means and log-variances are any real numbers"

    def target_shape(self, out_shape: Shape) -> Shape:
        if not out_shape or out_shape[-1] % 2:
            raise ShapeError(f"{self!r}: expected predictions of D means and D log-variances, (N, ..., 2 D), got {out_shape}")
        return (*out_shape[:-1], out_shape[-1] // 2)

    def terms(self, out_shape: Shape) -> int:
        return int(np.prod(self.target_shape(out_shape)))

    @staticmethod
    def forward(prediction, target):
        count = target.shape[0]
        total = 0.0
        for d in range(count):
            error = target[d] - prediction[d]
            total += 0.5 * (prediction[count + d] + error * error * exp(-prediction[count + d]))
        return total

    @staticmethod
    def backward(prediction, target, grad_prediction):
        count = target.shape[0]
        for d in range(count):
            error = target[d] - prediction[d]
            precision = exp(-prediction[count + d])
            grad_prediction[d] = -error * precision
            grad_prediction[count + d] = 0.5 * (1.0 - error * error * precision)

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return prediction[..., : prediction.shape[-1] // 2]
