"""Losses. p is the prediction, t the target; reduction and weights are `Loss`'s."""

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
from nnkit.kernels.math import exp, log, real, sigmoid, softplus, tanh

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HalfSquaredErrorLoss",
    "HingeLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LogCoshLoss",
    "MSELoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "QuantileLoss",
    "SmoothL1Loss",
]


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


@register("bce")
class BCELoss(Loss):
    """Binary cross-entropy of a probability: l = -t log(p) - (1 - t) log(1 - p), dl/dp = (p - t) / (p (1 - p)).

    As in PyTorch, the logarithms are kept from falling below -100, and p (1 - p) in the derivative below 1e-12. Prefer
    `BCEWithLogitsLoss`, which needs neither.

    Shape
    -----
    prediction, target: (N, ...) in [0, 1]

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.BCELoss()([[0.5], [0.5]], [[0.0], [1.0]])
    >>> round(float(loss), 4), grad.tolist()
    (0.6931, [[1.0], [-1.0]])
    """

    target_low, target_high = 0.0, 1.0
    prediction_low, prediction_high = 0.05, 0.95

    expects = (Span(0.0, 1.0),)
    advice = "end with Sigmoid(), or without an activation and loss='bce_with_logits'"

    @staticmethod
    def forward(prediction, target):
        return -target * max(log(prediction), -100.0) - (1.0 - target) * max(log(1.0 - prediction), -100.0)

    @staticmethod
    def backward(prediction, target):
        return (prediction - target) / max(prediction * (1.0 - prediction), 1e-12)

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        return prediction

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return (prediction > 0.5).astype(np.int64)


@register("bce_with_logits")
class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of a logit p: with g = 1 / (1 + exp(-p)), l = -t log(g) - (1 - t) log(1 - g), dl/dp = g - t.

    Computed as softplus(p) - t p, which does not overflow.

    Shape
    -----
    prediction: (N, ...), target: (N, ...) in [0, 1]

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.BCEWithLogitsLoss()([[0.0], [0.0]], [[0.0], [1.0]])
    >>> round(float(loss), 4), grad.tolist()
    (0.6931, [[0.25], [-0.25]])
    """

    target_low, target_high = 0.0, 1.0

    expects = (Span(),)
    advice = "leave the activation out: the loss takes the sigmoid itself"

    @staticmethod
    def forward(prediction, target):
        return softplus(prediction) - target * prediction

    @staticmethod
    def backward(prediction, target):
        return sigmoid(prediction) - target

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-prediction)))

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return (prediction > 0).astype(np.int64)


class _ClassLoss(Loss):
    """Predictions have one number for each class on the last axis."""

    rowwise = classes = True
    target_low, target_high = 0.0, 1.0  # of probabilities

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction.argmax(axis=-1))


@register("cross_entropy")
class CrossEntropyLoss(_ClassLoss):
    """Cross-entropy of logits p over K classes: l = -sum_k t_k log(s_k) with s = softmax(p); dl/dp_k = s_k sum_j t_j - t_k.

    For integer labels t is 1 at the label and 0 elsewhere. With label smoothing e, t becomes (1 - e) t + e / K.

    Parameters
    ----------
    label_smoothing : float in [0, 1)
    reduction : {"mean", "sum"}; the mean is over rows

    Shape
    -----
    prediction: (N, ..., K) logits; target: (N, ...) integers in [0, K), or (N, ..., K) probabilities

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.CrossEntropyLoss()([[0.0, 0.0], [0.0, 0.0]], [0, 1])
    >>> round(float(loss), 4), grad.tolist()
    (0.6931, [[-0.25, 0.25], [0.25, -0.25]])
    >>> loss, grad = nn.CrossEntropyLoss(label_smoothing=0.25)([[1.0, 3.0, 0.0]], [[0.5, 0.25, 0.25]])
    >>> round(float(loss), 4), grad.round(4).tolist()
    (1.899, [[-0.3441, 0.573, -0.2288]])
    >>> loss, grad = nn.CrossEntropyLoss()([[1.0, 3.0, 0.0], [0.0, 2.0, 5.0]], [2, 1], sample_weight=[1.0, 3.0])
    >>> round(float(loss), 4), grad.round(4).tolist()
    (3.0837, [[0.0285, 0.2109, -0.2395], [0.0048, -0.7147, 0.7099]])
    >>> loss, grad = nn.CrossEntropyLoss()([[0.0, 1000.0]], [0])  # numbers that exp cannot take
    >>> float(loss), grad.tolist()
    (1000.0, [[-1.0, 1.0]])

    References
    ----------
    Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs"; label smoothing: Szegedy,
    Vanhoucke, Ioffe, Shlens and Wojna 2016, "Rethinking the Inception architecture", section 7.
    """

    expects = (Span(), Span(-np.inf, 0.0, "exponentials"))
    advice = "leave the activation out: the loss takes the softmax itself"

    def __init__(self, *, label_smoothing: float = 0.0, reduction: str = "mean") -> None:
        self.label_smoothing = label_smoothing
        self.require_number("label_smoothing", 0.0, 1.0, below=True)
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, target, label, label_smoothing):
        top = prediction[0]
        for k in range(prediction.shape[0]):
            top = max(top, prediction[k])
        total, everything, classes = 0.0, 0.0, 0.0
        for k in range(prediction.shape[0]):
            score = prediction[k] - top
            total += exp(score)
            everything += score
            classes += 1.0
        mass, matched = 0.0, 0.0
        for i in range(target.shape[0]):
            mass += target[i]
            matched += target[i] * (prediction[label + i] - top) if target[i] != 0.0 else 0.0  # the score may be -inf
        uniform = label_smoothing * mass * everything / classes if label_smoothing > 0.0 else 0.0
        return mass * log(total) - (1.0 - label_smoothing) * matched - uniform

    @staticmethod
    def backward(prediction, target, label, label_smoothing, grad_prediction):
        top = prediction[0]
        for k in range(prediction.shape[0]):
            top = max(top, prediction[k])
        total, mass, classes = 0.0, 0.0, 0.0
        for k in range(prediction.shape[0]):
            grad_prediction[k] = exp(prediction[k] - top)
            total += grad_prediction[k]
            classes += 1.0
        for i in range(target.shape[0]):
            mass += target[i]
        scale, uniform = mass / total, label_smoothing * mass / classes
        for k in range(prediction.shape[0]):
            grad_prediction[k] = grad_prediction[k] * scale - uniform
        for i in range(target.shape[0]):
            grad_prediction[label + i] -= (1.0 - label_smoothing) * target[i]

    @staticmethod
    def fused(prediction, target, label, label_smoothing, weight, grad, row_loss):
        smooth = label_smoothing / real(prediction.shape[1])
        for n in range(prediction.shape[0]):
            p, t, g = prediction[n], target[n], grad[n]
            top = p[0]
            for k in range(p.shape[0]):
                top = max(top, p[k])
            for k in range(p.shape[0]):
                g[k] = p[k] - top
            matched = 0.0
            for i in range(t.shape[0]):
                matched += t[i] * g[label[n] + i] if t[i] != 0.0 else 0.0  # the score may be -inf
            row_loss[n] = -(1.0 - label_smoothing) * matched
        flat = grad.reshape(-1)
        if label_smoothing > 0.0:
            for n in range(prediction.shape[0]):
                mass, everything = 0.0, 0.0
                for i in range(target.shape[1]):
                    mass += target[n, i]
                for k in range(prediction.shape[1]):
                    everything += grad[n, k]
                row_loss[n] -= smooth * mass * everything
        for i in range(flat.shape[0]):  # one long loop of all rows' exponentials: short ones would stay scalar
            flat[i] = exp(flat[i])
        for n in range(prediction.shape[0]):
            t, g, w = target[n], grad[n], weight[n]
            total, mass = 0.0, 0.0
            for k in range(g.shape[0]):
                total += g[k]
            for i in range(t.shape[0]):
                mass += t[i]
            row_loss[n] += mass * log(total)
            scale, uniform = w * mass / total, w * mass * smooth
            for k in range(g.shape[0]):
                g[k] = scale * g[k] - uniform
            for i in range(t.shape[0]):
                g[label[n] + i] -= w * (1.0 - label_smoothing) * t[i]

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        powers = np.exp(prediction - prediction.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (4,)), Example(cls(label_smoothing=0.1), (4,)), Example(cls(), (2, 3))]


@register("nll")
class NLLLoss(_ClassLoss):
    """Negative log-likelihood of log-probabilities p (as from `LogSoftmax`): l = -sum_k t_k p_k, dl/dp_k = -t_k.

    Shape
    -----
    prediction: (N, ..., K); target: (N, ...) integers in [0, K), or (N, ..., K) probabilities

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.NLLLoss()([[-0.5, -1.0]], [1])
    >>> float(loss), (grad + 0).tolist()
    (1.0, [[0.0, -1.0]])
    """

    expects = (Span(-np.inf, 0.0, "exponentials"),)
    advice = "end with LogSoftmax(), or without an activation and loss='cross_entropy'"

    @staticmethod
    def forward(prediction, target, label):
        total = 0.0
        for i in range(target.shape[0]):
            if target[i] != 0.0:  # a probability of 0 times log(0) is 0
                total -= target[i] * prediction[label + i]
        return total

    @staticmethod
    def backward(prediction, target, label, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 0.0
        for i in range(target.shape[0]):
            grad_prediction[label + i] = -target[i]

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        return np.asarray(np.exp(prediction))


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


@register("hinge")
class HingeLoss(Loss):
    """Margin loss of a score p for targets -1 and +1: l = max(0, 1 - t p), dl/dp = -t for t p < 1, else 0.

    Shape
    -----
    prediction: (N, ...); target: (N, ...) of -1 and +1

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.HingeLoss(reduction="sum")([[0.5], [2.0]], [[1.0], [1.0]])
    >>> float(loss), grad.tolist()
    (0.5, [[-1.0], [0.0]])

    References
    ----------
    Cortes and Vapnik 1995, "Support-vector networks".
    """

    target_values = (-1.0, 1.0)
    kinks = (0.0,)  # t p = 1 where p = t, for both targets

    expects = (Span(), Span(-1.0, 1.0))
    advice = "leave the activation out, or take Tanh()"

    @staticmethod
    def forward(prediction, target):
        margin = 1.0 - target * prediction
        return 0.0 if margin < 0.0 else margin

    @staticmethod
    def backward(prediction, target):
        return -target if target * prediction < 1.0 else 0.0

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.where(prediction > 0, 1, -1)
