"""Estimators of tables: frames as they are, what is held out, files, and what is refused."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import nnkit as nn
from nnkit.errors import DataError, ParameterError, PersistenceError
from nnkit.estimators.recipes import RECIPES
from nnkit.estimators.splitting import held_out
from nnkit.estimators.table import TableClassifier, TableRegressor
from nnkit.estimators.tabular import _even

FEW = {"hidden": (8,), "epochs": 6, "batch_size": 16, "random_state": 0}
KINDS = [TableClassifier, TableRegressor]


def columns(rows=48):
    """Numbers, a category of few and one of many, truth, a date; cells are missing in three columns."""
    rng = np.random.default_rng(1)
    data = {
        "size": rng.normal(size=rows).tolist(),
        "colour": rng.choice(["red", "green", "blue"], rows).tolist(),
        "town": [f"town {place % 12}" for place in range(rows)],
        "old": (rng.random(rows) < 0.4).tolist(),
        "day": [f"2024-{place % 12 + 1:02}-{place % 28 + 1:02}" for place in range(rows)],
    }
    for name in ("size", "colour", "day"):
        data[name][5] = None
    return data


def targets(kind, data):
    number = np.array([0.0 if size is None else size for size in data["size"]]) * 100 + 1000
    return np.where(number > 1000, "large", "small") if kind is TableClassifier else number


def outputs(net, X):
    return net.predict_proba(X) if isinstance(net, TableClassifier) else net.predict(X)


@pytest.fixture(scope="module", params=[(kind, recipe) for kind in KINDS for recipe in RECIPES],
                ids=lambda param: f"{param[0].__name__}, {param[1]}")  # fmt: skip
def fitted(request):
    kind, recipe = request.param
    data = columns()
    return kind(recipe, **FEW).fit(pd.DataFrame(data), targets(kind, data)), data


def test_every_library_gives_the_same_bits(fitted):
    net, data = fitted
    given = outputs(net, pd.DataFrame(data))
    assert np.isfinite(given).all()
    for frame in (pl.DataFrame(data), pa.table(data)):
        again = clone(net).fit(frame, targets(type(net), data))
        np.testing.assert_array_equal(outputs(again, frame), given)
    assert net.feature_names_in_.tolist() == [*data] and net.n_features_in_ == 5


def test_rows_are_predicted_alone_as_they_are_together(fitted):
    net, data = fitted
    frame = pd.DataFrame(data).iloc[:7]
    alone = np.concatenate([outputs(net, frame.iloc[[place]]) for place in range(7)])
    scale = net.targets_.std[0] if isinstance(net, TableRegressor) else 1.0
    # sums of float32 in another order: half a unit for each of some 60 additions on the way to an output of the order of 1
    np.testing.assert_allclose(alone, outputs(net, frame), rtol=0, atol=64 * np.finfo(np.float32).eps * scale)


def test_columns_are_found_by_name_and_none_may_be_missing(fitted):
    net, data = fitted
    frame = pd.DataFrame(data)
    np.testing.assert_array_equal(outputs(net, frame[[*data][::-1]]), outputs(net, frame))
    with pytest.raises(DataError, match=r"(?s)missing.*town"):
        net.predict(frame.drop(columns="town"))


def test_what_was_never_seen_is_predicted(fitted):
    net, _ = fitted
    row = {"size": [None], "colour": ["violet"], "town": ["nowhere"], "old": [True], "day": [None]}
    assert np.isfinite(outputs(net, pl.DataFrame(row))).all()


def test_files_and_pickles_bring_the_same_estimator_back(fitted, tmp_path):
    net, data = fitted
    frame = pd.DataFrame(data)
    net.save(tmp_path / "net.safetensors")
    for again in (nn.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net))):
        assert type(again) is type(net) and again.get_params() == net.get_params()
        np.testing.assert_array_equal(outputs(again, frame), outputs(net, frame))
        np.testing.assert_array_equal(again.predict(frame), net.predict(frame))
        assert again.scheme_.about() == net.scheme_.about() and again.history_.best_epoch == net.history_.best_epoch
        with pytest.raises(DataError, match="town"):
            again.predict(frame.drop(columns="town"))


def test_a_file_with_other_attributes_is_refused(fitted):
    net, _ = fitted
    noted = {name: value for name, value in net.noted().items() if name not in ("model_", "history_", "_before")}
    assert type(net).recalled(noted, net.model_).keys() == noted.keys()
    other = nn.Sequential([nn.Linear(3)]).build((4,))
    for wrong in ({**noted, "more": 1}, {**noted, "n_iter_": "6"}, {**noted, "recipe_": "gone"}, {**noted, "targets_": {}},
                  {**noted, "scheme_": None}):  # fmt: skip
        with pytest.raises(PersistenceError):
            type(net).recalled(wrong, net.model_)
    with pytest.raises(PersistenceError, match="fit its columns"):
        type(net).recalled(noted, other)


def test_the_last_of_the_best_epochs_is_kept(fitted):
    net, _ = fitted
    figure = np.array(net.history_[f"val_{net._metric.name}"]) * (-1 if net._metric.greater_is_better else 1)
    assert net.history_.best_epoch == len(figure) - 1 - figure[::-1].argmin()
    assert net.n_iter_ == len(net.loss_curve_) == 6


def test_numbers_are_predicted_in_their_own_units_and_clamped_where_the_recipe_says_so():
    X = np.linspace(-1, 1, 64)[:, None]
    y = 1e6 + 1e3 * X[:, 0]
    for recipe, clamps in (("td", True), ("td-s", False)):
        net = TableRegressor(recipe, hidden=(16,), epochs=60, random_state=0).fit(X, y)
        assert net.score(X, y) > 0.8
        net.model_.parameters()[f"{len(net.model_) - 1}.bias"] = [50.0]  # far above
        assert (net.predict(X) <= y.max()).all() == clamps
        assert net.predict(X).shape == (64,)


def test_several_numbers_a_row_are_learned_and_several_labels_are_refused():
    X, y = np.arange(20.0)[:, None], np.column_stack([np.arange(20.0), -np.arange(20.0)])
    assert TableRegressor("td-s", **FEW).fit(X, y).predict(X).shape == (20, 2)
    with pytest.raises(DataError, match="one label a row"):
        TableClassifier("td-s", **FEW).fit(X, (y > 5).astype(int))


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_table_that_says_nothing_is_no_error(recipe):
    X, y = pd.DataFrame({"same": ["a"] * 12, "empty": [None] * 12}), np.arange(12) % 3
    shares = TableClassifier(recipe, **FEW).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares == shares[0]).all()


def test_rows_of_weight_zero_are_not_trained_on():
    X = np.arange(32.0)[:, None]
    weights = np.repeat([1.0, 0.0], [24, 8])
    labels = np.arange(32) % 2, np.r_[np.arange(24) % 2, np.ones(8, int)]  # they differ in rows of weight 0 alone
    given = [TableClassifier("td-s", **FEW).fit(X, y, weights).predict_proba(X) for y in labels]
    np.testing.assert_array_equal(*given)


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [3, 5]])
def test_classes_weigh_what_the_user_says(labels):
    X, y = np.arange(30.0)[:, None], np.array(labels)[(np.arange(30) % 3 == 0).astype(int)]
    weighed = {
        "balanced": np.where(y == labels[1], 30 / 20, 30 / 40), "dict": np.where(y == labels[1], 7.0, 2.0),
    }  # fmt: skip
    of = {"balanced": "balanced", "dict": {labels[0]: 2.0, labels[1]: 7.0}}
    for name, weights in weighed.items():
        by_class = TableClassifier("td-s", **FEW, class_weight=of[name]).fit(X, y)
        by_row = TableClassifier("td-s", **FEW).fit(X, y, weights)
        np.testing.assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))
        assert by_class.history_["val_loss"] == by_row.history_["val_loss"]
    own = np.arange(30) % 5 + 1.0
    mass = np.array([own[y == label].sum() for label in labels])
    both = TableClassifier("td-s", **FEW, class_weight="balanced").fit(X, y, own).predict_proba(X)
    by_row = TableClassifier("td-s", **FEW).fit(X, y, own * (own.sum() / (2 * mass))[(y == labels[1]).astype(int)])
    np.testing.assert_array_equal(both, by_row.predict_proba(X))


@pytest.mark.parametrize("given", ["even", 3, {0: -1.0, 1: 1.0}, {0: np.inf, 1: 1.0}, {7: 1.0}])
def test_weights_of_classes_that_are_none_are_refused(given):
    with pytest.raises((ParameterError, DataError), match="weight"):
        TableClassifier("td-s", **FEW, class_weight=given).fit(np.arange(20.0)[:, None], np.arange(20) % 2)


def test_rows_of_ones_own_are_validated_on_and_none_held_out():
    X, y = np.arange(24.0)[:, None], np.arange(24) % 2
    own = TableClassifier("td-s", **FEW).fit(X, y, X_val=X[:6], y_val=y[:6])
    assert "val_accuracy" in own.history_ and own.history_.steps == 6 * 2  # 24 rows are two batches of 12
    none = TableClassifier("td-s", **FEW, validation_fraction=0).fit(X, y)
    assert "val_loss" not in none.history_ and none.history_.best_epoch is None
    with pytest.raises(ValueError, match="both X_val and y_val"):
        own.fit(X, y, X_val=X)


@pytest.mark.parametrize(("setting", "message"), [
    ({"recipe": "td_s"}, "did you mean 'td-s'"), ({"recipe": None}, "recipe: expected one of"),
    ({"epochs": 0}, "epochs"), ({"batch_size": 2.5}, "batch_size"), ({"hidden": (8, 0)}, "hidden"),
    ({"validation_fraction": 1.0}, "validation_fraction"), ({"random_state": "x"}, "random_state"),
    ({"callbacks": ["gone"]}, "callbacks"), ({"numeric": "gone"}, "numeric"),
])  # fmt: skip
def test_errors_name_the_hyper_parameter_and_leave_the_last_fit(setting, message):
    X, y = np.arange(20.0)[:, None], np.arange(20.0)
    net = TableRegressor("td-s", **FEW).fit(X, y)
    before = net.predict(X)
    with pytest.raises((ParameterError, nn.errors.RegistryError), match=message):
        net.set_params(**setting).fit(X, y)
    np.testing.assert_array_equal(net.predict(X), before)


def test_before_fit_nothing_is_known():
    net = TableClassifier()
    assert not hasattr(net, "classes_") and not hasattr(net, "n_features_in_") and not hasattr(net, "feature_names_in_")
    with pytest.raises(NotFittedError):
        net.predict([[1.0]])


# ------------------------------------------------------------------------------------------------------ rows and batches


@pytest.mark.parametrize("seed", range(5))
def test_the_same_share_of_each_class_is_held_out(seed):
    labels = np.repeat([0, 1, 2, 3], [100, 40, 10, 1])
    held = held_out(labels, len(labels), 0.2, np.random.RandomState(seed))
    counts = np.bincount(labels[held], minlength=4)
    assert (np.abs(counts - 0.2 * np.array([99, 39, 9, 0])) <= 1).all()
    assert counts[3] == 0  # never its only row
    assert len(np.unique(held)) == len(held)
    assert len(held_out(None, 1, 0.2, np.random.RandomState(seed))) == len(held_out(None, 50, 0, np.random.RandomState(0))) == 0


@pytest.mark.parametrize("rows", [1, 2, 127, 128, 255, 256, 257, 383, 385, 700, 5000, 5121])
def test_batches_are_about_equal(rows):
    size = _even(rows, 256)
    sizes = [min(size, rows - begin) for begin in range(0, rows, size)]
    assert size <= 384 and min(sizes) > size - len(sizes)
