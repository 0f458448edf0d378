"""Losses of sequences whose labels are known, and not where in the sequence they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkit.core.arrays import numeric
from nnkit.core.loss import Graded, Loss
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.core.targets import require_labels
from nnkit.errors import DataError, ShapeError
from nnkit.kernels.math import exp, log, real

__all__ = ["CTCLoss"]


def count_labels(target, first, classes):
    """How many labels a row has from ``first`` on: they end with a number that is none."""
    count = 0
    while first + count < target.shape[0] and 0 <= int(target[first + count]) < classes:
        count += 1
    return count


def symbol(target, first, s, blank):
    """What stands at place s of the labels with a blank before, between and after them."""
    return int(target[first + s // 2]) if s % 2 == 1 else blank


def steps_of(prediction, target, first):
    """How many steps of a row count: all, or what its targets begin with."""
    steps = prediction.shape[0]
    return min(max(int(target[0]), 0), steps) if first == 1 else steps


def fill_skips(target, first, skip):
    """Where place s may follow place s - 2, 0, else -inf: it is a label, and not the same one again."""
    for s in range(skip.shape[0]):
        skip[s] = -np.inf
        if s % 2 == 1 and s >= 3 and int(target[first + s // 2]) != int(target[first + s // 2 - 1]):
            skip[s] = 0.0


def add_paths(a, b, c, skip, out):
    """Out = log(exp(a) + exp(b) + exp(c + skip)), one loop without branches."""
    for s in range(out.shape[0]):
        third = c[s] + skip[s]
        top = max(max(a[s], b[s]), third)
        base = top if top > -np.inf else 0.0
        total = exp(a[s] - base) + exp(b[s] - base) + exp(third - base)
        out[s] = base + log(total) if top > -np.inf else -np.inf


def forward_paths(prediction, target, first, blank, steps, places, work):
    """Logarithm of the probability of all paths to place s at step t, as work[t, 2 + s]; returns that of all whole paths."""
    skip, last = work[prediction.shape[0] + 2], 2 + places
    fill_skips(target, first, skip[2:last])
    for t in range(steps):
        row, before = work[t], work[max(t - 1, 0)]
        row[0], row[1] = -np.inf, -np.inf  # there is no place before the first one
        if t == 0:
            for s in range(places):
                row[2 + s] = 0.0 if s < 2 else -np.inf
        else:
            add_paths(before[2:last], before[1 : last - 1], before[: last - 2], skip[2:last], row[2:last])
        for s in range(places):
            row[2 + s] += prediction[t, symbol(target, first, s, blank)]
    if steps == 0:
        return 0.0 if places == 1 else -np.inf
    one, other = work[steps - 1, last - 1], work[steps - 1, last - 2]
    top = max(one, other)
    return top + log(exp(one - top) + exp(other - top)) if top > -np.inf else top


def backward_paths(prediction, target, first, blank, steps, places, whole, scale, work, grad):
    """Subtract ``scale`` times the probability that a path is at a class in a step from the gradient of that."""
    top, last = prediction.shape[0], 2 + places
    skip = work[top + 2]
    for s in range(places):  # from here, two places on; there is none after the last one
        skip[s] = skip[2 + s]
    skip[places], skip[places + 1] = -np.inf, -np.inf
    for back in range(steps):
        t = steps - 1 - back
        here, later = work[top + back % 2], work[top + 1 - back % 2]
        if back == 0:
            for s in range(places):
                here[s] = 0.0 if s >= places - 2 else -np.inf
        else:
            add_paths(later[:places], later[1 : places + 1], later[2:last], skip[2:last], here[:places])
        for s in range(places):
            k = symbol(target, first, s, blank)
            grad[t, k] -= scale * exp(work[t, 2 + s] + here[s] - whole)
            here[s] += prediction[t, k]
        here[places], here[places + 1] = -np.inf, -np.inf


@register("ctc")
class CTCLoss(Loss):
    """Connectionist temporal classification: l = -log of the probability of all paths that give the labels.

    A path is one class for each step. It gives the labels that are left when steps that repeat their class are taken as one,
    and then the blank class is left out. For log-probabilities p, dl/dp_tk is minus the probability that a path which gives the
    labels is at class k at step t. (PyTorch adds exp(p_tk) to that, which comes to the same before a `LogSoftmax`.) Both come
    from the sums over all beginnings and over all ends of paths, in logarithms.

    A mean divides the loss of each row by the number of its labels first, as PyTorch's does.

    Parameters
    ----------
    blank : int, the class that stands for no label
    zero_infinity : bool: the loss and the gradient of labels that do not fit into the steps are 0, instead of infinity and NaN
    with_lengths : bool: every row of targets begins with the number of steps of that row which count
    reduction : {"mean", "sum", "none"}

    Shape
    -----
    prediction: (N, T, K) log-probabilities, rows first; target: (N, S) integers, the labels of a row, and then -1.
    With ``with_lengths``: (N, 1 + S). By hand also in PyTorch's words: ``criterion(prediction, target, input_lengths,
    target_lengths)``, where targets may be filled up with anything, or stand one after the other

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> loss, grad = nn.CTCLoss()(np.log(np.full((1, 2, 2), 0.5)), [[1]])  # paths 11, 01 and 10 of four
    >>> round(float(loss), 4), grad.round(4).tolist()
    (0.2877, [[[-0.3333, -0.6667], [-0.3333, -0.6667]]])
    >>> uniform = np.log(np.full((3, 3, 4), 1 / 4))  # of 64 paths 001, 011, 201, 021 and 012; 020; and six for 1 alone
    >>> loss = nn.CTCLoss(blank=2, reduction="none")(uniform, [[0, 1], [0, 0], [1, -1]]).loss
    >>> (64 * np.exp(-loss)).round(4).tolist()
    [5.0, 1.0, 6.0]
    >>> loss = nn.CTCLoss(blank=2, reduction="sum", with_lengths=True)(uniform[:1], [[2, 0, 1]]).loss  # of 16 for two steps
    >>> round(16 * float(np.exp(-loss)), 4)
    1.0

    References
    ----------
    Graves, Fernandez, Gomez and Schmidhuber 2006, "Connectionist temporal classification".
    """

    rowwise = True
    row_axes = 2
    prediction_high = 0.0
    expects = (Span(-np.inf, 0.0, "exponentials"),)
    advice = "end with LogSoftmax()"

    def __init__(
        self, *, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False, with_lengths: bool = False
    ) -> None:
        self.blank = blank
        self.zero_infinity = zero_infinity
        self.with_lengths = with_lengths
        self.require_size("blank", 0)
        super().__init__(reduction=reduction)

    @property
    def first(self) -> int:
        """Where in a row of targets the labels begin."""
        return int(self.with_lengths)

    @property
    def per_label(self) -> bool:
        """Whether a row's loss is divided by the number of its labels."""
        return self.reduction == "mean"

    def workspace(self, row: Shape, target: Shape) -> Shape:
        """Sums over paths to every place, for all steps; of those from there on, for two; and where a blank may be left out."""
        return (row[0] + 3, 2 * target[0] + 3)

    @staticmethod
    def forward(prediction, target, blank, first, per_label, zero_infinity, workspace):
        count = count_labels(target, first, prediction.shape[1])
        steps = steps_of(prediction, target, first)
        loss = -forward_paths(prediction, target, first, blank, steps, 2 * count + 1, workspace)
        loss = 0.0 if zero_infinity and loss == np.inf else loss
        return loss / real(max(count, 1)) if per_label else loss

    @staticmethod
    def backward(prediction, target, blank, first, per_label, zero_infinity, workspace, grad_prediction):
        count = count_labels(target, first, prediction.shape[1])
        steps, places = steps_of(prediction, target, first), 2 * count + 1
        for t in range(prediction.shape[0]):
            for k in range(prediction.shape[1]):
                grad_prediction[t, k] = 0.0
        whole = forward_paths(prediction, target, first, blank, steps, places, workspace)
        scale = 1.0 / real(max(count, 1)) if per_label else 1.0
        if not (zero_infinity and whole == -np.inf):
            backward_paths(prediction, target, first, blank, steps, places, whole, scale, workspace, grad_prediction)

    @staticmethod
    def fused(prediction, target, blank, first, per_label, zero_infinity, workspace, weight, grad, row_loss):
        for n in range(prediction.shape[0]):
            p, t, g = prediction[n], target[n], grad[n]
            count = count_labels(t, first, p.shape[1])
            steps, places = steps_of(p, t, first), 2 * count + 1
            for step in range(g.shape[0]):
                for k in range(g.shape[1]):
                    g[step, k] = 0.0
            whole = forward_paths(p, t, first, blank, steps, places, workspace)
            scale = 1.0 / real(max(count, 1)) if per_label else 1.0
            missing = zero_infinity and whole == -np.inf
            row_loss[n] = 0.0 if missing else -whole * scale
            if not missing:
                backward_paths(p, t, first, blank, steps, places, whole, weight[n] * scale, workspace, g)

    def check_target(self, y: NDArray[Any], out_shape: Shape, rows: int, name: str = "y") -> None:
        who = type(self).__name__
        if len(out_shape) != 2:
            raise ShapeError(f"{who}: expected predictions of shape (N, steps, classes), got {(rows, *out_shape)}")
        if y.ndim != 2 or len(y) != rows or y.shape[1] <= self.first:
            raise ShapeError(f"{who}: expected {name} of shape ({rows}, labels), a row for each of X, filled up with -1; "
                             f"got {y.shape}")  # fmt: skip
        require_labels(who, y, name)
        steps, classes = out_shape
        self.require("blank", self.blank < classes, f"one of {classes} classes")
        labels = y[:, self.first :]
        wrong = (labels < -1) | (labels >= classes) | (labels == self.blank)
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            raise DataError(f"{who}: expected labels in {name} from 0 to {classes - 1}, without the blank {self.blank}, and "
                            f"then -1, got {labels[row].tolist()} in row {row}")  # fmt: skip
        if self.with_lengths and (y[:, 0].min() < 0 or y[:, 0].max() > steps):
            raise DataError(f"{who}: expected {name} to begin with numbers of steps from 0 to {steps}, got {y[:, 0].min()} to "
                            f"{y[:, 0].max()}")  # fmt: skip

    def target_shape(self, out_shape: Shape) -> Shape:
        return (max(1, out_shape[0] // 2) + self.first,)

    def example_target(self, random: np.random.Generator, rows: int, out_shape: Shape) -> NDArray[Any]:
        """Legal targets for the contract tests: as many labels as fit, and fewer."""
        (steps, classes), (width,) = out_shape, self.target_shape(out_shape)
        labels = random.integers(0, classes - 1, (rows, width - self.first))
        labels += labels >= self.blank
        labels[np.arange(labels.shape[1]) >= random.integers(1, labels.shape[1] + 1, (rows, 1))] = -1
        return np.hstack([random.integers(2 * labels.shape[1] - 1, steps + 1, (rows, self.first)), labels])

    def __call__(  # type: ignore[override]
        self,
        prediction: ArrayLike,
        target: ArrayLike,
        input_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Graded:
        """The loss of a batch and its gradient by the prediction.

        Parameters
        ----------
        prediction : (N, T, K) log-probabilities
        target : (N, S) labels, and then -1; with ``target_lengths`` anything may follow, or all labels stand in one row
        input_lengths : (N,), how many steps of each row count
        target_lengths : (N,), how many labels each row has
        sample_weight : (N,), optional

        Returns
        -------
        loss : float; with ``reduction="none"``, an array of one for each row
        grad : (N, T, K)

        Raises
        ------
        ShapeError, DataError
            The target does not fit the prediction.
        """
        labels = numeric(target, "target")
        if target_lengths is not None:
            labels = _filled_up(labels, numeric(target_lengths, "target_lengths"))
        if input_lengths is None:
            return self.grade(prediction, labels, sample_weight)
        lengths = numeric(input_lengths, "input_lengths").reshape(-1, 1)
        if len(lengths) != len(labels):
            raise ShapeError(f"{type(self).__name__}: expected {len(labels)} input_lengths, got {len(lengths)}")
        return self.replace(with_lengths=True).grade(prediction, np.hstack([lengths, labels]), sample_weight)

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction.argmax(axis=-1))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(part, (5, 3), -3.0, 0.0) for part in (cls(), cls(blank=2, with_lengths=True, zero_infinity=True))]


def _filled_up(labels: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Labels in rows that end with -1, from rows that end with anything, or from all labels one after the other."""
    if lengths.ndim != 1 or lengths.min(initial=0) < 0:
        raise ShapeError(f"CTCLoss: expected target_lengths of shape (N,), at least 0, got {lengths.shape}")
    width = int(lengths.max(initial=1)) if labels.ndim == 1 else labels.shape[-1]
    there = np.arange(max(width, 1)) < lengths[:, None]
    given = labels if labels.ndim == 1 else labels[:, : there.shape[1]][there] if labels.shape == there.shape else labels[:0]
    if given.shape != (there.sum(),) or there.sum() != lengths.sum():
        raise ShapeError(f"CTCLoss: expected target of shape (N, S), or of {int(lengths.sum())} labels in one row, for "
                         f"target_lengths {lengths.tolist()}, got shape {labels.shape}")  # fmt: skip
    filled = np.full(there.shape, -1, np.int64)
    filled[there] = given
    return filled
