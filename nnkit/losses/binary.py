"""Losses of a yes or a no for every output. p is the prediction, t the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.part import Example, Part
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.kernels.math import log, real, sigmoid, softplus

Numbers = Sequence[float] | NDArray[Any] | None


def require_numbers(part: Part, name: str, low: float = -np.inf) -> None:
    """Refuse a hyper-parameter that is neither None nor finite numbers of at least ``low``."""
    value = getattr(part, name)
    if value is not None:
        numbers = np.asarray(value)
        usable = numbers.dtype.kind in "biuf" and bool((np.isfinite(numbers) & (numbers >= low)).all())
        part.require(
            name, usable and numbers.size > 0, "finite numbers, or None" if low < 0 else "numbers of at least 0, or None"
        )


__all__ = ["BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"]


@register("bce")
class BCELoss(Loss):
    """Binary cross-entropy of a probability: l = -t log(p) - (1 - t) log(1 - p), dl/dp = (p - t) / (p (1 - p)).

    As in PyTorch, the logarithms are kept from falling below -100, and p (1 - p) in the derivative below 1e-12. Prefer
    `BCEWithLogitsLoss`, which needs neither.

    Parameters
    ----------
    weight : a number for each output of a row, by which its losses are multiplied; or what broadcasts to these. A mean is
        divided by the number of terms all the same, as PyTorch's is. (Weights of rows are ``sample_weight``.)
    reduction : {"mean", "sum", "none"}

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
    per_output = ("output_weight",)

    def __init__(self, *, weight: Numbers = None, reduction: str = "mean") -> None:
        self.weight = weight
        require_numbers(self, "weight")
        super().__init__(reduction=reduction)

    @property
    def output_weight(self) -> Numbers:
        """The weights under a name that is not that of the rows' in kernels."""
        return self.weight

    @staticmethod
    def forward(prediction, target, output_weight):
        loss = -target * max(log(prediction), -100.0) - (1.0 - target) * max(log(1.0 - prediction), -100.0)
        if output_weight is not None:
            loss = output_weight * loss
        return loss

    @staticmethod
    def backward(prediction, target, output_weight):
        slope = (prediction - target) / max(prediction * (1.0 - prediction), 1e-12)
        if output_weight is not None:
            slope = output_weight * slope
        return slope

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(part, (4,), cls.prediction_low, cls.prediction_high)
                for part in (cls(), cls(weight=[1.0, 0.5, 2.0, 3.0]))]  # fmt: skip

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        return prediction

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return (prediction > 0.5).astype(np.int64)


@register("bce_with_logits")
class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of a logit p: with g = 1 / (1 + exp(-p)), l = -t log(g) - (1 - t) log(1 - g), dl/dp = g - t.

    Computed as softplus(p) - t p, which does not overflow. With the weight q of a yes, l = -q t log(g) - (1 - t) log(1 - g) =
    (1 - t) p + (1 + (q - 1) t) softplus(-p), and dl/dp = 1 - t - (1 + (q - 1) t) (1 - g).

    Parameters
    ----------
    weight : a number for each output of a row, by which its losses are multiplied; or what broadcasts to these. A mean is
        divided by the number of terms all the same, as PyTorch's is. (Weights of rows are ``sample_weight``.)
    pos_weight : q, one for each output of a row, or what broadcasts to these, such as shape (C, 1, 1) for outputs (N, C, H, W)
    reduction : {"mean", "sum", "none"}

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
    link = "sigmoid"
    elsewhere = ("weight", "size_average", "reduce", "reduction", "pos_weight")
    per_output = ("output_weight", "pos_weight")

    def __init__(self, *, weight: Numbers = None, pos_weight: Numbers = None, reduction: str = "mean") -> None:
        self.weight = weight
        self.pos_weight = pos_weight
        require_numbers(self, "weight")
        require_numbers(self, "pos_weight", 0.0)
        super().__init__(reduction=reduction)

    @property
    def output_weight(self) -> Numbers:
        """The weights under a name that is not that of the rows' in kernels."""
        return self.weight

    @staticmethod
    def forward(prediction, target, output_weight, pos_weight):
        loss = softplus(prediction) - target * prediction
        if pos_weight is not None:
            loss = (1.0 - target) * prediction + (1.0 + (pos_weight - 1.0) * target) * softplus(-prediction)
        if output_weight is not None:
            loss = output_weight * loss
        return loss

    @staticmethod
    def backward(prediction, target, output_weight, pos_weight):
        slope = sigmoid(prediction) - target
        if pos_weight is not None:
            slope = 1.0 - target - (1.0 + (pos_weight - 1.0) * target) * sigmoid(-prediction)
        if output_weight is not None:
            slope = output_weight * slope
        return slope

    @classmethod
    def examples(cls) -> Sequence[Example]:
        weights = np.array([[1.0], [2.0]]), np.array([0.5, 3.0, 1.0])
        return [Example(cls(), (4,)), Example(cls(weight=weights[0], pos_weight=weights[1]), (2, 3)),
                Example(cls(pos_weight=[2.0]), (1,))]  # fmt: skip

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-prediction)))

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return (prediction > 0).astype(np.int64)


@register("multi_label_soft_margin")
class MultiLabelSoftMarginLoss(Loss):
    """`BCEWithLogitsLoss`, averaged over the K outputs of a row: l = sum_k w_k (softplus(p_k) - t_k p_k) / K.

    With g = 1 / (1 + exp(-p)), dl/dp_k = w_k (g_k - t_k) / K. A term of the loss is a row, not a number.

    Parameters
    ----------
    weight : w, one for each output, or what broadcasts to these
    reduction : {"mean", "sum", "none"}

    Shape
    -----
    prediction: (N, ..., K), target: (N, ..., K) in [0, 1]

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.MultiLabelSoftMarginLoss()([[0.0, 0.0]], [[0.0, 1.0]])
    >>> round(float(loss), 4), grad.tolist()
    (0.6931, [[0.25, -0.25]])
    """

    rowwise = True
    target_low, target_high = 0.0, 1.0
    expects = (Span(),)
    advice = "leave the activation out: the loss takes the sigmoid itself"
    link = "sigmoid"
    per_output = ("output_weight",)

    def __init__(self, *, weight: Numbers = None, reduction: str = "mean") -> None:
        self.weight = weight
        require_numbers(self, "weight")
        super().__init__(reduction=reduction)

    @property
    def output_weight(self) -> Numbers:
        """The weights under a name that is not that of the rows' in kernels."""
        return self.weight

    @staticmethod
    def forward(prediction, target, output_weight):
        total = 0.0
        for k in range(prediction.shape[0]):
            loss = softplus(prediction[k]) - target[k] * prediction[k]
            total += loss if output_weight is None else output_weight[k] * loss
        return total / real(prediction.shape[0])

    @staticmethod
    def backward(prediction, target, output_weight, grad_prediction):
        share = 1.0 / real(prediction.shape[0])
        for k in range(prediction.shape[0]):
            slope = (sigmoid(prediction[k]) - target[k]) * share
            grad_prediction[k] = slope if output_weight is None else output_weight[k] * slope

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-prediction)))

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return (prediction > 0).astype(np.int64)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (4,)), Example(cls(weight=[1.0, 0.5, 2.0]), (2, 3))]
