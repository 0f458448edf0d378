"""Losses of one class out of several. p is the prediction, t the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.formulas import Formulas
from nnkit.core.loss import Loss
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import ShapeError
from nnkit.kernels.math import exp, log, real

ClassWeights = Sequence[float] | NDArray[Any] | None


def weight_of(class_weight, k):
    """The weight of class k; without weights it is compiled as the number 1."""
    return 1.0 if class_weight is None else class_weight[k]


def require_class_weights(part: OfClasses) -> None:
    """Refuse a ``weight`` that is neither None nor a number of at least 0 for each class."""
    if part.weight is not None:
        given = np.asarray(part.weight)
        usable = given.dtype.kind in "biuf" and given.ndim == 1 and bool((np.isfinite(given) & (given >= 0)).all())
        part.require("weight", usable, "a number of at least 0 for each class, or None")


__all__ = ["CrossEntropyLoss", "NLLLoss"]


class OfClasses(Loss):
    """Predictions have one number for each class along an axis; classes may have a ``weight``."""

    rowwise = classes = True
    target_low, target_high = 0.0, 1.0  # of probabilities
    weight: ClassWeights

    @property
    def class_weight(self) -> NDArray[np.float64] | None:
        """The weights as kernels get them, whose ``weight`` is that of the rows."""
        return None if self.weight is None else np.asarray(self.weight, np.float64)

    def check_target(self, y: NDArray[Any], out_shape: Shape, rows: int, name: str = "y") -> None:
        super().check_target(y, out_shape, rows, name)
        classes = out_shape[self.axis(out_shape)]
        if self.weight is not None and len(self.weight) != classes:
            raise ShapeError(f"{type(self).__name__}: expected a weight for each of {classes} classes, got {len(self.weight)}")

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction.argmax(axis=1 + self.axis(prediction.shape[1:])))


class OfLabels(OfClasses):
    """Targets are labels of classes; some may be ignored, and a mean is divided by the weights of those that are not."""

    def __init__(
        self, *, weight: ClassWeights = None, ignore_index: int = -100, reduction: str = "mean", dim: int | None = None
    ) -> None:
        self.weight = weight
        self.ignore_index = ignore_index
        self.dim = dim
        require_class_weights(self)
        self.require_size("ignore_index", -(2**63))
        whole = isinstance(dim, int | np.integer) and not isinstance(dim, bool)
        self.require("dim", dim is None or (whole and dim != 0), "None, or an axis other than 0, which is that of the rows")
        super().__init__(reduction=reduction)

    def counts(self, y: NDArray[Any], out_shape: Shape) -> NDArray[np.float64] | None:
        """The weights of the labels' classes; 0 for those that are ignored. Probabilities count as rows."""
        weight, there = self.class_weight, self.there(y, out_shape)
        if weight is None or not self.are_labels(y, out_shape):
            return super().counts(y, out_shape)
        label = y.reshape(len(y), -1).astype(np.int64)
        return weight[label] if there is None else np.where(there, weight[np.where(there, label, 0)], 0.0)


@register("cross_entropy")
class CrossEntropyLoss(OfLabels):
    """Cross-entropy of logits p over K classes: l = -sum_k t_k log(s_k) with s = softmax(p); dl/dp_k = s_k sum_j t_j - t_k.

    For integer labels t is 1 at the label and 0 elsewhere. With label smoothing e, t becomes (1 - e) t + e / K; with weights w
    of the classes, it then becomes w_k t_k.

    Parameters
    ----------
    weight : w, a number of at least 0 for each class. Of labels, a mean is divided by the weights of their classes: it is
        sum_n l_n / sum_n w_{t_n}. (Weights of rows are ``sample_weight``.)
    ignore_index : int, the label of places that do not count, such as padded steps or pixels of nothing
    label_smoothing : float in [0, 1)
    reduction : {"mean", "sum", "none"}; the mean is over rows and places, as far as they count
    dim : the axis of the classes, that of the rows counted. By default it is the last one; but where the shape of the targets
        fits PyTorch's layout as well, (N, K, K) with K classes, it has to be said: 1, as in PyTorch, or -1.

    Shape
    -----
    prediction: (N, ..., K) logits; target: (N, ...) integers in [0, K), or (N, ..., K) probabilities. With ``dim=1``, as
    PyTorch has it, and convolutions give it: (N, K, H, W), and (N, H, W) or (N, K, H, W)

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
    >>> loss, grad = nn.CrossEntropyLoss(weight=[3.0, 1.0])([[[0.0, 0.0], [0.0, 2.0], [5.0, 1.0]]], [[0, 1, -100]])
    >>> round(float(loss), 4), grad.round(4).tolist()  # of a sequence whose third step is padding
    (0.5516, [[[-0.375, 0.375], [0.0298, -0.0298], [0.0, 0.0]]])

    References
    ----------
    Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs"; label smoothing: Szegedy,
    Vanhoucke, Ioffe, Shlens and Wojna 2016, "Rethinking the Inception architecture", section 7.
    """

    elsewhere: ClassVar[tuple[str, ...]] = (
        "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing",
    )  # fmt: skip
    expects = (Span(), Span(-np.inf, 0.0, "exponentials"))
    advice = "leave the activation out: the loss takes the softmax itself"
    link = "softmax"

    def __init__(
        self,
        *,
        weight: ClassWeights = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        dim: int | None = None,
    ) -> None:
        self.label_smoothing = label_smoothing
        self.require_number("label_smoothing", 0.0, 1.0, below=True)
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction, dim=dim)

    @property
    def formulas(self) -> Formulas | None:  # type: ignore[override]
        plain = self.label_smoothing == 0.0 and self.weight is None
        return Formulas("-sum_j(y_j * log(p_j))", "p_j - y_j", "exp(a_j) / sum_k(exp(a_k))") if plain else None

    @staticmethod
    def forward(prediction, target, label, label_smoothing, class_weight):
        top = prediction[0]
        for k in range(prediction.shape[0]):
            top = max(top, prediction[k])
        total, everything, classes = 0.0, 0.0, 0.0
        for k in range(prediction.shape[0]):
            score = prediction[k] - top
            total += exp(score)
            everything += weight_of(class_weight, k) * score
            classes += weight_of(class_weight, k)
        mass, weighty, matched = 0.0, 0.0, 0.0
        for i in range(target.shape[0]):
            share = weight_of(class_weight, label + i) * target[i]
            mass += target[i]
            weighty += share
            matched += share * (prediction[label + i] - top) if share != 0.0 else 0.0  # the score may be -inf
        smooth = label_smoothing * mass / real(prediction.shape[0])
        uniform = smooth * everything if label_smoothing > 0.0 else 0.0
        weighty = (1.0 - label_smoothing) * weighty + smooth * classes
        return weighty * log(total) - (1.0 - label_smoothing) * matched - uniform

    @staticmethod
    def backward(prediction, target, label, label_smoothing, class_weight, grad_prediction):
        top = prediction[0]
        for k in range(prediction.shape[0]):
            top = max(top, prediction[k])
        total, mass, weighty, classes = 0.0, 0.0, 0.0, 0.0
        for k in range(prediction.shape[0]):
            grad_prediction[k] = exp(prediction[k] - top)
            total += grad_prediction[k]
            classes += weight_of(class_weight, k)
        for i in range(target.shape[0]):
            mass += target[i]
            weighty += weight_of(class_weight, label + i) * target[i]
        uniform = label_smoothing * mass / real(prediction.shape[0])
        scale = ((1.0 - label_smoothing) * weighty + uniform * classes) / total
        for k in range(prediction.shape[0]):
            grad_prediction[k] = grad_prediction[k] * scale - uniform * weight_of(class_weight, k)
        for i in range(target.shape[0]):
            grad_prediction[label + i] -= (1.0 - label_smoothing) * weight_of(class_weight, label + i) * target[i]

    @staticmethod
    def fused(prediction, target, label, label_smoothing, class_weight, weight, grad, row_loss):
        smooth, classes = label_smoothing / real(prediction.shape[1]), 0.0
        for k in range(prediction.shape[1]):
            classes += weight_of(class_weight, k)
        for n in range(prediction.shape[0]):
            p, t, g = prediction[n], target[n], grad[n]
            top = p[0]
            for k in range(p.shape[0]):
                top = max(top, p[k])
            for k in range(p.shape[0]):
                g[k] = p[k] - top
            matched = 0.0
            for i in range(t.shape[0]):
                share = weight_of(class_weight, label[n] + i) * t[i]
                matched += share * g[label[n] + i] if share != 0.0 else 0.0  # the score may be -inf
            row_loss[n] = -(1.0 - label_smoothing) * matched
        flat = grad.reshape(-1)
        if label_smoothing > 0.0:
            for n in range(prediction.shape[0]):
                mass, everything = 0.0, 0.0
                for i in range(target.shape[1]):
                    mass += target[n, i]
                for k in range(prediction.shape[1]):
                    everything += weight_of(class_weight, k) * grad[n, k]
                row_loss[n] -= smooth * mass * everything
        for i in range(flat.shape[0]):  # one long loop of all rows' exponentials: short ones would stay scalar
            flat[i] = exp(flat[i])
        for n in range(prediction.shape[0]):
            t, g, w = target[n], grad[n], weight[n]
            total, mass, weighty = 0.0, 0.0, 0.0
            for k in range(g.shape[0]):
                total += g[k]
            for i in range(t.shape[0]):
                mass += t[i]
                weighty += weight_of(class_weight, label[n] + i) * t[i]
            weighty = (1.0 - label_smoothing) * weighty + mass * smooth * classes
            row_loss[n] += weighty * log(total)
            scale, uniform = w * weighty / total, w * mass * smooth
            for k in range(g.shape[0]):
                g[k] = scale * g[k] - uniform * weight_of(class_weight, k)
            for i in range(t.shape[0]):
                g[label[n] + i] -= w * (1.0 - label_smoothing) * weight_of(class_weight, label[n] + i) * t[i]

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        axis = 1 + self.axis(prediction.shape[1:])
        powers = np.exp(prediction - prediction.max(axis=axis, keepdims=True))
        return np.asarray(powers / powers.sum(axis=axis, keepdims=True))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (4,)), Example(cls(label_smoothing=0.1), (4,)), Example(cls(), (2, 3)),
                Example(cls(weight=[1.0, 0.5, 2.0], label_smoothing=0.2, dim=1), (3, 2))]  # fmt: skip


@register("nll")
class NLLLoss(OfLabels):
    """Negative log-likelihood of log-probabilities p (as from `LogSoftmax`): l = -sum_k w_k t_k p_k, dl/dp_k = -w_k t_k.

    Parameters
    ----------
    weight : w, a number of at least 0 for each class. Of labels, a mean is divided by the weights of their classes.
    ignore_index : int, the label of places that do not count
    reduction : {"mean", "sum", "none"}; the mean is over rows and places, as far as they count
    dim : the axis of the classes; see `CrossEntropyLoss`

    Shape
    -----
    prediction: (N, ..., K); target: (N, ...) integers in [0, K), or (N, ..., K) probabilities. With ``dim=1``, as in PyTorch:
    (N, K, ...), and (N, ...) or (N, K, ...)

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.NLLLoss()([[-0.5, -1.0]], [1])
    >>> float(loss), (grad + 0).tolist()
    (1.0, [[0.0, -1.0]])
    """

    elsewhere = ("weight", "size_average", "ignore_index", "reduce", "reduction")
    advice = "end with LogSoftmax(), or without an activation and loss='cross_entropy'"

    @property
    def expects(self) -> tuple[Span, ...]:  # type: ignore[override]
        return (Span(-np.inf, 0.0, "exponentials" if self.dim in (None, -1) else ""),)

    @property
    def formulas(self) -> Formulas | None:  # type: ignore[override]
        return Formulas("-sum_j(y_j * a_j)", "-y_j") if self.weight is None else None

    @staticmethod
    def forward(prediction, target, label, class_weight):
        total = 0.0
        for i in range(target.shape[0]):
            if target[i] != 0.0:  # a probability of 0 times log(0) is 0
                total -= weight_of(class_weight, label + i) * target[i] * prediction[label + i]
        return total

    @staticmethod
    def backward(prediction, target, label, class_weight, grad_prediction):
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 0.0
        for i in range(target.shape[0]):
            grad_prediction[label + i] = -weight_of(class_weight, label + i) * target[i]

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        return np.asarray(np.exp(prediction))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (4,)), Example(cls(weight=[1.0, 0.5, 2.0], dim=1), (3, 2))]
