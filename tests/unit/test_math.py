"""The float32 functions of nnkit.kernels.math: how exact they are, where they end, and that their loops are vectorised."""

import math
import re

import numpy as np
import pytest

import nnkit as nn
from nnkit.kernels import math as kernels
from nnkit.passes import Pass

REFERENCE = {
    "erf": np.vectorize(math.erf, otypes=[float]),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}
# Range, and the largest relative error in it.
BOUNDS = {
    "exp": (-86.9, 88.5, 2.2e-7),
    "expm1": (-80.0, 80.0, 6e-7),
    "tanh": (-30.0, 30.0, 3.5e-7),
    "erf": (-8.0, 8.0, 4e-7),
    "sigmoid": (-80.0, 80.0, 4e-7),
    "softplus": (-80.0, 80.0, 4e-7),
    "log": (1e-37, 3e38, 2e-7),
    "log1p": (-0.99, 3e38, 4e-7),
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
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(function([0.0]), reference(name)(np.zeros(1)), rtol=1e-7)


@pytest.mark.parametrize("name", BOUNDS)
def test_float64_is_the_library_function(name):
    low, high, _ = BOUNDS[name]
    x = np.linspace(max(low, -50), min(high, 50), 101)[:, None]
    x = x[x[:, 0] > low]
    got = nn.Sequential([activation(name)]).build((1,), dtype="float64").predict(x)
    np.testing.assert_allclose(got, reference(name)(x), rtol=2e-15, atol=1e-300)


@pytest.mark.parametrize("name", BOUNDS)
def test_loops_are_vectorised(name):
    model = nn.Sequential([activation(name)]).build((1,))
    code = Pass(model.network, 1, training=False, gradient=model.network.gradient).program.kernel(0).llvm
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
