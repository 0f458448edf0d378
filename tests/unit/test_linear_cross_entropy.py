"""The loss that takes the last layer in: the numbers of Linear and cross-entropy, without their N x K matrix."""

import tracemalloc

import numpy as np
import pytest

import nnkit as nn

K = 1300  # two whole blocks of classes and a part
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2.0, K)
SETTINGS = {
    "plain": {}, "weight": {"weight": WEIGHTS}, "smooth": {"label_smoothing": 0.1}, "ignore": {"ignore_index": 5},
    "all": {"weight": WEIGHTS, "label_smoothing": 0.2, "ignore_index": 5}, "sum": {"reduction": "sum"},
}  # fmt: skip


def data(steps, probabilities):
    random = np.random.default_rng(0)
    X = random.normal(size=(70, *steps, 6))
    if probabilities:
        return X, random.dirichlet(np.ones(K), X.shape[:-1])
    y = random.integers(0, K, X.shape[:-1])
    y[:10] = 5
    return X, y


def trained(loss, X, y, *last, dtype="float64", **settings):
    last = last or (nn.Linear(K),)
    model = nn.Sequential([nn.Linear(5), nn.Tanh(), *last]).build(X.shape[1:], dtype=dtype, random_state=1)
    settings = {"optimizer": nn.SGD(lr=0.1), "epochs": 3, "batch_size": 32, "random_state": 0, **settings}
    history = model.fit(X, y, loss=loss, **settings)
    return model, history


def close(model, other):
    # Sums of up to 70 x 3 x 1300 terms in another order, each of at most 1: well below 1e-12 of float64.
    for name, array in model.parameters().items():
        np.testing.assert_allclose(array, other.parameters()[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("probabilities", [False, True], ids=["labels", "probabilities"])
@pytest.mark.parametrize("steps", [(), (3,)], ids=["rows", "steps"])
def test_numbers_of_the_two_apart(settings, probabilities, steps):
    X, y = data(steps, probabilities)
    weights = np.random.default_rng(2).integers(0, 3, 70)
    results = []
    for loss in (nn.CrossEntropyLoss(dim=-1, **settings), nn.LinearCrossEntropyLoss(**settings)):
        model, history = trained(loss, X, y, sample_weight=weights, validation_split=0.2)
        results.append((model, history["loss"], history["val_loss"], [model.evaluate(X, y, loss=loss, sample_weight=weights)]))
    (apart, *figures), (joined, *same) = results
    close(joined, apart)
    for one, other in zip(figures, same, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)


def test_by_hand_it_takes_scores():
    scores = np.random.default_rng(0).normal(size=(4, 7))
    loss, grad = nn.LinearCrossEntropyLoss()(scores, [0, 1, 2, 6])
    same, expected = nn.CrossEntropyLoss()(scores, [0, 1, 2, 6])
    assert loss == same
    np.testing.assert_array_equal(grad, expected)


@pytest.mark.parametrize("last", [nn.Linear(K, bias=False), [nn.ReLU(), nn.Linear(K)]], ids=["no bias", "in a chain"])
def test_other_last_layers(last):
    X, y = data((), False)
    last = last if isinstance(last, list) else [last]
    close(trained("linear_cross_entropy", X, y, *last)[0], trained("cross_entropy", X, y, *last)[0])


def test_frozen_and_used_twice():
    X, y = data((), False)
    results = []
    for loss in ("cross_entropy", "linear_cross_entropy"):
        shared = nn.Linear(6)
        model = nn.Sequential([shared, nn.Tanh(), shared]).build((6,), dtype="float64", random_state=0)
        model.fit(X, y % 6, loss=loss, epochs=2, optimizer=nn.SGD(lr=0.1), random_state=0)
        frozen = nn.Sequential([nn.Linear(5), nn.Tanh(), nn.Linear(K)]).build((6,), dtype="float64", random_state=0)
        frozen.freeze("2.*")
        before = frozen.parameters()["2.weight"].copy()
        frozen.fit(X, y, loss=loss, epochs=2, optimizer=nn.SGD(lr=0.1), random_state=0)
        np.testing.assert_array_equal(frozen.parameters()["2.weight"], before)
        results.append((model, frozen))
    close(results[1][0], results[0][0])
    close(results[1][1], results[0][1])


def test_one_of_several_outputs():
    X, y = data((), False)
    results = []
    for loss in ("cross_entropy", "linear_cross_entropy"):
        model = nn.Sequential([nn.Linear(5), nn.Heads(word=[nn.Linear(K)], size=[nn.Linear(1)])])
        model.build((6,), dtype="float64", random_state=0)
        model.fit(X, {"word": y, "size": X[:, :1]}, loss={"word": loss, "size": "mse"}, epochs=2, optimizer=nn.SGD(lr=0.1),
                  random_state=0)  # fmt: skip
        results.append(model)
    close(*results)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_any_number_of_threads(dtype):
    X, y = data((), False)
    X, y = np.tile(X, (4, 1)).astype(dtype), np.tile(y, 4)
    one, two = (trained("linear_cross_entropy", X, y, dtype=dtype, batch_size=256, n_threads=n)[0] for n in (1, 2))
    for name, array in one.parameters().items():
        np.testing.assert_array_equal(two.parameters()[name], array)


def test_uncompiled():
    X, y = data((), False)
    close(*(trained("linear_cross_entropy", X[:20], y[:20], epochs=1, engine=engine)[0] for engine in ("compiled", "python")))


def test_huge_scores_and_absent_rows():
    """Scores that exp cannot take; a row that is not there may have any."""
    X = np.array([[1000.0, 0.0], [-1000.0, 500.0], [1e38, 1e38]], np.float32)
    model = nn.Sequential([nn.Linear(2, bias=False, weight_init="eye")]).build((2,))
    loss = nn.LinearCrossEntropyLoss()
    assert model.evaluate(X[:2], [0, 0], loss=loss) == 750.0
    history = model.fit(X, [0, 0, -100], loss=loss, optimizer=nn.SGD(lr=1.0), epochs=1)
    assert history["loss"] == [750.0]
    # The second row alone is wrong: its (p - t) / 2 is (-0.5, 0.5).
    np.testing.assert_array_equal(model.parameters()["0.weight"], [[-499.0, 500.0], [250.0, -249.0]])


def test_little_memory():
    """128 sequences of 32 steps: with their gradients, 8192 rows of 20 000 scores would be 655 MB."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(128, 32, 4)).astype(np.float32), random.integers(0, 20_000, (128, 32))
    model = nn.Sequential([nn.Linear(20_000)]).build((32, 4), random_state=0)
    tracemalloc.start()
    try:
        model.fit(X, y, loss="linear_cross_entropy", optimizer=nn.SGD(lr=0.1), epochs=1, batch_size=128, n_threads=1,
                  validation_split=0.25)  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    gradients = 64 * 5 * 20_000 * 4  # of at most 64 shards
    assert peak < gradients + 50e6


@pytest.mark.parametrize("last", [nn.ReLU(), nn.Residual(nn.Linear(6)), nn.Unflatten(1, (2, 3))], ids=["ReLU", "sum", "view"])
def test_another_last_layer_is_refused(last):
    X = np.ones((4, 6), np.float32)
    y = np.zeros((4, 2) if isinstance(last, nn.Unflatten) else 4, int)
    with pytest.raises(nn.ParameterError, match=r"ends with nn.Linear\(classes\)"):
        nn.Sequential([nn.Linear(6), last]).fit(X, y, loss="linear_cross_entropy", epochs=1)


def test_pytorchs_arguments_are_refused_in_words():
    with pytest.raises(TypeError, match=r"the last layer, nn.Linear\(classes\)"):
        nn.LinearCrossEntropyLoss(64, 1000)


def test_as_pytorch():
    torch = pytest.importorskip("torch")
    X, y = data((), False)
    for settings in ({}, {"weight": WEIGHTS, "label_smoothing": 0.2, "ignore_index": 5}):
        theirs = {name: torch.tensor(value) if name == "weight" else value for name, value in settings.items()}
        loss = torch.nn.LinearCrossEntropyLoss(6, K, bias=True, dtype=torch.float64, **theirs)
        model = nn.Sequential([nn.Linear(K)]).build((6,), dtype="float64")
        nn.torch_weights(model, {f"0.{name}": tensor.detach().numpy() for name, tensor in loss.linear.state_dict().items()})
        value = loss(torch.tensor(X), torch.tensor(y))
        value.backward()
        history = model.fit(X, y, loss=nn.LinearCrossEntropyLoss(**settings), optimizer=nn.SGD(lr=1.0), epochs=1, batch_size=70)
        np.testing.assert_allclose(history["loss"], [value.item()], rtol=1e-12)
        for name, array in model.parameters().items():
            tensor = dict(loss.linear.named_parameters())[name.removeprefix("0.")]
            expected = (tensor - tensor.grad).detach().numpy()
            np.testing.assert_allclose(array, expected.T if expected.ndim == 2 else expected, rtol=0, atol=1e-12)
