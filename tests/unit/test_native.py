"""A model as a native function of one row: in Numba code, through a C pointer, from many threads at once."""

import copy
import ctypes
import gc
import pickle
import threading
import weakref

import numba
import numpy as np
import pytest
import scipy.integrate
from numba.core.errors import TypingError

import nnkit as nn
from nnkit.network import network_of

F32, F64 = "float32", "float64"


def mlp():
    return nn.Sequential([nn.Linear(7), nn.ReLU(), nn.Linear(5), nn.Tanh(), nn.Linear(3)]), (4,)


def normalized():
    return nn.Sequential([nn.Linear(6), nn.BatchNorm1d(), nn.GELU(), nn.Dropout(0.5), nn.LayerNorm(), nn.Linear(2)]), (3,)


def convolutional():
    layers = [nn.Conv2d(3, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4)]
    return nn.Sequential(layers), (2, 6, 6)


def recurrent():
    return nn.Sequential([nn.LSTM(5, return_sequences=True), nn.GRU(4, return_sequences=True), nn.RNN(4), nn.Linear(2)]), (6, 3)


def attentive():
    return nn.Sequential([nn.MultiHeadAttention(2), nn.LayerNorm(), nn.Linear(3), nn.Flatten(), nn.Softmax()]), (5, 8)


def nested():
    inner = nn.Sequential([nn.Linear(6), "tanh", [nn.Linear(6), nn.Dropout(0.3)]])
    twice = nn.Linear(6)
    return nn.Sequential([nn.Residual([nn.Linear(6), nn.ReLU()]), inner, twice, nn.Sigmoid(), twice]), (6,)


NETS = [mlp, normalized, convolutional, recurrent, attentive, nested]


def built(make, dtype=F64):
    """A model with statistics and biases that are not those of the beginning."""
    model, in_shape = make()
    model.build(in_shape, random_state=0, dtype=dtype)
    random = np.random.default_rng(1)
    for array in model.parameters().values():
        array += 0.1 * random.normal(size=array.shape).astype(dtype)
    for array in model.states().values():
        array += random.uniform(0.1, 0.5, size=array.shape).astype(dtype)
    return model


def inputs(model, rows=5, seed=2):
    return np.random.default_rng(seed).normal(size=(rows, *model.in_shape)).astype(model.dtype)


def one_by_one(model, X):
    return np.concatenate([model.predict(x[None]) for x in X])


@numba.njit
def map_rows(f, X, out):
    for i in range(len(X)):
        f(X[i], out[i])


@numba.njit
def map_gradients(f, X, out, grad_out, grad_x):
    for i in range(len(X)):
        f(X[i], out[i], grad_out[i], grad_x[i])


@numba.njit(nogil=True)
def repeat_rows(f, X, out, times):
    for _ in range(times):
        for i in range(len(X)):
            f(X[i], out[i])


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("make", NETS)
def test_is_predict_to_the_bit(make, dtype):
    model = built(make, dtype)
    X = inputs(model)
    expected, f = one_by_one(model, X), model.as_function()
    out = np.full_like(expected, np.nan)
    map_rows(f, X, out)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_allclose(out, model.predict(X), rtol=1e-5, atol=1e-6)  # a batch is added up in another order
    out[:] = np.nan
    for x, row in zip(X, out, strict=True):
        assert f(x, row) is None
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("make", NETS)
def test_gradient_is_that_of_a_backward_pass(make, dtype):
    model = built(make, dtype)
    X = inputs(model)
    out = np.empty((len(X), *model.out_shape), dtype)
    grad_out, grad_x = np.random.default_rng(3).normal(size=out.shape).astype(dtype), np.full_like(X, np.nan)
    before = model.gradients()
    for array in before.values():
        array[...] = 7.0
    map_gradients(model.as_function(gradient=True), X, out, grad_out, grad_x)
    assert all((array == 7.0).all() for array in before.values())  # the parameters' gradients are nobody's business
    tolerance = {F32: 2e-5, F64: 1e-12}[dtype]
    for i in range(len(X)):
        np.testing.assert_allclose(out[i], model.forward(X[i : i + 1])[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(grad_x[i], model.backward(grad_out[i : i + 1])[0], rtol=tolerance, atol=tolerance)


PARTS = [example for kind in (nn.registry.layers, nn.registry.activations) for part in kind.values()
         for example in part.examples() if not example.part.interpreted]  # fmt: skip


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("example", PARTS)
def test_every_part_works(example, dtype):
    model = nn.Sequential([example.part]).build(example.in_shape, random_state=0, dtype=dtype)
    random = np.random.default_rng(0)
    X = random.uniform(example.low, example.high, (3, *example.in_shape)).astype(network_of(model).input_dtype)
    expected = one_by_one(model, X)
    out, grad_out, grad_x = np.empty_like(expected), random.normal(size=expected.shape).astype(dtype), np.empty(X.shape, dtype)
    f = model.as_function()
    for i in range(len(X)):
        f(X[i, ...], out[i, ...])
    np.testing.assert_array_equal(out, expected)
    if network_of(model).input_dtype != dtype:
        return
    g = model.as_function(gradient=True)
    for i in range(len(X)):
        g(X[i, ...], out[i, ...], grad_out[i, ...], grad_x[i, ...])
        model.forward(X[i : i + 1])
        tolerance = {F32: 2e-5, F64: 1e-12}[dtype]
        np.testing.assert_allclose(grad_x[i], model.backward(grad_out[i : i + 1])[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("make", NETS)
def test_gradient_is_that_of_finite_differences(make):
    model = built(make)
    f, g = model.as_function(), model.as_function(gradient=True)
    x, weights = inputs(model, 1)[0], np.random.default_rng(4).normal(size=model.out_shape)
    out, grad_x, step = np.empty(model.out_shape), np.empty(model.in_shape), 1e-6

    def value(x):
        f(x, out)
        return (weights * out).sum()

    expected = np.empty_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        expected[place] = (value(up) - value(down)) / (2 * step)
    g(x, out, weights, grad_x)
    np.testing.assert_allclose(grad_x, expected, rtol=1e-5, atol=1e-7)


def test_sees_the_present_parameters():
    model = built(mlp)
    f, X = model.as_function(), inputs(model, 40)
    assert model.as_function() is f
    out = np.empty((40, 3))
    model.fit(X, np.zeros((40, 3)), epochs=3, random_state=0)
    map_rows(f, X, out)
    np.testing.assert_array_equal(out, one_by_one(model, X))
    model.parameters()["4.bias"][:] = 100.0
    map_rows(f, X, out)
    assert (out > 50.0).all()


def test_another_model_compiles_nothing():
    small, large = built(mlp), nn.Sequential([nn.Linear(30), nn.Sigmoid(), nn.Linear(20)]).build((11,), dtype=F64)
    map_rows(small.as_function(), inputs(small), np.empty((5, 3)))
    X = inputs(large)
    expected, out = one_by_one(large, X), np.empty((5, 20))
    versions, before = len(map_rows.signatures), nn.engine.stub.statistics.compiled
    map_rows(large.as_function(), X, out)
    np.testing.assert_array_equal(out, expected)
    assert len(map_rows.signatures) == versions
    assert nn.engine.stub.statistics.compiled == before


def test_may_be_a_global_of_the_users_function():
    model = built(mlp)
    f, X = model.as_function(), inputs(model)

    @numba.njit
    def use(X, out):
        for i in range(len(X)):
            f(X[i], out=out[i])

    out, expected = np.empty((5, 3)), one_by_one(model, X)
    use(X, out)
    np.testing.assert_array_equal(out, expected)
    native = weakref.ref(f)
    f = model = None  # the machine code still names it
    gc.collect()
    assert native() is not None
    out[:] = np.nan
    use(X, out)
    np.testing.assert_array_equal(out, expected)


def test_may_be_called_in_parallel_loops():
    model = built(mlp)
    X = inputs(model, 500)
    out, other, expected = np.empty((500, 3)), np.empty((500, 3)), one_by_one(model, X)
    f = model.as_function()

    @numba.njit(parallel=True)
    def as_argument(f, X, out):
        for i in numba.prange(len(X)):
            f(X[i], out[i])

    @numba.njit(parallel=True)
    def as_global(X, out):
        for i in numba.prange(len(X)):
            f(X[i], out[i])

    as_argument(f, X, out)
    as_global(X, other)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(other, expected)


@pytest.mark.parametrize("threads", [4, 40])
def test_threads_at_once_do_not_disturb_each_other(threads):
    """Also more of them than there are slots."""
    model = built(convolutional, F32)
    f = model.as_function()
    X = [inputs(model, 20, seed) for seed in range(threads)]
    expected = [one_by_one(model, rows) for rows in X]
    outs = [np.empty_like(rows) for rows in expected]
    repeat_rows(f, X[0], outs[0], 1)
    started = [threading.Thread(target=repeat_rows, args=(f, rows, out, 30)) for rows, out in zip(X, outs, strict=True)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
    assert not any(thread.is_alive() for thread in started)
    for out, right in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(out, right)


def test_waits_for_a_free_slot():
    model = built(mlp)
    f, x = model.as_function(), inputs(model, 1)[0]
    out, taken = np.empty(3), f.program.controls[:, nn.kernels.control.Word.TAKEN]
    for free in range(len(taken)):
        taken[:] = 1
        taken[free] = 0
        out[:] = np.nan
        f(x, out)
        np.testing.assert_array_equal(out, model.predict(x[None])[0])
        assert taken[free] == 0 and taken.sum() == len(taken) - 1
    taken[:] = 1
    waiting = threading.Thread(target=f, args=(x, out))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    taken[3] = 0
    waiting.join(60)
    assert not waiting.is_alive()


# -------------------------------------------------------------------------------------------------------- C pointers


@pytest.mark.parametrize("dtype, number", [(F32, ctypes.c_float), (F64, ctypes.c_double)])
def test_address_is_a_c_function(dtype, number):
    model = built(mlp, dtype)
    pointer = ctypes.POINTER(number)
    net = ctypes.CFUNCTYPE(None, pointer, pointer)(model.address)
    for x in inputs(model):
        out = np.empty(3, dtype)
        net(x.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
        np.testing.assert_array_equal(out, model.predict(x[None])[0])
    assert model.address == model.address == model.as_function().address


def test_address_with_gradient_takes_four_pointers():
    model = built(mlp)
    g, x = model.as_function(gradient=True), inputs(model, 1)[0]
    out, grad_x, grad_out = np.empty(3), np.empty(4), np.ones(3)
    net = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(g.address)
    net(x.ctypes.data, out.ctypes.data, grad_out.ctypes.data, grad_x.ctypes.data)
    model.forward(x[None])
    np.testing.assert_allclose(grad_x, model.backward(grad_out[None])[0], rtol=1e-12)


def test_scipy_integrates_it():
    model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(1)]).build((2,), random_state=0, dtype=F64)
    f = model.as_function()

    @numba.cfunc("float64(intc, CPointer(float64))")
    def integrand(n, x):
        out = np.empty(1)
        f(numba.carray(x, (2,)), out)
        return out[0]

    native = scipy.integrate.nquad(scipy.LowLevelCallable(integrand.ctypes), [(0, 1), (0, 1)])[0]
    python = scipy.integrate.nquad(lambda a, b: model.predict([[a, b]])[0, 0], [(0, 1), (0, 1)])[0]
    assert native == pytest.approx(python, rel=1e-12)


def test_right_hand_side_of_a_differential_equation():
    model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(2)]).build((2,), random_state=0, dtype=F64)
    f = model.as_function()

    @numba.njit
    def slope(t, state):
        out = np.empty_like(state)
        f(state, out)
        return out

    native = scipy.integrate.solve_ivp(slope, (0.0, 2.0), [1.0, 0.0])
    python = scipy.integrate.solve_ivp(lambda t, state: model.predict(state[None])[0], (0.0, 2.0), [1.0, 0.0])
    np.testing.assert_array_equal(native.y, python.y)


# --------------------------------------------------------------------------------------------------------- lifetimes


def test_outlives_its_model():
    model = built(normalized)
    X = inputs(model)
    f, expected, out = model.as_function(), one_by_one(model, X), np.empty((5, 2))
    net = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(f.address)
    del model
    gc.collect()
    waste = [np.full(1000, 9.0) for _ in range(1000)]  # takes the memory, if it was given back
    map_rows(f, X, out)
    np.testing.assert_array_equal(out, expected)
    net(X[0].ctypes.data, out[1].ctypes.data)
    np.testing.assert_array_equal(out[1], expected[0])
    del waste


def test_a_model_that_is_built_again_has_another_function():
    model = built(mlp)
    x, out = inputs(model, 1)[0], np.empty(3)
    f, before = model.as_function(), model.predict(x[None])[0]
    model.build((4,), random_state=5, dtype=F64)
    f(x, out)
    np.testing.assert_array_equal(out, before)
    assert model.as_function() is not f
    model.as_function()(x, out)
    np.testing.assert_array_equal(out, model.predict(x[None])[0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"])
def test_copies_of_a_model_have_functions_of_their_own(copied):
    model = built(mlp)
    x, out = inputs(model, 1)[0], np.empty(3)
    expected, address = model.predict(x[None])[0], model.address
    twin = copied(model)
    model.parameters()["4.bias"][:] = 100.0
    assert twin.address != address
    twin.as_function()(x, out)
    np.testing.assert_array_equal(out, expected)


def test_functions_are_not_copied():
    f = built(mlp).as_function()
    for take in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(nn.NativeError, match=r"expected what can be pickled .* address .* pickle the model"):
            take(f)


def test_numba_keeps_a_function_on_disk_that_has_it_as_an_argument(script, tmp_path):
    (tmp_path / "user.py").write_text(
        "import numba\n@numba.njit(cache=True)\ndef use(f, x, out):\n    f(x, out)\n    return out.sum()\n"
    )
    text = f"""
        import sys; sys.path.insert(0, {str(tmp_path)!r})
        import numpy as np, nnkit as nn, user
        waste = [np.ones(int(sys.argv[-1] == "x") + 7) for _ in range({{}})]  # other addresses
        model = nn.Sequential([nn.Linear(3), "tanh"]).build((2,), random_state=0)
        total = user.use(model.as_function(), np.ones(2, np.float32), np.empty(3, np.float32))
        assert total == model.predict(np.ones((1, 2), np.float32)).sum()
        print(sum(user.use.stats.cache_hits.values()))
        """
    assert [script(text.format(size)) for size in (10, 100_000)] == ["0\n", "1\n"]


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork")
def test_works_in_a_forked_child_whose_parent_was_in_the_middle_of_it(script):
    script(
        """
        import os, warnings
        warnings.simplefilter("ignore")  # that threads and fork do not go together
        import numpy as np, nnkit as nn
        from nnkit.kernels.control import Word
        model = nn.Sequential([nn.Linear(3), "tanh"]).build((2,), random_state=0)
        f, x, out = model.as_function(), np.ones(2, np.float32), np.empty(3, np.float32)
        f.program.controls[:, Word.TAKEN] = 1
        child = os.fork()
        if child == 0:
            f(x, out)
            os._exit(int(not np.array_equal(out, model.predict(x[None])[0])))
        assert os.waitpid(child, 0)[1] == 0
        """
    )


# ------------------------------------------------------------------------------------------------- inputs and errors


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_goes_through(bad):
    model = built(mlp)
    x, out = np.array([0.0, bad, 1.0, 2.0]), np.empty(3)
    model.as_function()(x, out)
    np.testing.assert_array_equal(out, model.predict(x[None])[0])
    assert np.isnan(model.predict([[np.nan] * 4])).all()


def test_output_may_be_written_over_the_input():
    model = nn.Sequential([nn.Linear(4), "tanh", nn.Linear(4)]).build((4,), dtype=F64)
    row = inputs(model, 1)[0]
    expected = model.predict(row[None])[0]
    model.as_function()(row, row)
    np.testing.assert_array_equal(row, expected)


def test_whole_numbers():
    model = nn.Sequential([nn.Embedding(9, 4, padding_idx=0), nn.GRU(3), nn.Linear(2)]).build((5,), random_state=0)
    f, X = model.as_function(), np.random.default_rng(0).integers(0, 9, (6, 5))
    out = np.empty((6, *model.out_shape), np.float32)
    map_rows(f, X, out)
    np.testing.assert_array_equal(out, one_by_one(model, X))
    X[1, 2], X[3, 0], X[4, 4] = 9, -1, 2**62
    map_rows(f, X, out)
    assert np.isnan(out[[1, 3, 4]]).all()
    np.testing.assert_array_equal(out[[0, 2, 5]], one_by_one(model, X[[0, 2, 5]]))
    with pytest.raises(nn.DataError, match="expected x to hold whole numbers from 0 to 8, got 9 in row 0, place 2"):
        f(X[1], out[1])
    with pytest.raises(nn.NativeError, match="which takes whole numbers: they have no gradient"):
        model.as_function(gradient=True)


def test_one_number_a_row():
    model = nn.Sequential([nn.Embedding(5, 3)]).build((), random_state=0)
    out = np.empty(3, np.float32)

    @numba.njit
    def use(f, x, out):
        f(x, out)

    use(model.as_function(), np.array(2), out)
    np.testing.assert_array_equal(out, model.parameters()["0.weight"][2])


def test_a_layer_that_runs_in_python_is_refused():
    class Sine(nn.PythonLayer):
        def forward(self, x):
            return np.sin(x)

        def backward(self, x, grad_out):
            return grad_out * np.cos(x)

    model = nn.Sequential([nn.Linear(2), [Sine()]]).build((2,))
    with pytest.raises(nn.NativeError, match=r"expected layers that are compiled, got Sine\(\), which runs in Python"):
        model.as_function()
    with pytest.raises(nn.NativeError):
        _ = model.address


def test_a_layer_that_looks_at_its_input_in_python_is_refused():
    class Wary(nn.ReLU):
        def check_input(self, array, name):
            raise nn.DataError("never")

    with pytest.raises(nn.NativeError, match="let it say its input_limit"):
        nn.Sequential([Wary()]).build((2,)).as_function()


def test_a_model_that_is_not_built_is_refused():
    model = nn.Sequential([nn.Linear(2)])
    for ask in (model.as_function, lambda: model.address):
        with pytest.raises(nn.NotBuiltError, match=r"Sequential.as_function: expected a built model"):
            ask()


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "x, out, error, message",
    [
        (np.zeros(4), np.zeros(3, F32), nn.DataError, "expected x to be an array of float32, got an array of float64"),
        ([0.0] * 4, np.zeros(3, F32), nn.DataError, "expected x to be an array of float32, got a list"),
        (np.zeros(4, ">f4"), np.zeros(3, F32), nn.DataError, "expected x to be an array of float32, got an array of >f4"),
        (np.zeros(5, F32), np.zeros(3, F32), nn.ShapeError, r"expected x to be of shape \(4,\), one row, got \(5,\)"),
        (np.zeros((1, 4), F32), np.zeros(3, F32), nn.ShapeError, r"one row, got \(1, 4\)"),
        (np.zeros(4, F32), np.zeros((), F32), nn.ShapeError, r"expected out to be of shape \(3,\)"),
        (np.zeros(8, F32)[::2], np.zeros(3, F32), nn.DataError, r"expected x to be C-contiguous, got strides \(8,\)"),
        (np.zeros(17, "u1")[1:].view(F32), np.zeros(3, F32), nn.DataError, "expected x to be"),
        (np.zeros(4, F32), read_only(np.zeros(3, F32)), nn.DataError, "expected out to be a writable"),
    ],
)
def test_python_calls_are_checked(x, out, error, message):
    with pytest.raises(error, match=message):
        built(mlp, F32).as_function()(x, out)


def test_read_only_input_is_fine():
    model = built(mlp)
    X, out = read_only(inputs(model)), np.empty((5, 3))
    map_rows(model.as_function(), X, out)
    model.as_function()(X[0], out[1])
    np.testing.assert_array_equal(out[1], out[0])


def test_python_calls_count_their_arguments():
    model = built(mlp)
    for f in (model.as_function(), model.as_function(gradient=True)):
        with pytest.raises(nn.ShapeError, match=r"expected the arrays x, out.*, got 3 of them"):
            f(np.zeros(4), np.zeros(3), np.zeros(3))


@pytest.mark.parametrize(
    "X, out, message",
    [
        (np.zeros((1, 4)), np.zeros((1, 3), F32), "expected x to be a C-contiguous array of float32 with 1 dimensions"),
        (np.zeros((1, 4, 1), F32), np.zeros((1, 3), F32), "expected x to be"),
        (np.zeros((4, 2), F32).T, np.zeros((2, 3), F32), "expected x to be"),
        (np.zeros((1, 4), F32), read_only(np.zeros((1, 3), F32)), "expected out to be a writable C-contiguous array"),
        (np.zeros((1, 4), F32), np.zeros((1, 3), np.int32), "expected out to be"),
        (np.zeros(1, F32), np.zeros((1, 3), F32), "expected x to be"),
    ],
)
def test_compiled_calls_are_checked_as_they_are_compiled(X, out, message):
    with pytest.raises(TypingError, match=message):
        map_rows(built(mlp, F32).as_function(), X, out)


def test_compiled_calls_count_their_arguments():
    model = built(mlp)
    with pytest.raises(TypingError, match="expected the arguments x, out, grad_out, grad_x, got 2 of them"):
        map_rows(model.as_function(gradient=True), np.zeros((1, 4)), np.zeros((1, 3)))


@pytest.mark.parametrize("sizes", [(3, 3), (5, 3), (0, 3), (4, 2), (4, 4), (3, 4)])
def test_compiled_calls_check_shapes(sizes):
    f = built(mlp).as_function()
    X, out = np.zeros((1, sizes[0])), np.zeros((1, sizes[1]))
    with pytest.raises(ValueError, match="expected arrays of the shapes of one row"):
        map_rows(f, X, out)
    assert (out == 0.0).all()


@pytest.mark.parametrize("wrong", [2, 3])
def test_compiled_calls_check_shapes_of_gradients(wrong):
    g = built(mlp).as_function(gradient=True)
    arrays = [np.zeros((1, size + (place == wrong))) for place, size in enumerate((4, 3, 3, 4))]
    with pytest.raises(ValueError, match="expected arrays of the shapes of one row"):
        map_gradients(g, *arrays)
