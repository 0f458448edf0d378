"""Initializers: what parameters are before training.

fan_in and fan_out are the inputs and outputs of one unit (see `nnkit.core.initializer.fans`).
"""

from __future__ import annotations

from math import ceil, prod, sqrt
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.initializer import Initializer, fans
from nnkit.core.registry import register

__all__ = [
    "Constant",
    "Dirac",
    "Eye",
    "GlorotNormal",
    "GlorotUniform",
    "KaimingNormal",
    "KaimingUniform",
    "LeCunNormal",
    "LeCunUniform",
    "LinearUniform",
    "NguyenWidrow",
    "Normal",
    "Ones",
    "Orthogonal",
    "Signs",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "Zeros",
]

Array = NDArray[np.float64]
Shape = tuple[int, ...]

# By how much a layer before an activation has to be larger, so that deviations stay as they are (PyTorch's numbers).
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "leaky_relu": sqrt(2 / (1 + 0.01**2)), "selu": 3 / 4}


def _gain(gain: Any) -> float:
    """A gain as a number: it may be given as one, or as what comes after the layer."""
    if isinstance(gain, str):
        return GAINS[gain]
    if isinstance(gain, tuple | list):
        return sqrt(2 / (1 + gain[1] ** 2))
    return float(gain)


class _Gained(Initializer):
    """What is multiplied by a gain."""

    def __init__(self, gain: float | str | tuple[str, float] = 1.0) -> None:
        self.gain = gain
        match gain:
            case str():
                self.require("gain", gain in GAINS, f"a number, or one of {', '.join(GAINS)}")
            case ["leaky_relu", int() | float()]:
                pass
            case tuple() | list():
                self.require("gain", False, "a number, a name, or a name with a slope: ('leaky_relu', 0.2)")
            case _:
                self.require_number("gain", 0.0, above=True)


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


@register("truncated_normal")
class TruncatedNormal(Initializer):
    """Normal with ``mean`` and standard deviation ``std`` before all numbers outside of [low, high] are left out.

    Parameters
    ----------
    mean : float
    std : float > 0
    low, high : float, the ends; they are numbers, and no multiples of std

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> bool((abs(nn.TruncatedNormal(std=0.02, low=-0.04, high=0.04)((3, 2), np.random.default_rng(0))) <= 0.04).all())
    True
    """

    elsewhere = ("mean", "std", "low", "high")

    def __init__(self, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0) -> None:
        self.mean = mean
        self.std = std
        self.low = low
        self.high = high
        self.require_number("mean")
        self.require_number("std", 0.0, above=True)
        self.require_number("low")
        self.require_number("high", low, above=True)

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        from scipy.special import ndtr, ndtri  # slow to import

        # On the side of the mean where probabilities are small, and so have all their digits.
        sign = -1.0 if self.low + self.high > 2 * self.mean else 1.0
        ends = sorted(sign * (end - self.mean) / self.std for end in (self.low, self.high))
        drawn = ndtri(random.uniform(ndtr(ends[0]), ndtr(ends[1]), shape))
        return np.asarray(np.clip(self.mean + sign * self.std * drawn, self.low, self.high))


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


class _Scaled(_Gained):
    """Variance gain**2 / (the fan that the subclass names), uniform or normal."""

    fan: ClassVar[str]  # "fan_in" or "fan_mean"
    normal: ClassVar[bool]
    mode: str | None = None  # the fan that is asked for instead, where a constructor takes it

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        fan_in, fan_out = fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_mean": (fan_in + fan_out) / 2}[self.mode or self.fan]
        std = _gain(self.gain) / sqrt(fan)
        if self.normal:
            return random.normal(0.0, std, shape)
        return random.uniform(-sqrt(3) * std, sqrt(3) * std, shape)


@register("glorot_uniform")
class GlorotUniform(_Scaled):
    """Uniform in +- gain sqrt(6 / (fan_in + fan_out)): variance gain**2 2 / (fan_in + fan_out). For tanh and sigmoid.

    Parameters
    ----------
    gain : float > 0, or the name of what comes after the layer, whose gain keeps deviations as they are: "linear", "sigmoid",
        "tanh", "relu", "selu", or "leaky_relu" of slope 0.01; of another slope ("leaky_relu", 0.2)

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.GlorotUniform()((3, 2), np.random.default_rng(0)).shape
    (3, 2)
    >>> bool((abs(nn.GlorotUniform("tanh")((3, 2), np.random.default_rng(0))) <= 5 / 3 * (6 / 5) ** 0.5).all())
    True

    References
    ----------
    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16.
    """

    fan, normal = "fan_mean", False


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

    fan, normal = "fan_mean", True


@register("kaiming_uniform")
class KaimingUniform(_Scaled):
    """Uniform in +- gain sqrt(3 / fan_in): variance gain**2 / fan_in. The default gain, sqrt(2), is for ReLU.

    Parameters
    ----------
    gain : as in `GlorotUniform`
    mode : "fan_in"; with "fan_out", fan_out stands for fan_in, and gradients keep their deviations on the way back

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.KaimingUniform()((3, 2), np.random.default_rng(0)).shape
    (3, 2)

    References
    ----------
    He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers", eq. 10 and, for fan_out, 14.
    """

    fan, normal = "fan_in", False

    def __init__(self, gain: float | str | tuple[str, float] = sqrt(2), *, mode: str = "fan_in") -> None:
        super().__init__(gain)
        self.mode = mode
        self.require("mode", mode in ("fan_in", "fan_out"), "'fan_in' or 'fan_out'")


@register("kaiming_normal")
class KaimingNormal(_Scaled):
    """Normal with variance gain**2 / fan_in. The default gain, sqrt(2), is for ReLU.

    Parameters
    ----------
    gain : as in `GlorotUniform`
    mode : "fan_in"; with "fan_out", fan_out stands for fan_in, and gradients keep their deviations on the way back

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.KaimingNormal()((3, 2), np.random.default_rng(0)).shape
    (3, 2)

    References
    ----------
    He, Zhang, Ren and Sun 2015, eq. 10 and, for fan_out, 14.
    """

    fan, normal = "fan_in", True

    def __init__(self, gain: float | str | tuple[str, float] = sqrt(2), *, mode: str = "fan_in") -> None:
        super().__init__(gain)
        self.mode = mode
        self.require("mode", mode in ("fan_in", "fan_out"), "'fan_in' or 'fan_out'")


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

    fan, normal = "fan_in", False


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

    fan, normal = "fan_in", True


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


@register("signs")
class Signs(Initializer):
    """Every number 1 or -1, each as often.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Signs()((4,), np.random.default_rng(0))
    array([ 1.,  1.,  1., -1.])
    """

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        return random.choice([-1.0, 1.0], shape)


@register("orthogonal")
class Orthogonal(_Gained):
    """``gain`` times a random matrix with orthonormal rows or columns, whichever are fewer.

    The first axis counts the rows, all others together the columns. The gain is as in `GlorotUniform`.

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

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        rows = shape[0] if shape else 1
        columns = prod(shape) // rows if rows else 0
        if rows * columns == 0:
            return np.zeros(shape)
        q, r = np.linalg.qr(random.normal(size=(max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))  # uniform over the orthogonal matrices (Mezzadri 2007)
        return _gain(self.gain) * np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape)


@register("eye")
class Eye(Initializer):
    """1 on the diagonal, else 0: a matrix gives on its input, as far as it has columns for it.

    The first axis counts the rows, all others together the columns. What has fewer axes, such as a bias, is 0.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Eye()((2, 3), np.random.default_rng(0))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        if len(shape) < 2:
            return np.zeros(shape)
        return np.eye(shape[0], prod(shape[1:])).reshape(shape)


@register("dirac")
class Dirac(Initializer):
    """A convolution that gives on its input: 1 in the middle of the kernel that leads from a channel to the same one, else 0.

    Where there are more channels out than in, those beyond stay 0. A matrix, whose kernel has no extent, is the identity; what
    has fewer axes, such as a bias, is 0.

    Parameters
    ----------
    groups : int >= 1, of the convolution: in each group its first channels give on the first of the input

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Dirac()((2, 2, 3), np.random.default_rng(0)).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]

    References
    ----------
    Zagoruyko and Komodakis 2017, "DiracNets: training very deep neural networks without skip-connections", eq. 3.
    """

    def __init__(self, groups: int = 1) -> None:
        self.groups = groups
        self.require_size("groups")

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        array = np.zeros(shape)
        if len(shape) < 2:
            return array
        self.require("groups", shape[0] % self.groups == 0, f"a divisor of the {shape[0]} channels")
        middle = tuple(size // 2 for size in shape[2:])
        each = shape[0] // self.groups
        for group in range(self.groups):
            for channel in range(min(each, shape[1])):
                array[(group * each + channel, channel, *middle)] = 1.0
        return array


@register("sparse")
class Sparse(Initializer):
    """Normal with ``std``, but of the weights that come from a unit, a part is 0.

    A matrix is (in, out), other arrays (out, in, ...): what is 0 is the part ``sparsity``, rounded up, of the axis ``out`` for
    each place on the others. What has fewer axes is one such line.

    Parameters
    ----------
    sparsity : float in [0, 1]
    std : float >= 0

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> (nn.Sparse(0.5)((3, 4), np.random.default_rng(0)) == 0).sum(axis=1)
    array([2, 2, 2])

    References
    ----------
    Martens 2010, "Deep learning via Hessian-free optimization", section 5.
    """

    elsewhere = ("sparsity", "std")

    def __init__(self, sparsity: float = 0.1, std: float = 0.01) -> None:
        self.sparsity = sparsity
        self.std = std
        self.require_number("sparsity", 0.0, 1.0)
        self.require_number("std", 0.0)

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        array = np.atleast_1d(random.normal(0.0, self.std, shape))
        lines = array if array.ndim == 2 else np.moveaxis(array, 0, -1)
        zeros = ceil(self.sparsity * lines.shape[-1])
        ranks = random.random(lines.shape).argsort(axis=-1)
        np.put_along_axis(lines, ranks[..., :zeros], 0.0, axis=-1)
        return array.reshape(shape)


@register("nguyen_widrow")
class NguyenWidrow(Initializer):
    """Spreads the bends of a layer of tanh evenly over data between -1 and 1: for nets that learn a function of few numbers.

    The weights of each of H units have a random direction, and the length ``scale`` H**(1 / I), with I inputs; a direction and
    its opposite mean the same for a tanh, so all have a first weight above 0. The biases go from minus to plus that length in
    equal steps. Give it to both: ``nn.Linear(20, weight_init="nguyen_widrow", bias_init=nn.NguyenWidrow(inputs=3))``.

    A matrix is (in, out), other arrays (out, in, ...).

    Parameters
    ----------
    inputs : int >= 1, I, for a bias, which tells nothing of it
    scale : float > 0; 0.7 in the paper, twice as much in MATLAB, and here, as a tanh is straight up to about there

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.NguyenWidrow()((1, 5), np.random.default_rng(0))
    array([[7., 7., 7., 7., 7.]])
    >>> nn.NguyenWidrow()((5,), np.random.default_rng(0))
    array([-7. , -3.5,  0. ,  3.5,  7. ])

    References
    ----------
    Nguyen and Widrow 1990, "Improving the learning speed of 2-layer neural networks by choosing initial values of the adaptive
    weights".
    """

    elsewhere = ("inputs", "scale")

    def __init__(self, inputs: int = 1, scale: float = 1.4) -> None:
        self.inputs = inputs
        self.scale = scale
        self.require_size("inputs")
        self.require_number("scale", 0.0, above=True)

    def __call__(self, shape: Shape, random: np.random.Generator) -> Array:
        if len(shape) < 2:
            units = prod(shape)
            length = self.scale * float(units) ** (1 / self.inputs)
            return np.linspace(-length, length, units).reshape(shape)
        matrix = len(shape) == 2
        directions = random.normal(size=shape if matrix else (shape[0], prod(shape[1:])))
        columns = directions if matrix else directions.T  # (I, H)
        inputs, units = columns.shape
        columns *= np.where(columns[:1] < 0.0, -1.0, 1.0) / np.maximum(np.linalg.norm(columns, axis=0), np.finfo(float).tiny)
        columns *= self.scale * float(units) ** (1 / max(inputs, 1))
        return directions.reshape(shape)
