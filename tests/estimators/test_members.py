"""Several nets of a table: what each learns from, that each is what it would be alone, and how far they can be trusted."""

import time

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss

import nnkit as nn
from nnkit.errors import DataError, ParameterError
from nnkit.estimators.budget import fitting
from nnkit.estimators.doubt import half_width, probabilities, temperature_of
from nnkit.estimators.members import side_by_side
from nnkit.estimators.recipes import RECIPES
from nnkit.estimators.resampling import RESAMPLES, resampled

FEW = {"recipe": "td-s", "hidden": (8,), "epochs": 4, "batch_size": 16, "random_state": 0}


def data(rows=60, classes=3):
    return make_classification(rows, 5, n_informative=4, n_redundant=0, n_classes=classes, n_clusters_per_class=1,
                               random_state=0)  # fmt: skip


@pytest.mark.parametrize("resample", RESAMPLES)
@pytest.mark.parametrize("members", [1, 2, 5, 7])
def test_no_row_is_both_learned_from_and_held_out(resample, members):
    labels = np.arange(40) % 4
    splits = list(resampled(resample, members, labels, 40, 0.25, np.random.RandomState(0)))
    assert len(splits) == members
    for train, held in splits:
        assert not set(train) & set(held)
        assert set(train) | set(held) == set(range(40))
        assert len(train) == 40 or resample != "bootstrap" or members == 1
        assert set(labels[train]) == set(range(4))
    if resample == "folds" and members >= 5:
        assert sorted(np.concatenate([held for _, held in splits])) == list(range(40))


def test_few_rows_of_a_class_are_no_error():
    splits = list(resampled("folds", 3, np.array([0, 0, 0, 0, 0, 0, 1]), 7, 0.2, np.random.RandomState(0)))
    assert all(len(held) for _, held in splits)


def test_members_are_the_nets_that_they_would_be_alone():
    X, y = data()
    together = nn.TableClassifier(**FEW, n_members=3).fit(X, y)
    rows = together.scheme_.transform(X)
    whole = together.model_.predict(rows)
    assert whole.shape == (60, 3, 3)
    for threads in (1, 2, 3):
        again = nn.TableClassifier(**FEW, n_members=3, n_threads=threads).fit(X, y)
        np.testing.assert_array_equal(again.model_.predict(rows), whole)
    assert len({member.tobytes() for member in whole.transpose(1, 0, 2)}) == 3
    np.testing.assert_allclose(together.predict_proba(X), probabilities(whole.astype(float)).mean(axis=1))
    assert len(together.best_epochs_) == 3


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_nets_side_by_side_say_what_each_says(recipe):
    X, y = data()
    nets = [nn.TableRegressor(**FEW | {"recipe": recipe, "random_state": seed}).fit(X, y) for seed in range(2)]
    rows = nets[0].scheme_.transform(X)
    whole = side_by_side([net.model_ for net in nets], 1).predict(rows)
    np.testing.assert_array_equal(whole, np.concatenate([net.model_.predict(rows).reshape(60, -1, 1) for net in nets], axis=1))


@pytest.mark.parametrize("kind", [nn.TableClassifier, nn.TableRegressor])
@pytest.mark.parametrize("more", [{"n_members": 2}, {"recipe": "tabm"}, {"recipe": "tabm", "n_members": 2}], ids=str)
def test_the_spread_is_that_of_the_members(kind, more, tmp_path):
    X, y = data()
    net = kind(**FEW | more).fit(X, y)
    ask = net.predict_proba if kind is nn.TableClassifier else net.predict
    mean, std = ask(X, return_std=True)
    np.testing.assert_array_equal(ask(X), mean)
    assert std.shape == mean.shape and (std > 0).any()
    net.save(tmp_path / "net.safetensors")
    again = nn.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again.predict(X), net.predict(X))


def test_one_net_has_no_spread():
    X, y = data()
    net = nn.TableClassifier(**FEW).fit(X, y)
    with pytest.raises(ParameterError, match="n_members=5"):
        net.predict_proba(X, return_std=True)


def test_nets_are_trained_again_on_all_rows():
    X, y = data()
    before, after = (nn.TableClassifier(**FEW, n_members=2, refit=refit).fit(X, y) for refit in (False, True))
    assert after.best_epochs_ == before.best_epochs_
    assert after.n_iter_ == after.best_epochs_[0]
    assert "val_accuracy" in before.history_ and "val_accuracy" not in after.history_


def test_a_temperature_is_found_where_scores_are_too_small_by_a_factor():
    rng = np.random.default_rng(0)
    scores = 2 * rng.normal(size=(4000, 1, 4))
    shares = probabilities(scores)[:, 0]
    labels = (shares.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    found = temperature_of(scores / 5, labels, None)
    # labels are drawn with scores as they are: 1/5 has the least expected log loss, and its estimate scatters by
    # 1/sqrt(rows * information), below 0.2 / sqrt(4000) here, of which five are allowed
    assert abs(found - 0.2) < 5 * 0.2 / np.sqrt(4000)


def test_calibrated_probabilities_have_a_smaller_log_loss_on_the_rows_held_out():
    X, y = data(300)
    X_val, y_val = data(300)
    settings = FEW | {"epochs": 30, "hidden": (32,)}
    plain, calibrated = (nn.TableClassifier(**settings, calibrate=calibrate).fit(X, y, X_val=X_val, y_val=y_val)
                         for calibrate in (False, True))  # fmt: skip
    assert plain.temperature_ == 1.0 != calibrated.temperature_
    np.testing.assert_array_equal(plain.predict(X), calibrated.predict(X))
    assert log_loss(y_val, calibrated.predict_proba(X_val)) < log_loss(y_val, plain.predict_proba(X_val))
    with pytest.raises(DataError, match="calibrate"):
        nn.TableClassifier(**FEW, calibrate=True, validation_fraction=0.0).fit(X, y)


def test_intervals_hold_as_often_as_they_say():
    residuals = np.sort(np.random.default_rng(0).exponential(size=(9, 1)), axis=0)
    assert half_width(residuals, 0.5, "it") == residuals[4]  # the fifth of nine: five of ten places are below it
    assert half_width(residuals, 0.9, "it") == residuals[8]
    with pytest.raises(DataError, match="at least 19 rows"):
        half_width(residuals, 0.95, "it")
    for wrong in (0, 1.0, -0.5, True, "0.9"):
        with pytest.raises(ParameterError, match="coverage"):
            half_width(residuals, wrong, "it")


def test_intervals_are_around_predictions_and_cover_rows_that_were_held_out():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = np.column_stack([X[:, 0] + rng.normal(size=400), 100 * X[:, 1]])
    net = nn.TableRegressor(**FEW | {"epochs": 20}).fit(X, y, X_val=X, y_val=y)
    interval, mean = net.predict_interval(X, 0.8), net.predict(X)
    assert interval.shape == (400, 2, 2)
    np.testing.assert_allclose(interval.mean(axis=2), mean)
    inside = ((interval[..., 0] <= y) & (y <= interval[..., 1])).mean(axis=0)
    assert (inside >= 0.8).all() and (inside <= 0.81).all()  # of the rows that it was learned from, without ties
    assert nn.TableRegressor(**FEW).fit(X, y[:, 0]).predict_interval(X).shape == (400, 2)


def test_as_many_epochs_and_nets_as_there_is_time_for():
    assert fitting(100.0, 1.0, 1, 256, 1) == (80, 1)
    assert fitting(100.0, 1.0, 2, 256, 4) == (40, 4)  # two after the other
    assert fitting(100.0, 1.0, 1, 10, 1) == (10, 8)
    assert fitting(100.0, 1.0, 2, 40, 1) == (40, 4)
    assert fitting(1e-9, 1.0, 1, 256, 1) == (1, 1)


def test_a_fit_keeps_to_its_time():
    X, y = data(200)
    nn.TableClassifier(**FEW).fit(X, y)  # compiled
    begin = time.perf_counter()
    net = nn.TableClassifier("td-s", hidden=(8,), epochs=1_000_000, random_state=0).fit(X, y, seconds=1.0)
    assert 1 < net.n_iter_ < 1_000_000 and net.score(X, y) > 0.5
    assert time.perf_counter() - begin < 60  # a million epochs would take hours
    for wrong in (0, -1.0, True, "1", float("nan")):
        with pytest.raises(ParameterError, match="seconds"):
            net.fit(X, y, seconds=wrong)


def test_wrong_ways_to_resample_are_refused():
    X, y = data()
    with pytest.raises(ParameterError, match="resample: expected one of 'folds', 'seeds', 'bootstrap'"):
        nn.TableClassifier(**FEW, resample="fold").fit(X, y)
    for wrong in (0, 1.5, True, None):
        with pytest.raises(ParameterError, match="n_members"):
            nn.TableClassifier(**FEW, n_members=wrong).fit(X, y)
    with pytest.raises(ParameterError, match="refit"):
        nn.TableClassifier(**FEW, refit="no").fit(X, y)
