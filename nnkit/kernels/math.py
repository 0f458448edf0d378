"""Elementary functions for kernels: exact in float64, vectorised in float32.

Numba calls the C library for each number, which keeps loops scalar. So in float32 kernels every function here is replaced by
its variant of additions, multiplications and selections, which LLVM vectorises: 0.3 to 0.6 ns a number instead of 2 to 12.
All variants keep NaN, and give the limits at plus and minus infinity.

The rational approximations were fitted to float64 values (iteratively reweighted linear least squares, then Lawson's weights
for the minimax error). The bounds stated hold in whatever way a processor rounds, fused or not; measured errors are about half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

__all__ = ["Compiled", "cospi", "erf", "exp", "expm1", "log", "log1p", "real", "sigmoid", "sinpi", "softplus", "tanh"]

F = TypeVar("F", bound=Callable[..., Any])


class Compiled(NamedTuple):
    """A function that is compiled already; its module is only imported where it is needed.

    ``apart`` is the name of a function of the module that it calls by the symbol ``nnkit_<apart>``: large, and so compiled once
    for all kernels. Its arguments are whole numbers.
    """

    module: str
    name: str
    apart: str = ""


def variant(**dtypes: Any) -> Callable[[F], F]:
    """Say what takes a function's place in kernels of a dtype: another function, a type, or a `Compiled`."""

    def decorate(function: F) -> F:
        function.variants = dtypes  # type: ignore[attr-defined]
        return function

    return decorate


@variant(float32=np.float32, float64=np.float64)
def real(x: Any) -> Any:
    """A whole number as a number of the kernel's dtype."""
    return float(x)


def _exp32(x: Any) -> Any:
    """Relative error < 2.7e-7, 0 below -86.99: x = n log 2 + r, exp(x) = 2**n exp(r), Taylor to degree 6."""
    y = 88.8 if x > 88.8 else x
    y = -87.4 if y < -87.4 else y
    n = np.floor(y * 1.4426950408889634 + 0.5)
    r = (y - n * 0.693359375) + n * 2.12194440e-4  # log 2 in two parts (Cody and Waite 1980)
    p = 1.0 + r * (1.0 + r * (0.5 + r * (0.16666667 + r * (0.041666666 + r * (0.008333334 + r * 0.0013888889)))))
    scale = np.int32((np.int32(n) + np.int32(126)) << np.int32(23)).view(np.float32)
    p = p * scale * 2.0
    p = np.inf if x > 88.72284 else p
    return 0.0 if x < -87.33655 else p


@variant(float32=_exp32)
def exp(x: Any) -> Any:
    """e**x."""
    return np.exp(x)


def _log32(x: Any) -> Any:
    """Relative error < 2e-7 (absolute near 1): x = 2**e m, log m = 2 artanh((m - 1) / (m + 1)) as a series."""
    bits = np.float32(x).view(np.int32)
    e = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.int32(bits - np.int32(e << np.int32(23))).view(np.float32)  # in [sqrt(1/2), sqrt(2))
    s = (m - 1.0) / (m + 1.0)
    y = s * s
    series = 2.0 * s * (1.0 + y * (0.33333334 + y * (0.2 + y * (0.14285715 + y * 0.11111111))))
    result = np.float32(e) * 0.6931472 + series
    above = x if x > 3.4028235e38 else result
    zero = -np.inf if x < 1.1754944e-38 else above  # subnormal numbers count as zero
    negative = np.nan if x < 0.0 else zero
    return negative if x == x else x


@variant(float32=_log32)
def log(x: Any) -> Any:
    """Natural logarithm."""
    return np.log(x)


def _log1p_unit32(x: Any) -> Any:
    """log(1 + x) for x in [0, 1], relative error < 2e-7: 2 artanh(x / (2 + x)) as a series."""
    s = x / (2.0 + x)
    y = s * s
    p = 0.11111111 + y * (0.09090909 + y * (0.07692308 + y * 0.075))
    return 2.0 * s * (1.0 + y * (0.33333334 + y * (0.2 + y * (0.14285715 + y * p))))


def _log1p32(x: Any) -> Any:
    """Exact to rounding for small x; elsewhere log(1 + x)."""
    small = _log1p_unit32(x)
    large = _log32(1.0 + x)
    return small if (x > -0.3) & (x < 1.0) else large


@variant(float32=_log1p32)
def log1p(x: Any) -> Any:
    """log(1 + x), exact for small x."""
    return np.log1p(x)


def _tanh32(x: Any) -> Any:
    """Relative error < 9e-7: a rational of degree 11/6 on [-9, 9], where tanh is 1 to within half an ulp.

    What is beyond goes to 9.7, where the rational is above 1 by more than rounding.
    """
    z = 9.7 if x > 9.0 else x
    z = -9.7 if z < -9.0 else z
    y = z * z
    p = 9.267416674017283e-06 + y * (-1.2780437755326754e-08 + y * 1.825526076035307e-11)
    p = 0.9999999411422601 + y * (0.12919227583590617 + y * (0.0029207610620454387 + y * p))
    q = 1.0 + y * (0.4625251143112534 + y * (0.023763165086256043 + y * 0.00022810011232996823))
    t = z * p / q
    t = 1.0 if t > 1.0 else t
    return -1.0 if t < -1.0 else t


@variant(float32=_tanh32)
def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return np.tanh(x)


def _expm132(x: Any) -> Any:
    """Relative error < 1.5e-6: 2 t / (1 - t) with t = tanh(x / 2), which keeps its digits near 0; exp(x) - 1 above."""
    t = _tanh32(0.5 * x)
    small = 2.0 * t / (1.0 - t)
    return _exp32(x) - 1.0 if x > 0.5 else small


@variant(float32=_expm132)
def expm1(x: Any) -> Any:
    """exp(x) - 1, exact for small x."""
    return np.expm1(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); exp overflows to infinity, which gives the limit 0."""
    return 1.0 / (1.0 + exp(-x))


def _softplus32(x: Any) -> Any:
    return max(x, np.float32(0.0)) + _log1p_unit32(_exp32(-abs(x)))


@variant(float32=_softplus32)
def softplus(x: Any) -> Any:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return max(x, 0.0) + np.log1p(np.exp(-abs(x)))


def _erf32(x: Any) -> Any:
    """Relative error < 1.2e-6: a rational of degree 11/10 on [-3.92, 3.92], where erf is 1 to within an ulp.

    What is beyond goes to 4.3, where the rational is above 1 by more than rounding.
    """
    z = 4.3 if x > 3.92 else x
    z = -4.3 if z < -3.92 else z
    y = z * z
    p = 0.0037656760898707917 + y * (0.00028488406953587213 + y * 2.050077150186282e-06)
    p = 1.1283791461272439 + y * (0.1904078380940949 + y * (0.05274890821455607 + y * p))
    q = 0.014969335967278412 + y * (0.001162549827101905 + y * 3.809168007974703e-05)
    q = 1.0 + y * (0.5020772936624759 + y * (0.11410968164096263 + y * q))
    t = z * p / q
    t = 1.0 if t > 1.0 else t
    return -1.0 if t < -1.0 else t


@variant(float32=_erf32)
def erf(x: Any) -> Any:
    """Error function, 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    return math.erf(x)


def _cospi32(x: Any) -> Any:
    """Absolute error < 2e-7: x = n + r with a whole n, exactly; cos(pi x) = (-1)**n cos(pi r), even in r, to degree 10."""
    n = np.floor(x + 0.5)
    r = x - n
    y = r * r
    c = 4.058709164355378 + y * (-1.335212056741683 + y * (0.23493755908477315 + y * -0.024396716558882738))
    c = 0.9999999997806648 + y * (-4.9348021372291315 + y * c)
    half = 0.5 * n
    return c * (1.0 - 4.0 * (half - np.floor(half)))


@variant(float32=_cospi32)
def cospi(x: Any) -> Any:
    """cos(pi x), however large x is."""
    return np.cos(np.pi * (x - 2.0 * np.floor(0.5 * x + 0.5)))


def _sinpi32(x: Any) -> Any:
    """Absolute error < 2e-7: as `cospi`, with sin(pi r) = r times an even function, to degree 9."""
    n = np.floor(x + 0.5)
    r = x - n
    y = r * r
    s = 2.5500776599585913 + y * (-0.5982921601035313 + y * 0.07765940830276494)
    s = r * (3.1415926401845793 + y * (-5.167710090355379 + y * s))
    half = 0.5 * n
    return s * (1.0 - 4.0 * (half - np.floor(half)))


@variant(float32=_sinpi32)
def sinpi(x: Any) -> Any:
    """sin(pi x), however large x is."""
    return np.sin(np.pi * (x - 2.0 * np.floor(0.5 * x + 0.5)))
