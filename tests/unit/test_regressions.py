"""Mistakes that were made once."""

import types

import numpy as np
import pandas as pd
import pytest

import nnkit as nn
from nnkit.network import network_of

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(300, 5))
Y = X.sum(axis=1, keepdims=True)


def gradient_of(layer, repeat=1):
    model = nn.Sequential([nn.Linear(8), layer, nn.Linear(8), nn.Tanh(), nn.Linear(1)]).build((5,), 0, "float64")
    out = model.forward(X, training=True)
    for _ in range(repeat):
        model.backward(out - Y)
    return network_of(model).gradient.copy()


class Kept(nn.PythonLayer):
    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, grad_out):
        return 2 * self.x * grad_out


class Named(nn.PythonLayer):
    def forward(self, x):
        return x * x

    def backward(self, x, grad_out):
        return 2 * x * grad_out


def test_python_layer_may_keep_its_input_for_backward():
    np.testing.assert_array_equal(gradient_of(Kept()), gradient_of(Named()))
    losses = [
        nn.Sequential([nn.Linear(8), layer, nn.Tanh(), nn.Linear(1)]).fit(X, Y, epochs=3, random_state=0)["loss"]
        for layer in (Kept(), Named())
    ]
    assert losses[0] == losses[1]


def test_second_backward_gives_the_same_gradient():
    np.testing.assert_array_equal(gradient_of(nn.ReLU()), gradient_of(nn.ReLU(), repeat=3))


class Doubled(nn.Layer):
    inplace = True  # as it must not be: the output does not fit into the input

    def build(self, in_shape):
        return (2 * in_shape[0],)

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j]
                out[n, x.shape[1] + j] = x[n, j]

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = grad_out[n, j] + grad_out[n, grad_x.shape[1] + j]


def test_layer_that_grows_never_works_in_place():
    model = nn.Sequential([Doubled(), nn.Identity()]).build((5,), dtype="float64")
    np.testing.assert_array_equal(model.predict(X), np.hstack([X, X]))


settings = types.ModuleType("settings")
settings.rate = 10.0


class Rated(nn.Activation):
    def __init__(self, rate=2.0):
        self.rate = rate

    @staticmethod
    def forward(x, rate):
        return x * rate * settings.rate

    @staticmethod
    def backward(grad_out, rate):
        return grad_out * rate * settings.rate


def test_constant_of_a_module_does_not_hide_behind_an_argument():
    assert nn.Sequential([Rated()]).build((2,)).predict([[1.0, 2.0]]).tolist() == [[20.0, 40.0]]


MODE = "same"


class Texted(nn.Activation):
    @staticmethod
    def forward(x):
        return x if MODE == "same" else -x

    @staticmethod
    def backward(grad_out):
        return grad_out


def test_text_constant_is_refused():
    with pytest.raises(nn.KernelError, match="MODE of type str"):
        nn.Sequential([Texted()]).build((2,)).predict([[1.0, 2.0]])


def test_early_stopping_knows_that_negated_errors_rise():
    stopping = nn.EarlyStopping(monitor="val_neg_mean_squared_error", patience=3)
    history = nn.Sequential(["linear"]).fit(
        X, Y, epochs=20, validation_split=0.2, random_state=0, metrics="neg_mean_squared_error",
        optimizer=nn.Adam(lr=0.05), callbacks=[stopping],
    )  # fmt: skip
    assert history.best_epoch > 10


def test_early_stopping_gets_over_a_first_figure_that_is_nan():
    class Late(nn.Metric):
        calls = 0

        def __call__(self, y, prediction, loss, sample_weight=None):
            self.calls += 1
            return float("nan") if self.calls == 1 else float(self.calls)

    stopping = nn.EarlyStopping(monitor="Late", patience=2, mode="max")
    history = nn.Sequential(["linear"]).fit(X, Y, epochs=8, metrics=[Late()], callbacks=[stopping], random_state=0)
    assert (history.epochs, history.best_epoch) == (8, 7)


class Sabotage(nn.Callback):
    def on_epoch_end(self, fit):
        if fit.epoch == 3:
            fit.network.vector *= 1e30


def test_best_parameters_and_history_survive_an_error():
    model = nn.Sequential([nn.Linear(8), nn.Linear(1)])
    with pytest.raises(nn.NonFiniteError) as caught:
        model.fit(X, Y, epochs=10, callbacks=[nn.EarlyStopping(), Sabotage()], random_state=0)
    assert np.abs(network_of(model).vector).max() < 10
    assert len(caught.value.history["loss"]) == 4
    assert caught.value.history.stopped == "failed: NonFiniteError"


def test_parameters_of_the_very_last_step_are_checked():
    with pytest.raises(nn.NonFiniteError, match=r"parameter '0\.\w+' of layer 0"):
        nn.Sequential(["linear"]).fit(X * 100, Y, epochs=1, batch_size=300, optimizer=nn.SGD(lr=1e38))


def test_rows_in_records_are_read_right():
    records = np.zeros(300, dtype=[("id", "u1"), ("image", "f4", (2, 3))])
    records["image"] = RANDOM.normal(size=(300, 2, 3))
    model = nn.Sequential([nn.Flatten(), nn.Linear(1)]).build((2, 3), random_state=0)
    np.testing.assert_array_equal(model.predict(records["image"]), model.predict(records["image"].copy()))


class Counted(nn.Layer):
    """Counts the rows that it has seen in training."""

    inplace = True

    def build(self, in_shape):
        self.state("seen", (1,))
        return in_shape

    @staticmethod
    def forward(x, seen, training, out):
        out[:] = x
        if training:
            seen[0] += x.shape[0]

    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = grad_out


def test_states_are_written_by_one_shard():
    data = RANDOM.normal(size=(2048, 64)).astype(np.float32)
    model = nn.Sequential([nn.Linear(256), Counted(), nn.Linear(1)])
    model.fit(data, data[:, :1], epochs=3, batch_size=1024, n_threads=2)
    assert model.states()["1.seen"][0] == 3 * 2048


def test_step_by_hand_follows_its_schedule():
    model = nn.Sequential(["linear"]).build((5,), random_state=0)
    optimizer = nn.SGD(lr=0.1, schedule=nn.LinearWarmup(1.0))
    model.backward(model.forward(X) - Y)
    with pytest.raises(nn.ParameterError, match="epoch"):
        optimizer.step(model)
    before = network_of(model).vector.copy()
    optimizer.step(model, epoch=0.0)
    np.testing.assert_array_equal(network_of(model).vector, before)
    optimizer.step(model, epoch=0.5)
    np.testing.assert_allclose(before - network_of(model).vector, 0.05 * network_of(model).gradient, rtol=1e-3, atol=1e-6)


def test_changed_hyperparameters_are_followed_and_the_state_is_kept():
    model, optimizer = nn.Sequential(["linear"]).build((5,), random_state=0), nn.SGD(lr=0.01, momentum=0.9)
    model.backward(model.forward(X) - Y)
    optimizer.step(model)
    velocity, before = network_of(model).gradient.copy(), network_of(model).vector.copy()
    optimizer.weight_decay = 0.5
    optimizer.step(model)
    expected = 0.01 * (0.9 * velocity + velocity + 0.5 * before)
    np.testing.assert_allclose(before - network_of(model).vector, expected, rtol=1e-4, atol=1e-5)


def test_plateau_is_looked_for_after_the_warm_up():
    schedule = nn.LinearWarmup(5, after=nn.ReduceOnPlateau(gamma=0.1, patience=1))
    for _ in range(5):
        schedule.observe(1.0)
    assert schedule.factor(np.array([6.0]), 10.0)[0] == 1.0


def test_frames_of_several_numeric_dtypes_are_read():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [True, False, True]})
    model = nn.Sequential([nn.Linear(1, weight_init="ones")]).build((2,))
    assert model.predict(frame).ravel().tolist() == [2.0, 2.0, 4.0]
    assert model.predict(frame.convert_dtypes()).ravel().tolist() == [2.0, 2.0, 4.0]


def test_weights_of_zero_on_one_side_of_the_split_are_refused():
    weights = np.zeros(300)
    weights[7] = 1.0
    with pytest.raises(nn.DataError, match="both sides"):
        nn.Sequential(["linear"]).fit(X, Y, sample_weight=weights, validation_split=0.2, epochs=1)


def test_numpy_numbers_serve_as_options():
    history = nn.Sequential(["linear"]).fit(X, Y, epochs=np.int64(1), n_threads=np.int64(2), validation_split=np.float32(0.25))
    assert history.epochs == 1


def test_failure_of_python_is_reported_before_numbers_that_are_not_finite():
    class Late(nn.PythonLayer):
        def forward(self, x):
            if x[0, 0] > 0:
                raise KeyError("mine")
            return np.full_like(x, np.nan)

        def backward(self, grad_out):
            return grad_out

    data = np.ones((512, 64), np.float32)
    data[:256] *= -1
    layers = [nn.Linear(512, weight_init="ones"), nn.Linear(512, weight_init="ones"), Late(), nn.Linear(1)]
    with pytest.raises(KeyError, match="mine"):
        nn.Sequential(layers).fit(data, data[:, :1], batch_size=512, epochs=1, shuffle=False)


FACTOR = 2.0


def scaled(value):
    return value * FACTOR


class Scaled(nn.Activation):
    @staticmethod
    def forward(x):
        return scaled(x)

    @staticmethod
    def backward(grad_out):
        return scaled(grad_out)


def test_changed_globals_are_seen_by_the_next_model(monkeypatch):
    def result():
        return nn.Sequential([Scaled()]).build((1,)).predict([[3.0]]).item()

    assert result() == 6.0
    monkeypatch.setitem(globals(), "FACTOR", 5.0)
    assert result() == 15.0
    monkeypatch.setitem(globals(), "scaled", doubled)
    assert result() == 6.0


def doubled(value):
    return value + value


@pytest.mark.parametrize("part", [nn.LeakyReLU(1), nn.ELU(2), nn.HuberLoss(delta=2)], ids=repr)
def test_integer_given_for_a_real_hyperparameter_does_not_widen_float32(part):
    check = nn.testing.check_loss if isinstance(part, nn.Loss) else nn.testing.check_activation
    assert "float64" not in repr(check(part))


class FoldedDouble(nn.PythonLayer):
    folds_rows = True

    def forward(self, x):
        return 2 * x

    def backward(self, grad_out):
        return 2 * grad_out


class FoldedSquare(nn.Layer):
    """Uses scratch of the shape of a row, and memory for its gradient."""

    folds_rows = True

    def build(self, in_shape):
        self.scratch("kept", in_shape)
        return in_shape

    @staticmethod
    def forward(x, kept, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                kept[n, j] = x[n, j] * x[n, j]
                out[n, j] = kept[n, j]

    @staticmethod
    def backward(x, grad_out, grad_kept, grad_x):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                grad_kept[n, j] = grad_out[n, j]
                grad_x[n, j] = 2.0 * x[n, j] * grad_kept[n, j]


@pytest.mark.parametrize("part", [FoldedDouble(), FoldedSquare()], ids=repr)
@pytest.mark.parametrize("in_shape", [(3,), (2, 3), (2, 2, 3)], ids=str)
def test_folded_rows_are_folded_everywhere(part, in_shape):
    nn.testing.check_layer(part, in_shape)


class KeepsItsOutput(nn.PythonLayer):
    """Keeps memory that it was given, not a copy: it must stay as it is until backward."""

    def forward(self, x, out):
        out[...] = np.exp(x)
        self.out = out
        return out

    def backward(self, grad_out):
        return grad_out * self.out


def test_python_layer_may_keep_all_that_forward_is_given():
    nn.testing.check_layer(KeepsItsOutput())


def test_training_a_slice_leaves_the_other_layers_alone():
    model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(1)]).build((5,), 0)
    model.backward(model.forward(X, training=True) - Y)  # gradients of all layers are there
    before = {name: array.copy() for name, array in model.parameters().items()}
    model[:2].fit(X, np.zeros((300, 8)), epochs=1, optimizer=nn.Adam(lr=0.1, weight_decay=0.1))
    changed = {name for name, array in model.parameters().items() if not np.array_equal(array, before[name])}
    assert changed == {"0.weight", "0.bias"}
    np.testing.assert_array_equal(model[2:].predict(model[:2].predict(X)), model.predict(X))
