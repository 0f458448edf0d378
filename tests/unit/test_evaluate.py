"""What `Sequential.evaluate` gives: the loss, and metrics where they are asked for."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

import nnkit as nn

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(700, 4))
Y = RANDOM.normal(size=(700, 1))
LABELS = RANDOM.integers(0, 3, 700)
WEIGHTS = RANDOM.uniform(0.0, 2.0, 700)


@pytest.fixture
def model():
    net = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(3)])
    net.fit(X, LABELS, loss="cross_entropy", epochs=1, random_state=0, metrics=["accuracy"])
    return net


def test_the_loss_alone_is_a_number_whatever_the_last_fit_had(model):
    value = model.evaluate(X, LABELS)
    assert type(value) is float
    np.testing.assert_allclose(value, nn.CrossEntropyLoss()(model.predict(X), LABELS)[0], rtol=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_metrics_come_by_name_with_the_loss(model, weights, n_threads):
    got = model.evaluate(X, LABELS, sample_weight=weights, n_threads=n_threads, metrics=["accuracy", "f1_macro", nn.Accuracy()])
    decided = model.predict(X).argmax(axis=1)
    assert list(got) == ["loss", "accuracy", "f1_macro"] and all(type(value) is float for value in got.values())
    assert got["loss"] == model.evaluate(X, LABELS, sample_weight=weights)
    np.testing.assert_allclose(got["accuracy"], np.average(decided == LABELS, weights=weights))
    np.testing.assert_allclose(got["f1_macro"], f1_score(LABELS, decided, average="macro", sample_weight=weights))


def test_one_metric_none_and_an_unknown_one(model):
    assert model.evaluate(X, LABELS, metrics="accuracy") == model.evaluate(X, LABELS, metrics=["accuracy"])
    assert model.evaluate(X, LABELS, metrics=[]) == {"loss": model.evaluate(X, LABELS)}
    with pytest.raises(nn.RegistryError, match="did you mean 'accuracy'"):
        model.evaluate(X, LABELS, metrics=["acuracy"])


def test_they_are_those_of_a_fit():
    net = nn.Sequential([nn.Linear(1)])
    history = net.fit(X, Y, epochs=2, validation_data=(X, Y, WEIGHTS), metrics=["r2"], random_state=0)
    got = net.evaluate(X, Y, sample_weight=WEIGHTS, metrics=["r2"])
    assert got == {"loss": history["val_loss"][-1], "r2": history["val_r2"][-1]}


def test_another_loss_and_a_metric_of_ones_own(model):
    class Largest(nn.Metric):
        def __call__(self, y, prediction, loss, sample_weight=None):
            assert isinstance(loss, nn.MSELoss) and y.shape == prediction.shape
            return prediction.max()

    wide = np.eye(3)[LABELS]
    got = model.evaluate(X, wide, loss="mse", metrics=[Largest()])
    assert got == {"loss": model.evaluate(X, wide, loss="mse"), "Largest": float(model.predict(X).max())}
