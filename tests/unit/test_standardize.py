"""A layer of known means and spreads, and what its constants mean for shards, files and optimizers."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of
from nnkit.training.shards import shard_rows

RANDOM = np.random.default_rng(0)
X = RANDOM.normal([1000.0, -0.001, 3.0], [50.0, 0.0001, 0.0], (400, 3))


def test_of_gives_every_feature_mean_0_and_spread_1_and_a_constant_one_0():
    out = nn.Sequential([nn.Standardize.of(X)]).build((3,), dtype="float64").predict(X)
    assert np.allclose(out[:, :2].mean(axis=0), 0) and np.allclose(out[:, :2].std(axis=0), 1)
    assert (out[:, 2] == 0).all()
    steps = nn.Standardize.of(X.reshape(100, 4, 3))
    assert np.allclose(steps.mean, nn.Standardize.of(X).mean)


def test_constants_are_neither_trained_nor_in_the_way_of_shards(tmp_path):
    plain = nn.Sequential([nn.Linear(256), nn.ReLU(), nn.Linear(1)]).build((3,))
    model = nn.Sequential([nn.Standardize.of(X), nn.Linear(256), nn.ReLU(), nn.Linear(1)])
    y = (X[:, :1] - 1000) / 50
    history = model.fit(X, y, optimizer=nn.AdamW(lr=0.01, weight_decay=0.5), epochs=5, random_state=0)
    assert history["loss"][-1] < 0.2
    assert shard_rows(network_of(model), 256) == shard_rows(network_of(plain), 256) < 256
    assert sorted(model.states()) == ["0.mean", "0.std"]
    assert np.allclose(model.states()["0.mean"], X.mean(axis=0))
    model.save(tmp_path / "net.safetensors")
    again = nn.load(tmp_path / "net.safetensors")
    assert np.array_equal(again.predict(X), model.predict(X))
    assert repr(again) == repr(model)


@pytest.mark.parametrize("arguments", [("a",), ([[1.0]],), ([],), (np.nan,), (0.0, 0.0), (0.0, -1.0), ([0.0], [1.0, np.inf])])
def test_what_is_no_mean_or_spread_is_refused(arguments):
    with pytest.raises(nn.ParameterError, match=r"expected (mean|std) to be"):
        nn.Standardize(*arguments)


def test_other_numbers_of_features_are_refused():
    for layer in (nn.Standardize([1.0, 2.0]), nn.Standardize([1.0])):
        with pytest.raises(nn.ShapeError, match="expected rows of"):
            nn.Sequential([layer]).build((3,))
    for data, error in (([1.0, 2.0], nn.ShapeError), (np.empty((0, 2)), nn.ShapeError), ([[np.nan]], nn.ParameterError)):
        with pytest.raises(error, match=r"Standardize\.of"):
            nn.Standardize.of(data)
