"""Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, ClassVar

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.schedule import Schedule
from nnkit.errors import OnnxError, ShapeError
from nnkit.kernels.lanes import everywhere, load, store, where
from nnkit.kernels.random import normal, uniform_bits
from nnkit.layers.windows import ROWS

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout", "GaussianNoise"]

SELU_FLOOR = -1.7580993408473766  # what SELU gives for -infinity


def alpha_scale(rate: float) -> tuple[float, float]:
    """(a, b) of out = a x' + b that keep mean 0 and variance 1, where some of x' are SELU_FLOOR and the others x."""
    a = 1.0 / sqrt((1.0 - rate) * (1.0 + rate * SELU_FLOOR**2))
    return a, -a * rate * SELU_FLOOR


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


class _Channels(Layer):
    """What layers that drop whole channels share: which number of which channel they draw, and what rows they take."""

    elsewhere = ("rate", "inplace")
    blocked = inplace = True
    dims: ClassVar[int | None] = None  # axes behind the channels; None: any number of them

    def __init__(self, rate: Any = 0.5) -> None:
        self.rate = rate
        self.require_number("rate", 0.0, 1.0, below=True)

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape or self.dims not in (None, len(in_shape) - 1):
            expected = "(channels, ...)" if self.dims is None else ROWS[self.dims]
            raise ShapeError(f"{self!r}: expected input rows of shape {expected}, got {in_shape or '(N,)'}")
        self.threshold = threshold(self.rate)
        seen = (in_shape[0], prod(in_shape[1:]))
        self.view(x=seen, out=seen)
        self.workspace("factors", (16,))  # of a channel, in as many rows as a block may have
        return in_shape

    def c(self) -> str:
        return ""

    def onnx(self, graph, x):
        """Nothing: ONNX has no such operator, and out of training it does nothing."""
        return x

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(0.4), (3, *(2,) * (2 if cls.dims is None else cls.dims)))]


class _DropChannels(_Channels):
    """The kernels of Dropout1d, Dropout2d and Dropout3d."""

    def __init__(self, rate: float | Schedule = 0.5) -> None:
        super().__init__(rate)

    @staticmethod
    def forward(x, rate, threshold, training, seed, first_row, factors, out):
        drop_channels(x, rate, threshold, training, seed, first_row, factors, out)

    @staticmethod
    def backward(grad_out, rate, threshold, training, seed, first_row, factors, grad_x):
        drop_channels(grad_out, rate, threshold, training, seed, first_row, factors, grad_x)


@register("dropout1d")
class Dropout1d(_DropChannels):
    """In training, set each channel of each row to 0 with probability ``rate`` and scale the others up; else do nothing.

    It is `Dropout2d` for rows (C, L).

    Parameters
    ----------
    rate : float in [0, 1), probability of a zero

    Shape
    -----
    x: (N, C, L) -> out: the same

    Raises
    ------
    ShapeError
        Rows are not (C, L).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Dropout1d(0.5)]).build((2, 2)).predict([[[1.0, 2.0], [3.0, 4.0]]])
    array([[[1., 2.],
            [3., 4.]]], dtype=float32)

    References
    ----------
    Tompson, Goroshin, Jain, LeCun and Bregler 2015, "Efficient object localization using convolutional networks".
    """

    dims = 1


@register("dropout2d")
class Dropout2d(_DropChannels):
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


@register("dropout3d")
class Dropout3d(_DropChannels):
    """In training, set each channel of each row to 0 with probability ``rate`` and scale the others up; else do nothing.

    It is `Dropout2d` for rows (C, D, H, W).

    Parameters
    ----------
    rate : float in [0, 1), probability of a zero

    Shape
    -----
    x: (N, C, D, H, W) -> out: the same

    Raises
    ------
    ShapeError
        Rows are not (C, D, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Dropout3d(0.5)]).build((2, 1, 1, 2)).predict([[[[[1.0, 2.0]]], [[[3.0, 4.0]]]]]).ravel()
    array([1., 2., 3., 4.], dtype=float32)

    References
    ----------
    Tompson, Goroshin, Jain, LeCun and Bregler 2015, "Efficient object localization using convolutional networks".
    """

    dims = 3


@register("alpha_dropout")
class AlphaDropout(Layer):
    """In training, set each number to what SELU gives for -infinity with probability ``rate``; else do nothing.

    out = a (x m + f (1 - m)) + b and grad_x = a m grad_out, where m is 0 with probability rate and 1 otherwise, f = -1.7581,
    a = 1 / sqrt((1 - rate) (1 + rate f**2)) and b = -a rate f: numbers with mean 0 and variance 1 keep both, so that it goes
    with `SELU`. The mask is a function of the seed, the step, the row's place in the batch and the unit.

    Parameters
    ----------
    rate : float in [0, 1), probability of a number to be replaced

    Shape
    -----
    x: (N, ...) -> out: (N, ...)

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.AlphaDropout(0.5)]).build((4,), random_state=0)
    >>> model.predict([[1.0, 2.0, 3.0, 4.0]])
    array([[1., 2., 3., 4.]], dtype=float32)
    >>> model.forward([[1.0, 2.0, 3.0, 4.0]], training=True).round(3)
    array([[ 1.666, -0.779, -0.779,  4.325]], dtype=float32)

    References
    ----------
    Klambauer, Unterthiner, Mayr and Hochreiter 2017, "Self-normalizing neural networks", section 2 (new dropout technique).
    """

    elsewhere = ("rate", "inplace")
    inplace = flat = passes_mask = True

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate
        self.require("rate", not isinstance(rate, Schedule), "a number in [0, 1)")
        self.require_number("rate", 0.0, 1.0, below=True)

    def build(self, in_shape: Shape) -> Shape:
        self.width = prod(in_shape)
        self.threshold = int(self.rate * 2**32)  # of 32-bit numbers, so many are below
        self.scale, self.shift = alpha_scale(self.rate)
        self.dropped = self.scale * SELU_FLOOR + self.shift
        self.scratch("factor", in_shape)  # a m
        return in_shape

    def c(self) -> str:
        return ""

    @staticmethod
    def forward(x, scale, shift, dropped, threshold, width, training, seed, first_row, factor, out):
        if training:
            for i in range(x.shape[0]):
                kept = uniform_bits(seed, first_row * width + i) >= threshold
                factor[i] = scale if kept else 0.0
                out[i] = x[i] * factor[i] + (shift if kept else dropped)
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
        """Nothing: ONNX has no such operator, and out of training it does nothing."""
        return x

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(0.3), (5,))]


@register("feature_alpha_dropout")
class FeatureAlphaDropout(_Channels):
    """In training, set each channel of each row to what SELU gives for -infinity with probability ``rate``; else do nothing.

    out = a (x m + f (1 - m)) + b and grad_x = a m grad_out, as `AlphaDropout`, but with one m for all places of a channel.

    Parameters
    ----------
    rate : float in [0, 1), probability of a channel to be replaced

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
    >>> model = nn.Sequential([nn.FeatureAlphaDropout(0.5)]).build((3, 2), random_state=0)
    >>> X = [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]
    >>> (model.predict(X) == X).all()
    np.True_
    >>> model.forward(X, training=True).round(3)
    array([[[ 1.666,  2.552],
            [-0.779, -0.779],
            [-0.779, -0.779]]], dtype=float32)

    References
    ----------
    Klambauer, Unterthiner, Mayr and Hochreiter 2017, "Self-normalizing neural networks", section 2 (new dropout technique).
    """

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__(rate)
        self.require("rate", not isinstance(rate, Schedule), "a number in [0, 1)")

    def build(self, in_shape: Shape) -> Shape:
        self.scale, self.shift = alpha_scale(self.rate)
        self.dropped = self.scale * SELU_FLOOR + self.shift
        return super().build(in_shape)

    @staticmethod
    def forward(x, scale, shift, dropped, threshold, training, seed, first_row, factors, out):
        replace_channels(x, scale, shift, dropped, threshold, training, seed, first_row, factors, out)

    @staticmethod
    def backward(grad_out, scale, threshold, training, seed, first_row, factors, grad_x):
        replace_channels(grad_out, scale, 0.0, 0.0, threshold, training, seed, first_row, factors, grad_x)


def draw_channel(factors, scale, threshold, seed, first, step):
    """For a channel of each row of a block, 0 or ``scale``; from row to row its counter is ``step`` more, from ``first`` on."""
    for lane in range(factors.shape[0]):
        factors[lane] = scale if uniform_bits(seed, first + lane * step) >= threshold else 0.0


def drop_channels(x, rate, threshold, training, seed, first_row, factors, out):
    """Out = x with some channels of some rows 0 and the others scaled up; the rows are in blocks."""
    channels, lanes = x.shape[1], x.shape[3]
    kept, scale = factors[:lanes], 1.0 / (1.0 - rate)
    for b in range(x.shape[0]):
        for c in range(channels):
            if training:
                draw_channel(kept, scale, threshold, seed, (first_row + b * lanes) * channels + c, channels)
                factor = load(kept)
                for p in range(x.shape[2]):
                    store(load(x[b, c, p]) * factor, out[b, c, p])
            else:
                for p in range(x.shape[2]):
                    store(load(x[b, c, p]), out[b, c, p])


def replace_channels(x, scale, shift, dropped, threshold, training, seed, first_row, factors, out):
    """Out = scale x + shift, and ``dropped`` in some channels of some rows; the rows are in blocks."""
    channels, lanes = x.shape[1], x.shape[3]
    kept = factors[:lanes]
    for b in range(x.shape[0]):
        for c in range(channels):
            if training:
                draw_channel(kept, scale, threshold, seed, (first_row + b * lanes) * channels + c, channels)
                factor = load(kept)
                more = where(factor == 0.0, everywhere(dropped, kept), shift)
                for p in range(x.shape[2]):
                    store(load(x[b, c, p]) * factor + more, out[b, c, p])
            else:
                for p in range(x.shape[2]):
                    store(load(x[b, c, p]), out[b, c, p])


@register("gaussian_noise")
class GaussianNoise(Layer):
    """In training, add normal noise with standard deviation ``std`` to each number; else do nothing.

    out = x + std e and grad_x = grad_out, where e is drawn from the normal distribution (Box and Muller 1958). It is a function
    of the seed, the step, the row's place in the batch and the unit: it does not depend on the number of threads.

    Parameters
    ----------
    std : float >= 0

    Shape
    -----
    x: (N, ...) -> out: (N, ...)

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.GaussianNoise(0.1)]).build((3,), random_state=0)
    >>> model.predict([[1.0, 2.0, 3.0]])
    array([[1., 2., 3.]], dtype=float32)
    >>> model.forward([[1.0, 2.0, 3.0]], training=True).round(3)
    array([[1.05 , 1.881, 3.071]], dtype=float32)

    References
    ----------
    Bishop 1995, "Training with noise is equivalent to Tikhonov regularization".
    """

    inplace = flat = passes_mask = True

    def __init__(self, std: float) -> None:
        self.std = std
        self.require_number("std", 0.0)

    def build(self, in_shape: Shape) -> Shape:
        self.width = prod(in_shape)
        return in_shape

    def c(self) -> str:
        return ""

    @staticmethod
    def forward(x, std, width, training, seed, first_row, out):
        if training:
            for i in range(x.shape[0]):
                out[i] = x[i] + std * normal(seed, first_row * width + i)
        else:
            for i in range(x.shape[0]):
                out[i] = x[i]

    @staticmethod
    def backward(grad_out, grad_x):
        for i in range(grad_out.shape[0]):
            grad_x[i] = grad_out[i]

    def onnx(self, graph, x):
        """Nothing: out of training it does nothing."""
        return x

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(0.3), (5,))]
