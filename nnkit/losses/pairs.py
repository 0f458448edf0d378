"""Losses of two or three predictions for a row: how near they are to each other, or which is the greater.

A net gives them as one array with an axis of them, as branches or a stack of towers do. By hand they may also come one by one,
in PyTorch's order; then the gradient is one array for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkit.core.arrays import numeric
from nnkit.core.loss import Graded, Loss
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError

__all__ = ["CosineEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss"]


class OfSeveral(Loss):
    """Predictions have an axis of several that belong together."""

    rowwise = True
    together: ClassVar[tuple[str, ...]]  # what they are
    joint: ClassVar[int] = -2  # the axis that they lie along
    needs_target: ClassVar[bool] = True

    def __call__(  # type: ignore[override]
        self, *given: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Graded:
        """The loss of a batch and its gradient by the predictions.

        Parameters
        ----------
        given : predictions with an axis of several, or these one by one; and then the target, where the loss has one
        sample_weight : (N,) array, optional

        Returns
        -------
        loss : float; with ``reduction="none"``, an array of one for each term
        grad : of the predictions' shape; where they were given one by one, a tuple of one for each

        Raises
        ------
        ShapeError, DataError
            Predictions or the target do not fit.
        """
        count = len(self.together)
        if len(given) != count + self.needs_target:
            prediction, *rest = given
            return self.grade(prediction, rest[0] if rest else self._no_target(prediction), sample_weight)
        arrays = [numeric(array, name) for array, name in zip(given, self.together, strict=False)]
        if len({array.shape for array in arrays}) > 1:
            raise ShapeError(f"{type(self).__name__}: expected {', '.join(self.together)} of one shape, got "
                             f"{', '.join(str(array.shape) for array in arrays)}")  # fmt: skip
        stacked = np.stack(arrays, self.joint)
        target = given[count] if self.needs_target else self._no_target(stacked)
        loss, grad = self.grade(stacked, target, sample_weight)
        return Graded(loss, tuple(np.ascontiguousarray(item) for item in np.moveaxis(grad, self.joint, 0)))

    def _no_target(self, prediction: Any) -> NDArray[np.uint8]:
        """What stands for the targets of a loss that has none."""
        shape = np.shape(prediction)
        return np.zeros((*shape[:1], *self.places(shape[1:])), np.uint8)

    def target_shape(self, out_shape: Shape) -> Shape:
        axis = len(out_shape) + self.joint if self.joint < 0 else self.joint - 1
        if not 0 <= axis < len(out_shape) or out_shape[axis] != len(self.together):
            raise ShapeError(f"{self!r}: expected predictions with an axis {self.joint} of {len(self.together)}: "
                             f"{', '.join(self.together)}, got shape {('N', *out_shape)}")  # fmt: skip
        return self.places(out_shape)


@register("margin_ranking")
class MarginRankingLoss(OfSeveral):
    """Of two scores p and q, which is to be the greater one: l = max(0, m - t (p - q)), t = 1 for p and -1 for q.

    dl/dp = -t and dl/dq = t where m - t (p - q) > 0, else 0.

    Parameters
    ----------
    margin : float, m
    reduction : {"mean", "sum", "none"}

    Shape
    -----
    prediction: (N, 2, ...), p and q, and target: (N, ...) of -1 and +1; or by hand ``criterion(p, q, target)``, each (N, ...)

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.MarginRankingLoss(margin=0.5)([[1.0, 2.0], [3.0, 0.0]], [1, 1])
    >>> float(loss), (grad + 0).tolist()
    (0.75, [[-0.5, 0.5], [0.0, 0.0]])
    >>> loss, (grad_p, grad_q) = nn.MarginRankingLoss(margin=0.5)([1.0, 3.0], [2.0, 0.0], [1, 1])
    >>> float(loss), (grad_p + 0).tolist(), (grad_q + 0).tolist()
    (0.75, [-0.5, 0.0], [0.5, 0.0])
    """

    together = ("input1", "input2")
    joint = dim = 1
    target_values = (-1.0, 1.0)

    def __init__(self, *, margin: float = 0.0, reduction: str = "mean") -> None:
        self.margin = margin
        self.require_number("margin")
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, target, margin):
        return max(margin - target[0] * (prediction[0] - prediction[1]), 0.0)

    @staticmethod
    def backward(prediction, target, margin, grad_prediction):
        slope = target[0] if margin - target[0] * (prediction[0] - prediction[1]) > 0.0 else 0.0
        grad_prediction[0], grad_prediction[1] = -slope, slope

    @staticmethod
    def fused(prediction, target, margin, weight, grad, row_loss):
        for n in range(prediction.shape[0]):
            over = margin - target[n, 0] * (prediction[n, 0] - prediction[n, 1])
            slope = weight[n] * target[n, 0] if over > 0.0 else 0.0
            row_loss[n] = max(over, 0.0)
            grad[n, 0], grad[n, 1] = -slope, slope

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2,)), Example(cls(margin=0.5), (2, 3))]


@register("cosine_embedding")
class CosineEmbeddingLoss(OfSeveral):
    """Of two vectors, alike (t = 1) or not (t = -1), by c, the cosine of their angle: l = 1 - c for t = 1, else max(0, c - m).

    With a and b the vectors, s = a . b, A = a . a + e, B = b . b + e and e = 1e-12: c = s / sqrt(A B), and
    dc/da = (b - s a / A) / sqrt(A B).

    Parameters
    ----------
    margin : float, m
    reduction : {"mean", "sum", "none"}

    Shape
    -----
    prediction: (N, ..., 2, D), a and b, and target: (N, ...) of -1 and +1; or by hand ``criterion(a, b, target)``, each
    (N, ..., D)

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, grad = nn.CosineEmbeddingLoss(reduction="none")([[[1.0, 0.0], [0.0, 2.0]]] * 2, [1, -1])
    >>> loss.tolist(), (grad.round(6) + 0).tolist()
    ([1.0, 0.0], [[[0.0, -1.0], [-0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    >>> loss, (grad_a, grad_b) = nn.CosineEmbeddingLoss()([[1.0, 0.0]], [[0.0, 2.0]], [1])
    >>> (grad_a.round(6) + 0).tolist(), (grad_b.round(6) + 0).tolist()
    ([[0.0, -1.0]], [[-0.5, 0.0]])
    """

    together = ("input1", "input2")
    row_axes = 2
    target_values = (-1.0, 1.0)

    def __init__(self, *, margin: float = 0.0, reduction: str = "mean") -> None:
        self.margin = margin
        self.require_number("margin")
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, target, margin):
        product, first, second = 0.0, 1e-12, 1e-12
        for j in range(prediction.shape[1]):
            product += prediction[0, j] * prediction[1, j]
            first += prediction[0, j] * prediction[0, j]
            second += prediction[1, j] * prediction[1, j]
        cosine = product / np.sqrt(first * second)
        return 1.0 - cosine if target[0] > 0.0 else max(cosine - margin, 0.0)

    @staticmethod
    def backward(prediction, target, margin, grad_prediction):
        product, first, second = 0.0, 1e-12, 1e-12
        for j in range(prediction.shape[1]):
            product += prediction[0, j] * prediction[1, j]
            first += prediction[0, j] * prediction[0, j]
            second += prediction[1, j] * prediction[1, j]
        root = np.sqrt(first * second)
        apart = 1.0 if product / root > margin else 0.0
        slope = (-1.0 if target[0] > 0.0 else apart) / root
        for j in range(prediction.shape[1]):
            grad_prediction[0, j] = slope * (prediction[1, j] - product / first * prediction[0, j])
            grad_prediction[1, j] = slope * (prediction[0, j] - product / second * prediction[1, j])

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (2, 3)), Example(cls(margin=0.25), (2, 2, 4))]


def power(size, p):
    """A number of at least 0 to the power p."""
    return size * size if p == 2.0 else size if p == 1.0 else size**p


def distance(a, b, p, eps):
    """(sum_j |a_j - b_j + eps|**p)**(1 / p)."""
    total = 0.0
    for j in range(a.shape[0]):
        total += power(abs(a[j] - b[j] + eps), p)
    return np.sqrt(total) if p == 2.0 else total if p == 1.0 else total ** (1.0 / p)


def add_slope(a, b, p, eps, length, factor, grad_a, grad_b):
    """Add the derivatives of factor times the `distance` of a and b, which is ``length``, to their gradients."""
    if length > 0.0:
        for j in range(a.shape[0]):
            difference = a[j] - b[j] + eps
            sign = -factor if difference < 0.0 else factor
            slope = factor * difference / length
            if p == 1.0:
                slope = sign
            elif p != 2.0:
                slope = sign * (abs(difference) / length) ** (p - 1.0)
            grad_a[j] += slope
            grad_b[j] -= slope


@register("triplet_margin")
class TripletMarginLoss(OfSeveral):
    """Of an anchor a, something like it, b, and something unlike it, c: l = max(0, d(a, b) - d(a, c) + m).

    d(a, b) = (sum_j |a_j - b_j + eps|**p)**(1 / p), and dd/da_j = sign(a_j - b_j + eps) (|a_j - b_j + eps| / d)**(p - 1). With
    ``swap``, d(a, c) becomes d(b, c) where that is smaller. There are no targets: whatever numbers ``fit`` is given as y, one a
    row, such as zeros, or labels from which the triplets were made, they are not looked at.

    Parameters
    ----------
    margin : float > 0, m
    p : float >= 1
    eps : float in (0, 1)
    swap : bool
    reduction : {"mean", "sum", "none"}

    Shape
    -----
    prediction: (N, ..., 3, D): a, b and c; or by hand ``criterion(a, b, c)``, each (N, ..., D)

    Examples
    --------
    >>> import nnkit as nn
    >>> loss, (grad_a, grad_b, grad_c) = nn.TripletMarginLoss()([[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 4.5]])
    >>> round(float(loss), 4), *((grad.round(4) + 0).tolist() for grad in (grad_a, grad_b, grad_c))
    (1.5, [[-0.6, 0.2]], [[0.6, 0.8]], [[0.0, -1.0]])
    >>> triplets = [[[0.0], [1.0], [1.995]], [[0.0], [1.0], [5.0]]]  # all but far enough, and far enough
    >>> loss, grad = nn.TripletMarginLoss(reduction="none")(triplets)
    >>> loss.round(4).tolist(), (grad.round(4) + 0).tolist()
    ([0.005, 0.0], [[[0.0], [1.0], [-1.0]], [[0.0], [0.0], [0.0]]])

    References
    ----------
    Schroff, Kalenichenko and Philbin 2015, "FaceNet"; the swap: Balntas, Riba, Ponsa and Mikolajczyk 2016, "Learning local
    feature descriptors with triplets and shallow convolutional neural networks".
    """

    together = ("anchor", "positive", "negative")
    row_axes = 2
    needs_target = False

    def __init__(
        self, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap
        self.require_number("margin", 0.0, above=True)
        self.require_number("p", 1.0)
        self.require_eps()
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, margin, p, eps, swap):
        near = distance(prediction[0], prediction[1], p, eps)
        far = distance(prediction[0], prediction[2], p, eps)
        if swap:
            far = min(far, distance(prediction[1], prediction[2], p, eps))
        return max(margin + near - far, 0.0)

    @staticmethod
    def backward(prediction, margin, p, eps, swap, grad_prediction):
        a, b, c = prediction[0], prediction[1], prediction[2]
        for j in range(prediction.shape[1]):
            for i in range(3):
                grad_prediction[i, j] = 0.0
        near, far = distance(a, b, p, eps), distance(a, c, p, eps)
        other = distance(b, c, p, eps) if swap else far
        if margin + near - min(far, other) > 0.0:
            add_slope(a, b, p, eps, near, 1.0, grad_prediction[0], grad_prediction[1])
            if other < far:
                add_slope(b, c, p, eps, other, -1.0, grad_prediction[1], grad_prediction[2])
            else:
                add_slope(a, c, p, eps, far, -1.0, grad_prediction[0], grad_prediction[2])

    @classmethod
    def examples(cls) -> Sequence[Example]:
        swapped = cls(margin=0.5, p=1.0, eps=0.2, swap=True)
        return [Example(cls(), (3, 4)), Example(swapped, (2, 3, 2)), Example(cls(p=3.0, eps=0.2, swap=True), (3, 2))]
