"""Whole numbers that kernels use as indices: whatever they are and whoever changes them, nothing outside is read or written."""

import threading

import numpy as np
import pytest
import scipy.sparse

import nnkit as nn
from nnkit.network import network_of
from nnkit.training.data import to_rows

BAD = [10, 999, -1, 10**8, -(2**62), 2**62]
NETS = {
    "alone": ([nn.Embedding(10, 4), nn.Flatten(), nn.Linear(2)], (3,)),
    "within a model": ([nn.Sequential([nn.Embedding(10, 4)]), nn.Flatten(), nn.Linear(2)], (3,)),
    "for every step": ([nn.TimeDistributed(nn.Embedding(10, 4)), nn.Flatten(), nn.Linear(2)], (2, 3)),
    "the second of two": ([nn.Branches(nn.Embedding(10**5, 1), nn.Embedding(10, 4), dim=2), nn.Flatten(), nn.Linear(2)], (3,)),
    "the first of two": ([nn.Branches(nn.Embedding(10, 1), nn.Embedding(10**5, 4), dim=2), nn.Flatten(), nn.Linear(2)], (3,)),
    "deep in branches": (
        [nn.Branches([[nn.TimeDistributed(nn.Embedding(10, 2))], nn.Flatten()], [nn.Embedding(99, 1), nn.Flatten()])], (2, 3)),
}  # fmt: skip


def rows(shape, count=5):
    return np.random.default_rng(0).integers(0, 10, (count, *shape))


@pytest.fixture(params=NETS)
def net(request):
    layers, shape = NETS[request.param]
    return nn.Sequential(layers).build(shape, 0), rows(shape)


@pytest.mark.parametrize("number", BAD)
def test_a_number_out_of_range_is_named_by_every_call(net, number):
    model, X = net
    y = np.zeros((len(X), *model.out_shape))
    right = model.predict(X)  # from here on there is a predictor, and it is fast
    wrong = X.copy()
    wrong[3].flat[-1] = number
    calls = [model.predict, lambda X: model.predict(np.repeat(X, 200, axis=0)), model.forward,
             lambda X: model.forward(X, training=True), lambda X: model.evaluate(X, y), lambda X: model.fit(X, y, epochs=1),
             lambda X: model.fit(right_X, y, validation_data=(X, y), epochs=1)]  # fmt: skip
    right_X = X
    for call in calls:
        with pytest.raises(nn.DataError, match=rf"whole numbers from 0 to 9\d*, got {number} in row (3|600), place"):
            call(wrong)
    np.testing.assert_array_equal(model.predict(X), right)


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize("gradient", [False, True])
def test_within_compiled_code_it_gives_nan(net, number, gradient):
    model, X = net
    if gradient:
        with pytest.raises(nn.NativeError, match="no gradient"):
            model.as_function(gradient=True)
        return
    f = model.as_function()
    out = np.empty(model.out_shape, np.float32)
    f(X[0], out)
    np.testing.assert_array_equal(out, model.predict(X[:1])[0])
    wrong = X[0].copy()
    wrong.flat[0] = number
    with pytest.raises(nn.DataError):
        f(wrong, out)
    f.c_function(wrong.ctypes.data, out.ctypes.data)
    assert np.isnan(out).all()
    f(X[0], out)  # the slot is as good as before
    np.testing.assert_array_equal(out, model.predict(X[:1])[0])


def test_layers_that_were_put_before_a_built_model_change_nothing():
    model = nn.Sequential([nn.Embedding(10, 4)]).build((3,), 0)
    before = model.predict([[1, 2, 3]])
    model.layers.insert(0, nn.Identity())
    np.testing.assert_array_equal(model.predict(np.array([[1, 2, 3]])), before)
    with pytest.raises(nn.DataError, match="got 999 in row 0, place 1"):
        model.predict(np.array([[1, 999, 3]]))


def test_a_file_whose_row_is_out_of_range_is_refused(tmp_path, net):
    from nnkit.persistence.file import read, write

    model, _ = net
    model.save(tmp_path / "net")
    description, arrays = read(tmp_path / "net")
    arrays["self_test.x"] = np.full_like(arrays["self_test.x"], 10**9)
    write(tmp_path / "net", description, arrays)
    with pytest.raises(nn.PersistenceError, match="whole numbers from 0 to"):
        nn.load(tmp_path / "net")


class At(nn.Callback):
    """Does something after the first epoch."""

    def __init__(self, what):
        self.what = what

    def on_epoch_end(self, fit):
        if fit.epoch == 0:
            self.what()


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("number", BAD)
def test_input_that_changes_while_training_runs(number, threads, engine):
    X, y = rows((3,), 64), np.zeros((64, 2))
    model = nn.Sequential([nn.Sequential([nn.Embedding(10, 4)]), nn.Flatten(), nn.Linear(2)])

    def change():
        X[41, 2] = number

    with pytest.raises(nn.DataError, match=rf"layer 0.0, Embedding.* the input .*, got {number} in row 41, place 2"):
        model.fit(X, y, epochs=3, batch_size=16, n_threads=threads, random_state=0, engine=engine, callbacks=[At(change)])
    assert all(np.isfinite(array).all() for array in model.parameters().values())
    X[41, 2] = 0
    assert model.fit(X, y, epochs=1).stopped == "finished"


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint64, np.int16, np.uint8])
@pytest.mark.parametrize("number", [3, 300, 10**8, -1, 2**63])
def test_labels_that_change_while_training_runs(number, dtype, engine):
    if not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        pytest.skip("no number of this dtype")
    X, y = np.random.default_rng(0).normal(size=(64, 5)), np.zeros(64, dtype)
    y[::2] = 2

    def change():
        y[41] = number

    seen = np.array(number, dtype).astype(np.int64)
    model = nn.Sequential([nn.Linear(3)])
    with pytest.raises(nn.DataError, match=rf"CrossEntropyLoss: expected the labels .* from 0 to 2, got {seen} in row 41"):
        model.fit(X, y, loss="cross_entropy", epochs=3, batch_size=16, callbacks=[At(change)], engine=engine)


def test_a_memory_map_that_another_process_writes(tmp_path):
    path = tmp_path / "rows"
    np.memmap(path, np.int64, "w+", shape=(64, 3))[:] = rows((3,), 64)
    X = np.memmap(path, np.int64, "r", shape=(64, 3))

    def change():
        np.memmap(path, np.int64, "r+", shape=(64, 3))[7, 1] = 10**9

    with pytest.raises(nn.DataError, match="got 1000000000 in row 7, place 1"):
        model = nn.Sequential([nn.Embedding(10, 4), nn.Flatten(), nn.Linear(2)])
        model.fit(X, np.zeros((64, 2)), epochs=2, callbacks=[At(change)])


# --------------------------------------------------------------------------------------------------- sparse matrices


def matrix(**changes):
    """A CSR matrix of 4 rows and 20 columns, some of whose arrays were set by hand."""
    made = scipy.sparse.csr_array(([1.0, 2.0, 3.0, 4.0], [1, 5, 3, 19], [0, 1, 1, 3, 4]), shape=(4, 20))
    for name, value in changes.items():
        setattr(made, name, np.array(value))
    return made


UNSOUND = {
    "a column too many": ({"indices": [1, 300, 3, 19]}, "column indices from 0 to 19, got 300 in row 2"),
    "a column from the end": ({"indices": [-3, 5, 3, 19]}, "column indices from 0 to 19, got -3 in row 0"),
    "a column far away": ({"indices": [1, 5, 3, 10**8]}, "got 100000000 in row 3"),
    "rows beyond the numbers": ({"indptr": [0, 1, 1, 3, 10**8]}, r"at most 4, .*, got 3 to 100000000 for row 3"),
    "rows that go back": ({"indptr": [0, 3, 1, 3, 4]}, "got 3 to 1 for row 1"),
    "rows that begin before": ({"indptr": [-5, 1, 1, 3, 4]}, r"to begin with 0, got 5, and \[-5\]"),
    "too few rows": ({"indptr": [0, 1, 4]}, "indptr to have 5 numbers"),
    "differences that overflow": ({"indptr": np.array([0, 2**31 - 1, -(2**31), 3, 4], np.int32)}, "for row 1"),
    "too few numbers": ({"data": [1.0]}, "at most 1, the numbers that are stored, got 1 to 3 for row 2"),
    "fractions": ({"indices": [1.0, 5.5, 3.0, 19.0]}, "index arrays of whole numbers, got float64"),
    "two axes": ({"indices": [[1, 5], [3, 19]]}, "of shape"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_csr_matrix_is_refused_by_every_call(name):
    changes, message = UNSOUND[name]
    model = nn.Sequential([nn.Linear(2)]).build((20,), 0)
    y = np.zeros((4, 2))
    for call in (model.predict, lambda X: model.evaluate(X, y), lambda X: model.fit(X, y),
                 lambda X: model.fit(matrix(), y, validation_data=(X, y)), lambda X: to_rows(X, "X")):  # fmt: skip
        with pytest.raises(nn.DataError, match=message):
            call(matrix(**changes))


def test_other_unsound_sparse_matrices_are_refused():
    columns, pairs = matrix().tocsc(), matrix().tocoo()
    columns.indices[0] = 99
    pairs.coords[1][0] = 99
    for X in (columns, pairs):
        with pytest.raises(nn.DataError, match="X: expected a sound sparse matrix"):
            nn.Sequential([nn.Linear(2)]).build((20,), 0).predict(X)


def test_a_csr_matrix_may_change_while_training_runs():
    """What is used as an index is a copy."""
    X = matrix()
    expected = nn.Sequential([nn.Linear(2)]).build((20,), 0)
    expected.fit(matrix(), np.zeros((4, 2)), epochs=3, batch_size=2, random_state=0)
    model = nn.Sequential([nn.Linear(2)]).build((20,), 0)

    def change():
        X.indices[:], X.indptr[1:] = 10**8, 10**8

    model.fit(X, np.zeros((4, 2)), epochs=3, batch_size=2, random_state=0, callbacks=[At(change)])
    np.testing.assert_array_equal(network_of(model).vector, network_of(expected).vector)


@pytest.mark.parametrize("layer", [nn.Residual(nn.Linear(20)), nn.Branches("identity", nn.Linear(3)), nn.ReLU()])
def test_a_sparse_matrix_goes_around_no_layer(layer):
    model = nn.Sequential([layer, nn.Linear(2)]).build((20,), 0)
    with pytest.raises(nn.ShapeError):
        model.predict(matrix())


def test_a_sparse_matrix_goes_into_branches():
    model = nn.Sequential([nn.Branches(nn.Linear(2), [nn.Linear(3), nn.ReLU()])]).build((20,), 0)
    np.testing.assert_allclose(model.predict(matrix()), model.predict(matrix().toarray()), rtol=1e-6)


# ----------------------------------------------------------------------------------------------------- what parts say


def test_branches_of_both_kinds_are_refused():
    with pytest.raises(nn.ShapeError, match="branches that all take whole numbers, or none"):
        nn.Sequential([nn.Branches(nn.Embedding(10, 4), nn.Linear(4))]).build((3,))


def test_a_layer_that_takes_whole_numbers_says_their_limit():
    class Lookup(nn.Layer):
        input_dtype = "int64"

        def build(self, in_shape):
            self.parameter("table", (7,))
            return in_shape

        @staticmethod
        def forward(x, table, out):
            for n in range(x.shape[0]):
                for j in range(x.shape[1]):
                    out[n, j] = table[x[n, j]]

        @staticmethod
        def backward(x, grad_out, grad_table):
            grad_table[:] = 0.0

    with pytest.raises(nn.KernelError, match=r"expected build to set self.input_limit, .* got 0"):
        nn.Sequential([Lookup()]).build((3,))


@pytest.mark.parametrize("limit", [0, -1, 7.0, 6.5, np.inf, np.nan, True, "7", None, 2**63, np.array(7)])
def test_a_limit_is_an_integer_that_compiled_code_can_hold(limit):
    class Lookup(nn.PythonLayer):
        input_dtype = "int64"

        def build(self, in_shape):
            self.input_limit = limit
            return in_shape

        def forward(self, x):
            return x

        def backward(self, grad_out):
            return None

    if limit == 0 and limit is not False:
        nn.Sequential([Lookup()]).build((3,))  # Python looks itself
        return
    with pytest.raises(nn.KernelError, match="an integer of at least 1, got"):
        nn.Sequential([Lookup()]).build((3,))


@pytest.mark.parametrize("shape", [(-1000,), (2.5,), (3, -1)])
@pytest.mark.parametrize("group", ["parameter", "state", "scratch", "workspace"])
def test_arrays_of_negative_or_broken_sizes_cannot_be_declared(group, shape):
    """The arrays after them would lie outside of the memory."""

    class Odd(nn.PythonLayer):
        def build(self, in_shape):
            getattr(self, group)("odd", shape)
            return in_shape

        def forward(self, x):
            return x

        def backward(self, grad_out):
            return grad_out

    with pytest.raises(nn.KernelError, match=r"the shape of 'odd' to be integers of at least 0"):
        nn.Sequential([Odd(), nn.Linear(3)]).build((3,))


@pytest.mark.parametrize("turned", [False, True])
def test_a_python_layer_cannot_change_the_indices_of_its_neighbour(turned):
    class Writes(nn.PythonLayer):
        input_dtype = "int64"

        def forward(self, x):
            x[...] = 10**8
            return np.zeros(x.shape, np.float32)

        def backward(self, grad_out):
            return None

    branches = [nn.Embedding(10, 1), [Writes(), nn.Reshape((3, 1))]]
    model = nn.Sequential([nn.Branches(*branches[:: -1 if turned else 1]), nn.Flatten(), nn.Linear(2)])
    with pytest.raises(ValueError, match="read-only"):
        model.fit(rows((3,), 8), np.zeros((8, 2)), epochs=2)


@pytest.mark.parametrize("optimizer", ["adam", nn.SGD(lr=0.1, clip_norm=1.0)])
def test_a_callback_cannot_make_the_batches_larger_than_the_memory_for_them(optimizer):
    class Larger(nn.Callback):
        def on_epoch_end(self, fit):
            fit.batch_size = 64

    X = np.ones((64, 8))
    with pytest.raises(AttributeError, match="batch_size"):
        nn.Sequential([nn.Linear(2)]).fit(X, X[:, :2], batch_size=4, epochs=3, optimizer=optimizer, callbacks=[Larger()])


@pytest.mark.parametrize("value", [0.0, np.nan, -1.0, 1e308])
def test_sample_weights_stay_as_they_were_checked(value):
    weights, X = np.ones(64), np.random.default_rng(0).normal(size=(64, 3))

    def change():
        weights[:] = value

    def trained(*callbacks):
        model = nn.Sequential([nn.Linear(2)]).build((3,), 0)
        model.fit(X, X[:, :2], sample_weight=weights, epochs=3, random_state=0, callbacks=callbacks)
        return network_of(model).vector

    np.testing.assert_array_equal(trained(), trained(At(change)))


# ------------------------------------------------------------------------------------- sparse matrices of other formats


def unsound(kind):
    dense = scipy.sparse.random(40, 20, 0.3, "csr", random_state=0)
    made = scipy.sparse.bsr_array(dense, blocksize=(2, 2)) if kind == "bsr" else dense.asformat(kind.partition(" ")[0])
    if kind == "dia":
        made.offsets = made.offsets[:1]
    elif kind == "bsr":
        made.data = made.data.reshape(-1, 1, 1)
    elif kind == "lil rows":
        made.rows[0] = [500] * len(made.rows[0])
    elif kind == "lil":
        made.data[0] = [1.0] * 10**6
    elif kind == "coo":
        made.data = made.data[:1]
    elif kind == "csc":
        made.indptr[3] = 10**8
    elif kind == "dok":
        made._dict[0, 10**8] = 1.0
    return made


@pytest.mark.parametrize("kind", ["dia", "bsr", "lil", "lil rows", "coo", "csc", "dok"])
def test_unsound_matrices_of_every_format_are_refused(kind):
    with pytest.raises(nn.DataError, match="X: expected"):
        nn.Sequential([nn.Linear(2)]).build((20,), 0).predict(unsound(kind))


def test_a_matrix_that_a_thread_changes_while_it_is_converted():
    X = scipy.sparse.random(2000, 500, 0.2, "csc", random_state=0)
    model, right, over = nn.Sequential([nn.Linear(2)]).build((500,), 0), X.indices.copy(), threading.Event()
    expected = model.predict(X)

    def change():
        while not over.is_set():
            X.indices[::7] = 10**8
            X.indices[:] = right

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(40):
        try:
            np.testing.assert_array_equal(model.predict(X), expected)
        except nn.DataError:
            pass
    over.set()
    thread.join()


@pytest.mark.parametrize("dtype", ["f2", ">f8", "f4", "i1", "?", "g", "list"])
def test_stored_numbers_of_any_dtype(dtype):
    X = matrix()
    X.data = X.data.tolist() if dtype == "list" else X.data.astype(dtype)
    plain = matrix()
    plain.data = np.asarray(X.data, np.float64)
    model = nn.Sequential([nn.Linear(2)]).build((20,), 0)
    np.testing.assert_allclose(model.predict(X), model.predict(plain.toarray()), rtol=1e-6)
    model.fit(X, np.zeros((4, 2)), epochs=1, callbacks=["monitor"])


def test_stored_numbers_with_two_axes_are_refused():
    X = matrix()
    X.data = np.ones((4, 2))
    with pytest.raises(nn.DataError, match=r"got float64 of shape \(4, 2\)"):
        nn.Sequential([nn.Linear(2)]).build((20,), 0).predict(X)


# ------------------------------------------------------------------------------------------------------- odd arrays


def test_masked_entries_are_refused():
    X = np.ma.masked_array(np.ones((4, 3)), mask=np.eye(4, 3))
    model = nn.Sequential([nn.Linear(3)]).build((3,), 0)
    with pytest.raises(nn.DataError, match="a masked array with 3 of 12 masked"):
        model.predict(X)
    with pytest.raises(nn.DataError, match="y: expected numbers everywhere"):
        model.fit(np.ones((4, 3)), X)
    np.testing.assert_array_equal(model.predict(np.ma.masked_array(X.data)), model.predict(X.data))
    with pytest.raises(nn.DataError, match="a masked array with 3 of 12 masked"):
        model.predict(list(X))
    with pytest.raises(nn.DataError, match=r"0\.bias: expected numbers everywhere"):
        model.parameters()["0.bias"] = X[0]


def test_what_is_no_number_is_refused_by_passes_by_hand():
    model = nn.Sequential([nn.Linear(2)]).build((3,), 0)
    with pytest.raises(nn.DataError, match=r"dense rows, got a sparse matrix; pass x.toarray\(\)"):
        model.forward(scipy.sparse.eye_array(3, format="csr"))
    model.forward(np.ones((1, 3)))
    for wrong in ([["a", "b"]], [[1j, 1j]]):
        with pytest.raises(nn.DataError, match="grad_out"):
            model.backward(wrong)
        with pytest.raises(nn.DataError, match="target: expected numbers"):
            nn.MSELoss()(np.ones((1, 2)), wrong)
        with pytest.raises(nn.DataError, match="prediction: expected numbers"):
            nn.MSELoss()(wrong, np.ones((1, 2)))
    with pytest.raises(nn.ShapeError, match="an axis of classes"):
        nn.CrossEntropyLoss()(np.ones(3), np.zeros(3, int))


def test_after_a_forward_pass_that_failed_there_is_none_to_go_back_through():
    model = nn.Sequential([nn.Embedding(10, 4), nn.Flatten(), nn.Linear(2), Refuses()]).build((3,), 0)
    model.forward(np.ones((5, 3), int))
    model.parameters()["2.weight"] = np.full((12, 2), np.nan)
    with pytest.raises(RuntimeError, match="mine"):
        model.forward(np.ones((5, 3), int))
    with pytest.raises(nn.NotBuiltError, match="a forward pass before it"):
        model.backward(np.ones((5, 2)))


class Refuses(nn.PythonLayer):
    def forward(self, x):
        if np.isnan(x).any():
            raise RuntimeError("mine")
        return x

    def backward(self, grad_out):
        return grad_out
