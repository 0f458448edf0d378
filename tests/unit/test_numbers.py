"""Right values where single precision, decimal fractions or a last small batch used to give others."""

import gc
import tracemalloc

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.optimizer import Updater
from nnkit.core.part import kernel_names
from nnkit.engine.memory import aligned_zeros
from nnkit.network import network_of
from nnkit.passes import Pass


@pytest.mark.parametrize(("restart", "steps"), [(0.6, 10), (0.1, 10), (0.7, 10), (0.3, 7), (1.1, 20)])
def test_a_cosine_begins_again_at_each_restart(restart, steps):
    """Exactly where a step falls on a multiple of the period, as whole numbers tell."""
    tenths, count = round(restart * 10), 400
    factor = nn.CosineSchedule(restart=restart).factor(np.arange(count) / steps, 40.0)
    exact = [step * 10 % (tenths * steps) / (tenths * steps) for step in range(count)]
    np.testing.assert_allclose(factor, (1 + np.cos(np.pi * np.array(exact))) / 2, atol=1e-12)


@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 1.1, 3.0])
def test_steps_fall_on_decimal_fractions(size):
    factor = nn.StepSchedule(size, gamma=0.5).factor(np.arange(300) / 10, 30.0)
    np.testing.assert_array_equal(factor, [0.5 ** (step // round(10 * size)) for step in range(300)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1.0, 1e19, 1e30, 1e37, 1e200])
@pytest.mark.parametrize("layer", [nn.LayerNorm(), nn.GroupNorm(1), nn.RMSNorm()], ids=str)
def test_rows_whose_squares_are_larger_than_the_largest_number_are_normalised(layer, size, dtype):
    """With rows of usual numbers, and a constant one, among them: kernels may take many rows at once."""
    if size > float(np.finfo(dtype).max):
        pytest.skip("no number of this dtype")
    x = np.random.default_rng(0).normal(size=(19, 30)).astype(dtype)
    x[::2] *= size
    x[3] = 5.0
    exact = x.astype(np.longdouble)
    exact -= 0 if isinstance(layer, nn.RMSNorm) else exact.mean(axis=1, keepdims=True)
    largest = np.maximum(abs(exact).max(axis=1, keepdims=True), 1.0)
    eps = np.finfo(dtype).eps if layer.eps is None else layer.eps
    exact /= largest
    exact /= np.sqrt((exact**2).mean(axis=1, keepdims=True) + np.longdouble(eps) / largest / largest)
    model = nn.Sequential([layer]).build((30,), 0, dtype)
    # Sums of 30 terms: each rounds at most 30 times, and numbers of up to 5 come out.
    np.testing.assert_allclose(model.forward(x, training=True), exact, rtol=0, atol=30 * 5 * np.finfo(dtype).eps)
    assert np.isfinite(model.backward(np.ones_like(x))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e20, 1e38, 1e-170, 1e300])
def test_gradients_of_any_size_are_clipped_to_the_norm(dtype, size):
    if not float(np.finfo(dtype).tiny) < size < float(np.finfo(dtype).max):
        pytest.skip("no number of this dtype")
    grad = aligned_zeros(64, dtype)
    grad[:] = np.random.default_rng(0).normal(size=64) * size
    expected = grad.astype(np.longdouble)
    norm = np.sqrt(((expected / size) ** 2).sum()) * np.longdouble(size)
    expected *= min(np.longdouble(1), 0.5 / norm)
    value = aligned_zeros(64, dtype)
    Updater(nn.SGD(lr=1.0, clip_norm=0.5), value, grad[None], chunk=32).step()
    # A sum of 64 squares in float64, and two roundings of the result.
    np.testing.assert_allclose(value, -expected.astype(dtype), rtol=4 * np.finfo(dtype).eps)


def test_nadam_after_many_steps():
    """The product of all earlier momenta, which vanishes, and what is made of it."""
    optimizer = nn.NAdam()
    every = np.arange(1.0, 3002.0)
    mu = 0.9 * (1 - 0.5 * 0.96 ** (every * 4e-3))
    product = np.cumprod(mu)
    for first in (0, 1, 50, 700, 2990):
        now, following = slice(first, first + 10), slice(first + 1, first + 11)
        found = optimizer.coefficients(np.ones(10), every[now])
        np.testing.assert_allclose(found["rate_grad"], (1 - mu[now]) / (1 - product[now]), rtol=1e-14)
        np.testing.assert_allclose(found["rate_mean"], mu[following] / (1 - product[following]), rtol=1e-14)
    far = optimizer.coefficients(np.ones(1), np.array([1e15]))
    np.testing.assert_allclose([far["rate_grad"][0], far["rate_mean"][0]], [0.1, 0.9], rtol=1e-12)


def test_optimizers_that_stepped_a_model_can_go():
    model = nn.Sequential([nn.Linear(3)]).build((4,), 0)
    kept = nn.Adam()
    for _ in range(50):
        nn.Adam().step(model)
        kept.step(model)
    gc.collect()
    assert len(model._executor._steppers) == 1
    kept.lr = 0.0  # the rate may change between steps
    before = network_of(model).vector.copy()
    kept.step(model)
    np.testing.assert_array_equal(network_of(model).vector, before)


@pytest.mark.parametrize("in_shape", [(3,), (3, 2), (3, 2, 2)])
def test_a_last_batch_of_one_row_leaves_the_running_variance(in_shape):
    layer = nn.BatchNorm2d(momentum=0.5) if len(in_shape) == 3 else nn.BatchNorm1d(momentum=0.5)
    X = np.random.default_rng(0).normal(size=(9, *in_shape))
    model, eight = (nn.Sequential([layer]).build(in_shape, 0, "float64") for _ in range(2))
    for start in (0, 8):
        model.forward(X[start : start + 8], training=True)
    eight.forward(X[:8], training=True)
    variance, before = model.states()["0.running_var"], eight.states()["0.running_var"]
    if len(in_shape) == 1:
        np.testing.assert_array_equal(variance, before)
    else:  # the places of one row have a variance
        places = X[8].reshape(3, -1)
        np.testing.assert_allclose(variance, 0.5 * before + 0.5 * places.var(axis=1, ddof=1))


@pytest.mark.parametrize("value", [1e-40, 1e-45, 0.0])
@pytest.mark.parametrize("loss", [nn.KLDivLoss(), nn.CrossEntropyLoss()])
def test_a_loss_of_denormal_numbers_is_the_same_for_all_who_ask(loss, value):
    target = np.array([[value, 0.25, 0.75]] * 4, np.float32)
    prediction = np.log(np.array([[0.2, 0.4, 0.4]] * 4, np.float32))
    by_hand, _ = loss(prediction, target)
    model = nn.Sequential([nn.Identity()]).build((3,))
    history = model.fit(prediction, target, loss=loss, epochs=1, validation_data=(prediction, target))
    exact, _ = type(loss)()(prediction.astype(np.float64), target.astype(np.float64))
    found = [by_hand, history["loss"][0], history["val_loss"][0], model.evaluate(prediction, target)]
    # A logarithm is off by 2e-7 of at most 1.4 and an exponential by 2.7e-7, and a term by some ulps: 5e-7 of at least 0.35.
    np.testing.assert_allclose(found, exact, rtol=1.5e-6)


def test_arrays_are_set_by_name():
    model = nn.Sequential([nn.Linear(2), nn.BatchNorm1d()]).build((3,))
    model.parameters()["0.weight"] = np.arange(6).reshape(3, 2)
    model.states()["1.running_mean"] = [1.0, 2.0]
    np.testing.assert_array_equal(model.parameters()["0.weight"], np.arange(6).reshape(3, 2))
    np.testing.assert_array_equal(model.states()["1.running_mean"], [1, 2])
    model.parameters().update({"0.bias": np.ones(2)})
    assert (model.parameters()["0.bias"] == 1).all()
    for wrong in (np.ones(2), np.ones((2, 3)), 1.0, np.ones((3, 2), complex), "text"):
        with pytest.raises(nn.ShapeError, match=r"0.weight: expected numbers of shape \(3, 2\)"):
            model.parameters()["0.weight"] = wrong
    with pytest.raises(nn.ParameterError, match=r"did you mean '0\.weight'"):
        model.parameters()["0.wieght"] = np.ones((3, 2))
    with pytest.raises(nn.ParameterError, match="to stay"):
        del model.parameters()["0.weight"]


def test_evaluate_takes_the_loss_of_the_last_fit():
    X, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
    model = nn.Sequential([nn.Linear(3)])
    history = model.fit(X, y, loss="cross_entropy", epochs=1, validation_data=(X, y), random_state=0)
    assert model.evaluate(X, y) == history["val_loss"][-1] == model.evaluate(X, y, loss="cross_entropy")


@pytest.mark.parametrize(("layer", "in_shape"), [
    (nn.BatchNorm1d(), (5,)), (nn.BatchNorm1d(), (3, 7)), (nn.BatchNorm2d(), (3, 4, 5)), (nn.GroupNorm(2), (4, 3, 3)),
    (nn.GroupNorm(1), (6,)), (nn.LayerNorm(), (20,)),
])  # fmt: skip
@pytest.mark.parametrize("shift", [0.0, 1234.5, 1e4, -1e7])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_norms_keep_their_digits_far_from_zero(layer, in_shape, shift, spread):
    """Computed as in float64, from the numbers that float32 has; a constant feature gives exactly 0."""
    random = np.random.default_rng(0)
    x = (spread * random.normal(size=(40, *in_shape)) + shift).astype(np.float32)
    grad = random.normal(size=x.shape).astype(np.float32)
    model = nn.Sequential([layer]).build(in_shape, 0)
    exact = model.copy("float64")
    count = x.size
    # Sums of ``count`` numbers at most, in some order, are off by count / 2 ulp; three of them meet in each number.
    bound = 1.5 * count * np.finfo(np.float32).eps if spread else 0.0
    out, expected = model.forward(x, training=True), exact.forward(x.astype(np.float64), training=True)
    np.testing.assert_allclose(out, expected, rtol=0, atol=bound)
    if spread:
        found, right = model.backward(grad), exact.backward(grad.astype(np.float64))
        np.testing.assert_allclose(found, right, rtol=0, atol=bound * np.abs(right).max())
    for (name, state), right in zip(model.states().items(), exact.states().values(), strict=True):
        np.testing.assert_allclose(state, right, rtol=bound + 1e-6, err_msg=name)


@pytest.mark.parametrize("layer", [nn.LayerNorm(), nn.RMSNorm(), nn.RMSNorm(eps=1e-3)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e30])
@pytest.mark.parametrize("engine", ["compiled", "python"])
def test_norms_of_rows_of_any_size(layer, size, engine):
    """As float64 has them; the eps that goes with the dtype is that of float32."""
    x = (np.random.default_rng(0).normal(size=(5, 20)) * size).astype(np.float32)
    grad = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    exact_layer = nn.RMSNorm(eps=float(np.finfo(np.float32).eps)) if repr(layer) == "RMSNorm()" else layer
    exact = nn.Sequential([exact_layer]).build((20,), dtype="float64")
    network = network_of(nn.Sequential([layer]).build((20,)))
    work = Pass(network, 5, training=True, gradient=network.gradient, python=engine == "python")
    bound = 20 * np.finfo(np.float32).eps  # a sum of 20 squares, and some roundings
    out, expected = work.forward(x), exact.forward(x.astype(np.float64))
    np.testing.assert_allclose(out, expected, rtol=0, atol=bound * np.abs(expected).max())
    out, expected = work.backward(grad), exact.backward(grad.astype(np.float64))
    np.testing.assert_allclose(out, expected, rtol=0, atol=bound * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_classes_that_cannot_be_do_not_count(dtype):
    """A logit of -inf is a probability of 0, and 0 times its logarithm is 0."""
    prediction = np.array([[2, -np.inf, 1], [0.5, 0.25, -np.inf]], dtype)
    loss, grad = nn.CrossEntropyLoss()(prediction, [0, 1])
    expected = (np.log1p(np.exp(-1.0)) + np.log1p(np.exp(0.25))) / 2
    np.testing.assert_allclose(loss, expected, rtol=4 * np.finfo(dtype).eps)
    model = nn.Sequential([nn.Identity()]).build((3,), dtype=dtype)
    assert model.evaluate(prediction, [0, 1], loss="cross_entropy") == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(grad).all() and (grad[np.isinf(prediction)] == 0).all()
    assert nn.CrossEntropyLoss()(prediction, [1, 1])[0] == np.inf  # a class that cannot be, but is


def test_many_classes_take_no_more_memory_than_their_logits():
    tracemalloc.start()
    nn.CrossEntropyLoss()(np.zeros((2, 20_000), np.float32), [3, 19_999])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2 * 20_000 * 4


def test_seconds_are_counted_once_while_kernels_are_compiled(script, tmp_path):
    """A kernel that compiles another one first, and other threads that compile meanwhile, take nothing from the training."""
    output = script(
        """
        import threading, time
        import numpy as np, nnkit as nn
        begin = time.perf_counter()
        X, y = np.ones((64, 8)), np.zeros((64, 20))
        histories = []

        def train(activation):
            net = nn.Sequential([nn.Linear(30), activation, nn.Linear(20)])
            histories.append(net.fit(X, y, epochs=2, progress=False))

        threads = [threading.Thread(target=train, args=(item,)) for item in ("tanh", "gelu")]
        for thread in threads:
            thread.start()
        train("sigmoid")
        for thread in threads:
            thread.join()
        passed = time.perf_counter() - begin
        print(all(min(item.seconds, item.compile_seconds) > 0 for item in histories),
              all(item.seconds + item.compile_seconds <= passed for item in histories))
        """,
        NNKIT_CACHE_DIR=str(tmp_path),
    )
    assert output == "True True\n"


def reads_numbers(example):
    """Whether targets are real numbers, which labels are not, and the loss reads them."""
    target = example.part.example_target(np.random.default_rng(0), 3, example.in_shape)
    return target.dtype.kind == "f" and "target" in kernel_names(type(example.part).forward)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("example", "place"),
    [
        (example, place)
        for part in nn.registry.losses.values()
        for example in part.examples()
        for place in ("prediction", "target")
        if place == "prediction" or reads_numbers(example)
    ],
)
def test_what_is_not_a_number_is_never_a_loss(example, place, dtype):
    """It is refused, or the loss is no number either."""
    random = np.random.default_rng(0)
    given = {
        "prediction": random.uniform(example.low, example.high, (3, *example.in_shape)),
        "target": example.part.example_target(random, 3, example.in_shape),
    }
    given = {name: array.astype(dtype) if array.dtype.kind == "f" else array for name, array in given.items()}
    given[place][1] = np.nan
    try:
        loss, _ = example.part(given["prediction"], given["target"])
    except nn.DataError:
        return
    assert np.isnan(loss)


def test_a_loss_without_end_is_no_improvement():
    schedule = nn.ReduceOnPlateau(gamma=0.5, patience=1)
    for loss in (np.inf, np.inf, np.nan, np.inf, 2.0):
        schedule.observe(loss)
    assert schedule.factor(np.zeros(1), 1.0) == 0.25
    for loss in (3.0, 1.0):
        schedule.observe(loss)
    assert schedule.factor(np.zeros(1), 1.0) == 0.25
