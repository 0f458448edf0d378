"""Activations: out = s(x), grad_x = grad_out s'(x)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from nnkit.core.activation import Activation
from nnkit.core.formulas import Formulas
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import OnnxError, ShapeError
from nnkit.initializers import Constant
from nnkit.kernels.math import erf, exp, expm1, log, real, sigmoid, softplus, tanh
from nnkit.kernels.random import uniform_bits
from nnkit.kernels.softmax import (
    log_softmax_columns,
    log_softmax_columns_backward,
    softmax_columns,
    softmax_columns_backward,
    softmax_row,
    softmax_row_backward,
)

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


@register("identity")
class Identity(Activation):
    """s(x) = x, s'(x) = 1.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["identity"]).build((2,)).predict([[1.0, -2.0]])
    array([[ 1., -2.]], dtype=float32)
    """

    def c(self) -> str:
        return ""

    @staticmethod
    def forward(x):
        return x

    @staticmethod
    def backward(grad_out):
        return grad_out

    def onnx(self, graph, x):
        return graph.node("Identity", x)


@register("sigmoid")
class Sigmoid(Activation):
    """s(x) = 1 / (1 + exp(-x)), s'(x) = s(x) (1 - s(x)): in (0, 1).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["sigmoid"]).build((2,)).predict([[0.0, 100.0]])
    array([[0.5, 1. ]], dtype=float32)

    References
    ----------
    Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors", eq. 2.
    """

    gives = Span(0.0, 1.0)

    @staticmethod
    def forward(x):
        return sigmoid(x)

    @staticmethod
    def backward(grad_out, out):
        return grad_out * out * (1.0 - out)


@register("tanh")
class Tanh(Activation):
    """s(x) = tanh(x), s'(x) = 1 - s(x)**2: in (-1, 1).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["tanh"]).build((2,)).predict([[0.0, 100.0]])
    array([[0., 1.]], dtype=float32)

    References
    ----------
    LeCun, Bottou, Orr and Mueller 1998, "Efficient BackProp", section 4.4.
    """

    gives = Span(-1.0, 1.0)

    @staticmethod
    def forward(x):
        return tanh(x)

    @staticmethod
    def backward(grad_out, out):
        return grad_out * (1.0 - out * out)


@register("relu")
class ReLU(Activation):
    """s(x) = max(x, 0), s'(x) = 1 for x > 0, else 0 (also at 0). NaN stays NaN.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["relu"]).build((2,)).predict([[3.0, -3.0]])
    array([[3., 0.]], dtype=float32)

    References
    ----------
    Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """

    gives = Span(0.0)
    kinks = (0.0,)

    @staticmethod
    def forward(x):
        return 0.0 if x < 0.0 else x

    @staticmethod
    def backward(grad_out, out):
        return grad_out if out > 0.0 else 0.0

    def onnx(self, graph, x):
        return graph.node("Relu", x)


@register("relu6")
class ReLU6(Activation):
    """s(x) = min(max(x, 0), 6), s'(x) = 1 for 0 < x < 6, else 0.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["relu6"]).build((2,)).predict([[3.0, 9.0]])
    array([[3., 6.]], dtype=float32)

    References
    ----------
    Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10".
    """

    gives = Span(0.0, 6.0)
    kinks = (0.0, 6.0)
    low, high = -3.0, 9.0

    @staticmethod
    def forward(x):
        positive = 0.0 if x < 0.0 else x
        return 6.0 if positive > 6.0 else positive

    @staticmethod
    def backward(grad_out, out):
        return grad_out if (out > 0.0) & (out < 6.0) else 0.0

    def onnx(self, graph, x):
        return graph.node("Clip", x, 0.0, 6.0)


@register("leaky_relu")
class LeakyReLU(Activation):
    """s(x) = x for x > 0, else a x with a the negative_slope; s'(x) = 1 or a.

    Parameters
    ----------
    negative_slope : float >= 0, default 0.01

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.LeakyReLU(0.5)]).build((2,)).predict([[3.0, -3.0]])
    array([[ 3. , -1.5]], dtype=float32)

    References
    ----------
    Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic models".
    """

    kinks = (0.0,)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope
        self.require_number("negative_slope", 0.0)

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span() if self.negative_slope else Span(0.0)

    @staticmethod
    def forward(x, negative_slope):
        return x if x > 0.0 else negative_slope * x

    @staticmethod
    def backward(grad_out, x, negative_slope):
        return grad_out if x > 0.0 else negative_slope * grad_out

    def onnx(self, graph, x):
        return graph.node("LeakyRelu", x, alpha=self.negative_slope)


@register("prelu")
class PReLU(Activation):
    """s(x) = x for x > 0, else a x, where the slope a is learnt.

    ds/dx = 1 or a; ds/da = 0 or x, so dL/da = sum of grad_out x over all x < 0 that share a.

    Parameters
    ----------
    num_parameters : 1 for one slope, or the size of the row's first axis (channels, features) for one slope each
    init : float, slope before training

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.PReLU()]).build((2,)).predict([[3.0, -4.0]])
    array([[ 3., -1.]], dtype=float32)

    References
    ----------
    He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers", eqs. 1 and 8.
    """

    elsewhere = ("num_parameters", "init")
    elementwise = False
    kinks = (0.0,)

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters = num_parameters
        self.init = init
        self.require_size("num_parameters")
        self.require_number("init")

    def build(self, in_shape: Shape) -> Shape:
        channels = in_shape[0] if in_shape else 1
        self.require("num_parameters", self.num_parameters in (1, channels), f"1 or {channels} for rows of {in_shape}")
        self.parameter("weight", (self.num_parameters,), init=Constant(self.init))
        self.group = int(np.prod(in_shape)) // self.num_parameters  # neighbours that share a slope
        return in_shape

    def c(self) -> str:
        return """
            void forward(const real x[N], const real weight[K], real out[N])
            {
                for (int i = 0; i < N; i++)
                    out[i] = x[i] > 0.0 ? x[i] : weight[i / group % K] * x[i];
            }"""

    @staticmethod
    def forward(x, weight, group, out):
        for g in range(x.size // group):
            a = x.reshape(-1)[g * group : (g + 1) * group]
            b = out.reshape(-1)[g * group : (g + 1) * group]
            slope = weight[g % weight.shape[0]]
            for i in range(a.shape[0]):
                b[i] = a[i] if a[i] > 0.0 else slope * a[i]

    @staticmethod
    def backward(x, weight, group, grad_out, grad_x, grad_weight):
        grad_weight[:] = 0.0
        for g in range(x.size // group):
            a = x.reshape(-1)[g * group : (g + 1) * group]
            d = grad_out.reshape(-1)[g * group : (g + 1) * group]
            b = grad_x.reshape(-1)[g * group : (g + 1) * group]
            slope = weight[g % weight.shape[0]]
            total = 0.0
            for i in range(a.shape[0]):
                b[i] = d[i] if a[i] > 0.0 else slope * d[i]
                total += 0.0 if a[i] > 0.0 else d[i] * a[i]
            grad_weight[g % weight.shape[0]] += total

    def onnx(self, graph, x):
        rank = len(self._built.in_shape)
        return graph.node("PRelu", x, graph.array("weight", (self.num_parameters, *(1,) * (rank - 1))))

    @classmethod
    def from_onnx(cls, at):
        if (node := at.take("PRelu")) is None:
            return None
        slopes = node.constant(1)
        fits = slopes.size == 1 or slopes.shape[-at.rank :] == (at.shape[0], *(1,) * (at.rank - 1))
        return at.found(cls(slopes.size), weight=slopes.reshape(-1)) if fits else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 4), kinks=cls.kinks), Example(cls(3, 0.1), (3, 4), kinks=cls.kinks)]


@register("rrelu")
class RReLU(Activation):
    """s(x) = x for x > 0, else a x, where the slope a is drawn anew for every number and every step of training.

    a is uniform in [lower, upper]; out of training it is their mean. s'(x) = 1 or a. The slopes are a function of the seed, the
    step, the row's place in the batch and the unit: they do not depend on the number of threads.

    Parameters
    ----------
    lower, upper : float, 0 <= lower <= upper, default 1/8 and 1/3

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.RReLU(0.25, 0.75)]).build((2,)).predict([[3.0, -4.0]])
    array([[ 3., -2.]], dtype=float32)
    >>> model = nn.Sequential([nn.RReLU(0.25, 0.75)]).build((4,), random_state=0)
    >>> model.forward([[-1.0, -1.0, -1.0, 1.0]], training=True).round(3)
    array([[-0.668, -0.455, -0.457,  1.   ]], dtype=float32)

    References
    ----------
    Xu, Wang, Chen and Li 2015, "Empirical evaluation of rectified activations in convolutional network", section 2.4.
    """

    elsewhere = ("lower", "upper", "inplace")
    elementwise = False
    flat = passes_mask = True
    kinks = (0.0,)

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        self.lower = lower
        self.upper = upper
        self.require_number("lower", 0.0)
        self.require_number("upper", lower)

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span() if self.upper else Span(0.0)

    def build(self, in_shape: Shape) -> Shape:
        self.width = prod(in_shape)
        self.mean = (float(self.lower) + float(self.upper)) / 2.0
        self.reach = (float(self.upper) - float(self.lower)) / 2.0**32  # of 32-bit numbers
        self.scratch("slope", in_shape)
        return in_shape

    def c(self) -> str:
        return """
            void forward(const real x[N], real out[N])
            {
                for (int i = 0; i < N; i++)
                    out[i] = x[i] > 0.0 ? x[i] : mean * x[i];
            }"""

    @staticmethod
    def forward(x, lower, mean, reach, width, training, seed, first_row, slope, out):
        if training:
            for i in range(x.shape[0]):
                negative = min(x[i], 0.0)
                drawn = lower + reach * real(uniform_bits(seed, first_row * width + i))
                slope[i] = drawn if x[i] == negative else 1.0
                out[i] = max(x[i], 0.0) + slope[i] * negative
        else:
            for i in range(x.shape[0]):
                negative = min(x[i], 0.0)
                slope[i] = mean if x[i] == negative else 1.0
                out[i] = max(x[i], 0.0) + slope[i] * negative

    @staticmethod
    def backward(grad_out, slope, grad_x):
        for i in range(grad_out.shape[0]):
            grad_x[i] = grad_out[i] * slope[i]

    def onnx(self, graph, x):
        """Out of training it is a `LeakyReLU`, as which it is read."""
        return graph.node("LeakyRelu", x, alpha=self.mean)

    @classmethod
    def from_onnx(cls, at):
        return None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 4), kinks=cls.kinks)]


@register("elu")
class ELU(Activation):
    """s(x) = x for x > 0, else a (exp(x) - 1); s'(x) = 1, or a exp(x) = s(x) + a.

    Parameters
    ----------
    alpha : float, a, default 1

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["elu"]).build((2,)).predict([[3.0, -100.0]])
    array([[ 3., -1.]], dtype=float32)

    References
    ----------
    Clevert, Unterthiner and Hochreiter 2016, "Fast and accurate deep network learning by exponential linear units", eq. 14.
    """

    kinks = (0.0,)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha
        self.require_number("alpha", 0.0)

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(-self.alpha)

    @staticmethod
    def forward(x, alpha):
        return x if x > 0.0 else alpha * expm1(x)

    @staticmethod
    def backward(grad_out, out, alpha):
        return grad_out if out > 0.0 else grad_out * (out + alpha)

    def onnx(self, graph, x):
        return graph.node("Elu", x, alpha=self.alpha)


@register("selu")
class SELU(Activation):
    """s(x) = l x for x > 0, else l a (exp(x) - 1), with a = 1.6733 and l = 1.0507; s'(x) = l, or l a exp(x) = s(x) + l a.

    Keeps mean 0 and variance 1 from layer to layer, with the ``lecun_normal`` initializer.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["selu"]).build((2,)).predict([[1.0, -100.0]])
    array([[ 1.050701 , -1.7580993]], dtype=float32)

    References
    ----------
    Klambauer, Unterthiner, Mayr and Hochreiter 2017, "Self-normalizing neural networks", eq. 2 and appendix A.
    """

    gives = Span(-1.7580993408473766)
    kinks = (0.0,)

    @staticmethod
    def forward(x):
        return 1.0507009873554805 * x if x > 0.0 else 1.7580993408473766 * expm1(x)

    @staticmethod
    def backward(grad_out, out):
        return grad_out * 1.0507009873554805 if out > 0.0 else grad_out * (out + 1.7580993408473766)

    def onnx(self, graph, x):
        return graph.node("Selu", x)


@register("celu")
class CELU(Activation):
    """s(x) = x for x > 0, else a (exp(x / a) - 1); s'(x) = 1, or exp(x / a) = s(x) / a + 1: smooth for every a.

    Parameters
    ----------
    alpha : float > 0, a, default 1

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.CELU(2.0)]).build((2,)).predict([[3.0, -100.0]])
    array([[ 3., -2.]], dtype=float32)

    References
    ----------
    Barron 2017, "Continuously differentiable exponential linear units", eq. 2.
    """

    kinks = (0.0,)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha
        self.require_number("alpha", 0.0, above=True)

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(-self.alpha)

    @staticmethod
    def forward(x, alpha):
        return x if x > 0.0 else alpha * expm1(x / alpha)

    @staticmethod
    def backward(grad_out, out, alpha):
        return grad_out if out > 0.0 else grad_out * (out / alpha + 1.0)

    @classmethod
    def from_onnx(cls, at):
        """What it is made of, or the operator, which is for single precision only."""
        node = at.take("Celu")
        return super().from_onnx(at) if node is None else at.found(cls(node.attributes["alpha"]))


@register("gelu")
class GELU(Activation):
    """s(x) = x P(x), where P is the normal distribution function.

    - exact: P(x) = (1 + erf(x / sqrt(2))) / 2, s'(x) = P(x) + x exp(-x**2 / 2) / sqrt(2 pi);
    - tanh: P(x) = (1 + t) / 2, t = tanh(u), u = sqrt(2 / pi) (x + 0.044715 x**3),
      s'(x) = P(x) + x (1 - t**2) / 2 sqrt(2 / pi) (1 + 0.134145 x**2).

    Parameters
    ----------
    approximate : {"none", "tanh"}

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["gelu"]).build((2,)).predict([[1.0, -10.0]]).round(4)
    array([[ 0.8413, -0.    ]], dtype=float32)

    References
    ----------
    Hendrycks and Gimpel 2016, "Gaussian error linear units".
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate
        self.require("approximate", approximate in ("none", "tanh"), "'none' or 'tanh'")
        self.exact = approximate == "none"

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(-0.16997120747985495 if self.exact else -0.17004075057125392)

    @staticmethod
    def forward(x, exact):
        if exact:
            return 0.5 * x * (1.0 + erf(x * 0.7071067811865476))
        return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))

    @staticmethod
    def backward(grad_out, x, exact):
        if exact:
            density = 0.3989422804014327 * exp(-0.5 * x * x)
            return grad_out * (0.5 * (1.0 + erf(x * 0.7071067811865476)) + x * density)
        t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))
        slope = 0.7978845608028654 * (1.0 + 0.134145 * x * x)
        return grad_out * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)

    @classmethod
    def from_onnx(cls, at):
        """The operator, which later opsets have, or what it is made of."""
        if (node := at.take("Gelu")) is not None:
            return at.found(cls(node.attributes["approximate"]))
        return super().from_onnx(at) or at.like([cls()], cls._torch_exact) or at.like([cls("tanh")], cls._torch_tanh)

    @staticmethod
    def _torch_exact(layer, graph, x):
        """As PyTorch writes it without the operator."""
        return x * (graph.node("Erf", x / 1.4142135623730951) + 1.0) * 0.5

    @staticmethod
    def _torch_tanh(layer, graph, x):
        return 0.5 * (x * (1.0 + graph.node("Tanh", 0.7978845608028654 * (x + 0.044715 * (x * (x * x))))))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 4)), Example(cls("tanh"), (3, 4))]


@register("silu")
class SiLU(Activation):
    """s(x) = x g with g = 1 / (1 + exp(-x)); s'(x) = g (1 + x (1 - g)). Also known as swish.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["silu"]).build((2,)).predict([[0.0, 2.0]]).round(4)
    array([[0.    , 1.7616]], dtype=float32)

    References
    ----------
    Elfwing, Uchibe and Doya 2018, "Sigmoid-weighted linear units for neural network function approximation".
    """

    gives = Span(-0.2784645427610738)

    @staticmethod
    def forward(x):
        return x * sigmoid(x)

    @staticmethod
    def backward(grad_out, x):
        g = sigmoid(x)
        return grad_out * g * (1.0 + x * (1.0 - g))


@register("mish")
class Mish(Activation):
    """s(x) = x t with t = tanh(softplus(x)); s'(x) = t + x (1 - t**2) g with g = 1 / (1 + exp(-x)).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["mish"]).build((2,)).predict([[0.0, 2.0]]).round(4)
    array([[0.   , 1.944]], dtype=float32)

    References
    ----------
    Misra 2019, "Mish: a self regularized non-monotonic activation function".
    """

    gives = Span(-0.3088434130172504)

    @staticmethod
    def forward(x):
        return x * tanh(softplus(x))

    @staticmethod
    def backward(grad_out, x):
        t = tanh(softplus(x))
        return grad_out * (t + x * (1.0 - t * t) * sigmoid(x))

    @classmethod
    def from_onnx(cls, at):
        return at.found(cls()) if at.take("Mish") else super().from_onnx(at)


@register("softplus")
class Softplus(Activation):
    """s(x) = log(1 + exp(b x)) / b, s'(x) = 1 / (1 + exp(-b x)): positive, a smooth ReLU.

    Parameters
    ----------
    beta : float > 0, b, default 1

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["softplus"]).build((2,)).predict([[0.0, 100.0]])
    array([[  0.6931472, 100.       ]], dtype=float32)

    References
    ----------
    Dugas, Bengio, Belisle, Nadeau and Garcia 2001, "Incorporating second-order functional knowledge for better option pricing".
    """

    gives = Span(0.0)

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta
        self.require_number("beta", 0.0, above=True)

    @staticmethod
    def forward(x, beta):
        return softplus(beta * x) / beta

    @staticmethod
    def backward(grad_out, x, beta):
        return grad_out * sigmoid(beta * x)

    @classmethod
    def from_onnx(cls, at):
        """As PyTorch writes it, which takes x itself where the difference is too small to matter, or as it is written here."""
        torch = at.like([cls()], lambda layer, graph, x: graph.node("Where", x > 20.0, x, layer.onnx(graph, x)))
        return torch or super().from_onnx(at)


@register("softsign")
class Softsign(Activation):
    """s(x) = x / (1 + |x|), s'(x) = 1 / (1 + |x|)**2 = (1 - |s(x)|)**2: in (-1, 1).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["softsign"]).build((2,)).predict([[1.0, -3.0]])
    array([[ 0.5 , -0.75]], dtype=float32)

    References
    ----------
    Bergstra, Desjardins, Lamblin and Bengio 2009, "Quadratic polynomials learn better image features".
    """

    gives = Span(-1.0, 1.0)

    @staticmethod
    def forward(x):
        return x / (1.0 + abs(x))

    @staticmethod
    def backward(grad_out, out):
        slope = 1.0 - abs(out)
        return grad_out * slope * slope

    def onnx(self, graph, x):
        return graph.node("Softsign", x)


@register("hardtanh")
class Hardtanh(Activation):
    """s(x) = x cut off to [min_val, max_val], s'(x) = 1 inside, 0 outside.

    Parameters
    ----------
    min_val, max_val : float, min_val < max_val, default -1 and 1

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["hardtanh"]).build((2,)).predict([[0.5, -3.0]])
    array([[ 0.5, -1. ]], dtype=float32)

    References
    ----------
    Collobert 2004, "Large scale machine learning".
    """

    elsewhere = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val = min_val
        self.max_val = max_val
        self.require_number("min_val")
        self.require_number("max_val", min_val, above=True)

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(self.min_val, self.max_val)

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return (self.min_val, self.max_val)

    @property
    def low(self) -> float:  # type: ignore[override]
        return self.min_val - 2.0

    @property
    def high(self) -> float:  # type: ignore[override]
        return self.max_val + 2.0

    @staticmethod
    def forward(x, min_val, max_val):
        cut = min_val if x < min_val else x
        return max_val if cut > max_val else cut

    @staticmethod
    def backward(grad_out, out, min_val, max_val):
        return grad_out if (out > min_val) & (out < max_val) else 0.0

    def onnx(self, graph, x):
        return graph.node("Clip", x, self.min_val, self.max_val)


@register("hardsigmoid")
class Hardsigmoid(Activation):
    """s(x) = x / 6 + 1 / 2 cut off to [0, 1], s'(x) = 1 / 6 for -3 < x < 3, else 0.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["hardsigmoid"]).build((2,)).predict([[0.0, 4.0]])
    array([[0.5, 1. ]], dtype=float32)

    References
    ----------
    Courbariaux, Bengio and David 2015, "BinaryConnect", eq. 3 (with PyTorch's slope of 1 / 6).
    """

    gives = Span(0.0, 1.0)
    kinks = (-3.0, 3.0)
    low, high = -5.0, 5.0

    @staticmethod
    def forward(x):
        positive = 0.0 if x < -3.0 else x / 6.0 + 0.5
        return 1.0 if x > 3.0 else positive

    @staticmethod
    def backward(grad_out, out):
        return grad_out / 6.0 if (out > 0.0) & (out < 1.0) else 0.0

    def onnx(self, graph, x):
        return graph.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@register("hardswish")
class Hardswish(Activation):
    """s(x) = 0 for x <= -3, x for x >= 3, x (x + 3) / 6 between; s'(x) = 0, 1, or (2 x + 3) / 6.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["hardswish"]).build((2,)).predict([[3.0, -4.0]])
    array([[3., 0.]], dtype=float32)

    References
    ----------
    Howard et al. 2019, "Searching for MobileNetV3", section 5.2.
    """

    gives = Span(-0.375)
    kinks = (-3.0, 3.0)
    low, high = -5.0, 5.0

    @staticmethod
    def forward(x):
        middle = 0.0 if x < -3.0 else x * (x + 3.0) / 6.0
        return x if x > 3.0 else middle

    @staticmethod
    def backward(grad_out, x):
        middle = 0.0 if x < -3.0 else grad_out * (2.0 * x + 3.0) / 6.0
        return grad_out if x > 3.0 else middle

    def onnx(self, graph, x):
        return graph.node("HardSwish", x)

    @classmethod
    def from_onnx(cls, at):
        return super().from_onnx(at) or at.like([cls()], lambda layer, graph, x: x * Hardsigmoid().onnx(graph, x))


@register("logsigmoid")
class LogSigmoid(Activation):
    """s(x) = log(1 / (1 + exp(-x))) = -softplus(-x), s'(x) = 1 / (1 + exp(x)) = 1 - exp(s(x)): negative.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["logsigmoid"]).build((2,)).predict([[0.0, -100.0]])
    array([[  -0.6931472, -100.       ]], dtype=float32)
    """

    gives = Span(high=0.0)

    @staticmethod
    def forward(x):
        return -softplus(-x)

    @staticmethod
    def backward(grad_out, x):
        return grad_out * sigmoid(-x)

    @classmethod
    def from_onnx(cls, at):
        return super().from_onnx(at) or at.like([cls()], lambda layer, graph, x: graph.node("Log", graph.node("Sigmoid", x)))


@register("tanhshrink")
class Tanhshrink(Activation):
    """s(x) = x - tanh(x), s'(x) = tanh(x)**2.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["tanhshrink"]).build((2,)).predict([[0.0, 10.0]])
    array([[0., 9.]], dtype=float32)
    """

    gives = Span()

    @staticmethod
    def forward(x):
        return x - tanh(x)

    @staticmethod
    def backward(grad_out, x):
        t = tanh(x)
        return grad_out * t * t


@register("threshold")
class Threshold(Activation):
    """s(x) = x for x > threshold, else value; s'(x) = 1 or 0.

    Parameters
    ----------
    threshold : float, above which x stays as it is
    value : float, what it is elsewhere

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Threshold(0.5, -1.0)]).build((3,)).predict([[3.0, 0.5, -3.0]])
    array([[ 3., -1., -1.]], dtype=float32)
    """

    elsewhere = ("threshold", "value")

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold = threshold
        self.value = value
        self.require_number("threshold")
        self.require_number("value")

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(min(self.threshold, self.value))

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return (self.threshold,)

    @staticmethod
    def forward(x, threshold, value):
        return value if x <= threshold else x

    @staticmethod
    def backward(grad_out, x, threshold):
        return 0.0 if x <= threshold else grad_out

    @classmethod
    def examples(cls) -> Sequence[Example]:
        part = cls(0.75, 0.75)
        return [Example(part, (3, 4), part.low, part.high, part.kinks)]


@register("hardshrink")
class Hardshrink(Activation):
    """s(x) = 0 for -lambd <= x <= lambd, else x; s'(x) = 0 or 1.

    Parameters
    ----------
    lambd : float >= 0, default 0.5

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["hardshrink"]).build((3,)).predict([[3.0, 0.5, -3.0]])
    array([[ 3.,  0., -3.]], dtype=float32)

    References
    ----------
    Donoho and Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage" (hard thresholding).
    """

    gives = Span()

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd
        self.require_number("lambd", 0.0)

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return (-self.lambd, self.lambd)

    @staticmethod
    def forward(x, lambd):
        return 0.0 if abs(x) <= lambd else x

    @staticmethod
    def backward(grad_out, x, lambd):
        return 0.0 if abs(x) <= lambd else grad_out

    def onnx(self, graph, x):
        return graph.node("Shrink", x, lambd=self.lambd)


@register("softshrink")
class Softshrink(Activation):
    """s(x) = x - lambd for x > lambd, x + lambd for x < -lambd, 0 between; s'(x) = 1 outside, 0 between.

    Parameters
    ----------
    lambd : float >= 0, default 0.5

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["softshrink"]).build((3,)).predict([[3.0, 0.5, -3.0]])
    array([[ 2.5,  0. , -2.5]], dtype=float32)

    References
    ----------
    Donoho and Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage" (soft thresholding).
    """

    gives = Span()

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd
        self.require_number("lambd", 0.0)

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return (-self.lambd, self.lambd)

    @staticmethod
    def forward(x, lambd):
        beyond = x + lambd if x < 0.0 else x - lambd
        return 0.0 if abs(x) <= lambd else beyond

    @staticmethod
    def backward(grad_out, x, lambd):
        return 0.0 if abs(x) <= lambd else grad_out

    def onnx(self, graph, x):
        return graph.node("Shrink", x, lambd=self.lambd, bias=self.lambd)

    @classmethod
    def from_onnx(cls, at):
        """The operator, or as PyTorch writes it."""
        if (node := at.take("Shrink")) is None:
            return super().from_onnx(at) or at.like([cls()], cls._torch)
        return at.found(cls(node.attributes["lambd"])) if node.attributes["bias"] == node.attributes["lambd"] else None

    @staticmethod
    def _torch(layer, graph, x):
        beyond = x - graph.node("Sign", x) * layer.lambd
        return graph.node("Where", abs(x) > layer.lambd, beyond, x * 0.0)


def _block(numbers, index, count, inner):
    """The ``index``-th matrix of ``count`` rows of ``inner`` numbers."""
    size = count * inner
    return numbers[index * size : (index + 1) * size].reshape(count, inner)


class _OverAxis(Activation):
    """A function of all numbers along an axis: where it is the last, of each row; else down the columns of matrices."""

    elementwise = False
    inplace = folds_rows = passes_mask = True

    forward_columns: ClassVar[Callable[..., Any]]
    backward_columns: ClassVar[Callable[..., Any]]
    operator: ClassVar[str]  # its name in ONNX
    c_sign: ClassVar[str] = ""  # of x, in C
    c_term: ClassVar[str]  # what is summed, and what then happens to out[k], in C
    c_result: ClassVar[str]

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim
        self.require_axis("dim")

    def build(self, in_shape: Shape) -> Shape:
        axis = self.axis_of_row(self.dim, in_shape)
        self.folds_rows = axis == len(in_shape) - 1
        self.flat = not self.folds_rows
        self.count, self.inner = in_shape[axis], prod(in_shape[axis + 1 :])
        self.workspace("work", (self.inner,))
        return in_shape

    def c(self) -> str:
        return f"""
            void forward(const real x[N], real out[N])
            {{
                for (int start = 0; start < N; start += count * inner)
                    for (int first = start; first < start + inner; first++) {{ /* numbers first, first + inner, ... */
                        real top = {self.c_sign}x[first], total = 0.0;
                        for (int k = first; k < first + count * inner; k += inner)
                            top = fmax(top, {self.c_sign}x[k]);
                        for (int k = first; k < first + count * inner; k += inner)
                            total += {self.c_term};
                        for (int k = first; k < first + count * inner; k += inner)
                            out[k] {self.c_result};
                    }}
            }}"""

    def kernels(self) -> dict[str, Callable[..., Any]]:
        cls = type(self)
        columns = {"forward": cls.forward_columns, "backward": cls.backward_columns}
        return super().kernels() if self.folds_rows else columns

    def onnx(self, graph, x):
        return graph.node(type(self).operator, x, axis=self.axis_of_row(self.dim, self._built.in_shape) + 1)

    @classmethod
    def from_onnx(cls, at):
        if (node := at.take(cls.operator)) is None:
            return None
        axis = node.attributes["axis"] % (at.rank + 1)
        if node.attributes.get("flattened") and prod(at.shape[axis:]) != 1:
            raise OnnxError(f"expected nothing behind axis {axis} before opset 13, where they count as one, got {at.shape}")
        return at.found(cls(at.dim(axis)))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 4)), Example(cls(1), (4, 3))]


@register("softmax")
class Softmax(_OverAxis):
    """Over an axis, s_k = exp(x_k) / sum_j exp(x_j): positive, with sum 1.

    ds_k/dx_i = s_k (1[i = k] - s_i), so grad_x_i = s_i (grad_out_i - sum_k grad_out_k s_k). The largest x is subtracted first:
    nothing overflows. For training a classifier leave it out: `CrossEntropyLoss` takes x itself.

    Parameters
    ----------
    dim : int, the axis, counted as in PyTorch: from 1 (0 is the batch), or from the end

    Raises
    ------
    ShapeError
        There is no such axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["softmax"]).build((2,)).predict([[1000.0, 1000.0]])
    array([[0.5, 0.5]], dtype=float32)

    References
    ----------
    Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """

    operator = "Softmax"
    formulas = Formulas("exp(z_j) / sum_k(exp(z_k))", "a_j * (1 - a_j) if k == j else -a_k * a_j")
    c_term, c_result = "out[k] = exp(x[k] - top)", "/= total"

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(0.0, 1.0, "numbers" if self.folds_rows else "")

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            a, b = x[n], out[n]
            for k in range(a.shape[0]):
                b[k] = a[k]
            softmax_row(b)

    @staticmethod
    def backward(out, grad_out, grad_x):
        for n in range(out.shape[0]):
            d, g = grad_out[n], grad_x[n]
            for k in range(d.shape[0]):
                g[k] = d[k]
            softmax_row_backward(out[n], g)

    @staticmethod
    def forward_columns(x, count, inner, work, out):
        for i in range(x.shape[0]):
            out[i] = x[i]
        for n in range(x.shape[0] // (count * inner)):
            softmax_columns(_block(out, n, count, inner), work)

    @staticmethod
    def backward_columns(out, grad_out, count, inner, work, grad_x):
        for i in range(grad_out.shape[0]):
            grad_x[i] = grad_out[i]
        for n in range(out.shape[0] // (count * inner)):
            softmax_columns_backward(_block(out, n, count, inner), _block(grad_x, n, count, inner), work)


@register("softmin")
class Softmin(_OverAxis):
    """Over an axis, s_k = exp(-x_k) / sum_j exp(-x_j): `Softmax` of -x, largest where x is smallest.

    grad_x_i = s_i (sum_k grad_out_k s_k - grad_out_i).

    Parameters
    ----------
    dim : int, the axis, counted as in PyTorch: from 1 (0 is the batch), or from the end

    Raises
    ------
    ShapeError
        There is no such axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["softmin"]).build((2,)).predict([[1.0, 2.0]]).round(4)
    array([[0.7311, 0.2689]], dtype=float32)
    """

    operator = "Softmax"
    formulas = Formulas("exp(-z_j) / sum_k(exp(-z_k))", "-a_j * (1 - a_j) if k == j else a_k * a_j")
    c_sign, c_term, c_result = "-", "out[k] = exp(-x[k] - top)", "/= total"

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(0.0, 1.0, "numbers" if self.folds_rows else "")

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            a, b = x[n], out[n]
            for k in range(a.shape[0]):
                b[k] = -a[k]
            softmax_row(b)

    @staticmethod
    def backward(out, grad_out, grad_x):
        for n in range(out.shape[0]):
            d, g = grad_out[n], grad_x[n]
            for k in range(d.shape[0]):
                g[k] = -d[k]
            softmax_row_backward(out[n], g)

    @staticmethod
    def forward_columns(x, count, inner, work, out):
        for i in range(x.shape[0]):
            out[i] = -x[i]
        for n in range(x.shape[0] // (count * inner)):
            softmax_columns(_block(out, n, count, inner), work)

    @staticmethod
    def backward_columns(out, grad_out, count, inner, work, grad_x):
        for i in range(grad_out.shape[0]):
            grad_x[i] = -grad_out[i]
        for n in range(out.shape[0] // (count * inner)):
            softmax_columns_backward(_block(out, n, count, inner), _block(grad_x, n, count, inner), work)

    def onnx(self, graph, x):
        return super().onnx(graph, -x)

    @classmethod
    def from_onnx(cls, at):
        return super().from_onnx(at) if at.take("Neg") is not None else None


@register("softmax2d")
class Softmax2d(Softmax):
    """`Softmax` over the channels of an image: the numbers at each place are positive, with sum 1.

    Shape
    -----
    x: (N, C, H, W) -> out: the same

    Raises
    ------
    ShapeError
        Rows are not (C, H, W).

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["softmax2d"]).build((2, 1, 2)).predict([[[[1.0, 5.0]], [[1.0, 5.0]]]])
    array([[[[0.5, 0.5]],
    <BLANKLINE>
            [[0.5, 0.5]]]], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(1)

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 3:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, height, width), got {in_shape}")
        return super().build(in_shape)

    @classmethod
    def from_onnx(cls, at):
        """As a `Softmax`, which it is."""

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), (3, 2, 2))]


@register("log_softmax")
class LogSoftmax(_OverAxis):
    """Over an axis, s_k = x_k - log(sum_j exp(x_j)): the logarithm of `Softmax`, without its rounding to 0.

    grad_x_i = grad_out_i - exp(s_i) sum_k grad_out_k.

    Parameters
    ----------
    dim : int, the axis, counted as in PyTorch: from 1 (0 is the batch), or from the end

    Raises
    ------
    ShapeError
        There is no such axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential(["log_softmax"]).build((2,)).predict([[1000.0, 1000.0]])
    array([[-0.6931472, -0.6931472]], dtype=float32)
    """

    operator = "LogSoftmax"
    formulas = Formulas("z_j - log(sum_k(exp(z_k)))", "1 - exp(a_j) if k == j else -exp(a_j)")
    c_term, c_result = "exp(x[k] - top)", "= x[k] - top - log(total)"

    @property
    def gives(self) -> Span:  # type: ignore[override]
        return Span(-np.inf, 0.0, "exponentials" if self.folds_rows else "")

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            a, b = x[n], out[n]
            top = a[0]
            for k in range(a.shape[0]):
                top = max(top, a[k])
            total = 0.0
            for k in range(a.shape[0]):
                b[k] = a[k] - top  # kept: a[k] - (top + shift), which the compiler may make of it, would lose digits
                total += exp(b[k])
            shift = log(total)
            for k in range(a.shape[0]):
                b[k] -= shift

    @staticmethod
    def backward(out, grad_out, grad_x):
        for n in range(out.shape[0]):
            s, d, g = out[n], grad_out[n], grad_x[n]
            total = 0.0
            for k in range(s.shape[0]):
                total += d[k]
            for k in range(s.shape[0]):
                g[k] = d[k] - exp(s[k]) * total

    @staticmethod
    def forward_columns(x, count, inner, work, out):
        for i in range(x.shape[0]):
            out[i] = x[i]
        for n in range(x.shape[0] // (count * inner)):
            log_softmax_columns(_block(out, n, count, inner), work)

    @staticmethod
    def backward_columns(out, grad_out, count, inner, work, grad_x):
        for i in range(grad_out.shape[0]):
            grad_x[i] = grad_out[i]
        for n in range(out.shape[0] // (count * inner)):
            log_softmax_columns_backward(_block(out, n, count, inner), _block(grad_x, n, count, inner), work)
