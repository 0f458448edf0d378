"""The float32 functions of nnkit.kernels.math: how exact they are, where they end, and that their loops are vectorised."""

import math
import re

import numpy as np
import pytest

import nnkit as nn
from nnkit.kernels import math as kernels
from nnkit.network import network_of
from nnkit.passes import Pass

REFERENCE = {
    "erf": np.vectorize(math.erf, otypes=[float]),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}
# Range, and what the relative error in it is below on any processor; test_bound_holds_whatever_is_fused says why.
BOUNDS = {
    "exp": (-86.9, 88.5, 2.7e-7),
    "expm1": (-80.0, 80.0, 1.5e-6),
    "tanh": (-30.0, 30.0, 9e-7),
    "erf": (-8.0, 8.0, 1.2e-6),
    "sigmoid": (-80.0, 80.0, 4e-7),
    "softplus": (-80.0, 80.0, 6e-7),
    # With u = 2**-24: m - 1 is exact, s has 2 u, the series 4.2 u of at most 0.35, e log 2 and the sum at most an ulp each.
    "log": (1e-37, 3e38, 2e-7),
    "log1p": (-0.99, 3e38, 4.5e-7),  # 1 + x adds 0.7 u where the logarithm is 0.36: 7 u of it
}
LIMITS = {  # at -inf and inf
    "exp": (0, np.inf),
    "expm1": (-1, np.inf),
    "tanh": (-1, 1),
    "erf": (-1, 1),
    "sigmoid": (0, 1),
    "softplus": (0, np.inf),
    "log": (np.nan, np.inf),
    "log1p": (np.nan, np.inf),
}


def reference(name):
    return REFERENCE.get(name) or getattr(np, name)


def activation(name):
    """An activation of this function: what compiles it."""
    function = getattr(kernels, name)

    class Function(nn.Activation):
        @staticmethod
        def forward(x):
            return function(x)

        @staticmethod
        def backward(grad_out):
            return grad_out

    return Function()


@pytest.fixture(scope="module", params=BOUNDS)
def compiled(request):
    model = nn.Sequential([activation(request.param)]).build((1,))
    return request.param, lambda x: model.predict(np.asarray(x, np.float32)[:, None])[:, 0]


def wide(low, high, count=20_000):
    """Even in value, and in magnitude down to the smallest normal number."""
    even = np.linspace(low, high, count)
    sizes = np.geomspace(1e-37, max(abs(low), abs(high)), count)
    both = np.concatenate([even, sizes, -sizes]).astype(np.float32)
    return both[(both >= low) & (both <= high)]


class Rounded:
    """A number of a kernel with a bound of its rounding error: a running error analysis (Wilkinson 1963).

    Each operation adds half an ulp, and a division two, as it may be a product with a reciprocal. Fused operations round
    less. A comparison holds where it holds for the rounded number, too.
    """

    def __init__(self, value, error=None):
        self.value = float(value)
        self.error = abs(self.value - float(np.float32(self.value))) if error is None else error

    @staticmethod
    def of(number):
        return number if isinstance(number, Rounded) else Rounded(number)

    @staticmethod
    def made(value, error=0.0, roundings=1):
        is_exact = not error and float(np.float32(value)) == value
        half = 2.0 ** (math.frexp(abs(value) + error)[1] - 25) if math.isfinite(value) else 0.0
        return Rounded(value, 0.0 if is_exact else error + roundings * half)

    def __array_ufunc__(self, function, method, *inputs):
        if function is np.floor:
            return np.floor(self.value)
        a, b = map(Rounded.of, inputs)
        return {np.add: Rounded.__add__, np.subtract: Rounded.__sub__, np.multiply: Rounded.__mul__}[function](a, b)

    def __neg__(self):
        return Rounded(-self.value, self.error)

    def __abs__(self):
        return Rounded(abs(self.value), self.error)

    def __add__(self, other):
        other = Rounded.of(other)
        return Rounded.made(self.value + other.value, self.error + other.error)

    def __sub__(self, other):
        return self + -Rounded.of(other)

    def __rsub__(self, other):
        return Rounded.of(other) - self

    def __mul__(self, other):
        other = Rounded.of(other)
        error = abs(self.value) * other.error + abs(other.value) * self.error
        is_power = abs(math.frexp(other.value)[0]) == 0.5 and not other.error
        return Rounded(self.value * other.value, error) if is_power else Rounded.made(self.value * other.value, error)

    def __truediv__(self, other):
        other = Rounded.of(other)
        if not other.value:
            return Rounded(math.inf, 0.0)
        quotient = self.value / other.value
        return Rounded.made(quotient, (self.error + abs(quotient) * other.error) / abs(other.value), 2)

    def __rtruediv__(self, other):
        return Rounded.of(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other):
        return self.value - self.error > Rounded.of(other).value

    def __lt__(self, other):
        return self.value + self.error < Rounded.of(other).value


def tanh32(x):
    return Rounded.of(TANH32(x))


TANH32 = kernels._tanh32
ANALYSED = {
    "exp": kernels._exp32, "expm1": kernels._expm132, "tanh": tanh32, "erf": kernels._erf32,
    "sigmoid": lambda x: 1.0 / (1.0 + kernels._exp32(-x)),
    "softplus": lambda x: max(x, Rounded(0.0)) + kernels._log1p_unit32(kernels._exp32(-abs(x))),
}  # fmt: skip


@pytest.mark.parametrize("name", ANALYSED)
def test_bound_holds_whatever_is_fused(name, monkeypatch):
    """What the formula is off by in exact arithmetic, and what rounding adds at most, in whatever way a processor does it."""
    monkeypatch.setattr(kernels, "_tanh32", tanh32)
    low, high, bound = BOUNDS[name]
    x = wide(low, high)[::29]
    expected = reference(name)(x.astype(np.float64))
    worst = 0.0
    for number, right in zip(x, expected, strict=True):
        if abs(right) > 1.2e-38:
            got = Rounded.of(ANALYSED[name](Rounded(number)))
            worst = max(worst, (abs(got.value - right) + got.error) / abs(right))
    assert 0.9 * bound < worst < bound
    text = getattr(kernels, f"_{name}32", kernels.sigmoid).__doc__ or ""
    assert "error <" not in text or f"error < {bound:.2g}".replace("e-0", "e-") in text


def test_relative_error_is_within_its_bound(compiled):
    name, function = compiled
    low, high, bound = BOUNDS[name]
    x = wide(low, high)
    with np.errstate(all="ignore"):
        expected = reference(name)(x.astype(np.float64))
    normal = np.abs(expected) > 1.2e-38
    if name == "log":  # absolute where the logarithm is near 0
        error = np.abs(function(x) - expected) / np.maximum(np.abs(expected), 1.0)
    else:
        error = np.abs(function(x) - expected)[normal] / np.abs(expected)[normal]
    worst = int(error.argmax())
    assert error.max() < bound, f"{name}({x[normal][worst]}) is off by {error.max():.3g}"


def test_nan_stays_nan(compiled):
    _, function = compiled
    assert np.isnan(function([np.nan, 0.5, np.nan])).tolist() == [True, False, True]


def test_infinity_gives_the_limits(compiled):
    name, function = compiled
    np.testing.assert_array_equal(function([-np.inf, np.inf]), np.float32(LIMITS[name]))


def test_zero_gives_the_exact_value(compiled):
    name, function = compiled
    bound = BOUNDS[name][2] if name == "softplus" else 0.0  # log 2 is no float32
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(function([0.0]), reference(name)(np.zeros(1)), rtol=bound)


@pytest.mark.parametrize("name", BOUNDS)
def test_float64_is_the_library_function(name):
    """NumPy promises 4 ulp, C libraries 2 (glibc), and the formulas above round three times: 9 ulp of 2.2e-16."""
    low, high, _ = BOUNDS[name]
    x = np.linspace(max(low, -50), min(high, 50), 101)[:, None]
    x = x[x[:, 0] > low]
    got = nn.Sequential([activation(name)]).build((1,), dtype="float64").predict(x)
    np.testing.assert_allclose(got, reference(name)(x), rtol=2e-15, atol=1e-300)


@pytest.mark.parametrize("name", BOUNDS)
def test_loops_are_vectorised(name):
    model = nn.Sequential([activation(name)]).build((1,))
    code = Pass(network_of(model), 1, training=False, gradient=network_of(model).gradient).program.kernel(0).llvm
    assert re.search(r"f(mul|add|div)[a-z ]* <\d+ x float>", code), "no packed arithmetic in the machine code"
    assert not re.search(r"call [^\n]*@(expf?|logf?|tanhf?|erff?)\(", code)


@pytest.mark.parametrize("part", [nn.Softmax(), nn.LogSoftmax()], ids=repr)
def test_offset_of_all_logits_does_not_matter(part):
    """softmax(x + c) = softmax(x), to the bit where x + c is exact: the largest is subtracted before anything is lost."""
    x = np.random.default_rng(0).integers(-4096, 4096, (50, 9)) / 1024
    model = nn.Sequential([part]).build((9,))
    np.testing.assert_allclose(model.predict(x + 1000), model.predict(x), rtol=1e-6)


def test_offset_of_all_logits_does_not_matter_to_cross_entropy():
    x, y = np.random.default_rng(0).integers(-4096, 4096, (50, 9)) / 1024, np.arange(50) % 9
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)):
        near, near_grad = loss(x.astype(np.float32), y)
        far, far_grad = loss((x + 1000).astype(np.float32), y)
        np.testing.assert_allclose(far, near, rtol=1e-6)
        np.testing.assert_allclose(far_grad, near_grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("name", "reference"), [("cospi", np.cos), ("sinpi", np.sin)])
def test_waves_are_exact_to_an_absolute_bound(name, reference):
    """Their zeros are where they are, so that the error is of the size of 1, and as large far away."""
    model = nn.Sequential([activation(name)]).build((1,))
    x = np.concatenate([np.linspace(-6, 6, 20_001), 1e4 + np.linspace(0, 2, 2001)]).astype(np.float32)
    got = model.predict(x[:, None])[:, 0]
    assert np.abs(got - reference(np.pi * np.remainder(x.astype(np.float64), 2.0))).max() < 2e-7
    assert np.isnan(model.predict([[np.nan], [np.inf], [-np.inf]])).all()
    assert model.predict([[0.5 * 2.0**30], [3e38]])[:, 0].tolist() == ([1.0, 1.0] if name == "cospi" else [0.0, 0.0])
