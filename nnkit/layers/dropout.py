"""Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.schedule import Schedule
from nnkit.errors import OnnxError, ShapeError
from nnkit.kernels.random import uniform_bits

__all__ = ["Dropout", "Dropout2d"]


def threshold(rate: float | Schedule) -> int | Schedule:
    """Of 32-bit numbers, this part is below."""
    return 2**32 * rate if isinstance(rate, Schedule) else int(2**32 * rate)


@register("dropout")
class Dropout(Layer):
    """In training, set each number to 0 with probability ``rate`` and scale the others up; else do nothing.

    out = x m / (1 - rate) and grad_x = grad_out m / (1 - rate), where m is 0 with probability rate and 1 otherwise; outside of
    training out = x. The expected value of out is x in both.

    The mask is a function of the seed, the step, the row's place in the batch and the unit: it does not depend on the number
    of threads.

    Parameters
    ----------
    rate : float in [0, 1), probability of a zero; or a `Schedule` of it, such as ``0.5 * nn.CosineSchedule()``

    Shape
    -----
    x: (N, ...) -> out: (N, ...)

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Dropout(0.5)]).build((4,)).predict([[1.0, 2.0, 3.0, 4.0]])
    array([[1., 2., 3., 4.]], dtype=float32)
    >>> model = nn.Sequential([nn.Dropout(0.75)]).build((4,), random_state=0)
    >>> model.forward([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], training=True)
    array([[ 4.,  0.,  0., 16.],
           [ 0.,  0.,  0.,  0.]], dtype=float32)

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014, "Dropout: a simple way to prevent neural networks from
    overfitting" (scaled in training, as PyTorch does, instead of at test time).
    """

    elsewhere = ("rate", "inplace")
    inplace = flat = passes_mask = True

    def __init__(self, rate: float | Schedule = 0.5) -> None:
        self.rate = rate
        self.require_number("rate", 0.0, 1.0, below=True)

    def build(self, in_shape: Shape) -> Shape:
        self.width = prod(in_shape)
        self.threshold = threshold(self.rate)
        self.scratch("factor", in_shape)  # m / (1 - rate)
        return in_shape

    def c(self) -> str:
        return ""

    @staticmethod
    def forward(x, rate, threshold, width, training, seed, first_row, factor, out):
        if training:
            scale = 1.0 / (1.0 - rate)
            for i in range(x.shape[0]):
                factor[i] = scale if uniform_bits(seed, first_row * width + i) >= threshold else 0.0
                out[i] = x[i] * factor[i]
        else:
            for i in range(x.shape[0]):
                out[i] = x[i]

    @staticmethod
    def backward(grad_out, training, factor, grad_x):
        if training:
            for i in range(grad_out.shape[0]):
                grad_x[i] = grad_out[i] * factor[i]
        else:
            for i in range(grad_out.shape[0]):
                grad_x[i] = grad_out[i]

    def onnx(self, graph, x):
        rate = self.rate.at(1.0, 1.0) if isinstance(self.rate, Schedule) else self.rate
        return graph.node("Dropout", x, rate)

    @classmethod
    def from_onnx(cls, at):
        if (node := at.take("Dropout")) is None:
            return None
        if node.input(2) is not None and node.constant(2).any():
            raise OnnxError("expected training_mode=False, got True")
        node.attributes.get("seed")  # of random numbers that are not drawn
        return at.found(cls(at.number(node.constant(1))) if node.input(1) is not None else cls())

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(0.3), (5,)), Example(cls(0.5), (2, 3))]


@register("dropout2d")
class Dropout2d(Layer):
    """In training, set each channel of each row to 0 with probability ``rate`` and scale the others up; else do nothing.

    out = x m / (1 - rate) and grad_x = grad_out m / (1 - rate), where m is 0 with probability rate and 1 otherwise, the same
    for all places of a channel. Neighbouring places of an image tell much the same: dropping single ones would drop little.

    Parameters
    ----------
    rate : float in [0, 1), probability of a zero; or a `Schedule` of it, such as ``0.5 * nn.CosineSchedule()``

    Shape
    -----
    x: (N, C, ...) -> out: the same

    Raises
    ------
    ShapeError
        Rows have no channels.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Dropout2d(0.5)]).build((2, 2)).predict([[[1.0, 2.0], [3.0, 4.0]]])
    array([[[1., 2.],
            [3., 4.]]], dtype=float32)
    >>> model = nn.Sequential([nn.Dropout2d(0.75)]).build((3, 2), random_state=0)
    >>> model.forward([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[7.0, 8.0], [9.0, 1.0], [2.0, 3.0]]], training=True)[:, :, 0]
    array([[ 4.,  0.,  0.],
           [28.,  0.,  0.]], dtype=float32)

    References
    ----------
    Tompson, Goroshin, Jain, LeCun and Bregler 2015, "Efficient object localization using convolutional networks".
    """

    elsewhere = ("rate", "inplace")
    blocked = inplace = True

    def __init__(self, rate: float | Schedule = 0.5) -> None:
        self.rate = rate
        self.require_number("rate", 0.0, 1.0, below=True)

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, ...), got (N,)")
        self.threshold = threshold(self.rate)
        seen = (in_shape[0], prod(in_shape[1:]))
        self.view(x=seen, out=seen)
        return in_shape

    def c(self) -> str:
        return ""

    @staticmethod
    def forward(x, rate, threshold, training, seed, first_row, out):
        drop_channels(x, rate, threshold, training, seed, first_row, out)

    @staticmethod
    def backward(grad_out, rate, threshold, training, seed, first_row, grad_x):
        drop_channels(grad_out, rate, threshold, training, seed, first_row, grad_x)

    def onnx(self, graph, x):
        """Nothing: ONNX has no such operator, and out of training it does nothing."""
        return x

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(0.4), (3, 2, 2))]


def drop_channels(x, rate, threshold, training, seed, first_row, out):
    """Out = x with some channels of some rows 0 and the others scaled up; the rows are in blocks."""
    channels, lanes = x.shape[1], x.shape[3]
    scale = 1.0 / (1.0 - rate)
    for b in range(x.shape[0]):
        for c in range(channels):
            for lane in range(lanes):
                kept = scale
                if training and uniform_bits(seed, (first_row + b * lanes + lane) * channels + c) < threshold:
                    kept = 0.0
                for p in range(x.shape[2]):
                    out[b, c, p, lane] = x[b, c, p, lane] * (kept if training else 1.0)
