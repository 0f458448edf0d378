"""torch.nn.init: the same bounds and deviations; and layers whose parameters begin as PyTorch's.

What PyTorch draws from is not estimated but read: the arguments with which it asks for random numbers. So is what an
initializer of nnkit asks its generator for. Only what a whole layer has drawn is judged by its statistics.
"""

import inspect
import warnings
from math import sqrt

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.initializer import fans

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # the tensors are tiny
KNOWN_TORCH = (2, 13)
EPS = np.finfo(np.float64).eps

NOT_HERE = {
    "dirac_": "Constant, and writing to parameters by name",
    "eye_": "Constant, and writing to parameters by name",
    "sparse_": "no such part",
    "trunc_normal_": "no such part",
    "calculate_gain": "initializers take the gain itself; KaimingUniform's default is the one for ReLU",
}
SHAPES = [(30, 7), (7, 30), (1, 1), (8, 3, 5), (6, 4, 3, 2), (2, 9, 1, 1)]  # PyTorch's: (out, in, *kernel)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def ours_of(shape):
    """A matrix is (in, out) here, everything else as there."""
    return shape[::-1] if len(shape) == 2 else shape


@pytest.fixture
def asked(monkeypatch):
    """What PyTorch's tensors are filled with, by their identity: a distribution and its two numbers."""
    requests = {}

    def watch(name):
        method = getattr(torch.Tensor, name)

        def watched(self, first=0.0, second=1.0, **options):
            requests[id(self)] = (name.strip("_"), float(first), float(second))
            return method(self, first, second, **options)

        monkeypatch.setattr(torch.Tensor, name, watched)

    def forget(name):
        method = getattr(torch.Tensor, name)

        def watched(self, *arguments):
            requests.pop(id(self), None)
            return method(self, *arguments)

        monkeypatch.setattr(torch.Tensor, name, watched)

    for name in ("uniform_", "normal_"):
        watch(name)
    for name in ("fill_", "zero_"):
        forget(name)
    return requests


class Generator:
    """A generator that notes what it is asked for."""

    def uniform(self, low, high, shape):
        self.request = ("uniform", low, high)
        return np.zeros(shape)

    def normal(self, mean, std, shape):
        self.request = ("normal", mean, std)
        return np.zeros(shape)


GAINS = [
    ("linear", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("leaky_relu", 0.2), ("leaky_relu", sqrt(5)),
    ("selu", None),
]  # fmt: skip
PAIRS = [
    (nn.Uniform(low=-0.3, high=0.7), "uniform_", {"a": -0.3, "b": 0.7}),
    (nn.Normal(mean=0.3, std=0.7), "normal_", {"mean": 0.3, "std": 0.7}),
    (nn.GlorotUniform(), "xavier_uniform_", {}),
    (nn.GlorotNormal(), "xavier_normal_", {}),
    (nn.KaimingUniform(), "kaiming_uniform_", {}),
    (nn.KaimingNormal(), "kaiming_normal_", {}),
    (nn.LeCunUniform(), "kaiming_uniform_", {"nonlinearity": "linear"}),
    (nn.LeCunNormal(), "kaiming_normal_", {"nonlinearity": "linear"}),
    (nn.LinearUniform(), "kaiming_uniform_", {"a": sqrt(5)}),  # as torch.nn.Linear writes it
]
for name, slope in GAINS:
    gain = torch.nn.init.calculate_gain(name, slope)
    words = {"nonlinearity": name, **({} if slope is None else {"a": slope})}
    PAIRS += [(nn.GlorotUniform(gain=gain), "xavier_uniform_", {"gain": gain})]
    PAIRS += [(nn.GlorotNormal(gain=gain), "xavier_normal_", {"gain": gain})]
    PAIRS += [(nn.KaimingUniform(gain=gain), "kaiming_uniform_", words)]
    PAIRS += [(nn.KaimingNormal(gain=gain), "kaiming_normal_", words)]


@shapes
@pytest.mark.parametrize(("ours", "theirs", "words"), PAIRS)
def test_distribution_equals_torchs(ours, theirs, words, shape, asked):
    """To 8 eps: a formula of half a dozen operations."""
    tensor = torch.empty(shape, dtype=torch.float64)
    getattr(torch.nn.init, theirs)(tensor, **words)
    generator = Generator()
    ours(ours_of(shape), generator)
    assert generator.request[0] == asked[id(tensor)][0]
    np.testing.assert_allclose(generator.request[1:], asked[id(tensor)][1:], rtol=8 * EPS)


@shapes
def test_fans_equal_torchs(shape):
    assert fans(ours_of(shape)) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [(nn.Zeros(), "zeros_", {}), (nn.Ones(), "ones_", {}), (nn.Constant(value=0.3), "constant_", {"val": 0.3})],
)
def test_constants_equal_torchs(ours, theirs, words):
    tensor = getattr(torch.nn.init, theirs)(torch.empty(3, 2, dtype=torch.float64), **words)
    np.testing.assert_array_equal(ours((3, 2), np.random.default_rng(0)), tensor.numpy())


@shapes
@pytest.mark.parametrize("gain", [1.0, 5 / 3])
def test_orthogonal_is_as_torchs(shape, gain):
    """Rows or columns, whichever are fewer, are orthogonal and of length ``gain``; QR keeps that to some n eps."""
    tensor = torch.empty(shape, dtype=torch.float64)
    torch.nn.init.orthogonal_(tensor, gain=gain)
    drawn = nn.Orthogonal(gain=gain)(shape, np.random.default_rng(0))
    assert drawn.shape == shape
    for values in (tensor.numpy(), drawn):
        matrix = values.reshape(shape[0], -1)
        matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        allowed = 16 * max(matrix.shape) * EPS * gain**2
        np.testing.assert_allclose(matrix @ matrix.T, gain**2 * np.eye(len(matrix)), rtol=0, atol=allowed)


# ------------------------------------------------------------------------------------------------------------ layers

T = torch.nn
LAYERS = [
    (nn.Linear(60), lambda: T.Linear(50, 60), (50,)),
    (nn.Conv1d(60, 5), lambda: T.Conv1d(12, 60, 5), (12, 9)),
    (nn.Conv2d(40, 5, groups=4), lambda: T.Conv2d(12, 40, 5, groups=4), (12, 9, 9)),
    (nn.ConvTranspose2d(30, 4, groups=2), lambda: T.ConvTranspose2d(20, 30, 4, groups=2), (20, 3, 3)),
    (nn.Embedding(300, 20), lambda: T.Embedding(300, 20), (4,)),
    (nn.MultiHeadAttention(4), lambda: T.MultiheadAttention(40, 4), (3, 40)),
    (nn.RNN(40, return_sequences=True), lambda: T.RNN(50, 40), (3, 50)),
    (nn.GRU(40, num_layers=2, return_sequences=True), lambda: T.GRU(50, 40, 2), (3, 50)),
    (nn.LSTM(40, bidirectional=True, return_sequences=True), lambda: T.LSTM(50, 40, bidirectional=True), (3, 50)),
    (nn.BatchNorm1d(), lambda: T.BatchNorm1d(20), (20,)),
    (nn.BatchNorm2d(), lambda: T.BatchNorm2d(20), (20, 3, 3)),
    (nn.GroupNorm(4), lambda: T.GroupNorm(4, 20), (20,)),
    (nn.LayerNorm(), lambda: T.LayerNorm(20), (20,)),
    (nn.RMSNorm(), lambda: T.RMSNorm(20), (20,)),
    (nn.PReLU(), lambda: T.PReLU(), (20,)),
]
# Their biases begin at 0 here (``bias_init``), as He et al. 2015 have it; PyTorch draws them as it draws the weights.
ZERO_BIAS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
KURTOSIS = {"uniform": 9 / 5, "normal": 3.0}
SIGMAS = 6  # of an estimate that is right, 2 in 10**9 are farther off


@pytest.mark.parametrize(("ours", "theirs", "in_shape"), LAYERS, ids=[repr(ours) for ours, _, _ in LAYERS])
def test_layer_begins_as_torchs(ours, theirs, in_shape, asked):
    module = theirs()
    model = nn.Sequential([ours]).build(in_shape, random_state=0, dtype="float64")
    kinds, firsts, seconds = (distributions(model, module, asked, place) for place in range(3))
    for name, values in {**model.parameters(), **model.states()}.items():
        kind, first, second = (KINDS[int(kinds[name].flat[0])], firsts[name], seconds[name])
        assert not np.ptp(kinds[name])
        if isinstance(ours, ZERO_BIAS) and name == "0.bias":
            assert kind == "uniform"
            np.testing.assert_array_equal(values, 0.0)
        elif kind == "constant":
            np.testing.assert_array_equal(values, first)
        else:
            require(values, kind, float(first.flat[0]), float(second.flat[0]))


KINDS = ["constant", "uniform", "normal"]


def distributions(model, module, asked, place):
    """What PyTorch draws each of our arrays from: its kind (0), or the first or second of its numbers, by our names."""
    said = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        kind, *numbers = asked.get(id(tensor), ("constant", 0.0, 0.0))
        constant = kind == "constant" and place == 1
        value = [KINDS.index(kind), *numbers][place]
        said[name] = tensor.detach().numpy() if constant else np.full(tuple(tensor.shape), value)
    copy = model.copy()
    nn.torch_weights(copy, said)
    return {**copy.parameters(), **copy.states()}


def require(values, kind, first, second):
    """Numbers are as if drawn from the distribution."""
    mean, deviation = (first, second) if kind == "normal" else ((first + second) / 2, (second - first) / sqrt(12))
    count = values.size
    assert abs(values.mean() - mean) <= SIGMAS * deviation / sqrt(count)
    assert abs(values.var() / deviation**2 - 1) <= SIGMAS * sqrt((KURTOSIS[kind] - 1) / count)
    if kind == "uniform":
        assert first <= values.min()
        assert values.max() <= second
        # The largest of n stays below (1 - c / n) of the bound with probability exp(-c).
        assert np.abs(values).max() >= second * (1 - 20 / count)


def test_every_initializer_is_compared_or_said_not_to_be():
    theirs = {name for name, function in vars(torch.nn.init).items() if inspect.isfunction(function) and name[0] != "_"}
    theirs = {name for name in theirs if f"{name}_" not in theirs}  # without the deprecated names
    compared = {theirs for _, theirs, _ in PAIRS} | {"zeros_", "ones_", "constant_", "orthogonal_"}
    assert not compared & NOT_HERE.keys()
    if KNOWN_TORCH == tuple(map(int, torch.__version__.split(".")[:2])):
        assert theirs == compared | NOT_HERE.keys()
    used = {type(ours) for ours, _, _ in PAIRS} | {nn.Zeros, nn.Ones, nn.Constant, nn.Orthogonal}
    assert {part for part in nn.registry.initializers.values() if part.__module__ == "nnkit.initializers"} == used
