"""The loss of very many classes, straight from what the last layer reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ParameterError
from nnkit.kernels.gemm import ACROSS, STRIP, add_bias, dot, multiply_transposed, sum_rows
from nnkit.kernels.math import exp, log, real
from nnkit.layers.linear import Linear
from nnkit.losses.classes import ClassWeights, CrossEntropyLoss, weight_of

__all__ = ["LinearCrossEntropyLoss"]

BLOCK = 512  # classes that are scored at a time: of 128 rows, 256 kB


@register("linear_cross_entropy")
class LinearCrossEntropyLoss(CrossEntropyLoss):
    """Cross-entropy over very many classes, whose last `Linear` it takes in: the N x K scores are never all in memory.

    The model ends with ``nn.Linear(K)``, as for `CrossEntropyLoss`, and the loss is the same: with z = x W + b,
    l = log(sum_k exp(z_k)) - z_t for the label t. A fit and `evaluate` compute z for 512 classes at a time. Forward keeps
    the greatest z and the sum of exp(z - greatest) so far. Backward computes z again, p = softmax(z) of the block, and
    with d = w (p - t), w the weights of the rows, dl/dx += d W^T, dl/dW = x^T d, dl/db = sum_n d. That is a third more
    arithmetic, for memory that does not grow with K. In PyTorch the loss holds the weights itself; here the layer does, so
    that `predict` and ``save`` know them.

    Called by hand it takes scores, as `CrossEntropyLoss` does.

    Parameters
    ----------
    weight : a number of at least 0 for each class; see `CrossEntropyLoss`
    ignore_index : int, the label of places that do not count
    label_smoothing : float in [0, 1)
    reduction : {"mean", "sum", "none"}

    Shape
    -----
    prediction: (N, ..., K) scores; target: (N, ...) integers in [0, K), or (N, ..., K) probabilities

    Raises
    ------
    ParameterError
        The last layer is not a `Linear`.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> X, y = np.eye(8, dtype=np.float32), np.arange(8) * 1000
    >>> model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Linear(8000)])
    >>> history = model.fit(X, y, loss="linear_cross_entropy", epochs=60, optimizer=nn.Adam(lr=0.05), random_state=0)
    >>> model.predict(X).argmax(axis=1).tolist()
    [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000]

    References
    ----------
    Wijmans, Huval, Hertzberg, Koltun and Krähenbühl 2024, "Cut your losses in large-vocabulary language models"; the running
    sum: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".
    """

    elsewhere = ("in_features", "num_classes", "out_features", "bias")

    def __init__(
        self, *, weight: ClassWeights = None, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
    ) -> None:
        super().__init__(
            weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction, dim=-1
        )

    def joined(self, last: Layer | None) -> Layer:
        if getattr(type(last), "forward", None) is not Linear.forward:  # of a class derived from it, the kernels count
            came = "a sum of several layers" if last is None else repr(last)
            raise ParameterError(f"{type(self).__name__}: expected a model that ends with nn.Linear(classes), which the "
                                 f"loss takes in, got {came}; loss='cross_entropy' takes any last layer")  # fmt: skip
        return LinearCrossEntropy(cast(Linear, last), self.label_smoothing, self.class_weight)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (4,)), Example(cls(weight=[1.0, 0.5, 2.0], label_smoothing=0.2), (2, 3))]


def mass_of(target, label, class_weight):
    """What the targets of a row add up to, alone and times the weights of their classes."""
    mass, weighty = 0.0, 0.0
    for i in range(target.shape[0]):
        mass += target[i]
        weighty += weight_of(class_weight, label + i) * target[i]
    return mass, weighty


class LinearCrossEntropy(Layer):
    """`Linear` and `CrossEntropyLoss` in one: ``out`` is the loss of each row, its gradient what the rows weigh."""

    folds_rows = True

    def __init__(self, last: Linear, label_smoothing: float, class_weight: NDArray[np.float64] | None) -> None:
        self.last = last
        self.label_smoothing, self.class_weight = label_smoothing, class_weight

    def build(self, in_shape: Shape) -> Shape:
        *leading, features = in_shape
        classes = self.last.out_features
        self.parameter("weight", (features, classes))
        self.parameter("bias", (classes,) if self.last.bias else (0,))
        width = min(BLOCK, classes)
        self.scratch("label", (*leading, 1), dtype="int64")  # both are written before, for the loss
        self.scratch("target", (*leading, 1))
        self.scratch("scores", (*leading, width))
        self.scratch("top", (*leading, 1))
        self.scratch("log_total", (*leading, 1))
        self.workspace("strip", (min(STRIP, width), ACROSS))
        return (*leading, 1)

    @staticmethod
    def forward(x, weight, bias, target, label, label_smoothing, class_weight, scores, top, log_total, out):
        smooth, classes = label_smoothing / real(weight.shape[1]), 0.0
        for k in range(weight.shape[1]):
            classes += weight_of(class_weight, k)
        for n in range(x.shape[0]):
            out[n, 0] = 0.0
        for begin in range(0, weight.shape[1], BLOCK):
            block = scores[:, : min(BLOCK, weight.shape[1] - begin)]
            dot(x, weight[:, begin : begin + BLOCK], block)
            add_bias(bias[begin : begin + BLOCK], block)
            for n in range(x.shape[0]):
                z, t = block[n], target[n]
                high, total = z[0] if begin == 0 else top[n, 0], 0.0
                for k in range(z.shape[0]):
                    high = max(high, z[k])
                for k in range(z.shape[0]):
                    total += exp(z[k] - high)
                log_total[n, 0] = total if begin == 0 else log_total[n, 0] * exp(top[n, 0] - high) + total  # so far the sum
                top[n, 0] = high
                matched = 0.0
                for i in range(max(0, begin - label[n, 0]), min(t.shape[0], begin + z.shape[0] - label[n, 0])):
                    share = weight_of(class_weight, label[n, 0] + i) * t[i]
                    matched += share * z[label[n, 0] + i - begin] if share != 0.0 else 0.0
                out[n, 0] -= (1.0 - label_smoothing) * matched
                if label_smoothing > 0.0:
                    mass, everything = mass_of(t, label[n, 0], class_weight)[0], 0.0
                    for k in range(z.shape[0]):
                        everything += weight_of(class_weight, begin + k) * z[k]
                    out[n, 0] -= smooth * mass * everything
        for n in range(x.shape[0]):
            log_total[n, 0] = top[n, 0] + log(log_total[n, 0])
            mass, weighty = mass_of(target[n], label[n, 0], class_weight)
            out[n, 0] += ((1.0 - label_smoothing) * weighty + smooth * mass * classes) * log_total[n, 0]

    @staticmethod
    def backward(
        x, weight, bias, target, label, label_smoothing, class_weight, scores, log_total, strip, grad_out, grad_x, grad_weight,
        grad_bias,
    ):  # fmt: skip
        smooth, classes = label_smoothing / real(weight.shape[1]), 0.0
        for k in range(weight.shape[1]):
            classes += weight_of(class_weight, k)
        for begin in range(0, weight.shape[1], BLOCK):
            some = weight[:, begin : begin + BLOCK]
            block = scores[:, : min(BLOCK, weight.shape[1] - begin)]
            dot(x, some, block)
            add_bias(bias[begin : begin + BLOCK], block)
            for n in range(x.shape[0]):
                z, t, w = block[n], target[n], grad_out[n, 0]
                mass, weighty = mass_of(t, label[n, 0], class_weight)
                uniform = w * smooth * mass
                scale = w * (1.0 - label_smoothing) * weighty + uniform * classes
                for k in range(z.shape[0]):
                    z[k] = scale * exp(z[k] - log_total[n, 0]) - uniform * weight_of(class_weight, begin + k)
                for i in range(max(0, begin - label[n, 0]), min(t.shape[0], begin + z.shape[0] - label[n, 0])):
                    share = weight_of(class_weight, label[n, 0] + i) * t[i]
                    z[label[n, 0] + i - begin] -= w * (1.0 - label_smoothing) * share
                if w == 0.0:  # an absent row, whatever its scores are
                    z[:] = 0.0
            dot(x.T, block, grad_weight[:, begin : begin + BLOCK])
            sum_rows(block, grad_bias[begin : begin + BLOCK])
            multiply_transposed(block, some, strip, grad_x, begin == 0)
