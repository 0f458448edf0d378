"""What users of scikit-learn's MLPs have asked for; each test is named after the thread."""

import numpy as np
import pytest
import sklearn
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler, scale

import nnkit as nn
from nnkit.engine.workers import available_threads

IRIS = load_iris(return_X_y=True)
WINE = load_wine(return_X_y=True)
DIABETES = tuple(map(scale, load_diabetes(return_X_y=True)))


def test_6175_dropout():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    layers = [nn.Dropout(0.1), 64, nn.Dropout(0.3), 32]
    net = nn.NNClassifier(layers, optimizer=nn.Adam(lr=0.005), epochs=30, random_state=0).fit(X_train, y_train)
    assert [type(layer).__name__ for layer in net.model_] == [
        "Dropout",
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
        "ReLU",
        "Linear",
    ]
    assert net.score(X_test, y_test) > 0.93
    np.testing.assert_array_equal(net.predict_proba(X_test), net.predict_proba(X_test))  # nothing is dropped any more
    plain = clone(net).set_params(layers__0__rate=0.0, layers__2__rate=0.0).fit(X_train, y_train)
    assert plain.loss_ < net.loss_  # in training it is


def test_8291_transform():
    X, y = scale(WINE[0]), WINE[1]
    net = nn.NNClassifier([16, 5], optimizer=nn.Adam(lr=0.02), epochs=40, random_state=0).fit(X, y)
    hidden = net.transform(X)
    weight, bias = list(net.model_.parameters().values())[-2:]
    assert hidden.shape == (len(X), 5) and hidden.min() >= 0
    np.testing.assert_allclose(hidden @ weight + bias, net.decision_function(X), rtol=1e-6, atol=1e-9)
    for place, width in ((0, 16), (1, 16), (2, 5), (3, 5), (-2, 5), (4, 3), (-1, 3)):
        assert net.set_params(transform_layer=place).transform(X).shape == (len(X), width)
    np.testing.assert_allclose(net.transform(X), net.decision_function(X))


def test_8291_transform_in_a_pipeline():
    hidden = nn.NNClassifier([32, 8], optimizer=nn.Adam(lr=0.01), epochs=40, random_state=0)
    pipeline = make_pipeline(StandardScaler(), hidden, LogisticRegression())
    assert cross_val_score(pipeline, *WINE, cv=3).min() > 0.9
    pipeline.fit(*WINE)
    assert pipeline[-1].coef_.shape == (3, 8)


def test_8291_transform_gives_data_frames():
    X, y = load_wine(return_X_y=True, as_frame=True)
    net = make_pipeline(StandardScaler(), nn.NNClassifier([4], epochs=3, random_state=0)).set_output(transform="pandas")
    frame = net.fit(X, y).transform(X)
    names = ["nnclassifier0", "nnclassifier1", "nnclassifier2", "nnclassifier3"]
    assert list(frame.columns) == list(net.get_feature_names_out()) == names
    assert frame.index.equals(X.index)


def test_9113_class_weight():
    X, y = load_breast_cancer(return_X_y=True)
    rare = np.flatnonzero(y == 0)[:25]  # of 382
    rows = np.concatenate([rare, np.flatnonzero(y == 1)])
    X_train, X_test, y_train, y_test = train_test_split(scale(X)[rows, :2], y[rows], random_state=0, stratify=y[rows])
    net = nn.NNClassifier([8], optimizer=nn.Adam(lr=0.02), epochs=50, random_state=0)
    plain, balanced, dictionary = (
        balanced_accuracy_score(y_test, clone(net).set_params(class_weight=weight).fit(X_train, y_train).predict(X_test))
        for weight in (None, "balanced", {0: 10.0, 1: 1.0})
    )
    assert balanced > plain + 0.05 and dictionary > plain + 0.05


def test_9113_class_weight_is_the_sample_weight_of_every_row_of_the_class():
    X, y = IRIS
    net = nn.NNClassifier([8], epochs=5, random_state=0)
    weight = {0: 0.5, 1: 1.0, 2: 3.0}
    own = np.linspace(0.5, 2.0, len(X))
    by_class = clone(net).set_params(class_weight=weight).fit(X, y, sample_weight=own)
    by_row = clone(net).fit(X, y, sample_weight=own * np.array(list(weight.values()))[y])
    np.testing.assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))


def test_9113_balanced_class_weight_sees_sample_weight():
    X, y = scale(IRIS[0]), IRIS[1]
    times = np.random.default_rng(0).integers(0, 4, len(X)) * (1 + y)
    net = nn.NNClassifier([8], epochs=5, batch_size=1000, class_weight="balanced", random_state=0)
    weighted = clone(net).fit(X, y, sample_weight=times)
    repeated = clone(net).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X))
    alone = clone(net).fit(X, y, sample_weight=np.where(y == 2, 0.0, 1.0))  # a class without any weight
    assert np.isfinite(alone.loss_)


def test_10097_activation_per_layer():
    X, y = DIABETES
    layers = [nn.Linear(16), "tanh", nn.Linear(12), nn.LeakyReLU(0.2), nn.Linear(8), "gelu", 4]
    net = nn.NNRegressor(layers, activation="softplus", optimizer=nn.Adam(lr=0.01), epochs=40, random_state=0).fit(X, y)
    assert [type(layer).__name__ for layer in net.model_] == [
        "Linear", "Tanh", "Linear", "LeakyReLU", "Linear", "GELU", "Linear", "Softplus", "Linear",
    ]  # fmt: skip
    assert net.model_[3].negative_slope == 0.2
    assert net.score(X, y) > 0.4
    assert np.abs(net.set_params(transform_layer=1).transform(X)).max() <= 1
    assert net.set_params(transform_layer=-2).transform(X).min() > 0


def test_14571_mae_loss():
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), scale(y)
    y[::20] += 30.0  # outliers: the mean goes with them, the median does not
    honest = np.arange(len(X)) % 20 != 0
    errors = {
        loss: mean_absolute_error(y[honest], nn.NNRegressor(
            (), loss, nn.Adam(lr=0.02), epochs=150, batch_size=len(X), random_state=0).fit(X, y).predict(X[honest]))
        for loss in ("mse", "mae", "auto")
    }  # fmt: skip
    assert errors["mae"] < 0.8 < errors["mse"]
    assert errors["auto"] == errors["mse"]


class Bump(nn.Activation):
    """exp(-x**2)."""

    @staticmethod
    def forward(x):
        return np.exp(-x * x)

    @staticmethod
    def backward(grad_out, x, out):
        return -2.0 * x * out * grad_out


@pytest.mark.parametrize("options", [{"layers": [nn.Linear(24), Bump()]}, {"layers": [24], "activation": Bump()},
                                     {"layers": [nn.Linear(24), Bump]}], ids=["layer", "activation", "class"])  # fmt: skip
def test_14807_custom_activation(options):
    X, y = scale(IRIS[0]), IRIS[1]
    net = nn.NNClassifier(optimizer=nn.Adam(lr=0.02), epochs=60, random_state=0, **options).fit(X, y)
    assert net.score(X, y) > 0.95
    weight, bias = list(net.model_.parameters().values())[:2]
    np.testing.assert_allclose(net.transform(X), np.exp(-((X @ weight + bias) ** 2)), rtol=1e-6, atol=1e-9)


def test_18748_own_validation_set():
    X, y = load_digits(return_X_y=True)
    X, X_val, y, y_val = train_test_split(X / 16, y, random_state=0)
    net = nn.NNClassifier([32], epochs=8, random_state=0).fit(X, y, X_val=X_val, y_val=y_val)
    assert len(net.history_["val_loss"]) == 8
    chosen = net.predict_proba(X_val)[np.arange(len(y_val)), y_val]
    np.testing.assert_allclose(net.history_["val_loss"][-1], -np.log(chosen).mean(), rtol=1e-6)
    without = clone(net).fit(X, y)  # it is looked at, not learnt from
    np.testing.assert_array_equal(without.predict_proba(X_val), net.predict_proba(X_val))


def test_18748_own_validation_set_and_early_stopping():
    X, y = DIABETES
    X, X_val, y, y_val = train_test_split(X[:150], y[:150], test_size=0.4, random_state=0)
    net = nn.NNRegressor([64], optimizer=nn.Adam(lr=0.01), epochs=300, early_stopping=True, patience=5, random_state=0)
    net.fit(X, y, X_val=X_val, y_val=y_val)
    losses = net.history_["val_loss"]
    assert net.n_iter_ == len(losses) < 300
    assert net.history_.best_epoch == np.argmin(losses) == len(losses) - 7  # it, and the six that were not better
    np.testing.assert_allclose(((net.predict(X_val) - y_val) ** 2).mean(), min(losses), rtol=1e-6)


def test_18748_own_validation_set_in_a_pipeline():
    X, y = WINE
    X, X_val, y, y_val = train_test_split(X, y, random_state=0, stratify=y)
    with sklearn.config_context(enable_metadata_routing=True):
        net = nn.NNClassifier([16], epochs=5, random_state=0).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), net, transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
    chosen = pipeline.predict_proba(X_val)[np.arange(len(y_val)), y_val]
    np.testing.assert_allclose(pipeline[-1].history_["val_loss"][-1], -np.log(chosen).mean(), rtol=1e-6)


@pytest.mark.parametrize("given", [{"X_val": IRIS[0]}, {"y_val": IRIS[1]}])
def test_18748_half_a_validation_set_is_refused(given):
    with pytest.raises(ValueError, match="X_val"):
        nn.NNClassifier(epochs=1).fit(*IRIS, **given)


def test_25216_autoencoder():
    X = MinMaxScaler().fit_transform(load_digits().data)
    layers = [64, nn.Linear(8), "tanh", 64]
    net = nn.NNRegressor(layers, optimizer=nn.Adam(lr=0.003), epochs=30, transform_layer=3, random_state=0).fit(X, X)
    code = net.transform(X)
    assert code.shape == (len(X), 8) and np.abs(code).max() <= 1
    again = net.predict(X)
    assert again.shape == X.shape
    np.testing.assert_allclose(net.model_[4:].predict(code), again, rtol=1e-6, atol=1e-9)
    assert ((again - X) ** 2).mean() < 0.4 * X.var(axis=0).mean()


@pytest.mark.parametrize("make", [nn.NNClassifier, nn.NNRegressor])
@pytest.mark.parametrize("optimizer", [nn.SGD(lr=0.05, momentum=0.9), nn.Adam(lr=0.01), "rmsprop"])
def test_11723_sample_weight(make, optimizer):
    X, y = scale(WINE[0]), WINE[1]
    times = np.random.default_rng(0).integers(0, 4, len(X))
    net = make([8], optimizer=optimizer, activation="tanh", epochs=30, batch_size=len(X) * 4, random_state=0, dtype="float64")
    weighted = clone(net).fit(X, y, sample_weight=times)
    repeated = clone(net).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    outputs = [item.predict_proba(X) if make is nn.NNClassifier else item.predict(X) for item in (weighted, repeated)]
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-6)


def threads_of(net):
    return available_threads(net.n_threads)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_7280_does_not_burn_every_core(backend):
    net = nn.NNClassifier([8], epochs=2, random_state=0)
    assert threads_of(net) == available_threads()  # alone it may have them all
    for asked, given in ((None, 1), (2, 2)):
        net.set_params(n_threads=asked)
        assert Parallel(n_jobs=2, backend=backend)(delayed(threads_of)(net) for _ in range(2)) == [given, given]


def test_7280_threads_of_the_fit_are_those_asked_for(monkeypatch):
    asked = []
    init = nn.training.fit.Fit.__init__

    def spy(self, *args, **options):
        asked.append(options["n_threads"])
        init(self, *args, **options)

    monkeypatch.setattr(nn.training.fit.Fit, "__init__", spy)
    nn.NNClassifier([8], epochs=1, n_threads=1).fit(*IRIS)
    nn.NNRegressor([8], epochs=1).fit(*IRIS)
    assert asked == [1, available_threads()]


@pytest.mark.parametrize(("call", "message"), [
    (lambda net: net.fit(*IRIS, epochs=3), r"NNClassifier\.fit\(\.\.\.\) got an unexpected argument 'epochs'; it takes X, y"),
    (lambda net: net.partial_fit(*IRIS, validation_data=IRIS), r"NNClassifier\.partial_fit\(\.\.\.\) got an unexpected"),
    (lambda net: net.fit(IRIS[0]), r"NNClassifier\.fit\(.*: expected y, missing"),
])  # fmt: skip
def test_a_call_that_does_not_fit_names_the_estimator(call, message):
    with pytest.raises(nn.errors.CallError, match=message):
        call(nn.NNClassifier())
