"""Bags of words with a weight for each: PyTorch's ``per_sample_weights``, given or computed by the net."""

import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of
from nnkit.passes import Pass

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

SHAPES = {"numbers": (4,), "per_sample_weights": (4,)}
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def bag(padding_idx=None):
    return nn.EmbeddingBag(6, 3, mode="sum", padding_idx=padding_idx, per_sample_weights=True)


def given(dtype="float64", rows=19):
    random = np.random.default_rng(0)
    return {"numbers": random.integers(0, 6, (rows, 4)), "per_sample_weights": random.normal(size=(rows, 4)).astype(dtype)}


@pytest.mark.parametrize("python", [False, True], ids=["compiled", "python"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("padding_idx", [None, 0, -1])
def test_weighted_bag_equals_torchs(padding_idx, dtype, python):
    model = nn.Sequential([bag(padding_idx)]).build(SHAPES, dtype=dtype)
    theirs = torch.nn.EmbeddingBag(6, 3, mode="sum", padding_idx=padding_idx).to(getattr(torch, dtype))
    nn.torch_weights(model, theirs.state_dict())
    X, grad_out = given(dtype), np.random.default_rng(1).normal(size=(19, 3)).astype(dtype)
    weights = torch.tensor(X["per_sample_weights"], requires_grad=True)
    expected = theirs(torch.tensor(X["numbers"]), per_sample_weights=weights)
    expected.backward(torch.tensor(grad_out))
    network = network_of(model)
    one = Pass(network, 19, training=True, gradient=network.gradient, python=python)
    out, grads = one.forward(X), one.backward(grad_out)
    assert grads["numbers"] is None
    pairs = [(out, expected.detach()), (grads["per_sample_weights"], weights.grad), (model.gradients()["0.weight"],
                                                                                    theirs.weight.grad)]  # fmt: skip
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=TOLERANCE[dtype] * max(1.0, float(wanted.abs().max())))
    np.testing.assert_array_equal(model.predict(X), model.forward(X, training=False))


def reader():
    """A net that computes from scores how much each word counts."""
    shares = ("scores", [nn.Linear(4), nn.Softmax()])
    return nn.Graph(shares=shares, read=(("words", "shares"), bag(0)), out=("read", nn.Linear(2)))


def trained(n_threads=None):
    random = np.random.default_rng(2)
    X = {"words": random.integers(0, 6, (3000, 4)), "scores": random.normal(size=(3000, 5)).astype("float32")}
    y = random.normal(size=(3000, 2)).astype("float32")
    model = nn.Sequential([reader()])
    model.fit(X, y, loss="mse", optimizer=nn.SGD(lr=0.1), batch_size=1000, epochs=4, random_state=0, shuffle=False,
              progress=False, n_threads=n_threads)  # fmt: skip
    return model, X, y


def test_weights_that_a_net_computes_are_trained_as_torchs():
    model, X, y = trained()
    start = nn.Sequential([reader()]).build({"scores": (5,), "words": (4,)}, random_state=0)
    linear, words, out = torch.nn.Linear(5, 4), torch.nn.EmbeddingBag(6, 3, mode="sum", padding_idx=0), torch.nn.Linear(3, 2)
    twin = torch.nn.ModuleList([linear, words, out])
    for parameter, array in zip(twin.parameters(), start.parameters().values(), strict=True):
        parameter.data = torch.tensor(np.array(array if array.shape == parameter.shape else array.T))
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(4):
        for rows in range(0, 3000, 1000):
            chosen = slice(rows, rows + 1000)
            shares = linear(torch.tensor(X["scores"][chosen])).softmax(dim=-1)
            loss = (out(words(torch.tensor(X["words"][chosen]), per_sample_weights=shares)) - torch.tensor(y[chosen])) ** 2
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
    for parameter, (name, array) in zip(twin.parameters(), model.parameters().items(), strict=True):
        wanted = parameter.detach().numpy()
        np.testing.assert_allclose(array, wanted.T if array.shape != wanted.shape else wanted, rtol=0, atol=1e-5, err_msg=name)


def test_threads_do_not_matter():
    model, other = trained()[0], trained(n_threads=1)[0]
    assert all((array == other.parameters()[name]).all() for name, array in model.parameters().items())


def test_it_is_saved_and_written_in_onnx(tmp_path):
    model, X, _ = trained()
    model.save(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(nn.load(tmp_path / "net.safetensors").predict(X), model.predict(X))
    runtime = pytest.importorskip("onnxruntime")
    for net, rows in ((model, X), (nn.Sequential([bag()]).build(SHAPES), given("float32"))):
        nn.onnx.export(net, tmp_path / "net.onnx")
        (out,) = runtime.InferenceSession(tmp_path / "net.onnx").run(None, rows)
        np.testing.assert_allclose(out, net.predict(rows), rtol=0, atol=1e-5)


def test_words_have_to_be_whole_numbers_and_weights_need_not():
    model = nn.Sequential([bag()]).build(SHAPES)
    X = given()
    with pytest.raises(nn.DataError, match=r"X\['numbers'\]"):
        model.predict({**X, "numbers": X["numbers"] + 0.5})
    with pytest.raises(nn.DataError, match=r"X\['numbers'\]"):
        model.predict({**X, "numbers": X["numbers"] - 1})


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: nn.EmbeddingBag(6, 3, per_sample_weights=True), nn.ParameterError, "mode to be 'sum', as there are"),
    (lambda: nn.Sequential([bag()]).build({"numbers": (4,), "per_sample_weights": (3,)}), nn.ShapeError, "a weight for each"),
    (lambda: nn.Sequential([bag()]).build((4,)), nn.ShapeError, "fields numbers, per_sample_weights"),
    (lambda: nn.Sequential([nn.Graph(words=("a", nn.Linear(4)), out=(("words", "b"), bag()))]).build({"a": (4,), "b": (4,)}),
     nn.ShapeError, "takes integers"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
