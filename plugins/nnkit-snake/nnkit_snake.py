"""Snake for nnkit: an activation that learns how fast it oscillates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import nnkit as nn

__all__ = ["Snake"]


@nn.register("snake")
class Snake(nn.Activation):
    """s(x) = x + sin(a x)**2 / a, where the frequency a is learnt, one for each feature: x and a wave, for periodic data.

    ds/dx = 1 + sin(2 a x) and ds/da = x sin(2 a x) / a - sin(a x)**2 / a**2, so dL/da is the sum of grad_out ds/da over all
    rows. s never falls, and s(0) = 0.

    The kernels divide by u = a x instead of a, with r = sin(u) / u: s(x) = x + x r sin(u), ds/dx = 1 + 2 sin(u) cos(u) and
    ds/da = x**2 r (2 cos(u) - r). These are the same functions. As r is 1 at u = 0, they also give the limits for a = 0,
    s(x) = x and ds/da = x**2, and lose no digits near it: a frequency may pass through 0 as it learns.

    Parameters
    ----------
    init : float, the frequencies before training; larger ones for data that oscillate faster

    Shape
    -----
    x: (N, ..., features) -> out: (N, ..., features); frequency: (features,)

    Examples
    --------
    >>> import math, nnkit as nn
    >>> nn.Sequential(["snake"]).build((2,)).predict([[math.pi, -math.pi / 2]]).round(4)
    array([[ 3.1416, -0.5708]], dtype=float32)

    References
    ----------
    Ziyin, Hartwig and Ueda 2020, "Neural networks fail to learn periodic functions and how to fix it", eq. 3.
    """

    elementwise = False
    folds_rows = True

    def __init__(self, init: float = 1.0) -> None:
        self.init = init
        self.require_number("init")

    def build(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.parameter("frequency", in_shape[-1:] or (1,), init=nn.Constant(self.init))
        return in_shape

    @staticmethod
    def forward(x, frequency, out):
        for n in range(x.shape[0]):
            a, b = x[n], out[n]
            for j in range(a.shape[0]):
                u = frequency[j] * a[j]
                sine = np.sin(u)
                ratio = sine / u if u != 0.0 else 1.0
                b[j] = a[j] + a[j] * ratio * sine

    @staticmethod
    def backward(x, frequency, grad_out, grad_x, grad_frequency):
        grad_frequency[:] = 0.0
        for n in range(x.shape[0]):
            a, d, g = x[n], grad_out[n], grad_x[n]
            for j in range(a.shape[0]):
                u = frequency[j] * a[j]
                sine, cosine = np.sin(u), np.cos(u)
                ratio = sine / u if u != 0.0 else 1.0
                g[j] = d[j] * (1.0 + 2.0 * sine * cosine)
                grad_frequency[j] += d[j] * a[j] * a[j] * ratio * (2.0 * cosine - ratio)

    @classmethod
    def examples(cls) -> Sequence[nn.Example]:
        return [nn.Example(cls(), (4,)), nn.Example(cls(5.0), (3, 4)), nn.Example(cls(0.0), (4,)), nn.Example(cls(), ())]
