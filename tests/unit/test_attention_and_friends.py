"""Attention, embeddings, norms over features, gates, softmax over any axis, and axes in another order."""

import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of
from nnkit.training.shards import shard_rows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


class Attend(torch.nn.Module):
    """PyTorch's attention of a sequence to itself; ``mask`` is (steps, steps), or has one for each head."""

    def __init__(self, width, heads, causal=False, bias=True, mask=None):
        super().__init__()
        self.inner = torch.nn.MultiheadAttention(width, heads, bias=bias, batch_first=True)
        self.causal = causal
        self.mask = mask

    def forward(self, x, padding=None):
        rows, steps = x.shape[:2]
        mask = torch.triu(torch.ones(steps, steps, dtype=torch.bool), 1) if self.causal else None
        if self.mask is not None:
            mask = torch.as_tensor(self.mask)
            mask = mask if mask.dtype == torch.bool else mask.to(x.dtype)
            mask = mask.repeat(rows, 1, 1) if mask.dim() == 3 else mask
        return self.inner(x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]


class Turned(torch.nn.Module):
    """Attention with rotary positions, written with complex numbers."""

    def __init__(self, width, heads, base):
        super().__init__()
        self.inner = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.base = base

    def forward(self, x):
        inner = self.inner
        q, k, v = torch.nn.functional.linear(x, inner.in_proj_weight, inner.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (inner.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        half = q.shape[-1] // 2
        angles = torch.arange(x.shape[1])[:, None] * self.base ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.polar(torch.ones_like(angles), angles)

        def turned(part):
            spins = angles.to(torch.promote_types(part.dtype, torch.complex64))
            spun = torch.complex(part[..., :half], part[..., half:]) * spins
            return torch.cat([spun.real, spun.imag], dim=-1).to(part.dtype)

        out = torch.nn.functional.scaled_dot_product_attention(turned(q), turned(k), v)
        return inner.out_proj(out.transpose(1, 2).flatten(-2))


class Positions(torch.nn.Module):
    def __init__(self, steps, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(steps, width))

    def forward(self, x):
        return x + self.weight[: x.shape[1]]


class Function(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def silu_gate(x):
    a, b = x.chunk(2, dim=-1)
    return torch.nn.functional.silu(a) * b


T = torch.nn
ADDED = np.random.default_rng(5).normal(size=(2, 18, 18))
ADDED[1, 3:7, :5] = -np.inf
HIDDEN = ADDED[0, :7, :7] > 0.7
TWINS = [
    (nn.MultiHeadAttention(3), lambda: Attend(9, 3), (7, 9)),
    (nn.MultiHeadAttention(1, causal=True, bias=False), lambda: Attend(5, 1, True, False), (4, 5)),
    (nn.MultiHeadAttention(4, causal=True), lambda: Attend(64, 4, True), (33, 64)),
    (nn.MultiHeadAttention(3, attn_mask=HIDDEN), lambda: Attend(9, 3, mask=HIDDEN), (7, 9)),
    (nn.MultiHeadAttention(2, attn_mask=ADDED), lambda: Attend(6, 2, mask=ADDED), (18, 6)),
    (nn.MultiHeadAttention(2, rotary=100.0), lambda: Turned(12, 2, 100.0), (21, 12)),
    (nn.PositionalEmbedding(), lambda: Positions(7, 9), (7, 9)),
    (nn.PositionalEmbedding(max_len=11), lambda: Positions(11, 9), (7, 9)),
    (nn.LayerNorm(), lambda: T.LayerNorm(33), (33,)),
    (nn.LayerNorm(eps=0.1, bias=False), lambda: T.LayerNorm(7, 0.1, bias=False), (2, 3, 7)),
    (nn.LayerNorm(elementwise_affine=False), lambda: T.LayerNorm(7, elementwise_affine=False), (3, 7)),
    (nn.RMSNorm(), lambda: T.RMSNorm(33), (33,)),
    (nn.RMSNorm(eps=0.1, elementwise_affine=False), lambda: T.RMSNorm(7, 0.1, elementwise_affine=False), (3, 7)),
    (nn.GLU(), lambda: T.GLU(), (3, 10)),
    (nn.GLU(1), lambda: T.GLU(1), (6, 5)),
    (nn.SwiGLU(), lambda: Function(silu_gate), (3, 10)),
    (nn.Softmax(1), lambda: T.Softmax(1), (3, 5, 7)),
    (nn.Softmax(2), lambda: T.Softmax(2), (3, 1)),
    (nn.LogSoftmax(-2), lambda: T.LogSoftmax(-2), (3, 5, 7)),
    (nn.PReLU(3), lambda: T.PReLU(3), (3, 5, 7)),
    (nn.Permute((2, 1)), lambda: Function(lambda x: x.permute(0, 2, 1)), (37, 21)),
    (nn.Permute((2, 3, 1)), lambda: Function(lambda x: x.permute(0, 2, 3, 1)), (3, 5, 7)),
    (nn.Permute((4, 3, 2, 1)), lambda: Function(lambda x: x.permute(0, 4, 3, 2, 1)), (2, 3, 4, 5)),
    (nn.Permute((2, 1, 3)), lambda: Function(lambda x: x.permute(0, 2, 1, 3)), (2, 3, 4)),
    (nn.Squeeze(2), lambda: Function(lambda x: x.squeeze(2)), (3, 1, 4)),
    (nn.Flatten(2, 3), lambda: T.Flatten(2, 3), (2, 3, 4, 5)),
]


def close(got, expected, dtype):
    """To within the tolerance, relative to the largest number."""
    expected = expected.detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(expected).max(initial=0.0)))


def carried_over(layer, twin, in_shape, dtype):
    """A model of the layer with the weights of its twin, and the twin's gradients by our names, once there are any."""
    model = nn.Sequential([layer]).build(in_shape, dtype=dtype)
    built = network_of(model).leaves[0].layer
    inner = getattr(twin, "inner", twin)

    def ours(arrays):
        return built.from_torch({name: array.detach().numpy() for name, array in arrays.items()})

    for name, array in ours(dict(inner.named_parameters())).items():
        model.parameters()[f"0.{name}"][...] = array
    return model, lambda: ours({name: parameter.grad for name, parameter in inner.named_parameters()})


@dtypes
@pytest.mark.parametrize(("ours", "theirs", "in_shape"), TWINS, ids=[f"{ours!r} {shape}" for ours, _, shape in TWINS])
def test_layer_equals_torchs(ours, theirs, in_shape, dtype):
    torch.manual_seed(3)
    twin = theirs().to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # also those that begin as zeros or ones
    model, their_gradients = carried_over(ours, twin, in_shape, dtype)
    x = torch.randn(5, *in_shape, dtype=getattr(torch, dtype), requires_grad=True)
    out = twin(x)
    grad_out = torch.randn_like(out)
    out.backward(grad_out)
    close(model.forward(x.detach().numpy(), training=True), out, dtype)
    close(model.backward(grad_out.numpy()), x.grad, dtype)
    gradients = their_gradients()
    assert {f"0.{name}" for name in gradients} == set(model.gradients())
    for name, gradient in gradients.items():
        close(model.gradients()[f"0.{name}"], torch.tensor(gradient), dtype)
    close(model.predict(x.detach().numpy()), twin.eval()(x), dtype)


@dtypes
def test_sequences_with_padding_equal_torchs(dtype):
    """The mask of the embedding reaches the attention; what is padded changes nothing and learns nothing."""
    torch.manual_seed(3)
    x = torch.tensor([[3, 1, 4, 0, 0], [2, 0, 1, 4, 0], [1, 1, 1, 1, 1]])
    embed, attend = T.Embedding(6, 4, padding_idx=0), Attend(4, 2, causal=True)
    T.ModuleList([embed, attend]).to(getattr(torch, dtype))
    model = nn.Sequential([nn.Embedding(6, 4, padding_idx=0), nn.Dropout(0.0), nn.MultiHeadAttention(2, causal=True)])
    model.build((5,), dtype=dtype)
    parts = {"0": embed, "2": attend.inner}
    for index, part in parts.items():
        arrays = {name: array.detach().numpy() for name, array in part.named_parameters()}
        for name, array in network_of(model).leaves[int(index)].layer.from_torch(arrays).items():
            model.parameters()[f"{index}.{name}"][...] = array
    out = attend(embed(x), x == 0)
    grad_out = torch.randn_like(out)
    out.backward(grad_out)
    close(model.forward(x.numpy(), training=True), out, dtype)
    assert model.backward(grad_out.numpy()) is None
    close(model.gradients()["0.weight"], embed.weight.grad, dtype)
    close(model.gradients()["2.in_proj_weight"].T, attend.inner.in_proj_weight.grad, dtype)
    close(model.predict(x.numpy()), attend.eval()(embed(x), x == 0), dtype)


def test_a_step_that_sees_nothing_gets_the_bias_alone():
    model = nn.Sequential([nn.Embedding(6, 4, padding_idx=0), nn.MultiHeadAttention(2)]).build((3,), random_state=0)
    model.parameters()["1.out_proj_bias"][:] = [1.0, 2.0, 3.0, 4.0]
    out = model.forward([[0, 0, 0]], training=True)
    np.testing.assert_array_equal(out, np.tile([1.0, 2.0, 3.0, 4.0], (1, 3, 1)))
    model.backward(np.ones_like(out))
    assert all(np.isfinite(gradient).all() for gradient in model.gradients().values())


def test_attention_drops_what_is_taken_from_steps():
    """Values are the unit vectors, and nothing is projected: the output is what is left of P."""
    steps, rate = 20, 0.3
    model = nn.Sequential([nn.MultiHeadAttention(1, dropout=rate, causal=True)]).build((steps, steps), random_state=0)
    parameters = model.parameters()
    parameters["0.in_proj_weight"][:, 2 * steps :] = np.eye(steps)
    parameters["0.out_proj_weight"][...] = np.eye(steps)
    X = np.tile(np.eye(steps), (50, 1, 1))
    P, dropped = model.predict(X), model.forward(X, training=True)
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], (P / (1 - rate))[kept], rtol=1e-5)
    assert abs(kept[P != 0].mean() - (1 - rate)) < 0.02  # of 10500; the standard deviation is 0.0045
    assert len({row.tobytes() for row in kept}) == 50
    np.testing.assert_array_equal(model.forward(X), P)


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e4])
def test_layer_norm_keeps_its_digits_far_from_zero(shift):
    random = np.random.default_rng(0)
    x = (random.normal(size=(7, 50)) + shift).astype(np.float32)
    grad = random.normal(size=x.shape).astype(np.float32)
    model = nn.Sequential([nn.LayerNorm()]).build((50,))
    exact = model.copy("float64")
    # The differences are exact to 1/2 ulp; a sum of D numbers is off by at most D/2 ulp of the sum of their sizes (Higham 2002,
    # section 4.2), whatever its order, and two sums meet in each number.
    bound = 50 * np.finfo(np.float32).eps
    out, expected = model.forward(x, training=True), exact.forward(x.astype(np.float64), training=True)
    np.testing.assert_allclose(out, expected, rtol=0, atol=bound * np.abs(expected).max())
    grad_x, expected = model.backward(grad), exact.backward(grad.astype(np.float64))
    np.testing.assert_allclose(grad_x, expected, rtol=0, atol=bound * np.abs(expected).max())


@pytest.mark.parametrize(("value", "features"), [(1234.5678, 100), (33333.33, 33), (1e7, 50), (-7.1, 3)])
def test_layer_norm_of_a_constant_row_is_zero(value, features):
    model = nn.Sequential([nn.LayerNorm(eps=1e-12)]).build((features,))
    assert not model.predict(np.full((2, features), value, np.float32)).any()


def test_parameters_begin_as_torchs():
    model = nn.Sequential([nn.Embedding(300, 64, padding_idx=7), nn.PositionalEmbedding(), nn.MultiHeadAttention(4)])
    parameters = model.build((100,), random_state=0).parameters()
    weight = np.delete(parameters["0.weight"], 7, axis=0)
    assert not parameters["0.weight"][7].any()
    assert abs(weight.mean()) < 0.03
    assert abs(weight.std() - 1) < 0.03
    assert abs(parameters["1.weight"].std() - 0.02) < 0.001
    twin = T.MultiheadAttention(64, 4)
    for ours, theirs in (("in_proj", twin.in_proj_weight), ("out_proj", twin.out_proj.weight)):
        bound = np.abs(parameters[f"2.{ours}_weight"]).max()
        assert abs(bound / theirs.abs().max().item() - 1) < 0.02
        assert not parameters[f"2.{ours}_bias"].any()


@dtypes
@pytest.mark.parametrize("padding_idx", [None, 2, -1])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_equal_torchs(mode, padding_idx, dtype):
    torch.manual_seed(3)
    twin = T.EmbeddingBag(7, 5, mode=mode, padding_idx=padding_idx, dtype=getattr(torch, dtype))
    model = nn.Sequential([nn.EmbeddingBag(7, 5, mode=mode, padding_idx=padding_idx)]).build((4,), dtype=dtype)
    nn.torch_weights(model, twin.state_dict())
    x = torch.randint(0, 7, (20, 4))
    x[0], x[1] = 2, 6  # bags without anything in them, where that is the padding
    out = twin(x)
    grad_out = torch.randn_like(out)
    out.backward(grad_out)
    close(model.forward(x.numpy(), training=True), out, dtype)
    assert model.backward(grad_out.numpy()) is None
    close(model.gradients()["0.weight"], twin.weight.grad, dtype)
    close(model.predict(x.numpy()), out, dtype)


def test_embedding_learns_and_takes_whole_numbers_of_any_dtype():
    random = np.random.default_rng(0)
    X = random.integers(0, 5, (200, 3))
    y = X.sum(axis=1) % 2
    model = nn.Sequential([nn.Embedding(5, 8), nn.Flatten(), nn.Linear(16), nn.Tanh(), nn.Linear(2)])
    model.fit(X.astype(np.float64), y, loss="cross_entropy", optimizer=nn.Adam(0.02), epochs=60, random_state=0)
    assert (model.predict(X).argmax(axis=1) == y).mean() > 0.97
    for dtype in ("uint8", "int32", "float32"):
        np.testing.assert_array_equal(model.predict(X.astype(dtype)), model.predict(X))


def test_sequences_are_cut_into_smaller_shards():
    attention = nn.Sequential([nn.MultiHeadAttention(4)]).build((64, 64))
    steps = nn.Sequential([nn.Linear(512)]).build((4, 512))
    rows = nn.Sequential([nn.Linear(512)]).build((512,))
    assert [shard_rows(network_of(model), 64) for model in (attention, steps, rows)] == [8, 16, 64]


@pytest.mark.parametrize(
    ("wrong", "place"),
    [(5, "got 5.0 in row 1, place 2"), (-1, "got -1.0 in row 1, place 2"), (2.5, "got 2.5 in row 1, place 2"),
     (np.nan, "nan in row 1, (place|column) 2"), (1e30, r"got 1e\+30 in row 1, place 2")],
)  # fmt: skip
def test_embedding_refuses_what_it_cannot_look_up(wrong, place):
    good = np.ones((4, 3))
    bad = good.copy()
    bad[1, 2] = wrong
    model = nn.Sequential([nn.Embedding(5, 2), nn.Flatten(), nn.Linear(1)]).build((3,))
    y = np.zeros((4, 1))
    model.predict(good)
    for use in (model.predict, model.forward, lambda X: model.evaluate(X, y), lambda X: model.fit(X, y, epochs=1),
                lambda X: model.fit(good, y, epochs=1, validation_data=(X, y))):  # fmt: skip
        with pytest.raises(nn.DataError, match=place):
            use(bad)
    if float(wrong).is_integer() and abs(wrong) < 100:
        with pytest.raises(nn.DataError, match="whole numbers from 0 to 4"):
            model.predict(bad.astype(np.int64))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.MultiHeadAttention(0), nn.ParameterError, "num_heads to be an integer of at least 1"),
        (lambda: nn.Sequential([nn.MultiHeadAttention(3)]).build((5, 4)), nn.ShapeError, "3 heads divide, got 4"),
        (lambda: nn.Sequential([nn.MultiHeadAttention(2)]).build((4,)), nn.ShapeError, r"\(N, steps, features\)"),
        (lambda: nn.MultiHeadAttention(2, dropout=1.0), nn.ParameterError, "dropout"),
        (lambda: nn.MultiHeadAttention(2, rotary=0.0), nn.ParameterError, "rotary"),
        (lambda: nn.MultiHeadAttention(2, attn_mask=[1.0]), nn.ParameterError, "attn_mask to be truth values or numbers"),
        (lambda: nn.MultiHeadAttention(2, attn_mask=np.zeros((3, 4, 4))), nn.ParameterError, "num_heads, queries, keys"),
        (lambda: nn.MultiHeadAttention(2, attn_mask=[[np.nan]]), nn.ParameterError, "without NaN and infinity"),
        (lambda: nn.MultiHeadAttention(2, attn_mask=[["a"]]), nn.ParameterError, "attn_mask"),
        (lambda: nn.Sequential([nn.MultiHeadAttention(2, attn_mask=np.zeros((4, 5)))]).build((4, 2)), nn.ShapeError,
         r"4 queries and 4 keys, got shape \(4, 5\)"),
        (lambda: nn.Sequential([nn.MultiHeadAttention(2, rotary=10.0)]).build((4, 6)), nn.ShapeError, "even number of feat"),
        (lambda: nn.PositionalEmbedding(max_len=0), nn.ParameterError, "max_len"),
        (lambda: nn.Sequential([nn.PositionalEmbedding(max_len=3)]).build((4, 2)), nn.ShapeError, "at most 3 steps, got 4"),
        (lambda: nn.LayerNorm(eps=0.0), nn.ParameterError, "eps"),
        (lambda: nn.RMSNorm(eps=-1.0), nn.ParameterError, "eps"),
        (lambda: nn.Sequential([nn.LayerNorm()]).build(()), nn.ShapeError, "feature axis"),
        (lambda: nn.Embedding(0, 2), nn.ParameterError, "num_embeddings"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), nn.ParameterError, "padding_idx to be below num_embeddings=3"),
        (lambda: nn.Embedding(3, 2, padding_idx=-4), nn.ParameterError, "at least -3"),
        (lambda: nn.Sequential([nn.Linear(2), nn.Embedding(3, 2)]).build((2,)), nn.ShapeError, "only be the first layer"),
        (lambda: nn.EmbeddingBag(3, 2, mode="median"), nn.ParameterError, "mode to be 'sum', 'mean' or 'max', got 'median'"),
        (lambda: nn.EmbeddingBag(3, 2, padding_idx=3), nn.ParameterError, "padding_idx to be below num_embeddings=3"),
        (lambda: nn.Sequential([nn.EmbeddingBag(3, 2)]).build((2, 3)), nn.ShapeError, r"rows of shape \(numbers,\)"),
        (lambda: nn.GLU(0), nn.ParameterError, "0 is the batch"),
        (lambda: nn.Sequential([nn.SwiGLU()]).build((3,)), nn.ShapeError, "even number to halve"),
        (lambda: nn.Sequential([nn.Softmax(3)]).build((3,)), nn.ShapeError, r"axis 3 .* got shape \(N, 3\)"),
        (lambda: nn.Sequential([nn.Softmax(-2)]).build((3,)), nn.ShapeError, "axis -2"),
        (lambda: nn.Permute((0, 2, 1)), nn.ParameterError, "batch, is left out"),
        (lambda: nn.Permute(2), nn.ParameterError, "numbers 1, 2"),
        (lambda: nn.Sequential([nn.Permute((2, 1))]).build((3,)), nn.ShapeError, "rows of 2 axes"),
        (lambda: nn.Squeeze(0), nn.ParameterError, "0 is the batch"),
        (lambda: nn.Flatten(0), nn.ParameterError, "0 is the batch"),
        (lambda: nn.Sequential([nn.Flatten(3, 2)]).build((3, 4, 5)), nn.ShapeError, "start_dim before end_dim"),
    ],
)
def test_bad_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
