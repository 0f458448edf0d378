"""Losses that want a score to be on the right side by a margin, and no more. p is the prediction, t the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.core.targets import require_labels
from nnkit.errors import DataError
from nnkit.kernels.math import real, sigmoid, softplus
from nnkit.losses.classes import ClassWeights, OfClasses, require_class_weights, weight_of

__all__ = ["HingeEmbeddingLoss", "HingeLoss", "MultiLabelMarginLoss", "MultiMarginLoss", "SoftMarginLoss"]


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


@register("soft_margin")
class SoftMarginLoss(Loss):
    """Logistic loss of a score p for targets -1 and +1: l = log(1 + exp(-t p)), dl/dp = -t / (1 + exp(t p)).

    Shape
    -----
    prediction: (N, ...); target: (N, ...) of -1 and +1

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.SoftMarginLoss()([[0.0], [0.0]], [[1.0], [-1.0]])
    >>> round(float(loss), 4), grad.tolist()
    (0.6931, [[-0.25], [0.25]])
    """

    target_values = (-1.0, 1.0)
    expects = (Span(),)
    advice = "leave the activation out"

    @staticmethod
    def forward(prediction, target):
        return softplus(-target * prediction)

    @staticmethod
    def backward(prediction, target):
        return -target * sigmoid(-target * prediction)

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.where(prediction > 0, 1, -1)


@register("hinge_embedding")
class HingeEmbeddingLoss(Loss):
    """Loss of a distance p between two things, alike (t = 1) or not (t = -1): l = p for t = 1, else max(0, m - p).

    dl/dp = 1 for t = 1; for t = -1 it is -1 where p < m, else 0.

    Parameters
    ----------
    margin : float, m
    reduction : {"mean", "sum", "none"}

    Shape
    -----
    prediction: (N, ...); target: (N, ...) of -1 and +1

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.HingeEmbeddingLoss(reduction="sum")([[0.5], [0.25], [2.0]], [[1], [-1], [-1]])
    >>> float(loss), grad.tolist()
    (1.25, [[1.0], [-1.0], [0.0]])

    References
    ----------
    Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant mapping".
    """

    target_values = (-1.0, 1.0)

    def __init__(self, *, margin: float = 1.0, reduction: str = "mean") -> None:
        self.margin = margin
        self.require_number("margin")
        super().__init__(reduction=reduction)

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return (self.margin + 1.0,)  # p = m where t = -1

    @staticmethod
    def forward(prediction, target, margin):
        return prediction if target > 0.0 else max(margin - prediction, 0.0)

    @staticmethod
    def backward(prediction, target, margin):
        apart = -1.0 if prediction < margin else 0.0
        return 1.0 if target > 0.0 else apart


@register("multi_margin")
class MultiMarginLoss(OfClasses):
    """Hinge loss of scores over K classes: l = w_t sum_{k != t} max(0, m - p_t + p_k)**q / K, with t the label.

    With h_k = q max(0, m - p_t + p_k)**(q - 1) where m - p_t + p_k > 0, else 0: dl/dp_k = w_t h_k / K for k != t, and
    dl/dp_t = -w_t sum_{k != t} h_k / K. A mean is divided by the number of rows, whatever their classes weigh, as PyTorch's is.

    Parameters
    ----------
    p : {1, 2}, the power q
    margin : float, m
    weight : w, a number for each class
    reduction : {"mean", "sum", "none"}

    Shape
    -----
    prediction: (N, ..., K); target: (N, ...) integers in [0, K)

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.MultiMarginLoss()([[1.0, 0.5, -1.0, 2.0]], [0])
    >>> float(loss), grad.tolist()
    (0.625, [[-0.5, 0.25, 0.0, 0.25]])

    References
    ----------
    Weston and Watkins 1999, "Support vector machines for multi-class pattern recognition".
    """

    expects = (Span(),)
    advice = "leave the activation out"

    def __init__(self, *, p: int = 1, margin: float = 1.0, weight: ClassWeights = None, reduction: str = "mean") -> None:
        self.p = p
        self.margin = margin
        self.weight = weight
        self.require("p", p in (1, 2), "1 or 2")
        self.require_number("margin")
        require_class_weights(self)
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, label, p, margin, class_weight):
        total = 0.0
        for k in range(prediction.shape[0]):
            over = margin - prediction[label] + prediction[k]
            if k != label and not over <= 0.0:  # what is no number counts
                total += over if p == 1 else over * over
        return weight_of(class_weight, label) * total / real(prediction.shape[0])

    @staticmethod
    def backward(prediction, label, p, margin, class_weight, grad_prediction):
        share, total = weight_of(class_weight, label) / real(prediction.shape[0]), 0.0
        for k in range(prediction.shape[0]):
            over = margin - prediction[label] + prediction[k]
            slope = 0.0
            if k != label and not over <= 0.0:  # what is no number counts
                slope = share if p == 1 else 2.0 * over * share
            grad_prediction[k] = slope
            total += slope
        grad_prediction[label] = -total

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (4,)), Example(cls(p=2, margin=0.5, weight=[1.0, 2.0, 0.5]), (2, 3))]


def listed(target, k):
    """Whether class k is among the labels of a row, which end with a number that is none."""
    for s in range(target.shape[0]):
        label = int(target[s])
        if label < 0 or label == k:
            return label == k
    return False


@register("multi_label_margin")
class MultiLabelMarginLoss(Loss):
    """Hinge loss for rows of several labels out of K: l = sum_{t listed} sum_{k not listed} max(0, 1 - p_t + p_k) / K.

    With h_tk = 1 where 1 - p_t + p_k > 0, else 0: dl/dp_t = -sum_k h_tk / K for labels t that are listed, and
    dl/dp_k = sum_t h_tk / K for the others.

    Shape
    -----
    prediction: (N, ..., K); target: (N, ..., K) integers: the labels of a row come first, and then -1

    Examples
    --------
    >>> import nnkit as nn
    >>> scores, labels = [[0.1, 0.2, 0.4, 0.8], [3.0, 0.0, 1.0, 0.0]], [[0, 3, -1, 1], [0, -1, 3, 1]]
    >>> loss, grad = nn.MultiLabelMarginLoss(reduction="none")(scores, labels)
    >>> loss.round(4).tolist(), grad.tolist()
    ([0.85, 0.0], [[-0.5, 0.5, 0.5, -0.5], [0.0, 0.0, 0.0, 0.0]])
    """

    rowwise = True
    expects = (Span(),)
    advice = "leave the activation out"

    @staticmethod
    def forward(prediction, target):
        total = 0.0
        for k in range(prediction.shape[0]):
            if not listed(target, k):
                for s in range(target.shape[0]):
                    label = int(target[s])
                    if not 0 <= label < prediction.shape[0]:
                        break
                    total += max(1.0 - prediction[label] + prediction[k], 0.0)
        return total / real(prediction.shape[0])

    @staticmethod
    def backward(prediction, target, grad_prediction):
        share = 1.0 / real(prediction.shape[0])
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 0.0
        for k in range(prediction.shape[0]):
            if not listed(target, k):
                for s in range(target.shape[0]):
                    label = int(target[s])
                    if not 0 <= label < prediction.shape[0]:
                        break
                    if 1.0 - prediction[label] + prediction[k] > 0.0:
                        grad_prediction[label] -= share
                        grad_prediction[k] += share

    def check_target(self, y: NDArray[Any], out_shape: Shape, rows: int, name: str = "y") -> None:
        super().check_target(y, out_shape, rows, name)
        who, count = type(self).__name__, out_shape[-1]
        require_labels(who, y, name)
        if y.min() < -1 or y.max() >= count:
            raise DataError(f"{who}: expected labels in {name} from 0 to {count - 1}, and then -1, got {y.min()} to {y.max()}")

    def example_target(self, random: np.random.Generator, rows: int, out_shape: Shape) -> NDArray[Any]:
        """Legal targets for the contract tests: two labels for every row, or as many as there are."""
        target = random.permuted(np.broadcast_to(np.arange(out_shape[-1]), (rows, *out_shape)), axis=-1)
        target[..., 2:3] = -1
        return target

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction.argmax(axis=-1))
