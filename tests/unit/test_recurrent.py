"""Recurrent layers compute what PyTorch's compute, stacked, in both directions, and on padded sequences."""

import warnings
from functools import partial

import numpy as np
import pytest

import nnkit as nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
STEPS, FEATURES, LENGTHS = 7, 3, [4, 7, 1, 5, 2]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # PyTorch's, of its speed
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def close(got, expected, dtype):
    expected = expected.detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * max(np.abs(expected).max(), 1e-3))


def twins(layer, dtype, before=()):
    """A model that begins with ``layer``, or after some others, and PyTorch's module with the same parameters."""
    torch.manual_seed(3)
    options = {name: value for name, value in layer.hyperparameters().items() if name not in ("return_sequences", "reverse")}
    theirs = getattr(torch.nn, type(layer).__name__)(FEATURES, **options, batch_first=True, dtype=getattr(torch, dtype))
    model = nn.Sequential([*before, layer]).build((STEPS, FEATURES), dtype=dtype)
    nn.torch_weights(model, theirs.state_dict())
    return model, theirs


def last_states(layer, h_n):
    return torch.cat([*h_n[-2:]], dim=-1) if layer.bidirectional else h_n[-1]


def compare(layer, model, theirs, x, x_torch, out, dtype):
    """Outputs and all gradients, in and out of training."""
    grad_out = np.random.default_rng(2).normal(size=out.shape).astype(dtype)
    out.backward(torch.tensor(grad_out))
    close(model.predict(x), out, dtype)
    close(model.forward(x, training=True), out, dtype)
    close(model.backward(grad_out), x_torch.grad, dtype)
    for ours, parameter in zip(model.gradients().values(), theirs.parameters(), strict=True):
        close(ours, parameter.grad.T if parameter.ndim == 2 else parameter.grad, dtype)


PROJECTED = [partial(nn.LSTM, proj_size=1), partial(nn.LSTM, proj_size=4)]


@dtypes
@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "bias": False}, {"num_layers": 2, "bidirectional": True},
                                     {"num_layers": 3, "return_sequences": True},
                                     {"bidirectional": True, "return_sequences": True}], ids=str)  # fmt: skip
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN, partial(nn.RNN, nonlinearity="relu"), *PROJECTED], ids=str)
def test_layer_equals_torchs(make, options, dtype):
    layer = make(5, **options)
    model, theirs = twins(layer, dtype)
    x = np.random.default_rng(1).normal(size=(6, STEPS, FEATURES)).astype(dtype)
    x_torch = torch.tensor(x, requires_grad=True)
    every, state = theirs(x_torch)
    h_n = state[0] if isinstance(state, tuple) else state
    out = every if layer.return_sequences else last_states(layer, h_n)
    compare(layer, model, theirs, x, x_torch, out, dtype)


@dtypes
@pytest.mark.parametrize("options", [{}, {"return_sequences": True},
                                     {"num_layers": 2, "bidirectional": True},
                                     {"num_layers": 2, "bidirectional": True, "return_sequences": True}], ids=str)  # fmt: skip
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN, *PROJECTED], ids=str)
def test_padded_sequences_equal_torchs_packed_ones(make, options, dtype):
    layer = make(5, **options)
    model, theirs = twins(layer, dtype, before=[nn.Masking(-1.0)])
    x = np.random.default_rng(1).normal(size=(len(LENGTHS), STEPS, FEATURES)).astype(dtype)
    for row, length in zip(x, LENGTHS, strict=True):
        row[length:] = -1.0
    x_torch = torch.tensor(x, requires_grad=True)
    pack, unpack = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
    every, state = theirs(pack(x_torch, LENGTHS, batch_first=True, enforce_sorted=False))
    h_n = state[0] if isinstance(state, tuple) else state
    out = unpack(every, batch_first=True, total_length=STEPS)[0] if layer.return_sequences else last_states(layer, h_n)
    compare(layer, model, theirs, x, x_torch, out, dtype)


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_dropout_stands_between_the_layers_of_a_stack(make):
    X = np.random.default_rng(0).normal(size=(8, STEPS, FEATURES))
    stack = nn.Sequential([make(5, num_layers=3, dropout=0.4)]).build((STEPS, FEATURES), random_state=0)
    layers = [make(5, return_sequences=True), nn.Dropout(0.4), make(5, return_sequences=True), nn.Dropout(0.4), make(5)]
    chain = nn.Sequential([layers]).build((STEPS, FEATURES), random_state=0)
    for training in (True, False):
        np.testing.assert_array_equal(stack.forward(X, training=training), chain.forward(X, training=training))
    assert np.abs(stack.forward(X, training=True) - stack.forward(X)).max() > 0.01


def test_weights_of_a_deeper_net_are_refused():
    model = nn.Sequential([nn.LSTM(5)]).build((STEPS, FEATURES))
    with pytest.raises(nn.ShapeError, match=r"got also '.*weight_ih_l1'"):
        nn.torch_weights(model, torch.nn.LSTM(FEATURES, 5, num_layers=2).state_dict())


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_parameters_begin_as_torchs(make):
    model = nn.Sequential([make(64)]).build((STEPS, FEATURES), random_state=0)
    for array in model.parameters().values():
        assert 0.11 < np.abs(array).max() <= 0.125
        assert abs(array.std() - 0.125 / np.sqrt(3)) < 0.02


def test_a_layer_that_is_used_twice_shares_its_parameters():
    layer = nn.LSTM(3, num_layers=2, bidirectional=True, return_sequences=True)
    assert len(nn.Sequential([nn.LSTM(6, return_sequences=True), layer, layer]).build((4, 6)).parameters()) == 4 + 16


def test_training_in_shards_learns_which_sequences_are_longer():
    random = np.random.default_rng(0)
    lengths = random.integers(1, 11, 256)
    X = np.where(np.arange(10)[None, :, None] < lengths[:, None, None], random.normal(size=(256, 10, 2)), 0.0)
    model = nn.Sequential([nn.Masking(), nn.GRU(16, bidirectional=True), nn.Linear(1)])
    history = model.fit(X, lengths[:, None] / 10, epochs=60, batch_size=64, optimizer=nn.Adam(0.01), random_state=0)
    assert history["loss"][-1] < 0.01 < history["loss"][0]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: nn.LSTM(0), "LSTM: expected hidden_size to be an integer of at least 1, got 0"),
    (lambda: nn.GRU(4, dropout=1.0), r"GRU: expected dropout to be a number in \[0, 1\)"),
    (lambda: nn.LSTM(4, proj_size=4), "LSTM: expected proj_size to be below hidden_size=4, got 4"),
    (lambda: nn.LSTM(4, proj_size=-1), "LSTM: expected proj_size to be an integer of at least 0"),
    (lambda: nn.GRU(4, num_layers=0), "GRU: expected num_layers to be an integer of at least 1, got 0"),
    (lambda: nn.LSTM(4, bidirectional=True, reverse=True), "expected reverse to be False where bidirectional is True"),
    (lambda: nn.RNN(4, nonlinearity="sigmoid"), "expected nonlinearity to be 'tanh' or 'relu', got 'sigmoid'"),
    (lambda: nn.Masking("0"), "Masking: expected value to be a number"),
])  # fmt: skip
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(nn.ParameterError, match=message):
        make()


@pytest.mark.parametrize("layer", [nn.LSTM(4), nn.GRU(4, num_layers=2), nn.RNN(4, bidirectional=True), nn.Masking()])
@pytest.mark.parametrize("in_shape", [(5,), (2, 3, 4)], ids=str)
def test_rows_without_steps_are_refused(layer, in_shape):
    with pytest.raises(nn.ShapeError, match=r"expected input rows \(steps, features\), got rows of shape"):
        nn.Sequential([layer]).build(in_shape)
