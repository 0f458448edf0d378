"""optimizer="auto": what it takes, that it says so, and that the fit is that of the optimizer by its name."""

import numpy as np
import pytest

import nnkit as nn

RANDOM = np.random.default_rng(30)
X = RANDOM.uniform(-1.0, 1.0, (150, 2))
Y, LABELS = np.sin(3 * X[:, 0]) + X[:, 1], (X[:, 0] > X[:, 1]).astype(int)


def regressor(layers=3, **options):
    return nn.NNRegressor(layers, optimizer="auto", activation="tanh", random_state=0, **{"epochs": 3} | options)


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (regressor(), "LevenbergMarquardt"),
        (regressor(loss="huber"), "LevenbergMarquardt"),
        (regressor(early_stopping=True), "LevenbergMarquardt"),
        (regressor(loss="mae"), "LBFGS"),  # not made of squares
        (regressor(30), "LBFGS"),  # 121 weights
        (regressor([8, nn.Dropout(0.1)]), "Adam"),
        (regressor([8, nn.BatchNorm1d()]), "Adam"),
        (regressor(batch_size=50), "Adam"),
        (regressor(callbacks=nn.EMA(0.9)), "Adam"),
        (regressor([nn.Linear(8), nn.ELU(alpha=1.0 * nn.CosineSchedule())]), "Adam"),
    ],
)
def test_the_choice_is_seen_and_the_fit_is_the_same_by_name(net, expected, tmp_path):
    net.fit(X, Y)
    assert type(net.optimizer_).__name__ == expected
    again = nn.NNRegressor(**{**net.get_params(deep=False), "optimizer": net.optimizer_}).fit(X, Y)
    assert np.array_equal(net.predict(X), again.predict(X))
    if not net.callbacks:
        net.save(tmp_path / "net.safetensors")
        loaded = nn.load(tmp_path / "net.safetensors")
        assert type(loaded.optimizer_) is type(net.optimizer_) and loaded.optimizer == "auto"


def test_the_line_of_progress_says_it(capsys):
    regressor(verbose=True).fit(X, Y)
    assert "LevenbergMarquardt, iteration 3/3" in capsys.readouterr().err


def test_many_rows_are_for_adam():
    net = regressor(epochs=1).fit(np.repeat(X, 134, axis=0), np.repeat(Y, 134))  # 20 100
    assert isinstance(net.optimizer_, nn.Adam)


def test_classifiers_take_lbfgs_and_steps_take_adam():
    net = nn.NNClassifier(8, optimizer="auto", random_state=0, epochs=5).fit(X, LABELS)
    assert isinstance(net.optimizer_, nn.LBFGS)
    assert isinstance(net.partial_fit(X, LABELS).optimizer_, nn.Adam)
    assert isinstance(nn.NNClassifier(8).fit(X, LABELS).optimizer_, nn.Adam)  # the default stays
