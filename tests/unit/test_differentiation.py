"""The loss as a function of one vector, and the gradient of each row: against SciPy, torch and closed forms."""

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

import nnkit as nn
from nnkit.network import network_of
from nnkit.passes import Pass
from nnkit.testing.bench import Bench
from nnkit.training.objective import trained_places
from nnkit.training.row_pass import Apart, RowPass, Together
from tests.promises import examples

RANDOM = np.random.default_rng(20)
X, Y = RANDOM.normal(size=(40, 3)), RANDOM.normal(size=(40, 2))
LABELS, WEIGHTS = RANDOM.integers(0, 2, 40), RANDOM.uniform(0.0, 2.0, 40)
LAYERS = [example for example in examples(nn.registry.layers.values()) if not isinstance(example.in_shape, dict)]


def tanh_net(dtype="float64", hidden=4):
    return nn.Sequential([nn.Linear(hidden), nn.Tanh(), nn.Linear(2)]).build((3,), random_state=0, dtype=dtype)


@pytest.mark.parametrize(("loss", "y"), [("mse", Y), ("huber", Y), ("half_squared_error", Y), ("cross_entropy", LABELS)])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_gradient_is_that_of_the_loss_as_evaluate_gives_it(loss, y, weights):
    model = tanh_net()
    f = nn.value_and_grad(model, X, y, loss, sample_weight=weights)
    theta = f.start + 0.1
    value, gradient = f(theta)
    # Forward differences with h = 1e-6 err by h |f''| / 2 and by eps |f| / h; both are below 1e-5 times the loss.
    np.testing.assert_allclose(gradient, approx_fprime(theta, f.value, 1e-6), rtol=0, atol=1e-5 * max(1.0, value))
    assert f.value(theta) == value
    f.write(theta)
    assert value == pytest.approx(model.evaluate(X, y, loss, weights), rel=1e-12)


def test_model_stays_as_it_is_until_write_and_results_are_the_callers():
    model = tanh_net("float32")
    before = {name: array.copy() for name, array in model.parameters().items()}
    f = nn.value_and_grad(model, X, Y, "mse")
    first, second = f(f.start)[1], f(f.start + 1.0)[1]
    assert first is not second and not np.array_equal(first, second)
    assert all(np.array_equal(array, before[name]) for name, array in model.parameters().items())
    out = np.empty(f.size)
    assert f(f.start, out)[1] is out and np.array_equal(out, first)
    f.write(f.start + 1.0)
    assert np.allclose(model.parameters()["0.weight"], before["0.weight"] + 1.0)
    assert f.start.dtype == np.float64 and f.size == sum(array.size for array in before.values())


def test_a_call_with_room_for_the_gradient_allocates_none():
    f = nn.value_and_grad(tanh_net(hidden=5000), X, Y, "mse")
    theta, out = f.start.copy(), np.empty(f.size)
    f(theta, out)
    tracemalloc.start()
    try:
        f(theta, out)
        assert tracemalloc.get_traced_memory()[1] < f.start.nbytes / 4
    finally:
        tracemalloc.stop()


def test_layers_work_as_in_predict():
    layers = [nn.Linear(6), nn.BatchNorm1d(), nn.Dropout(0.5), nn.Tanh(), nn.Linear(2)]
    model = nn.Sequential(layers).build((3,), random_state=0, dtype="float64")
    model.fit(X, Y, epochs=3, random_state=0)  # running statistics
    f = nn.value_and_grad(model, X, Y, "mse")
    assert f.value(f.start) == pytest.approx(model.evaluate(X, Y, "mse"), rel=1e-12)
    np.testing.assert_allclose(f(f.start)[1], approx_fprime(f.start, f.value, 1e-6), atol=1e-5)


def test_frozen_parameters_are_no_part_of_the_vector():
    model = tanh_net()
    model.freeze("0.*")
    f = nn.value_and_grad(model, X, Y, "mse")
    assert f.size == 4 * 2 + 2
    f.write(np.zeros(f.size))
    assert not model.parameters()["2.weight"].any() and model.parameters()["0.weight"].any()


@pytest.mark.parametrize("threads", [2, 3])
def test_same_bits_on_any_number_of_threads_and_in_several_waves(threads, monkeypatch):
    from nnkit.training import function, objective

    monkeypatch.setattr(objective, "WAVE_BYTES", 1)
    monkeypatch.setattr(function, "WORTH_A_THREAD", 1)
    many, y = RANDOM.normal(size=(700, 3)), RANDOM.normal(size=(700, 2))
    model = tanh_net(hidden=300)
    one, several = (nn.value_and_grad(model, many, y, "mse", n_threads=count) for count in (1, threads))
    assert several._objective.workers > 1
    assert one(one.start)[0] == several(one.start)[0]
    assert np.array_equal(one(one.start)[1], several(one.start)[1])
    monkeypatch.undo()
    whole = nn.value_and_grad(model, many, y, "mse")
    np.testing.assert_allclose(one(one.start)[1], whole(one.start)[1], rtol=1e-9, atol=1e-12)  # sums in another order


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG"])
def test_scipy_finds_the_least_squares_solution_of_a_linear_net(method):
    model = nn.Sequential([nn.Linear(2)]).build((3,), random_state=0, dtype="float64")
    f = nn.value_and_grad(model, X, Y, "mse")
    found = minimize(f, f.start, jac=True, method=method, tol=1e-10)
    f.write(found.x)
    expected = np.linalg.lstsq(np.c_[X, np.ones(40)], Y, rcond=None)[0]
    np.testing.assert_allclose(model.parameters()["0.weight"], expected[:3], atol=1e-6)
    np.testing.assert_allclose(model.parameters()["0.bias"], expected[3], atol=1e-6)


def test_hessian_vector_products_are_those_of_a_linear_net_and_serve_scipy():
    model = nn.Sequential([nn.Linear(1)]).build((3,), dtype="float64")
    f = nn.value_and_grad(model, X, Y[:, :1], "half_squared_error")
    v, design = RANDOM.normal(size=4), np.c_[X, np.ones(40)]
    np.testing.assert_allclose(f.hvp(f.start, v), design.T @ design @ v, rtol=1e-8)
    np.testing.assert_allclose(f.hvp(f.start, v, step=0.5), design.T @ design @ v, rtol=1e-12)  # a quadratic has no third one
    assert not f.hvp(f.start, np.zeros(4)).any()
    found = minimize(f, f.start, jac=True, hessp=f.hvp, method="trust-ncg", tol=1e-8)
    np.testing.assert_allclose(found.x, np.linalg.lstsq(design, Y[:, 0], rcond=None)[0], atol=1e-7)


def test_jvp_and_vjp_are_of_one_jacobian():
    f = nn.value_and_grad(tanh_net(), X, Y, "mse")
    v, u = RANDOM.normal(size=f.size), RANDOM.normal(size=Y.shape)
    moved = f.jvp(f.start, v)
    assert moved.shape == Y.shape
    assert (moved * u).sum() == pytest.approx(v @ f.vjp(f.start, u), rel=1e-12)
    model, h, outputs = tanh_net(), 1e-6, []
    here = nn.value_and_grad(model, X, Y, "mse")
    for step in (h, -h):
        here.write(f.start + step * v)
        outputs.append(model.predict(X))
    # Central differences err by h**2 / 6 times the third derivative, and by eps / h.
    np.testing.assert_allclose(moved, (outputs[0] - outputs[1]) / (2 * h), atol=1e-7)


def test_gradient_and_jacobian_are_torchs():
    torch = pytest.importorskip("torch")
    model = tanh_net()
    arrays = {name: torch.tensor(array.copy(), requires_grad=True) for name, array in model.parameters().items()}

    def run(rows):
        hidden = torch.tanh(rows @ arrays["0.weight"] + arrays["0.bias"])
        return hidden @ arrays["2.weight"] + arrays["2.bias"]

    rows, target = torch.tensor(X), torch.tensor(Y)
    flat = list(arrays.values())
    losses = ((run(rows) - target) ** 2).mean(dim=1)
    expected = np.stack([np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(loss, flat, retain_graph=True)])
                         for loss in losses])  # fmt: skip
    np.testing.assert_allclose(nn.row_gradients(model, X, Y, "mse"), expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(nn.row_gradients(model, X, Y, "mse", norms=True), np.linalg.norm(expected, axis=1), rtol=1e-11)


@pytest.mark.parametrize("example", LAYERS)
def test_gradients_of_the_rows_add_up_to_that_of_the_batch(example):
    bench = Bench(example)
    network, rows = bench.network, np.arange(len(bench.x))
    gradient = np.zeros_like(network.gradient)
    whole = Pass(network, len(rows), training=False, gradient=gradient)
    out = whole.forward(bench.x)
    whole.backward(bench.grad_out)
    every = RowPass.of(network, bench.x, rows)
    each = np.full((len(rows), every.size), np.nan)
    for piece in every.blocks():
        np.testing.assert_allclose(every.outputs[""][: len(rows)], out[piece].reshape(len(rows), -1), rtol=1e-9, atol=1e-12)
        every.pull({"": bench.grad_out[piece].reshape(len(rows), -1)}, each[piece])
    np.testing.assert_allclose(each.sum(axis=0), gradient[trained_places(network)], rtol=1e-9, atol=1e-12)


def test_rows_of_dense_nets_are_the_same_together_and_apart():
    network = network_of(tanh_net())
    rows, seed, found = np.arange(40), RANDOM.normal(size=(40, 2)), []
    for kind in (Apart, Together):
        every = kind(network, X, rows)
        found.append(np.empty((40, every.size)))
        for piece in every.blocks():
            every.pull({"": seed[piece]}, found[-1][piece])
    assert isinstance(RowPass.of(network, X, rows), Together)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12, atol=1e-14)


NORMED = {
    "dense": ([nn.Linear(6), nn.Tanh(), nn.Linear(2, bias=False)], (3,)),
    "steps": ([nn.Reshape((3, 1)), nn.Linear(4), nn.Tanh(), nn.Flatten(), nn.Linear(2)], (3,)),
    "convolution": ([nn.Reshape((1, 3)), nn.Conv1d(4, kernel_size=2), nn.Flatten(), nn.Linear(2)], (3,)),
}


@pytest.mark.parametrize("case", NORMED)
@pytest.mark.parametrize("frozen", [None, "*.bias", "*.weight"])
def test_norms_are_those_of_the_gradients(case, frozen, monkeypatch):
    from nnkit.training import row_pass

    monkeypatch.setattr(row_pass, "ROWS", 16)
    layers, in_shape = NORMED[case]
    model = nn.Sequential(layers).build(in_shape, random_state=0, dtype="float64")
    if frozen:
        model.freeze(frozen)
    whole = nn.row_gradients(model, X, Y, "mse")
    np.testing.assert_allclose(nn.row_gradients(model, X, Y, "mse", norms=True), np.linalg.norm(whole, axis=1), rtol=1e-12)


def test_norms_of_dense_nets_write_no_gradients(monkeypatch):
    monkeypatch.setattr(Together, "_pulled", lambda self, out: pytest.fail("a gradient was written out"))
    assert nn.row_gradients(tanh_net(), X, Y, "mse", norms=True).shape == (40,)


@pytest.mark.parametrize("loss", ["mse", "half_squared_error", "cross_entropy", "huber"])
def test_gradients_of_the_rows_make_that_of_the_loss(loss):
    y = LABELS if loss == "cross_entropy" else Y
    model = tanh_net("float64")
    each, f = nn.row_gradients(model, X, y, loss), nn.value_and_grad(model, X, y, loss)
    summed = each.sum(axis=0) if nn.registry.losses[loss]().reduction == "sum" else each.mean(axis=0)
    np.testing.assert_allclose(summed, f(f.start)[1], rtol=1e-10, atol=1e-13)


def test_wrong_labels_have_large_gradients():
    centres = np.repeat([[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0]], 30, axis=0)
    rows, labels = centres + RANDOM.normal(scale=0.5, size=(60, 3)), np.repeat([0, 1], 30)
    labels[[3, 40]] = 1 - labels[[3, 40]]
    model = nn.Sequential([nn.Linear(2)])
    model.fit(rows, labels, loss="cross_entropy", optimizer=nn.Adam(lr=0.05), epochs=30, random_state=0)
    norms = nn.row_gradients(model, rows, labels, "cross_entropy", norms=True)
    assert set(np.argsort(norms)[-2:]) == {3, 40}


def test_several_outputs_and_inputs():
    tower = nn.Sequential([nn.Inputs(a=[nn.Linear(3)], b=[nn.Linear(3)]), nn.Heads(left=[nn.Linear(1)], right=[nn.Linear(2)])])
    rows = {"a": X, "b": Y}
    model = tower.build({"a": (3,), "b": (2,)}, random_state=0, dtype="float64")
    y = {"left": Y[:, :1], "right": LABELS}
    f = nn.value_and_grad(model, rows, y, {"left": "mse", "right": "cross_entropy"})
    np.testing.assert_allclose(f(f.start)[1], approx_fprime(f.start, f.value, 1e-6), atol=2e-5)
    v = RANDOM.normal(size=f.size)
    moved = f.jvp(f.start, v)
    u = {name: RANDOM.normal(size=array.shape) for name, array in moved.items()}
    assert sum((moved[name] * u[name]).sum() for name in u) == pytest.approx(v @ f.vjp(f.start, u), rel=1e-11)


BUILT = tanh_net()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.value_and_grad(nn.Sequential(["linear"]), X, Y), nn.NotBuiltError, "built"),
        (lambda: nn.value_and_grad("net", X, Y), nn.ParameterError, "expected a Sequential"),
        (lambda: nn.value_and_grad(BUILT, X[:, :2], Y), nn.ShapeError, r"\(N, 3\)"),
        (lambda: nn.value_and_grad(BUILT, X, Y[:, :1], "mse"), nn.ShapeError, "MSELoss"),
        (lambda: nn.value_and_grad(BUILT, X * np.nan, Y), nn.DataError, "finite"),
        (lambda: nn.value_and_grad(BUILT, X, Y, "none_such"), nn.RegistryError, "none_such"),
        (lambda: nn.value_and_grad(BUILT, X, Y, nn.MSELoss(reduction="none")), nn.ParameterError, "one number"),
        (lambda: nn.value_and_grad(BUILT, X, Y)(np.zeros(3)), nn.ShapeError, r"theta of shape \(26,\)"),
        (lambda: nn.value_and_grad(BUILT, X, Y).hvp(np.zeros(26), np.zeros(2)), nn.ShapeError, "v of shape"),
        (lambda: nn.value_and_grad(BUILT, X, Y).vjp(np.zeros(26), Y[:3]), nn.ShapeError, "rows"),
        (lambda: nn.value_and_grad(nn.Sequential(["relu"]).build((2,)), Y, Y), nn.ParameterError, "parameters"),
        (lambda: nn.row_gradients(BUILT, X, Y[:3]), nn.ShapeError, "40 rows"),
    ],
)  # fmt: skip
def test_refusals_name_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_write_refuses_a_model_that_was_built_anew():
    model = tanh_net()
    f = nn.value_and_grad(model, X, Y, "mse")
    model.build((3,), random_state=1)
    with pytest.raises(nn.ParameterError, match="built anew"):
        f.write(f.start)


def test_an_infinite_loss_is_a_number_for_who_searches():
    f = nn.value_and_grad(BUILT, X, Y, "mse")
    assert f(np.full(f.size, 1e300))[0] == np.inf
    assert np.isfinite(f(f.start)[0])
    assert network_of(BUILT).vector.any()
