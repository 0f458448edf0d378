"""Focal loss for nnkit: cross-entropy that counts rows less the better they are classified already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnkit as nn
from nnkit.kernels.math import exp, expm1, log1p

__all__ = ["FocalLoss"]


def largest(z):
    """Place of the largest logit z, and log(sum_k exp(z_k)) - max_k z_k = log(1 + r), r the sum over all k but that one.

    Without the 1 in the sum, r keeps its digits where it is small: where the net is sure.
    """
    best = 0
    for k in range(z.shape[0]):
        best = k if z[k] > z[best] else best
    rest = 0.0
    for k in range(z.shape[0]):
        rest += exp(z[k] - z[best]) if k != best else 0.0
    return best, log1p(rest)


def log_probability(z, k, best, log_total):
    """The logarithm of p_k, (z_k - max z) - log(1 + r).

    The condition also keeps the compiler from making z_k - (max z + log(1 + r)) of it, which would lose digits.
    """
    return (z[k] - z[best] if k != best else 0.0) - log_total


def next_share(target, i):
    """The first share from i on that is not 0; most rows have one in all.

    With a condition in a loop over all classes instead, the compiler would compute the powers of all of them.
    """
    while i < target.shape[0] and target[i] == 0.0:
        i += 1
    return i


def weight_of(class_weight, k):
    """The weight of class k; without weights it is compiled as the number 1."""
    return 1.0 if class_weight is None else class_weight[k]


def slope(log_p, gamma):
    """The derivative of -(1 - p)**gamma log(p) by log p."""
    q = -expm1(log_p)
    ratio = -log_p / q if q > 0.0 else 1.0
    return -(q**gamma) * (1.0 + gamma * exp(log_p) * ratio)


@nn.register("focal")
class FocalLoss(nn.Loss):
    """Focal loss of logits z over K classes: l = -sum_k a_k t_k (1 - p_k)**gamma log(p_k), where p = softmax(z).

    For integer labels t is 1 at the label and 0 elsewhere. Cross-entropy is gamma = 0; the larger gamma is, the less a row
    counts whose class has a high probability already, so that many easy rows do not outweigh a few hard ones. The weights
    a_k, all 1 unless they are given, are the paper's alpha. With q_k = 1 - p_k,

    - dl/dlog p_k = t_k f_k, where f_k = -a_k q_k**gamma (1 + gamma p_k r_k) and r_k = -log(p_k) / q_k, which is 1 at p_k = 1,
    - dl/dz_k = t_k f_k q_k - p_k sum_{i != k} t_i f_i, from dlog p_i / dz_k = 1[i = k] - p_k.

    Written in r_k there is no q_k**(gamma - 1), which grows without bounds for gamma < 1 as p_k comes near 1. All of it is
    computed from log p_k, q_k as -expm1(log p_k): nothing overflows, and q_k keeps its digits where p_k rounds to 1.

    Parameters
    ----------
    gamma : float >= 0, the focusing parameter
    class_weight : K numbers >= 0, optional: a tuple, a list or an array
    reduction : {"mean", "sum"}; the mean is over rows, whatever their classes weigh

    Shape
    -----
    prediction: (N, ..., K) logits; target: (N, ...) integers in [0, K), or (N, ..., K) probabilities

    Examples
    --------
    >>> from nnkit_focal import FocalLoss
    >>> loss, grad = FocalLoss(gamma=1.0)([[0.0, 0.0]], [0])  # log(2) / 2
    >>> round(float(loss), 4), grad.round(4).tolist()
    (0.3466, [[-0.4233, 0.4233]])
    >>> round(float(FocalLoss(gamma=1.0, class_weight=(0.5, 2.0))([[0.0, 0.0]], [1]).loss), 4)  # twice that
    0.6931

    References
    ----------
    Lin, Goyal, Girshick, He and Dollar 2017, "Focal loss for dense object detection", eq. 4; here with softmax
    for many classes.
    """

    rowwise = classes = True
    target_low, target_high = 0.0, 1.0  # of probabilities
    expects = (nn.Span(), nn.Span(-np.inf, 0.0, "exponentials"))  # logarithms of probabilities are logits of the same
    advice = "leave the activation out: the loss takes the softmax itself"
    link = "softmax"

    def __init__(
        self, *, gamma: float = 2.0, class_weight: Sequence[float] | NDArray[Any] | None = None, reduction: str = "mean"
    ) -> None:
        self.gamma = gamma
        self.class_weight = class_weight
        self.require_number("gamma", 0.0)
        if class_weight is not None:
            given = np.asarray(class_weight)
            usable = given.dtype.kind in "biuf" and given.ndim == 1 and bool((np.isfinite(given) & (given >= 0)).all())
            self.require("class_weight", usable, "a number of at least 0 for each class, or None")
        super().__init__(reduction=reduction)

    def check_target(self, y: NDArray[Any], out_shape: tuple[int, ...], rows: int, name: str = "y") -> None:
        super().check_target(y, out_shape, rows, name)
        weights, classes = self.class_weight, out_shape[-1]
        if weights is not None and len(weights) != classes:
            raise nn.ShapeError(f"{self!r}: expected a weight for each of {classes} classes, got {len(weights)}")

    @staticmethod
    def forward(prediction, target, label, gamma, class_weight):
        best, log_total = largest(prediction)
        loss = 0.0
        i = next_share(target, 0)
        while i < target.shape[0]:
            log_p = log_probability(prediction, label + i, best, log_total)
            loss -= weight_of(class_weight, label + i) * target[i] * (-expm1(log_p)) ** gamma * log_p
            i = next_share(target, i + 1)
        return loss

    @staticmethod
    def backward(prediction, target, label, gamma, class_weight, grad_prediction):
        best, log_total = largest(prediction)
        total = 0.0
        i = next_share(target, 0)
        while i < target.shape[0]:
            share = weight_of(class_weight, label + i) * target[i]
            total += share * slope(log_probability(prediction, label + i, best, log_total), gamma)
            i = next_share(target, i + 1)
        for k in range(prediction.shape[0]):
            grad_prediction[k] = -exp(log_probability(prediction, k, best, log_total)) * total
        i = next_share(target, 0)
        while i < target.shape[0]:
            log_p = log_probability(prediction, label + i, best, log_total)
            own = weight_of(class_weight, label + i) * target[i] * slope(log_p, gamma)
            grad_prediction[label + i] = -own * expm1(log_p) - exp(log_p) * (total - own)
            i = next_share(target, i + 1)

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any]:
        powers = np.exp(prediction - prediction.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction.argmax(axis=-1))

    @classmethod
    def examples(cls) -> Sequence[nn.Example]:
        return [nn.Example(cls(), (4,)), nn.Example(cls(gamma=0.0), (4,)), nn.Example(cls(gamma=0.5), (4,)),
                nn.Example(cls(gamma=5), (2, 3)), nn.Example(cls(class_weight=(0.5, 1, 2)), (3,)),
                nn.Example(cls(gamma=1.0, class_weight=np.array([0.5, 1.0, 2.0])), (2, 3))]
