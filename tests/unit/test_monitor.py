"""Monitor: it sees what is there, changes nothing, and warns of sick nets only."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits

import nnkit as nn
from nnkit.network import network_of

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = (DIGITS[:600] / 16).astype(np.float32)
LABELS = LABELS[:600]
RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(0, 20, (200, 8))


class Noise(nn.PythonLayer):
    """Draws from a generator of its own: whoever runs it once more changes what comes."""

    def __init__(self):
        self.random = np.random.default_rng(5)

    def forward(self, x, training):
        return x + 0.1 * self.random.standard_normal(x.shape) if training else x

    def backward(self, grad_out):
        return grad_out


def fit(layers, X=DIGITS, y=LABELS, *, prepare=None, monitor=None, **options):
    """The monitor, the history (None where training failed), the model, and the warnings."""
    monitor = nn.Monitor() if monitor is None else monitor
    options = {"loss": "cross_entropy", "epochs": 6, "random_state": 0, **options}
    model = nn.Sequential(layers).build(X.shape[1:], random_state=0)
    if prepare is not None:
        prepare(model.parameters())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", nn.TrainingWarning)
        try:
            history = model.fit(X, y, callbacks=[monitor] if monitor else [], **options)
        except nn.NonFiniteError:
            history = None
    return monitor, history, model, [str(item.message) for item in caught]


# ------------------------------------------------------------------------------------------------------- what it sees


def test_what_it_notes_is_what_is_there():
    """Redone by hand for a net of two layers, with plain NumPy."""
    X = RANDOM.standard_normal((40, 3))
    y = X[:, :1] ** 2
    model = nn.Sequential([nn.Linear(4), nn.ReLU(), nn.Linear(1)]).build((3,), random_state=1, dtype="float64")
    w = {name: array.copy() for name, array in model.parameters().items()}
    monitor = nn.Monitor(rows=1000)
    model.fit(X, y, loss="mse", optimizer=nn.SGD(lr=0.1), epochs=1, random_state=0, callbacks=[monitor])
    z = X @ w["0.weight"] + w["0.bias"]
    a = np.maximum(z, 0)
    out = a @ w["2.weight"] + w["2.bias"]
    delta_out = 2 * (out - y) / len(X)
    delta = delta_out @ w["2.weight"].T * (z > 0)
    look = monitor.looks[0]
    hidden, relu, last = look.layers.values()
    np.testing.assert_allclose(look.loss, ((out - y) ** 2).mean())
    np.testing.assert_allclose([hidden.mean, hidden.std], [z.mean(), z.std()])
    np.testing.assert_allclose([relu.mean, relu.std], [a.mean(), a.std()])
    np.testing.assert_allclose(hidden.delta, np.sqrt((delta**2).mean()))
    np.testing.assert_allclose(last.delta, np.sqrt((delta_out**2).mean()))
    assert (relu.units, relu.dead) == (4, int((z <= 0).all(axis=0).sum()))
    np.testing.assert_allclose(relu.saturated, (z <= 0).mean())
    weight = look.parameters["0.weight"]
    ratio = np.linalg.norm(X.T @ delta) / np.linalg.norm(w["0.weight"])
    np.testing.assert_allclose([weight.gradient, weight.update], [ratio, 0.1 * ratio])
    assert (look.epoch, look.step, look.rows) == (0, 0, 40)
    assert monitor.looks[1].epoch == 1
    np.testing.assert_allclose(monitor.looks[1].loss, model.evaluate(X, y))


def test_the_update_is_the_one_that_the_optimizer_makes():
    """A batch that is all of the data: the next step can be compared with what the look has foretold."""
    X, y = DIGITS[:100], LABELS[:100]
    kept = []
    optimizer = nn.AdamW(lr=0.01, clip_norm=0.5, schedule=nn.CosineSchedule())
    remember = nn.LambdaCallback(lambda fit: kept.append(fit.model.parameters()["0.weight"].copy()))
    monitor = nn.Monitor()
    fit([nn.Linear(16), nn.Tanh(), nn.Linear(10)], X, y, monitor=monitor, optimizer=optimizer, epochs=1, batch_size=100)
    nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Linear(10)]).build((64,), random_state=0).fit(
        X, y, loss="cross_entropy", optimizer=optimizer, epochs=4, batch_size=100, random_state=0, callbacks=[remember, monitor]
    )
    for before, after, look in zip(kept[:-1], kept[1:], monitor.looks[1:-1], strict=True):
        moved = np.linalg.norm(after - before) / np.linalg.norm(before)
        np.testing.assert_allclose(look.parameters["0.weight"].update, moved, rtol=1e-3)


def test_units_are_features_or_maps():
    image = DIGITS.reshape(-1, 1, 8, 8)
    layers = [nn.Conv2d(5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(7), nn.ReLU(), nn.Linear(10)]
    monitor, *_ = fit(layers, image, epochs=1)
    assert [layer.units for layer in monitor.looks[0].layers.values()] == [0, 5, 0, 7, 0]
    monitor, *_ = fit([nn.Conv1d(5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(10)], DIGITS.reshape(-1, 8, 8), epochs=1)
    assert monitor.looks[0].layers["layer 1, ReLU()"].units == 5
    layers = [nn.TimeDistributed([nn.Linear(6), nn.ReLU()]), nn.Linear(9), nn.ReLU(), nn.Flatten(), nn.Linear(10)]
    monitor, *_ = fit(layers, DIGITS.reshape(-1, 8, 8), epochs=1)
    assert [layer.units for layer in monitor.looks[0].layers.values() if layer.units] == [6, 9]


@pytest.mark.parametrize("activation", [part for part in nn.registry.activations.values() if part.elementwise])
def test_slopes_of_every_activation_are_finite_differences(activation):
    """s'(z) from the activation's own backward: the share of flat numbers is that of differences."""
    part = activation.examples()[0].part
    model = nn.Sequential([part]).build((1,), dtype="float64")
    X = np.linspace(max(-9.0, activation.domain[0] + 1e-3), min(9.0, activation.domain[1]), 1001).reshape(-1, 1)
    monitor = nn.Monitor(rows=2000)
    monitor_fit = dict(loss="mse", optimizer=nn.SGD(lr=0.0001), epochs=1, callbacks=[monitor])
    net = nn.Sequential([part, nn.Linear(1)]).build((1,), dtype="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nn.TrainingWarning)
        net.fit(X, X, **monitor_fit)
    slopes = np.abs((model.predict(X + 1e-6) - model.predict(X - 1e-6)) / 2e-6)
    seen = next(iter(monitor.looks[0].layers.values())).saturated
    assert abs(seen - (slopes < 0.0099 * slopes.max()).mean()) < 0.02


def test_the_same_rows_each_time_whatever_they_come_from():
    model = nn.Sequential([nn.Linear(4)])
    seen = []

    class Sampler(nn.Callback):
        def on_epoch_end(self, fit):
            seen.append(fit.sample(50))

    X, weights = scipy.sparse.random(300, 12, 0.3, format="csr", random_state=0), RANDOM.uniform(1, 2, 300)
    y = RANDOM.integers(0, 4, 300)
    model.fit(X, y, loss="cross_entropy", epochs=2, sample_weight=weights, validation_split=0.5, callbacks=[Sampler()])
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)
    rows, labels, row_weights = seen[0]
    assert rows.shape == (50, 12) and labels.shape == row_weights.shape == (50,)
    places = [int(np.flatnonzero(weights == weight)[0]) for weight in row_weights]
    np.testing.assert_array_equal(X.toarray()[places], rows)
    np.testing.assert_array_equal(y[places], labels)


def test_sparse_rows_and_weights_and_the_python_engine():
    X = scipy.sparse.csr_matrix(DIGITS[:60])
    monitor, *_ = fit([nn.Linear(8), nn.ReLU(), nn.Linear(10)], X, LABELS[:60], epochs=2, sample_weight=np.ones(60))
    dense, *_ = fit([nn.Linear(8), nn.ReLU(), nn.Linear(10)], DIGITS[:60], LABELS[:60], epochs=2, engine="python")
    np.testing.assert_allclose(monitor.looks[0].loss, dense.looks[0].loss, rtol=1e-5)
    np.testing.assert_allclose(monitor.series("delta")["layer 1, ReLU()"], dense.series("delta")["layer 1, ReLU()"], rtol=1e-3)


def test_how_often_it_looks():
    monitor, *_ = fit([nn.Linear(10)], monitor=nn.Monitor(every=3), epochs=7)
    assert [look.epoch for look in monitor.looks] == [0, 3, 6, 7]
    with pytest.raises(nn.ParameterError, match="every"):
        nn.Monitor(every=0)
    with pytest.raises(nn.ParameterError, match="rows"):
        nn.Monitor(rows=0.5)


def test_rows_with_large_activations_are_fewer(monkeypatch):
    monkeypatch.setattr("nnkit.inspect.monitor.observer.MEMORY", 3 * 4 * 74 * 10)
    monitor, *_ = fit([nn.Linear(64), nn.Linear(10)], epochs=1)
    assert monitor.looks[0].rows == 10


# ------------------------------------------------------------------------------------------------- it changes nothing

NETS = {
    "statistics and dropout": [nn.Linear(40), nn.BatchNorm1d(), nn.ReLU(), nn.Dropout(0.3), nn.Linear(10)],
    "a generator in a layer": [nn.Linear(10), Noise()],
    "used twice": [nn.Linear(64), *[nn.Linear(64)] * 2, nn.Linear(10)],
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_training_is_the_same_to_the_bit(name):
    pickled = pickle.dumps(NETS[name])  # layers with a state of their own begin alike
    schedule = nn.ReduceOnPlateau(gamma=0.5, patience=0, threshold=0.5)
    options = {"optimizer": nn.Adam(lr=0.01, schedule=schedule), "validation_split": 0.2, "epochs": 3}
    *_, history, watched, _ = fit(pickle.loads(pickled), **options)
    *_, unseen, alone, _ = fit(pickle.loads(pickled), monitor=False, **options)
    assert dict(history) == dict(unseen)
    np.testing.assert_array_equal(network_of(watched).vector, network_of(alone).vector)
    for key, state in alone.states().items():
        np.testing.assert_array_equal(watched.states()[key], state)
    assert network_of(watched).random_position == network_of(alone).random_position


def test_a_resumed_fit_has_seen_the_same(tmp_path):
    class Stop(nn.Callback):
        late = True

        def on_batch_end(self, fit):
            if fit.step == 27:
                raise RuntimeError("stopped")

    def run(extra=(), **more):
        monitor = nn.Monitor()
        model = nn.Sequential([nn.Linear(16), nn.BatchNorm1d(), nn.ReLU(), nn.Linear(10)])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", nn.TrainingWarning)
            model.fit(DIGITS, LABELS, loss="cross_entropy", optimizer=nn.SGD(lr=1e-10), epochs=4, random_state=0,
                      callbacks=[monitor, *extra], **more)  # fmt: skip
        return monitor, model, [str(item.message) for item in caught]

    expected, model, said = run()
    assert len(said) == 1 and "hardly move" in said[0]
    checkpoint = nn.Checkpoint(tmp_path / "a.safetensors", every=0.35)
    with pytest.raises(RuntimeError):
        run([checkpoint, Stop()])
    again, resumed, told = run([checkpoint], resume=True)
    assert repr(again.looks) == repr(expected.looks)
    assert again.warned == expected.warned
    assert told == []  # it was told before
    np.testing.assert_array_equal(network_of(resumed).vector, network_of(model).vector)


@pytest.mark.parametrize("noted", [{}, {"looks": [{}], "warned": {}}, {"looks": 3, "warned": {}}, {"looks": [], "warned": 3}])
def test_what_no_monitor_has_noted_is_refused(noted):
    with pytest.raises(nn.ParameterError, match="expected what such a callback has noted"):
        nn.Monitor().resume(noted)


def test_after_the_fit_it_can_be_pickled_and_used_again():
    monitor, *_ = fit([nn.Linear(10)], epochs=2)
    again = pickle.loads(pickle.dumps(monitor))
    assert [look.loss for look in again.looks] == [look.loss for look in monitor.looks]
    fit([nn.Linear(10)], epochs=1, monitor=again)
    assert len(again.looks) == 2


def test_a_pickle_of_before_loads():
    monitor, *_ = fit([nn.Linear(10)], epochs=1)
    pickled = pickle.dumps(monitor, protocol=0)  # names modules in full, whatever their length
    for now, before in (("monitor.monitor", "monitor"), ("monitor.look", "observer")):
        now, before = (f"nnkit.inspect.{name}\n".encode() for name in (now, before))
        assert now in pickled
        pickled = pickled.replace(now, before)
    assert repr(pickle.loads(pickled).looks) == repr(monitor.looks)


def test_it_watches_an_estimator():
    monitor = nn.Monitor()
    nn.NNClassifier(layers=[16], epochs=3, callbacks=[monitor], random_state=0).fit(DIGITS, LABELS)
    assert len(monitor.looks) == 4


# ------------------------------------------------------------------------------------------------------------- healthy


def block():
    return [nn.Residual([nn.LayerNorm(), nn.MultiHeadAttention(2, causal=True)]),
            nn.Residual([nn.LayerNorm(), nn.Linear(32), nn.GELU(), nn.Linear(16)])]  # fmt: skip


IMAGES, ROWS = DIGITS.reshape(-1, 1, 8, 8), DIGITS.reshape(-1, 8, 8)
HEALTHY = {
    "MLP": dict(layers=[nn.Linear(64), nn.ReLU(), nn.Linear(64), nn.ReLU(), nn.Linear(10)], epochs=30),
    "deep MLP": dict(layers=[*(part for _ in range(7) for part in (nn.Linear(64), nn.ReLU())),
                             nn.Linear(10)], epochs=30),
    "tanh, a high rate": dict(layers=[nn.Linear(64), nn.Tanh(), nn.Linear(10)], optimizer=nn.Adam(lr=0.02), epochs=40),
    "digits from 0 to 16": dict(layers=[nn.Linear(64), nn.ReLU(), nn.Linear(10)], X=DIGITS * 16, epochs=10),
    "one step an epoch": dict(layers=[nn.Linear(64), nn.Tanh(), nn.Linear(10)], optimizer=nn.Adam(lr=0.1), batch_size=600),
    "flat on both sides": dict(layers=[nn.Linear(64), nn.ReLU6(), nn.Linear(64), nn.Hardtanh(), nn.Linear(10)], epochs=20),
    "sure of itself": dict(layers=[nn.Linear(32), nn.ReLU(), nn.Linear(1), nn.Sigmoid()], y=(LABELS[:, None] == 3) * 1.0,
                           loss="bce", optimizer=nn.Adam(lr=0.02), epochs=40),
    "CNN": dict(layers=[nn.Conv2d(8, 3), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(10)], X=IMAGES),
    "LSTM": dict(layers=[nn.LSTM(16), nn.Linear(10)], X=ROWS, y=LABELS),
    "GPT": dict(layers=[nn.Embedding(20, 16), nn.PositionalEmbedding(), *block(), *block(), nn.LayerNorm(), nn.Linear(20)],
                X=TOKENS, y=np.roll(TOKENS, 1, axis=1)),
    "input that is scaled first": dict(layers=[nn.BatchNorm1d(), nn.Linear(32), nn.ReLU(), nn.Linear(10)], X=DIGITS * 1e4),
    "labels that mean nothing": dict(layers=[nn.Linear(10)], y=RANDOM.permutation(LABELS), epochs=12),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_of_a_healthy_net(name):
    *_, said = fit(**HEALTHY[name])
    assert said == []


# ---------------------------------------------------------------------------------------------------------------- sick


def times(factor):
    def change(parameters):
        for array in parameters.values():
            if array.ndim > 1:
                array *= factor

    return change


def no_light(parameters):
    parameters["0.bias"][...] = -100.0


def deep(activation, layers):
    return [part for _ in range(layers) for part in (nn.Linear(32), activation())] + [nn.Linear(10)]


def swinging():
    """Gradient descent on a parabola with nearly twice the best rate: w, -0.9 w, 0.81 w, ..."""
    x = np.ones((8, 1))
    return dict(layers=[nn.Linear(1, bias=False)], X=x, y=0 * x, loss="mse", optimizer=nn.SGD(lr=0.95), epochs=12)


SMALL = [nn.Linear(64), nn.ReLU(), nn.Linear(10)]
SICK = {
    "dead": (dict(layers=SMALL, prepare=no_light, epochs=2),
             [r"^layer 1, ReLU\(\): 64 of 64 units have slope 0 for all of 256 rows .* LeakyReLU$"]),
    "dead maps": (dict(layers=[nn.Conv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(10)], X=IMAGES, prepare=no_light, epochs=2),
                  [r"^layer 1, ReLU\(\): 4 of 4 units"]),
    "vanishing": (dict(layers=deep(nn.Sigmoid, 12), epochs=2),
                  [r"^delta vanishes .* at layer 24, Linear\(out_features=10\), but .* at layer 0, Linear"]),
    "exploding": (dict(layers=deep(nn.ReLU, 6), prepare=times(30), epochs=2), [r"^delta explodes .* clip the gradient"]),
    "saturated": (dict(layers=[nn.Linear(64), nn.Tanh(), nn.Linear(10)], prepare=times(30), epochs=2),
                  [r"^layer 1, Tanh\(\): [78]\d% of the numbers lie where the function is flat"]),
    "still": (dict(layers=SMALL, optimizer=nn.SGD(lr=1e-12), epochs=2), [r"^weights hardly move: .* raise the learning rate"]),
    "level": (dict(layers=SMALL, optimizer=nn.SGD(lr=1e-12)),
              [r"^weights hardly move", r"^the loss has not fallen in 5 epochs: it was 2\.3\d+ before"]),
    "wild": (swinging(), [r"^weights move wildly: the next step would change '0\.weight' by 2 of its size"]),
    "large input": (dict(layers=SMALL, X=DIGITS * 1e4, epochs=2), [r"^the input is not scaled: \d+ of the 64 numbers"]),
    "small input": (dict(layers=[nn.Linear(10)], X=DIGITS * 1e-5, epochs=2), [r"^the input is not scaled: the numbers of a "]),
    "not finite": (dict(layers=[nn.Linear(64), nn.Linear(1)], y=LABELS[:, None] * 100.0, loss="mse", optimizer=nn.SGD(lr=1.0)),
                   [r"^training has met numbers that are not finite; the outputs of layer \d, .* had grown most, from "]),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_a_sick_net_is_told_what_it_has_and_nothing_else(name):
    case, expected = SICK[name]
    monitor, *_, said = fit(**case)
    assert len(said) == len(expected)
    for message, pattern in zip(said, expected, strict=True):
        assert np.char.count(message, "\n") == 0
        with pytest.raises(nn.TrainingWarning, match=pattern):
            raise nn.TrainingWarning(message)
    assert list(monitor.warned.values()) == said


def test_what_a_layer_has_made_large_is_not_the_data():
    def large(parameters):
        parameters["0.weight"][...] = 1e4

    *_, said = fit([nn.LayerNorm(), nn.Linear(10)], prepare=large, epochs=2)
    assert not [message for message in said if "input" in message]


def test_warnings_can_be_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(nn.TrainingWarning, match="64 of 64 units"):
            model = nn.Sequential(SMALL).build((64,))
            no_light(model.parameters())
            model.fit(DIGITS, LABELS, loss="cross_entropy", callbacks=["monitor"])


# -------------------------------------------------------------------------------------------------------------- shown


def test_the_last_look_as_a_table():
    monitor, *_ = fit(SMALL, prepare=no_light, epochs=2)
    lines = str(monitor).splitlines()
    assert lines[0].startswith("After epoch 2, step 20: 256 rows, loss 2.")
    assert any(line.startswith("1 ReLU()") and "64/64" in line and "100%" in line for line in lines)
    assert sum(line.startswith("  .weight") for line in lines) == 2
    assert lines[-1].startswith("! layer 1, ReLU(): 64 of 64")
    assert all(line.isascii() for line in lines)
    assert "<table>" in monitor._repr_html_() and "64 of 64" in monitor._repr_html_()
    assert repr(monitor) == "Monitor()"


def test_a_shared_layer_shows_its_parameters_once():
    shared = nn.Linear(64)
    monitor, *_ = fit([shared, nn.Tanh(), shared, nn.Linear(10)], epochs=1)
    assert str(monitor).count(".bias") == 2


def test_before_any_fit():
    monitor = nn.Monitor(every=2)
    assert str(monitor) == monitor._repr_html_() == "Monitor(every=2)"
    assert monitor.series("delta") == {}
    with pytest.raises(nn.NotBuiltError, match="callbacks="):
        monitor.plot()


def test_series_of_a_figure():
    monitor, *_ = fit(SMALL, epochs=3)
    assert list(monitor.series("gradient")) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert monitor.series("std")["layer 1, ReLU()"].shape == (4,)
    for figure in ("norm", "home", "axes", None):  # the last but one are attributes, but no figures
        with pytest.raises(nn.ParameterError, match=f"expected one of 'mean', .*, got {figure!r}"):
            monitor.series(figure)


def test_layers_are_called_as_in_the_summary():
    monitor, _, model, *_ = fit(SMALL, epochs=1)
    names = {line.split("  ")[0] for line in str(monitor).splitlines()}
    assert {item.name for item in model.summary().layers} <= names
