"""One model in several hands at once: threads, signal handlers, finalizers, processes; memory that is not ours to write."""

import os
import pickle
import signal
import subprocess
import sys
import threading

import joblib
import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

X = np.random.default_rng(0).normal(size=(64, 8))
Y = X[:, :2] * 2


def norms():
    return nn.Sequential([nn.Linear(6), nn.BatchNorm1d(), nn.ReLU(), nn.Linear(2)])


class Do(nn.Callback):
    def __init__(self, what):
        self.what = what

    def on_epoch_end(self, fit):
        self.what()


# ------------------------------------------------------------------------------------------------- who changes a model


@pytest.mark.parametrize("who", ["fit", "build"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_model_that_is_being_trained_is_not_changed_by_others(who, elsewhere):
    model = norms()
    refused = []

    def try_it():
        try:
            model.fit(X, Y, epochs=1) if who == "fit" else model.build((3,))
        except nn.BusyError as error:
            refused.append(str(error))

    def meanwhile():
        if elsewhere:
            thread = threading.Thread(target=try_it)
            thread.start()
            thread.join()
        else:
            try_it()

    history = model.fit(X, Y, epochs=2, callbacks=[Do(meanwhile)], random_state=0)
    assert history.stopped == "finished"
    assert len(refused) == 2
    assert f"Sequential.{who}: expected a model that nobody is changing, but its Sequential.fit has not ended" in refused[0]
    alone = norms()
    alone.fit(X, Y, epochs=2, random_state=0)
    np.testing.assert_array_equal(network_of(model).vector, network_of(alone).vector)
    model.fit(X, Y, epochs=1)  # it is free again


def test_a_fit_that_fails_leaves_the_model_free():
    model = norms()

    def fail():
        raise RuntimeError("mine")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="mine"):
            model.fit(X, Y, epochs=2, callbacks=[Do(fail)])
    with pytest.raises(nn.ShapeError):
        model.fit(X[:, :3], Y)
    model.fit(X, Y, epochs=1)


def test_a_part_of_a_model_belongs_to_it():
    model = norms().build((8,), 0)
    with pytest.raises(nn.BusyError):
        model.fit(X, Y, epochs=1, callbacks=[Do(lambda: model[:2].fit(X, np.zeros((64, 6)), epochs=1))])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_may_train_what_its_parent_trains():
    model = norms().build((8,), 0)
    codes = []

    def fork():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                model.fit(X, Y, epochs=1, n_threads=1)
                code = 0
            finally:
                os._exit(code)
        codes.append(os.waitpid(child, 0)[1])

    model.fit(X, Y, epochs=1, n_threads=1, callbacks=[Do(fork)])
    assert codes == [0]


def test_passes_by_hand_are_one_at_a_time():
    """A step that a Python layer takes within a step of the same model has the same memory."""

    class Nested(nn.PythonLayer):
        def forward(self, x):
            model.forward(x)
            return x

        def backward(self, grad_out):
            return grad_out

    model = nn.Sequential([Nested(), nn.Linear(2)]).build((8,), 0)
    with pytest.raises(nn.BusyError, match=r"Sequential.forward: .* but its Sequential.forward has not ended"):
        model.forward(X)


def test_building_while_others_predict_gives_one_net_or_the_other():
    """Shapes, weights and machine code are of one network, of whichever."""
    model = nn.Sequential([nn.Linear(5), nn.Tanh(), nn.Linear(3)])
    widths, expected = (4, 9), {}
    for width in widths:
        expected[width] = model.build((width,), width).predict(np.ones((2, width))).tobytes()
    wrong, stop = [], threading.Event()

    def predict():
        while not stop.is_set():
            for width in widths:
                try:
                    out = model.predict(np.ones((2, width), np.float32))
                    f = model.as_function()
                    if out.tobytes() != expected[width] or f.brought[0].shape[0] not in widths:
                        wrong.append(out)
                except nn.ShapeError:
                    pass
                except Exception as error:
                    wrong.append(error)

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        model.build((widths[turn % 2],), widths[turn % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert model.predict(np.ones((2, widths[1]))).tobytes() == expected[widths[1]]  # and none is left over


# -------------------------------------------------------------------------------------------------- calls within calls


def test_predict_within_predict_has_memory_of_its_own():
    """A Python layer, in the middle of a prediction, predicts other rows with the very same model."""
    depth = [0]

    class Nested(nn.PythonLayer):
        def forward(self, x):
            if depth[0] < 3:
                depth[0] += 1
                model.predict(np.full((len(x), 8), depth[0], np.float32))
                depth[0] -= 1
            return x

        def backward(self, grad_out):
            return grad_out

    model = nn.Sequential([nn.Linear(4), Nested(), nn.Linear(2)]).build((8,), 0)
    plain = nn.Sequential([model.layers[0], model.layers[2]]).build((8,), 0)
    for mine, theirs in zip(plain.parameters().values(), model.parameters().values(), strict=True):
        mine[...] = theirs
    for rows in (1, 3, 1):
        x = np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32)
        np.testing.assert_array_equal(model.predict(x), plain.predict(x))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_predict_in_a_signal_handler_changes_no_other_answer():
    model = nn.Sequential([nn.Linear(32), nn.Tanh(), nn.Linear(4)]).build((8,), 0)
    rows = np.random.default_rng(0).normal(size=(50, 1, 8)).astype(np.float32)
    expected = [model.predict(row).tobytes() for row in rows]
    other = np.full((1, 8), 7, np.float32)
    answer, calls, wrong = model.predict(other).tobytes(), [], 0

    def handler(number, frame):
        calls.append(model.predict(other).tobytes() == answer)
        signal.setitimer(signal.ITIMER_REAL, 2e-4)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 2e-4)
    try:
        while len(calls) < 200:
            wrong += sum(model.predict(row).tobytes() != right for row, right in zip(rows, expected, strict=True))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert wrong == 0
    assert all(calls)


def test_predict_in_many_threads_keeps_as_many_predictors():
    model = nn.Sequential([nn.Linear(32), nn.Tanh(), nn.Linear(4)]).build((8,), 0)
    row = np.ones((1, 8), np.float32)
    expected = model.predict(row).tobytes()
    with joblib.parallel_backend("threading", n_jobs=4):
        answers = joblib.Parallel()(joblib.delayed(model.predict)(row) for _ in range(200))
    assert {answer.tobytes() for answer in answers} == {expected}
    for _ in range(50):
        model.predict(row)
        model.predict(np.ones((300, 8)))
    assert 1 <= len(model._executor.idle) <= 4


# ------------------------------------------------------------------------------------------- memory that can be written


def mapped(model, tmp_path):
    joblib.dump(model, tmp_path / "model")
    return joblib.load(tmp_path / "model", mmap_mode="r")


def unpickled(model, tmp_path):
    """With every array read-only, as some transports hand them over."""
    buffers = []
    data = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])


@pytest.mark.parametrize("again", [mapped, unpickled, lambda model, _: pickle.loads(pickle.dumps(model))])
def test_what_is_written_can_be_written(again, tmp_path):
    model = norms().build((8,), 0)
    model.fit(X, Y, epochs=1, random_state=0)
    copy = again(model, tmp_path)
    for each in (model, copy):
        each.forward(X, training=True)
        each.fit(X, Y, epochs=2, random_state=1)
    for name, array in {**copy.parameters(), **copy.states()}.items():
        assert array.flags.writeable and array.ctypes.data % 64 == 0
        np.testing.assert_array_equal(array, {**model.parameters(), **model.states()}[name])


@pytest.mark.parametrize("make", [nn.NNClassifier, nn.NNRegressor])
def test_estimators_from_a_memory_map_go_on(make, tmp_path):
    y = (X[:, 0] > 0).astype(int)
    net = make(layers=[16, nn.BatchNorm1d(), nn.ReLU()], epochs=2, random_state=0, warm_start=True).fit(X, y)
    copy = mapped(net, tmp_path)
    for each in (net, copy):
        each.fit(X, y)
        each.partial_fit(X, y)
    np.testing.assert_array_equal(copy.predict(X), net.predict(X))


def _train(model):
    model.fit(X, Y, epochs=1, random_state=0, n_threads=1)
    return model.states()["1.running_mean"]


def test_processes_that_share_large_arrays_get_their_own():
    """joblib hands arrays of more than 1 MB to its workers as read-only maps of one file."""
    model = nn.Sequential([nn.Linear(300_000), nn.BatchNorm1d(), nn.Linear(2)]).build((8,), 0)
    (mean,) = joblib.Parallel(n_jobs=2)(joblib.delayed(_train)(model) for _ in range(1))
    np.testing.assert_array_equal(mean, _train(model.copy()))


def test_read_only_data_is_never_written():
    def read_only(array):
        array = np.array(array)
        array.flags.writeable = False
        return array

    weights = read_only(np.ones(64))
    model = norms()
    model.fit(read_only(X), read_only(Y), sample_weight=weights, epochs=2, random_state=0)
    free = norms()
    free.fit(X, Y, sample_weight=np.ones(64), epochs=2, random_state=0)
    np.testing.assert_array_equal(network_of(model).vector, network_of(free).vector)
    assert model.evaluate(read_only(X), read_only(Y), sample_weight=weights) == free.evaluate(X, Y)
    prediction = read_only(model.predict(X))
    loss, grad = nn.MSELoss()(prediction, read_only(Y.astype(np.float32)))
    assert np.isfinite(loss) and grad.flags.writeable


def test_what_users_do_to_the_arrays_they_are_given_changes_numbers_only():
    """Not the flags, shape and dtype of the model's own."""
    for change in ({"dtype": np.dtype("f8")}, {"shape": (2, 3)}, {}):
        model = norms().build((8,), 0)
        for given in (model.states(), model.parameters(), model.gradients()):
            for array in given.values():
                array.flags.writeable = False
                if array.shape == (6,):
                    for name, value in change.items():
                        setattr(array, name, value)
        expected = norms().build((8,), 0)
        for each in (model, expected):
            each.fit(X, Y, epochs=1, random_state=0)
        np.testing.assert_array_equal(model.states()["1.running_mean"], expected.states()["1.running_mean"])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_handler_that_asks_for_the_same_model_does_not_wait_for_ever(tmp_path):
    """In a process of its own, as what it shows is a hang."""
    script = """if True:
        import faulthandler, signal
        import numpy as np
        import nnkit as nn
        model, x, calls = nn.Sequential([nn.Linear(4)]).build((3,), 0), np.ones((1, 3), np.float32), []
        def forward():
            try:
                model.forward(x)
            except nn.BusyError:
                pass
        def handler(number, frame):
            calls.append(forward())
            signal.setitimer(signal.ITIMER_REAL, 1e-5)
        forward()
        faulthandler.dump_traceback_later(60, exit=True)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 1e-5)
        while len(calls) < 8000:
            forward()
        signal.setitimer(signal.ITIMER_REAL, 0)
        model.forward(x)
        """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


CHANGES = {
    "one more": lambda layers: layers.append(nn.Linear(4)),
    "one before": lambda layers: layers.insert(0, nn.Identity()),
    "one less": lambda layers: layers.pop(0),
    "another": lambda layers: layers.__setitem__(0, nn.Linear(7)),
    "one within": lambda layers: layers[1].layers.append(nn.Tanh()),
    "none": lambda layers: layers.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_list_of_layers_that_was_changed_is_not_taken_for_that_of_the_numbers(change):
    model = nn.Sequential([nn.Linear(4), nn.Sequential([nn.ReLU(), nn.Linear(4)]), nn.Linear(2)]).build((8,), 0)
    before = model.predict(X)
    CHANGES[change](model.layers)
    for use in (lambda: model[1:2], lambda: model[-1:], model.copy, lambda: model.fit(X, Y),
                lambda: nn.trace(model, X[:1], Y[:1])):  # fmt: skip
        with pytest.raises(nn.ParameterError, match="expected the layers that the model was built with"):
            use()
    with pytest.raises(nn.ParameterError):
        nn.Sequential([model, nn.Linear(1)]).build((8,), 0)
    np.testing.assert_array_equal(model.predict(X), before)


def test_a_layer_that_was_changed_after_building_is_not_copied():
    model = norms().build((8,), 0)
    model.layers[0].out_features = 1  # one number would fit everywhere
    with pytest.raises(nn.ShapeError, match="was a layer changed after the model was built"):
        model.copy()


@pytest.mark.filterwarnings("error")
def test_a_part_without_parameters_can_be_stepped(capfd):
    model = nn.Sequential([nn.Linear(4), nn.ReLU(), nn.Linear(2)]).build((3,), 0)
    part = model[1:2]
    part.forward(np.ones((2, 4)), training=True)
    part.backward(np.ones((2, 4)))
    nn.SGD(lr=0.1, clip_norm=1.0).step(part)
    assert (np.full(1, 1e-40, np.float32) * np.ones(1, np.float32))[0] > 0  # the thread computes as before
    assert capfd.readouterr().err == ""
