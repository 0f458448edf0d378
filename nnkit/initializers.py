"""Initializers: what parameters are before training.

fan_in and fan_out are the inputs and outputs of one unit (see `nnkit.core.initializer.fans`).
"""

from __future__ import annotations

from math import prod, sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.initializer import Initializer, fans
from nnkit.core.registry import register

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "KaimingNormal",
    "KaimingUniform",
    "LeCunNormal",
    "LeCunUniform",
    "LinearUniform",
    "Normal",
    "Ones",
    "Orthogonal",
    "Uniform",
    "Zeros",
]

Array = NDArray[np.float64]
Shape = tuple[int, ...]


@register("zeros")
class Zeros(Initializer):
    """Every number 0.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Zeros()((2,), np.random.default_rng(0))
    array([0., 0.])
    """

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        return np.zeros(shape)


@register("ones")
class Ones(Initializer):
    """Every number 1.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Ones()((2,), np.random.default_rng(0))
    array([1., 1.])
    """

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        return np.ones(shape)


@register("constant")
class Constant(Initializer):
    """Every number ``value``.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Constant(0.25)((2,), np.random.default_rng(0))
    array([0.25, 0.25])
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        self.require_number("value")

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        return np.full(shape, float(self.value))


@register("uniform")
class Uniform(Initializer):
    """Uniform in [low, high).

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> bool((abs(nn.Uniform(-0.1, 0.1)((3, 2), np.random.default_rng(0))) <= 0.1).all())
    True
    """

    elsewhere = ("low", "high")

    def __init__(self, low: float = -0.05, high: float = 0.05) -> None:
        self.low = low
        self.high = high
        self.require_number("low")
        self.require_number("high", low)

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        return random.uniform(self.low, self.high, shape)


@register("normal")
class Normal(Initializer):
    """Normal with ``mean`` and standard deviation ``std`` >= 0.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Normal(std=0.01)((3, 2), np.random.default_rng(0)).shape
    (3, 2)
    """

    elsewhere = ("mean", "std")

    def __init__(self, mean: float = 0.0, std: float = 0.05) -> None:
        self.mean = mean
        self.std = std
        self.require_number("mean")
        self.require_number("std", 0.0)

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        return random.normal(self.mean, self.std, shape)


class _Scaled(Initializer):
    """Variance gain**2 / (the fan that the subclass names), uniform or normal."""

    fan: ClassVar[str]  # "in", "out" or "mean"
    normal: ClassVar[bool]

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain
        self.require_number("gain", 0.0, above=True)

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        fan_in, fan_out = fans(shape)
        fan = {"in": fan_in, "out": fan_out, "mean": (fan_in + fan_out) / 2}[self.fan]
        std = self.gain / sqrt(fan)
        if self.normal:
            return random.normal(0.0, std, shape)
        return random.uniform(-sqrt(3) * std, sqrt(3) * std, shape)


@register("glorot_uniform")
class GlorotUniform(_Scaled):
    """Uniform in +- gain sqrt(6 / (fan_in + fan_out)): variance gain**2 2 / (fan_in + fan_out). For tanh and sigmoid.

    Parameters
    ----------
    gain : float > 0

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.GlorotUniform()((3, 2), np.random.default_rng(0)).shape
    (3, 2)

    References
    ----------
    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16.
    """

    fan, normal = "mean", False


@register("glorot_normal")
class GlorotNormal(_Scaled):
    """Normal with variance gain**2 2 / (fan_in + fan_out). For tanh and sigmoid.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.GlorotNormal()((3, 2), np.random.default_rng(0)).shape
    (3, 2)

    References
    ----------
    Glorot and Bengio 2010, eq. 12.
    """

    fan, normal = "mean", True


@register("kaiming_uniform")
class KaimingUniform(_Scaled):
    """Uniform in +- gain sqrt(3 / fan_in): variance gain**2 / fan_in. The default gain, sqrt(2), is for ReLU.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.KaimingUniform()((3, 2), np.random.default_rng(0)).shape
    (3, 2)

    References
    ----------
    He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers", eq. 10.
    """

    fan, normal = "in", False

    def __init__(self, gain: float = sqrt(2)) -> None:
        super().__init__(gain)


@register("kaiming_normal")
class KaimingNormal(_Scaled):
    """Normal with variance gain**2 / fan_in. The default gain, sqrt(2), is for ReLU.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.KaimingNormal()((3, 2), np.random.default_rng(0)).shape
    (3, 2)

    References
    ----------
    He, Zhang, Ren and Sun 2015, eq. 10.
    """

    fan, normal = "in", True

    def __init__(self, gain: float = sqrt(2)) -> None:
        super().__init__(gain)


@register("lecun_uniform")
class LeCunUniform(_Scaled):
    """Uniform in +- gain sqrt(3 / fan_in): variance gain**2 / fan_in.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.LeCunUniform()((3, 2), np.random.default_rng(0)).shape
    (3, 2)

    References
    ----------
    LeCun, Bottou, Orr and Mueller 1998, "Efficient BackProp", eq. 16.
    """

    fan, normal = "in", False


@register("lecun_normal")
class LeCunNormal(_Scaled):
    """Normal with variance gain**2 / fan_in. For SELU.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.LeCunNormal()((3, 2), np.random.default_rng(0)).shape
    (3, 2)

    References
    ----------
    LeCun, Bottou, Orr and Mueller 1998, eq. 16.
    """

    fan, normal = "in", True


@register("linear_uniform")
class LinearUniform(Initializer):
    """Uniform in +- 1 / sqrt(fan_in): what PyTorch gives the weight of a linear layer.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> bool((abs(nn.LinearUniform()((4, 2), np.random.default_rng(0))) <= 0.5).all())
    True
    """

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        bound = 1 / sqrt(fans(shape)[0])
        return random.uniform(-bound, bound, shape)


@register("orthogonal")
class Orthogonal(Initializer):
    """``gain`` times a random matrix with orthonormal rows or columns, whichever are fewer.

    The first axis counts the rows, all others together the columns.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> q = nn.Orthogonal()((4, 3), np.random.default_rng(0))
    >>> bool(np.allclose(q.T @ q, np.eye(3)))
    True

    References
    ----------
    Saxe, McClelland and Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks".
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain
        self.require_number("gain", 0.0, above=True)

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        rows = shape[0] if shape else 1
        columns = prod(shape) // rows if rows else 0
        if rows * columns == 0:
            return np.zeros(shape)
        q, r = np.linalg.qr(random.normal(size=(max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))  # uniform over the orthogonal matrices (Mezzadri 2007)
        return self.gain * np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape)
