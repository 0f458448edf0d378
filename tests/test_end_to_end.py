"""Real data, as a user would: the scores that a net of this size reaches, as means over five folds."""

import numpy as np
import pytest

import nnkit as nn

pytest.importorskip("sklearn")

from sklearn import datasets
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler


def folds(X, y):
    """Scaled training and test data, five times."""
    kind = StratifiedKFold if y.dtype.kind == "i" else KFold
    for train, test in kind(5, shuffle=True, random_state=0).split(X, y):
        scaler = StandardScaler().fit(X[train])
        yield scaler.transform(X[train]), y[train], scaler.transform(X[test]), y[test]


def accuracy(model, X, y):
    return (model.predict(X).argmax(axis=1) == y).mean()


def test_digits():
    X, y = datasets.load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.25, random_state=0, stratify=y)
    model = nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Linear(64), nn.ReLU(), nn.Linear(10)])
    model.fit(X, y, loss="cross_entropy", epochs=30, random_state=0)
    assert accuracy(model, X_test, y_test) >= 0.97


@pytest.mark.parametrize(
    ("load", "least"),
    [(datasets.load_breast_cancer, 0.95), (datasets.load_iris, 0.93), (datasets.load_wine, 0.93)],
    ids=lambda item: getattr(item, "__name__", None),
)
def test_classes_of_a_table(load, least):
    scores = []
    for X, y, X_test, y_test in folds(*load(return_X_y=True)):
        model = nn.Sequential([nn.Linear(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(int(y.max()) + 1)])
        model.fit(X, y, loss="cross_entropy", optimizer=nn.Adam(0.01), epochs=40, batch_size=32, random_state=0)
        scores.append(accuracy(model, X_test, y_test))
    assert np.mean(scores) >= least


def test_breast_cancer_with_one_logit():
    scores = []
    for X, y, X_test, y_test in folds(*datasets.load_breast_cancer(return_X_y=True)):
        model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Linear(1)])
        model.fit(X, y[:, None], loss="bce_with_logits", optimizer=nn.Adam(0.01), epochs=30, random_state=0)
        scores.append(((model.predict(X_test)[:, 0] > 0) == y_test).mean())
    assert np.mean(scores) >= 0.95


def test_diabetes():
    scores = []
    for X, y, X_test, y_test in folds(*datasets.load_diabetes(return_X_y=True)):
        model = nn.Sequential([nn.Linear(16), nn.ReLU(), nn.Linear(1)])
        optimizer = nn.AdamW(0.01, weight_decay=0.1, schedule="cosine")
        model.fit(X, (y[:, None] - y.mean()) / y.std(), optimizer=optimizer, epochs=20, batch_size=32, random_state=0)
        predicted = model.predict(X_test)[:, 0] * y.std() + y.mean()
        scores.append(1 - ((predicted - y_test) ** 2).sum() / ((y_test - y_test.mean()) ** 2).sum())
    assert np.mean(scores) >= 0.4


def test_moons():
    scores = []
    for X, y, X_test, y_test in folds(*datasets.make_moons(600, noise=0.2, random_state=0)):
        model = nn.Sequential([nn.Linear(32), nn.Tanh(), nn.Linear(32), nn.Tanh(), nn.Linear(2)])
        model.fit(X, y, loss="cross_entropy", optimizer=nn.Adam(0.01), epochs=60, batch_size=32, random_state=0)
        scores.append(accuracy(model, X_test, y_test))
    assert np.mean(scores) >= 0.9


def test_early_stopping_keeps_the_accuracy():
    scores = []
    for X, y, X_test, y_test in folds(*datasets.load_wine(return_X_y=True)):
        model = nn.Sequential([nn.Linear(64), nn.ReLU(), nn.Linear(3)])
        history = model.fit(X, y, loss="cross_entropy", optimizer=nn.Adam(0.01), epochs=1000, batch_size=16,
                            validation_split=0.2, callbacks=[nn.EarlyStopping(patience=10)], random_state=0)  # fmt: skip
        assert history.epochs < 1000
        scores.append(accuracy(model, X_test, y_test))
    assert np.mean(scores) >= 0.93
