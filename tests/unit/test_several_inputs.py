"""Layers of several inputs compute what PyTorch's compute: products, distances, cells, cross-attention, decoders."""

import warnings

import numpy as np
import pytest

import nnkit as nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

T = torch.nn


class Attend(torch.nn.Module):
    """PyTorch's attention without the weights that it returns besides."""

    def __init__(self, *args, mask=None, **options):
        super().__init__()
        self.inner = T.MultiheadAttention(*args, batch_first=True, **options)
        self.mask = mask

    def forward(self, query, key, value):
        mask = None if self.mask is None else torch.as_tensor(self.mask)
        return self.inner(query, key, value, attn_mask=mask, need_weights=False)[0]


class Beside(torch.nn.Module):
    """PyTorch's LSTMCell, of states that lie side by side."""

    def __init__(self, *args, **options):
        super().__init__()
        self.inner = T.LSTMCell(*args, **options)

    def forward(self, x, hx):
        return torch.cat(self.inner(x, hx.chunk(2, dim=1)), dim=1)


def quiet(make):
    """A module of PyTorch's, which warns of nested tensors."""

    def made():
        with warnings.catch_warnings(action="ignore"):
            return make()

    return made


HIDDEN = np.triu(np.ones((5, 7), bool), 3)
DECODER = {"dim_feedforward": 11, "dropout": 0.0}
TWINS = [
    (nn.Bilinear(4), lambda: T.Bilinear(3, 5, 4), {"x1": (3,), "x2": (5,)}),
    (nn.Bilinear(2, bias=False), lambda: T.Bilinear(3, 2, 2, bias=False), {"x1": (4, 3), "x2": (4, 2)}),
    (nn.CosineSimilarity(), lambda: T.CosineSimilarity(), {"x1": (5,), "x2": (5,)}),
    (nn.CosineSimilarity(2, eps=1e-3), lambda: T.CosineSimilarity(2, 1e-3), {"x1": (2, 3, 4), "x2": (2, 3, 4)}),
    (nn.CosineSimilarity(-1), lambda: T.CosineSimilarity(-1), {"x1": (2, 3), "x2": (2, 3)}),
    (nn.PairwiseDistance(), lambda: T.PairwiseDistance(), {"x1": (5,), "x2": (5,)}),
    (nn.PairwiseDistance(1.0, keepdim=True), lambda: T.PairwiseDistance(1.0, keepdim=True), {"x1": (3, 2), "x2": (3, 2)}),
    (nn.PairwiseDistance(3.5, eps=0.1), lambda: T.PairwiseDistance(3.5, eps=0.1), {"x1": (4,), "x2": (4,)}),
    (nn.PairwiseDistance(np.inf), lambda: T.PairwiseDistance(np.inf), {"x1": (4,), "x2": (4,)}),
    (nn.RNNCell(4), lambda: T.RNNCell(3, 4), {"x_t": (3,), "hx": (4,)}),
    (nn.RNNCell(3, bias=False, nonlinearity="relu"), lambda: T.RNNCell(2, 3, False, "relu"), {"x_t": (2,), "hx": (3,)}),
    (nn.GRUCell(4), lambda: T.GRUCell(3, 4), {"x_t": (3,), "hx": (4,)}),
    (nn.GRUCell(1, bias=False), lambda: T.GRUCell(2, 1, bias=False), {"x_t": (2,), "hx": (1,)}),
    (nn.LSTMCell(4), lambda: Beside(3, 4), {"x_t": (3,), "hx": (8,)}),
    (nn.LSTMCell(2, bias=False), lambda: Beside(3, 2, bias=False), {"x_t": (3,), "hx": (4,)}),
    (nn.CrossAttention(2), lambda: Attend(6, 2), {"query": (5, 6), "key": (7, 6), "value": (7, 6)}),
    (nn.CrossAttention(1, bias=False), lambda: Attend(6, 1, bias=False, kdim=3, vdim=4),
     {"query": (19, 6), "key": (3, 3), "value": (3, 4)}),
    (nn.CrossAttention(3, attn_mask=HIDDEN), lambda: Attend(6, 3, mask=HIDDEN),
     {"query": (5, 6), "key": (7, 6), "value": (7, 6)}),
    (nn.TransformerDecoderLayer(2, **DECODER), lambda: T.TransformerDecoderLayer(6, 2, 11, 0.0, batch_first=True),
     {"tgt": (3, 6), "memory": (5, 6)}),
    (nn.TransformerDecoderLayer(1, norm_first=True, bias=False, activation="gelu", **DECODER),
     lambda: T.TransformerDecoderLayer(4, 1, 11, 0.0, "gelu", batch_first=True, norm_first=True, bias=False),
     {"tgt": (3, 4), "memory": (2, 4)}),
    (nn.TransformerDecoder(nn.TransformerDecoderLayer(2, **DECODER), 2, norm=nn.LayerNorm()),
     lambda: T.TransformerDecoder(T.TransformerDecoderLayer(4, 2, 11, 0.0, batch_first=True), 2, T.LayerNorm(4)),
     {"tgt": (3, 4), "memory": (2, 4)}),
    (nn.Transformer(2, num_encoder_layers=2, num_decoder_layers=1, norm_first=True, **DECODER),
     quiet(lambda: T.Transformer(4, 2, 2, 1, 11, 0.0, batch_first=True, norm_first=True)), {"src": (5, 4), "tgt": (3, 4)}),
]  # fmt: skip
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("ours", "theirs", "in_shape"), TWINS, ids=[f"{ours!r} {shape}" for ours, _, shape in TWINS])
def test_layer_equals_torchs(ours, theirs, in_shape, dtype):
    torch.manual_seed(3)
    twin = theirs().to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model = nn.Sequential([ours]).build(in_shape, random_state=0, dtype=dtype)
    given = {name: torch.randn(6, *shape, dtype=getattr(torch, dtype), requires_grad=True) for name, shape in in_shape.items()}
    out = twin(*given.values())
    grad_out = torch.randn_like(out)
    out.backward(grad_out)
    X = {name: value.detach().numpy() for name, value in given.items()}
    gradients = dict(zip(twin.state_dict(), (parameter.grad for parameter in twin.parameters()), strict=True))
    expected = model.copy()
    if gradients:
        nn.torch_weights(model, twin.state_dict())
        nn.torch_weights(expected, gradients)

    def close(got, wanted):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(wanted).max(initial=0.0)))

    close(model.forward(X, training=True), out.detach().numpy())
    grads = model.backward(grad_out.numpy())
    for name, value in given.items():
        close(grads[name], value.grad.numpy())
    for name, gradient in model.gradients().items():
        close(gradient, expected.parameters()[name])
    close(model.predict(X), out.detach().numpy())


def test_equal_values_have_a_distance_without_a_slope():
    model = nn.Sequential([nn.PairwiseDistance(3.0, eps=0.5)]).build({"x1": (2,), "x2": (2,)})
    X = {"x1": np.full((1, 2), 0.5), "x2": np.ones((1, 2))}
    assert model.forward(X, training=True).tolist() == [0.0]
    assert not any(grad.any() for grad in model.backward([1.0]).values())


def test_zeros_are_like_nothing():
    model = nn.Sequential([nn.CosineSimilarity()]).build({"x1": (2,), "x2": (2,)})
    assert model.predict({"x1": np.zeros((1, 2)), "x2": np.ones((1, 2))}).tolist() == [0.0]


@pytest.mark.parametrize(("cell", "layer"), [
    (nn.RNNCell(4), nn.RNN(4)), (nn.RNNCell(4, nonlinearity="relu"), nn.RNN(4, nonlinearity="relu")),
    (nn.GRUCell(4), nn.GRU(4)), (nn.LSTMCell(4), nn.LSTM(4)),
], ids=repr)  # fmt: skip
def test_a_cell_taken_three_times_is_a_layer_of_three_steps(cell, layer):
    """One cell object is one set of parameters, whose gradients add up."""
    random = np.random.default_rng(0)
    steps = {"h1": (("x0", "h0"), cell), "h2": (("x1", "h1"), cell), "h3": (("x2", "h2"), [cell, nn.Columns(range(4))])}
    state = 8 if isinstance(cell, nn.LSTMCell) else 4
    shapes = {"x0": (2,), "h0": (state,), "x1": (2,), "x2": (2,)}
    by_hand = nn.Sequential([nn.Graph(**steps)]).build(shapes, random_state=0, dtype="float64")
    whole = nn.Sequential([layer]).build((3, 2), dtype="float64")
    for own, array in zip(whole.parameters().values(), by_hand.parameters().values(), strict=True):
        own[...] = array
    X, grad_out = random.normal(size=(5, 3, 2)), random.normal(size=(5, 4))
    given = {"x0": X[:, 0], "h0": np.zeros((5, state)), "x1": X[:, 1], "x2": X[:, 2]}
    np.testing.assert_allclose(by_hand.forward(given, training=True), whole.forward(X, training=True), atol=1e-14)
    grads, grad_x = by_hand.backward(grad_out), whole.backward(grad_out)
    np.testing.assert_allclose(np.stack([grads["x0"], grads["x1"], grads["x2"]], axis=1), grad_x, atol=1e-14)
    for own, gradient in zip(whole.gradients().values(), by_hand.gradients().values(), strict=True):
        np.testing.assert_allclose(gradient, own, atol=1e-13)


@pytest.mark.parametrize(("layer", "in_shape", "message"), [
    (nn.GRUCell(4), {"x_t": (2,), "hx": (3,)}, r"hx \(4,\), the state before, got \(2,\) and \(3,\)"),
    (nn.LSTMCell(4), {"x_t": (2,), "hx": (4,)}, r"hx \(8,\)"),
    (nn.RNNCell(4), {"x_t": (2, 3), "hx": (4,)}, r"x_t \(features,\)"),
    (nn.Bilinear(2), {"x1": (2, 3), "x2": (3, 3)}, r"differ in their features alone, got \(2, 3\) and \(3, 3\)"),
    (nn.Bilinear(2), {"x1": (), "x2": ()}, "in their features alone"),
    (nn.CosineSimilarity(), {"x1": (2,), "x2": (3,)}, r"two values of one shape, got \(2,\) and \(3,\)"),
    (nn.CosineSimilarity(2), {"x1": (2,), "x2": (2,)}, "axis 2"),
    (nn.PairwiseDistance(), {"x1": (), "x2": ()}, "feature axis"),
    (nn.CrossAttention(2), {"query": (2, 4), "key": (3, 4), "value": (2, 4)}, "value for each key, got 3 keys and 2 values"),
    (nn.CrossAttention(3), {"query": (2, 4), "key": (3, 4), "value": (3, 4)}, "3 heads divide, got 4"),
    (nn.CrossAttention(2), {"query": (4,), "key": (3, 4), "value": (3, 4)}, "expected sequences"),
    (nn.TransformerDecoderLayer(2), {"tgt": (4,), "memory": (3, 4)}, "expected sequences"),
])  # fmt: skip
def test_values_that_do_not_fit_are_refused(layer, in_shape, message):
    with pytest.raises(nn.ShapeError, match=message):
        nn.Sequential([layer]).build(in_shape)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: nn.Bilinear(0), "out_features"),
    (lambda: nn.CosineSimilarity(0), "0 is the batch"),
    (lambda: nn.CosineSimilarity(eps=0.0), "eps"),
    (lambda: nn.PairwiseDistance(0.0), "PairwiseDistance: expected p"),
    (lambda: nn.PairwiseDistance(eps=0.0), "eps"),
    (lambda: nn.GRUCell(0), "hidden_size"),
    (lambda: nn.RNNCell(3, nonlinearity="sigmoid"), "nonlinearity"),
    (lambda: nn.Transformer(2, num_encoder_layers=0), "num_encoder_layers"),
    (lambda: nn.Transformer(2, num_decoder_layers=0), "num_decoder_layers"),
    (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(2), 1001), "num_layers to be at most 1000"),
    (lambda: nn.TransformerEncoderLayer(0), "nhead"),
    (lambda: nn.TransformerEncoderLayer(2, dim_feedforward=0), "dim_feedforward"),
    (lambda: nn.TransformerEncoderLayer(2, layer_norm_eps=0.0), "layer_norm_eps"),
    (lambda: nn.TransformerEncoderLayer(2, dropout=1.0), "dropout"),
])  # fmt: skip
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(nn.ParameterError, match=message):
        make()
