"""torch.nn.init: the same bounds and deviations; and layers whose parameters begin as PyTorch's.

What PyTorch draws from is not estimated but read: the arguments with which it asks for random numbers. So is what an
initializer of nnkit asks its generator for. Only what a whole layer has drawn is judged by its statistics.
"""

import inspect
import warnings
from math import sqrt

import numpy as np
import pytest
from scipy import stats

import nnkit as nn
from nnkit.core.initializer import fans

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # the tensors are tiny
KNOWN_TORCH = (2, 13)
EPS = np.finfo(np.float64).eps

NOT_HERE = {"calculate_gain": "initializers take what it is asked for, gain='relu', and its number"}
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


NAMED = [("linear", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("leaky_relu", None), ("selu", None)]
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
for name, slope in [*NAMED, ("leaky_relu", 0.2)]:
    gain = torch.nn.init.calculate_gain(name, slope)
    said = name if slope is None else (name, slope)
    words = {"nonlinearity": name, "a": 0.01 if slope is None else slope}
    PAIRS += [(nn.GlorotUniform(said), "xavier_uniform_", {"gain": gain})]
    PAIRS += [(nn.GlorotNormal(said), "xavier_normal_", {"gain": gain})]
    PAIRS += [(nn.KaimingUniform(said, mode="fan_out"), "kaiming_uniform_", {"mode": "fan_out", **words})]
    PAIRS += [(nn.KaimingNormal(said, mode="fan_out"), "kaiming_normal_", {"mode": "fan_out", **words})]


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


def test_gains_that_are_no_gains_are_refused():
    for wrong in ("gelu", ("leaky_relu",), ("relu", 0.2), ("leaky_relu", "x"), 0.0, None, True):
        with pytest.raises(nn.ParameterError, match="expected gain to be a number"):
            nn.KaimingNormal(wrong)
    with pytest.raises(nn.ParameterError, match="mode to be 'fan_in' or 'fan_out'"):
        nn.KaimingUniform(mode="fan_avg")
    drawn = nn.Orthogonal(("leaky_relu", 0.2))((4, 3), np.random.default_rng(0))
    np.testing.assert_allclose(drawn.T @ drawn, 2 / (1 + 0.2**2) * np.eye(3), atol=1e-14)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)], ids=str)
def test_eye_equals_torchs(shape):
    expected = torch.nn.init.eye_(torch.empty(shape, dtype=torch.float64)).numpy()
    np.testing.assert_array_equal(nn.Eye()(shape, np.random.default_rng(0)), expected)
    np.testing.assert_array_equal(nn.Eye()((*shape, 1), np.random.default_rng(0))[..., 0], expected)
    np.testing.assert_array_equal(nn.Eye()((5,), np.random.default_rng(0)), 0.0)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(8, 3, 5), (4, 8, 4), (6, 4, 3, 2), (2, 9, 1, 1), (4, 3, 3, 2, 4)], ids=str)
def test_dirac_equals_torchs(shape, groups):
    expected = torch.nn.init.dirac_(torch.empty(shape, dtype=torch.float64), groups).numpy()
    np.testing.assert_array_equal(nn.Dirac(groups)(shape, np.random.default_rng(0)), expected)


def test_dirac_of_what_has_no_kernel():
    np.testing.assert_array_equal(nn.Dirac()((3, 2), np.random.default_rng(0)), np.eye(3, 2))
    np.testing.assert_array_equal(nn.Dirac()((3,), np.random.default_rng(0)), 0.0)
    with pytest.raises(nn.ParameterError, match="groups to be a divisor of the 4 channels"):
        nn.Dirac(3)((4, 2, 3), np.random.default_rng(0))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.55, 1.0])
def test_sparse_is_as_torchs(sparsity):
    """PyTorch's matrices are (out, in): there a column is what comes from an input, here a row."""
    theirs = torch.nn.init.sparse_(torch.empty(30, 200, dtype=torch.float64), sparsity, std=0.3).numpy()
    ours = nn.Sparse(sparsity, std=0.3)((200, 30), np.random.default_rng(0)).T
    zeros = (ours == 0).sum(axis=0)
    np.testing.assert_array_equal(zeros, (theirs == 0).sum(axis=0))
    if sparsity < 1:
        require(ours[ours != 0], "normal", 0.0, 0.3)
    if 0 < sparsity < 1:
        assert 1 < len(set(map(tuple, (ours == 0).T.tolist())))
        assert np.ptp((ours == 0).mean(axis=1)) < SIGMAS * 2 * sqrt(sparsity * (1 - sparsity) / 200)
    convolution = nn.Sparse(sparsity)((30, 20, 3), np.random.default_rng(0))
    np.testing.assert_array_equal((convolution == 0).sum(axis=0), zeros[0])


TRUNCATED = [{}, {"std": 0.5}, {"mean": 1.0, "std": 2.0}, {"mean": -3.0, "std": 1.0}, {"mean": 0.5, "low": -0.1, "high": 3.0},
             {"mean": -30.0, "low": -20.0, "high": 5.0}, {"mean": 30.0, "low": -5.0, "high": 20.0}]  # fmt: skip


@pytest.mark.parametrize("words", TRUNCATED, ids=str)
def test_truncated_normal_is_as_torchs_and_as_the_distribution(words):
    """As one sample to the other, by Kolmogorov and Smirnov; far from the mean PyTorch loses the tail's digits."""
    count = 20_000
    ours = nn.TruncatedNormal(**words)((count,), np.random.default_rng(0))
    named = {"mean": 0.0, "std": 1.0, "low": -2.0, "high": 2.0, **words}
    low, high = ((named[end] - named["mean"]) / named["std"] for end in ("low", "high"))
    truth = stats.truncnorm(low, high, loc=named["mean"], scale=named["std"])
    assert stats.kstest(ours, truth.cdf).pvalue > 1e-6
    assert named["low"] <= ours.min() <= ours.max() <= named["high"]
    if max(abs(low), abs(high)) < 6:
        theirs = torch.empty(count, dtype=torch.float64)
        generator = torch.Generator().manual_seed(1)
        torch.nn.init.trunc_normal_(theirs, named["mean"], named["std"], named["low"], named["high"], generator=generator)
        assert stats.ks_2samp(ours, theirs.numpy()).pvalue > 1e-6


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


ALONE = {"zeros": nn.Zeros, "ones": nn.Ones, "constant": nn.Constant, "orthogonal": nn.Orthogonal, "eye": nn.Eye,
         "dirac": nn.Dirac, "sparse": nn.Sparse, "trunc_normal": nn.TruncatedNormal}  # fmt: skip


def test_every_initializer_is_compared_or_said_not_to_be():
    theirs = {name for name, function in vars(torch.nn.init).items() if inspect.isfunction(function) and name[0] != "_"}
    theirs = {name for name in theirs if f"{name}_" not in theirs}  # without the deprecated names
    compared = {theirs for _, theirs, _ in PAIRS} | {f"{name}_" for name in ALONE}
    assert not compared & NOT_HERE.keys()
    if KNOWN_TORCH == tuple(map(int, torch.__version__.split(".")[:2])):
        assert theirs == compared | NOT_HERE.keys()
    used = {type(ours) for ours, _, _ in PAIRS} | set(ALONE.values()) | {nn.Signs, nn.NguyenWidrow}  # which PyTorch has not
    assert {part for part in nn.registry.initializers.values() if part.__module__ == "nnkit.initializers"} == used
