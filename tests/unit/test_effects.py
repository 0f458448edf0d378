"""What columns do: permutation importance beside scikit-learn's, partial dependence beside a loop, pictures by their parts."""

import datetime as dt

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, RidgeClassifier
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import nnkit as nn
from tests.pictures import assert_legible

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

N = 90
LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def columns():
    """A column of every kind; some cells are missing, and one column says nothing."""
    random = np.random.default_rng(0)
    return {
        "size": [None if row % 7 == 0 else float(size) for row, size in enumerate(random.normal(60, 20, N))],
        "town": [None if row % 11 == 0 else str(town) for row, town in enumerate(random.choice(["Bonn", "Jena", "Ulm"], N))],
        "street": [f"street {row % 20}" for row in range(N)],
        "day": [dt.datetime(2020, 1, 1) + dt.timedelta(days=3 * row) for row in range(N)],
        "lift": random.integers(0, 2, N).tolist(),
        "planet": ["Earth"] * N,
    }


COLUMNS = columns()
FRAME = pd.DataFrame(COLUMNS)
RENT = 300 + 8 * FRAME["size"].fillna(20).to_numpy() * np.where(FRAME["town"] == "Bonn", 2, 1) + 10 * (np.arange(N) % 20)
KIND = np.array(["cheap", "dear", "middle"])[np.digitize(RENT, np.quantile(RENT, [0.3, 0.7]))]
X = np.random.default_rng(1).normal(size=(N, 3)).astype(np.float32)
Y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(int)


@pytest.fixture(scope="module")
def regressor():
    return nn.TableRegressor("td", hidden=16, epochs=30, random_state=0).fit(FRAME, RENT)


@pytest.fixture(scope="module")
def classifier():
    return nn.TableClassifier("td-s", hidden=16, epochs=20, random_state=0).fit(FRAME, KIND)


@pytest.fixture(scope="module")
def net():
    model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(2)])
    model.fit(X, Y, loss="cross_entropy", epochs=20, random_state=0)
    return model


# ---------------------------------------------------------------------------------------------------------- importance


@pytest.mark.parametrize("library", LIBRARIES)
def test_importance_is_scikit_learns_whatever_the_library(regressor, library):
    found = nn.feature_importance(regressor, LIBRARIES[library](COLUMNS), RENT, n_repeats=3, random_state=5)
    oracle = permutation_importance(regressor, FRAME, RENT, n_repeats=3, random_state=5)
    np.testing.assert_array_equal(found.importances, oracle.importances)
    np.testing.assert_array_equal(found.mean, oracle.importances_mean)
    np.testing.assert_array_equal(found.std, oracle.importances_std)
    assert found.score == regressor.score(FRAME, RENT)
    assert found.names == list(COLUMNS)
    assert found.importances[-1].tolist() == [0, 0, 0]  # what is left out


def test_importance_of_a_list_of_rows_and_of_arrays(classifier):
    rows = FRAME.astype(object).where(FRAME.notna(), None).to_numpy().tolist()
    unnamed = nn.TableClassifier("td-s", hidden=8, epochs=2, random_state=0).fit(rows, KIND)
    found = nn.feature_importance(unnamed, rows, KIND, random_state=0)
    assert found.names == [f"x{place}" for place in range(6)]
    named = nn.TableClassifier("td-s", hidden=8, epochs=2, random_state=0).fit(FRAME, KIND)
    np.testing.assert_array_equal(found.importances, nn.feature_importance(named, FRAME, KIND, random_state=0).importances)
    shuffled = FRAME[["lift", "day", "planet", "town", "street", "size"]]
    again = nn.feature_importance(named, shuffled, pl.Series(KIND), random_state=0)  # columns are found by name
    np.testing.assert_array_equal(found.importances, again.importances)


class Wrapped(BaseEstimator):
    """A net for scikit-learn."""

    def __init__(self, score):
        self.score = score

    def fit(self, X, y):
        return self


SCORES = {
    "its loss": (None, lambda net, X, y: -net.evaluate(X, y, "cross_entropy"), "CrossEntropyLoss"),
    "a loss": (nn.CrossEntropyLoss(label_smoothing=0.5),
               lambda net, X, y: -net.evaluate(X, y, nn.CrossEntropyLoss(label_smoothing=0.5)), "CrossEntropyLoss"),
    "a metric": ("accuracy", lambda net, X, y: float((net.predict(X).argmax(axis=1) == y).mean()), "accuracy"),
    "a scorer": ("neg_log_loss", lambda net, X, y: -net.evaluate(X, y, "cross_entropy"), "neg_log_loss"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("library", ["numpy", *LIBRARIES])
def test_importance_of_a_net_is_by_its_loss_or_a_metric(net, name, library):
    scoring, score, what = SCORES[name]
    data = X if library == "numpy" else LIBRARIES[library](dict(zip("abc", X.T, strict=True)))
    found = nn.feature_importance(net, data, Y, scoring=scoring, random_state=3)
    oracle = permutation_importance(Wrapped(lambda rows, y: score(net, rows, y)), X, Y, random_state=3)
    np.testing.assert_allclose(found.importances, oracle.importances, atol=1e-6)  # float32 losses of size 1, of 90 rows
    assert (found.what, found.names) == (what, ["x0", "x1", "x2"] if library == "numpy" else ["a", "b", "c"])
    assert found.falls is (what != "CrossEntropyLoss")
    assert found.order.tolist() == [0, 1, 2]


@pytest.mark.parametrize("library", LIBRARIES)
def test_importance_of_nns_and_of_other_estimators(library):
    frame = LIBRARIES[library](dict(zip("abc", X.T, strict=True)))
    for model in (nn.NNClassifier(layers=[4], epochs=5, random_state=0), LinearRegression()):
        fitted = model.fit(frame if isinstance(model, nn.NNClassifier) else X, Y)
        data = frame if isinstance(model, nn.NNClassifier) else X
        found = nn.feature_importance(fitted, data, Y, random_state=1)
        oracle = permutation_importance(model.fit(X, Y), X, Y, random_state=1)
        np.testing.assert_array_equal(found.importances, oracle.importances)


def test_importance_of_pipelines_and_searches():
    """Any index, names that are no text, nullable types and categories."""
    frame = pd.DataFrame({0: pd.Categorical(FRAME["town"].fillna("Ulm")), 1: X[:, 0]}, index=np.arange(N)[::-1] * 3)
    frame[2] = pd.array([None if row % 5 == 0 else row % 3 for row in range(N)], "Int64")
    encode = make_column_transformer((OneHotEncoder(), [0]), ("passthrough", [1]))
    pipeline = make_pipeline(encode, nn.NNClassifier(layers=[4], epochs=5, random_state=0)).fit(frame, Y)
    search = GridSearchCV(nn.TableClassifier("td-s", hidden=4, random_state=0), {"epochs": [2]}, cv=2).fit(frame, Y)
    for model in (pipeline, search):
        found = nn.feature_importance(model, frame, Y, random_state=2)
        oracle = permutation_importance(model, frame, Y, random_state=2)
        np.testing.assert_array_equal(found.importances, oracle.importances)
        assert len(nn.plot_effects(model, frame)) == 3


def test_scorers_and_weights():
    model = LinearRegression().fit(X, X[:, 0])
    by_name = nn.feature_importance(model, X, X[:, 0], scoring="neg_mean_absolute_error", random_state=0)
    made = make_scorer(mean_absolute_error, greater_is_better=False)
    by_scorer = nn.feature_importance(model, X, X[:, 0], scoring=made, random_state=0)
    np.testing.assert_array_equal(by_name.importances, by_scorer.importances)
    weight = np.r_[np.ones(N // 2), np.zeros(N - N // 2)]
    found = nn.feature_importance(model, X, X[:, 0], sample_weight=weight, random_state=0)
    oracle = permutation_importance(model, X, X[:, 0], sample_weight=weight, random_state=0)
    np.testing.assert_array_equal(found.importances, oracle.importances)
    net = nn.Sequential([nn.Linear(1)]).build((3,), random_state=0)
    weighed = nn.feature_importance(net, X, X[:, :1], sample_weight=weight, scoring="mse")
    assert weighed.score == net.evaluate(X, X[:, :1], "mse", sample_weight=weight)


def test_the_seed_decides(net):
    first, second = (nn.feature_importance(net, X, Y, random_state=np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first.importances, second.importances)
    assert (first.importances != nn.feature_importance(net, X, Y, random_state=5).importances).any()


def test_importance_is_a_table_and_a_picture(regressor):
    found = nn.feature_importance(regressor, FRAME, RENT, random_state=0)
    text = str(found)
    assert text == repr(found)
    assert text.startswith("How much R2 falls when a column is shuffled, 5 times; with none it is 0.")
    lines = [line.split()[0] for line in text.splitlines()[4:]]
    assert lines == [found.names[place] for place in found.order]
    assert {*lines[:2]} == {"size", "town"}
    assert "<table>" in found._repr_html_()
    axes = found.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == lines
    np.testing.assert_array_equal([bar.get_width() for bar in axes.patches], found.mean[found.order])
    assert axes.get_xlabel() == "how much R2 falls when shuffled"
    assert_legible(axes)


def test_of_very_many_columns_the_first_are_drawn():
    wide = np.random.default_rng(0).normal(size=(20, 50))
    model = LinearRegression().fit(wide, wide[:, 0])
    axes = nn.feature_importance(model, wide, wide[:, 0], n_repeats=1).plot()
    assert len(axes.patches) == 30
    assert axes.get_title(loc="left") == "the first 30, 20 left out"


# ---------------------------------------------------------------------------------------------------------- dependence


def curve(axes):
    """The average of a panel of numbers, without the mean prediction and the deciles."""
    (line,) = [line for line in axes.lines if len(line.get_xdata()) > 2 and line.get_linestyle() == "-"]
    return line.get_xdata(), line.get_ydata()


def tops(axes):
    """Where the bars of a panel end."""
    return np.array([bar.get_y() + bar.get_height() for bar in axes.patches])


def means(model, column, values, predict="predict"):
    """The definition."""
    said = []
    for value in values:
        frame = FRAME.copy()
        frame[column] = pd.Series([value] * N, dtype=frame[column].dtype)
        said.append(getattr(model, predict)(frame).mean(axis=0))
    return np.array(said)


@pytest.mark.parametrize("library", LIBRARIES)
def test_effects_are_means_over_the_rows_whatever_the_library(regressor, library):
    axes = nn.plot_effects(regressor, LIBRARIES[library](COLUMNS), ["size", "town", "day", "lift"], n_points=9)
    assert [panel.get_title(loc="left") for panel in axes] == ["size", "town", "day", "lift"]
    sizes, said = curve(axes[0])
    assert set(sizes) <= set(FRAME["size"]) and len(sizes) == 9  # no value is made up
    near = {"rtol": 0, "atol": 1e-5 * RENT.max()}  # predictions are float32 times the spread of y
    np.testing.assert_allclose(said, means(regressor, "size", sizes), **near)
    np.testing.assert_allclose(tops(axes[0]), means(regressor, "size", [np.nan]), **near)
    np.testing.assert_allclose(tops(axes[1]), means(regressor, "town", ["Bonn", "Jena", "Ulm", None]), **near)
    assert [label.get_text() for label in axes[1].get_xticklabels()] == ["Bonn", "Jena", "Ulm", "missing"]
    np.testing.assert_allclose(tops(axes[3]), means(regressor, "lift", [0, 1]), **near)
    assert len({panel.get_ylim() for panel in axes}) == 1
    assert axes[0].get_ylabel() == "prediction"
    mean = regressor.predict(FRAME).mean()
    np.testing.assert_allclose([bar.get_y() for bar in axes[1].patches], mean, **near)  # where bars begin
    assert_legible(axes)


def test_effects_of_dates(regressor):
    (axes,) = nn.plot_effects(regressor, FRAME, "day", n_points=5)
    days, said = curve(axes)
    values = [day.replace(tzinfo=None) for day in matplotlib.dates.num2date(days)]
    np.testing.assert_allclose(said, means(regressor, "day", values), rtol=0, atol=1e-5 * RENT.max())
    assert_legible(axes)
    shown = [axes.xaxis.get_major_formatter().get_offset(), *(label.get_text() for label in axes.get_xticklabels())]
    assert any("2020" in text for text in shown), shown


def test_effects_are_scikit_learns():
    model = nn.NNRegressor(layers=[4], epochs=5, random_state=0).fit(X, X[:, 0] ** 2)
    (axes,) = nn.plot_effects(model, X, 1, n_points=7)
    values, said = curve(axes)
    oracle = partial_dependence(model, X, [1], custom_values={1: values}, kind="average", method="brute")
    np.testing.assert_allclose(said, oracle["average"][0], atol=1e-5)
    low, high = np.quantile(X[:, 1], [0.05, 0.95], method="inverted_cdf")
    assert (values[0], values[-1]) == (low, high)
    assert np.abs(np.diff(values) - (high - low) / 6).max() < 0.5  # about equal steps


def test_effects_class_by_class(classifier):
    axes = nn.plot_effects(classifier, FRAME, ["size", "town"])
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == ["cheap", "dear", "middle"]
    assert axes[0].get_ylabel() == "probability"
    expected = means(classifier, "town", ["Bonn", "Jena", "Ulm", None], "predict_proba")
    np.testing.assert_allclose(tops(axes[1]).reshape(3, 4), expected.T, atol=1e-6)  # a class after the other
    np.testing.assert_allclose(tops(axes[1]).reshape(3, 4).sum(axis=0), 1, atol=1e-6)
    lines = [line for line in axes[0].lines if len(line.get_xdata()) > 9]
    assert len({tuple(line.get_color()) for line in lines}) == 3
    assert_legible(axes)


TWO = {
    "table": lambda: nn.TableClassifier("td-s", hidden=4, epochs=2, random_state=0).fit(X, NAMES[Y]),
    "nn": lambda: nn.NNClassifier(layers=[4], epochs=2, random_state=0).fit(X, NAMES[Y]),
    "tree": lambda: DecisionTreeClassifier(max_depth=2).fit(X, NAMES[Y]),
}
NAMES = np.array(["no", "yes"])


@pytest.mark.parametrize("name", TWO)
def test_of_two_classes_the_second_is_drawn(name):
    model = TWO[name]()
    (axes,) = nn.plot_effects(model, X, 0)
    assert axes.get_ylabel() == "probability of yes"
    assert axes.get_legend() is None
    values, said = curve(axes)
    rows = X.copy()
    rows[:, 0] = values[3]
    np.testing.assert_allclose(said[3], model.predict_proba(rows)[:, 1].mean(), atol=1e-6)


NETS = {
    "two logits": (lambda: (nn.Linear(2), Y, "cross_entropy"), "probability of 1"),
    "a logit": (lambda: (nn.Linear(1), Y[:, None] * 1.0, "bce_with_logits"), "probability of 1"),
    "number": (lambda: (nn.Linear(1), X[:, :1], "mse"), "prediction"),
    "mean and variance": (lambda: (nn.Linear(2), X[:, :1], "gaussian_nll"), "prediction"),
    "hinge": (lambda: (nn.Linear(1), Y[:, None] * 2.0 - 1, "hinge"), "output"),
}


@pytest.mark.parametrize("name", NETS)
def test_what_outputs_of_a_net_mean(name):
    make, unit = NETS[name]
    layer, target, loss = make()
    model = nn.Sequential([layer])
    model.fit(X, target, loss=loss, epochs=1, random_state=0)
    (axes,) = nn.plot_effects(model, X, 0)
    assert axes.get_ylabel() == unit
    assert len(curve(axes)[0]) > 2
    again = nn.plot_effects(model.copy(), X, 0, loss=loss)[0]
    np.testing.assert_array_equal(curve(again)[1], curve(axes)[1])


def test_names_and_units():
    two = nn.NNRegressor(layers=[4], epochs=1, random_state=0).fit(X, X[:, :2])
    axes = nn.plot_effects(two, X, [0, 1], names=["left", "right"])
    assert [text.get_text() for text in axes[-1].get_legend().get_texts()] == ["left", "right"]
    one = nn.NNRegressor(layers=[4], epochs=1, random_state=0).fit(X, pd.Series(X[:, 0], name="metres"))
    assert nn.plot_effects(one, X, 0)[0].get_ylabel() == "metres"
    svm = LinearSVC().fit(X, Y)
    assert nn.plot_effects(svm, X, 0)[0].get_ylabel() == "decision function"
    raw = nn.Sequential([nn.Linear(2)]).build((3,), random_state=0)
    assert nn.plot_effects(raw, X, 0)[0].get_ylabel() == "output"


@pytest.mark.parametrize("kind", ["individual", "both"])
def test_curves_of_rows(regressor, kind):
    axes = nn.plot_effects(regressor, FRAME, ["size", "town"], kind=kind, n_points=9)
    lines = [line for line in axes[0].lines if len(line.get_xdata()) == 9 and line.get_linestyle() == "-"]
    assert len(lines) == 50 + (kind == "both")
    first = FRAME.iloc[[0] * 9].assign(size=lines[0].get_xdata())
    np.testing.assert_allclose(lines[0].get_ydata(), regressor.predict(first), rtol=1e-5)
    assert len(axes[1].collections) == 1  # dots
    assert len(axes[1].patches) == 4 * (kind == "both")
    assert_legible(axes)


def test_many_labels_and_few_numbers(regressor):
    street, lift = nn.plot_effects(regressor, FRAME, ["street", "lift"])
    assert len(street.patches) == 15
    assert street.get_xlabel() == "and 5 more"
    assert [label.get_text() for label in lift.get_xticklabels()] == ["0", "1"]
    whole = np.column_stack([np.arange(N) % 12, X[:, 0]])
    model = LinearRegression().fit(whole, X[:, 0])
    line, bars = (nn.plot_effects(model, whole, 0, categorical=given)[0] for given in ((), 0))
    assert len(line.patches) == 0
    assert [label.get_text() for label in bars.get_xticklabels()] == list(map(str, range(12)))  # in their order
    assert_legible([street])


def test_numbers_in_labels_count_as_such_and_more_colours_than_there_are():
    labels = [f"no {row % 12}" for row in range(N)]
    rows = [[label, float(number)] for label, number in zip(labels, X[:, 0], strict=True)]
    model = nn.TableClassifier("td-s", hidden=4, epochs=1, random_state=0).fit(rows, np.arange(N) % 9)
    words, numbers = nn.plot_effects(model, rows)
    assert [label.get_text() for label in words.get_xticklabels()] == [f"no {k}" for k in range(12)]
    looks = {(tuple(line.get_color()), line.get_linestyle()) for line in numbers.lines if len(line.get_xdata()) > 9}
    assert len(looks) == len({colour for colour, _ in looks}) == 9
    assert_legible([words])


def test_which_columns_and_rows(regressor):
    axes = nn.plot_effects(regressor, FRAME, max_rows=20, random_state=1)
    assert [panel.get_title(loc="left") for panel in axes] == list(COLUMNS)[:-1]  # one is left out
    again = nn.plot_effects(regressor, FRAME, max_rows=20, random_state=1)
    other = nn.plot_effects(regressor, FRAME, max_rows=20, random_state=2)
    np.testing.assert_array_equal(curve(axes[0])[1], curve(again[0])[1])
    assert (curve(axes[0])[1] != curve(other[0])[1]).any()
    _, own = plt.subplots(1, 2)
    assert list(nn.plot_effects(regressor, FRAME, ["size", "town"], own)) == list(own)


def test_a_constant_column_and_a_constant_net():
    model = LinearRegression().fit(X, np.zeros(N))
    flat = np.column_stack([np.ones(N), X[:, 1:]])
    axes = nn.plot_effects(model, flat, kind="both")
    assert_legible(axes)


def test_infinite_numbers_are_no_values():
    data = X.astype(float)
    data[0, 0], data[1, 0] = np.inf, np.nan
    model = nn.TableRegressor("td-s", hidden=4, epochs=1, random_state=0).fit(data, X[:, 1])
    (axes,) = nn.plot_effects(model, data, 0)
    assert np.isfinite(curve(axes)[0]).all()
    assert len(axes.patches) == 1  # missing


def test_columns_that_are_empty_in_these_rows_and_classes_that_are_one(regressor):
    axes = nn.plot_effects(regressor, FRAME.assign(size=np.nan, town=None), ["size", "town"])
    for panel in axes:
        assert [label.get_text() for label in panel.get_xticklabels()] == ["missing"]
    assert_legible(axes)
    alone = nn.NNClassifier(layers=[2], epochs=1).fit(X, ["yes"] * N)
    assert nn.plot_effects(alone, X, 0)[0].get_ylabel() == "probability"


@pytest.mark.parametrize("largest", [1e300, 1e-300])
def test_numbers_of_any_size(largest):
    data = np.column_stack([np.linspace(-largest, largest, N), X])
    model = nn.TableRegressor("td-s", hidden=4, epochs=1, random_state=0).fit(data, X[:, 1])
    (axes,) = nn.plot_effects(model, data, 0, n_points=9)
    assert len(curve(axes)[0]) == 9


# ------------------------------------------------------------------------------------------------------------ refusals

BUILT = nn.Sequential([nn.Linear(1)]).build((3,))
IMAGES = nn.Sequential([nn.Conv2d(2, 3)]).build((1, 5, 5))
TREE = DecisionTreeClassifier(max_depth=1).fit(X, Y)
SEVERAL = DecisionTreeClassifier(max_depth=1).fit(X, np.column_stack([Y, Y]))
WRONG = {
    "repeats": (lambda: nn.feature_importance(TREE, X, Y, n_repeats=0), nn.ParameterError, "n_repeats .* at least 1, got 0"),
    "rows": (lambda: nn.feature_importance(TREE, X, Y[:3]), nn.ShapeError, "expected y with 90 rows"),
    "no model": (lambda: nn.feature_importance("net", X, Y), nn.ParameterError, "with predict, got 'net'"),
    "scoring": (lambda: nn.feature_importance(TREE, X, Y, scoring=3), nn.ParameterError, "name of a scorer"),
    "metric": (lambda: nn.feature_importance(BUILT, X, X[:, :1], scoring=lambda y, p: 0.0), nn.ParameterError, "greater"),
    "unknown": (lambda: nn.feature_importance(BUILT, X, X[:, :1], scoring="acuracy"), nn.RegistryError, "accuracy"),
    "sparse": (lambda: nn.feature_importance(TREE, csr_matrix(X), Y), nn.DataError, "a dense table"),
    "no rows": (lambda: nn.plot_effects(TREE, X[:0]), nn.DataError, "plot_effects: expected rows in X, got none"),
    "lazy": (lambda: nn.plot_effects(TREE, pl.LazyFrame(X)), nn.DataError, "read it first: collect"),
    "not built": (lambda: nn.feature_importance(nn.Sequential(["linear"]), X, Y), nn.NotBuiltError, "built model"),
    "images": (lambda: nn.plot_effects(IMAGES, np.ones((2, 1, 5, 5))), nn.ParameterError, "columns of a table"),
    "width": (lambda: nn.plot_effects(BUILT, X[:, :2]), nn.ShapeError, r"expected X of shape \('N', 3\)"),
    "kind": (lambda: nn.plot_effects(TREE, X, kind="avg"), nn.ParameterError, "'average', 'individual', 'both', got 'avg'"),
    "points": (lambda: nn.plot_effects(TREE, X, n_points=1), nn.ParameterError, "n_points .* at least 2"),
    "rows drawn": (lambda: nn.plot_effects(TREE, X, max_rows=True), nn.ParameterError, "max_rows"),
    "column": (lambda: nn.plot_effects(TREE, FRAME_X, "lenght"), nn.ParameterError, "did you mean 'length'"),
    "place": (lambda: nn.plot_effects(TREE, X, 3), nn.ParameterError, "names or places of columns, got 3"),
    "nothing": (lambda: nn.plot_effects(TREE, X, []), nn.ParameterError, "a column to draw"),
    "several": (lambda: nn.plot_effects(SEVERAL, X), nn.ParameterError, "one label a row"),
    "silent": (lambda: nn.plot_effects(nn_like(), X), nn.ParameterError, "predict_proba or decision_function"),
    "names": (lambda: nn.plot_effects(TREE, X, names=["a"]), nn.ParameterError, "names of 2 outputs, got 1"),
    "axes": (lambda: nn.plot_effects(TREE, X, ax=3), nn.ParameterError, "Axes"),
}  # fmt: skip
FRAME_X = pd.DataFrame(X, columns=["length", "width", "height"])


def nn_like():
    model = RidgeClassifier().fit(X, Y)
    return type("Silent", (), {"predict": model.predict, "classes_": model.classes_})()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()
    assert plt.get_fignums() == []


def test_a_column_that_is_left_out_has_no_effect_to_draw(regressor):
    with pytest.raises(nn.ParameterError, match="'planet' is left out"):
        nn.plot_effects(regressor, FRAME, "planet")
    with pytest.raises(nn.DataError, match="now missing"):
        nn.plot_effects(regressor, FRAME[["size"]])
