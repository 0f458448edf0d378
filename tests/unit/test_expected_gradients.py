"""Expected gradients: closed forms, quadrature in plain NumPy within a bound of sampling, and shap's own explainer."""

import importlib
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import nnkit as nn
from nnkit.inspect.effects import slopes as of_slopes
from nnkit.inspect.effects.slopes import Slopes

RANDOM = np.random.default_rng(0)
X, BACKGROUND = RANDOM.normal(size=(6, 4)), RANDOM.normal(size=(10, 4))
WORDS, OTHERS = RANDOM.integers(0, 9, (5, 3)), RANDOM.integers(0, 9, (8, 3))
SIGMAS = 5  # a normal error is larger with probability 6e-7


def tanh_net(dtype="float64"):
    return nn.Sequential([nn.Linear(5), nn.Tanh(), nn.Linear(2)]).build((4,), random_state=1, dtype=dtype)


def parts_of_tanh_net(model, X, background):
    """(rows, background, points, columns, outputs) of (x - x') dF/dx, and the weights of the points: Gauss and Legendre's."""
    (w1, b1, w2, _) = (np.asarray(array, float) for array in model.parameters().values())
    nodes, weights = np.polynomial.legendre.leggauss(40)
    share = (nodes + 1)[None, None, :, None] / 2
    step = (X[:, None] - background)[:, :, None]
    hidden = np.tanh((background[None, :, None] + share * step) @ w1 + b1)
    slopes = np.einsum("ih,nbsh,hk->nbsik", w1, 1 - hidden**2, w2)
    return step[..., None] * slopes, weights / 2


def moments(parts, weights):
    """Mean and standard deviation of what is sampled, over the background and the line."""
    mean = np.einsum("nbs...,s->n...", parts, weights) / parts.shape[1]
    square = np.einsum("nbs...,s->n...", parts**2, weights) / parts.shape[1]
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def assert_within_sampling(found, mean, std, samples):
    """Samples of which there is one in each piece have a variance of at most std**2 / (samples - 1): Owen 1997."""
    bound = SIGMAS * std / np.sqrt(samples - 1) + 1e-12
    assert (np.abs(found - mean) <= bound).all(), np.max(np.abs(found - mean) / bound)


# --------------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("samples", [1, 7, 10, 25])
def test_of_a_linear_net_they_are_exact(samples):
    model = nn.Sequential([nn.Linear(3)]).build((4,), random_state=0, dtype="float64")
    background = BACKGROUND[:samples]
    found = nn.expected_gradients(model, X, background, n_samples=samples, random_state=0)
    weight, bias = model.parameters().values()
    np.testing.assert_allclose(found.values, (X - background.mean(axis=0))[:, :, None] * weight, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.base_values, background.mean(axis=0) @ weight + bias, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.gap, 0, atol=1e-14)
    assert found.names == ["x0", "x1", "x2", "x3"]
    assert (found.data == X).all()


def test_of_a_large_background_some_rows_are_compared_with():
    model = nn.Sequential([nn.Linear(1)]).build((4,), random_state=0, dtype="float64")
    found = nn.expected_gradients(model, X, BACKGROUND, n_samples=4, random_state=0)
    np.testing.assert_allclose(found.gap, 0, atol=1e-14)  # the base is the mean of those that were taken
    said = model.predict(BACKGROUND)[:, 0]
    assert found.base_values < said.max() and found.base_values != pytest.approx(said.mean(), abs=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_of_a_net_they_are_the_integral(dtype):
    model = tanh_net(dtype)
    found = nn.expected_gradients(model, X, BACKGROUND, n_samples=400, random_state=0)
    parts, weights = parts_of_tanh_net(model, X, BACKGROUND)
    mean, std = moments(parts, weights)
    assert_within_sampling(found.values, mean, std, 400)
    total, spread = moments(parts.sum(axis=3), weights)
    said = model.predict(X) - model.predict(BACKGROUND).mean(axis=0)
    np.testing.assert_allclose(total, said, atol=1e-5 if dtype == "float32" else 1e-12)  # so completeness is a bound, too
    assert_within_sampling(found.gap, 0, spread, 400)
    np.testing.assert_allclose(found.predictions, model.predict(X), atol=1e-6)
    assert found.values.shape == (6, 4, 2) and found.base_values.shape == (2,)


FAULTS = {
    "slopes at the end": lambda along: lambda self, begin, end, share, d: along(self, begin, end, np.ones_like(share), d),
    "slopes at the beginning": lambda along: lambda self, begin, end, share, d: along(self, begin, end, 0 * share, d),
    "the other way": lambda along: lambda self, begin, end, share, d: along(self, end, begin, share, d),
    "a pairing of rows": lambda along: lambda self, begin, end, share, d: along(
        self, begin.taken(np.roll(np.arange(len(share)), 1)), end, begin.rows[:, 0] * 0 + share.mean(), d),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_bound_catches_mistakes(monkeypatch, fault):
    monkeypatch.setattr(Slopes, "along", FAULTS[fault](Slopes.along))
    with pytest.raises(AssertionError):
        test_of_a_net_they_are_the_integral("float64")


def test_more_samples_are_nearer():
    model = tanh_net()
    gaps = [np.abs(nn.expected_gradients(model, X, BACKGROUND, n_samples=n, random_state=0).gap).max() for n in (20, 20_000)]
    assert gaps[1] < gaps[0] / 10  # about 1 / 32, and less


def test_the_seed_decides_and_batches_do_not(monkeypatch):
    model = tanh_net()
    found = nn.expected_gradients(model, X, BACKGROUND, n_samples=30, random_state=3)
    again = nn.expected_gradients(model, X, BACKGROUND, n_samples=30, random_state=3)
    np.testing.assert_array_equal(found.values, again.values)
    assert (found.values != nn.expected_gradients(model, X, BACKGROUND, n_samples=30, random_state=4).values).any()
    monkeypatch.setattr(of_slopes, "MOST", 7)
    other = nn.expected_gradients(model, X, BACKGROUND, n_samples=30, random_state=3)
    np.testing.assert_allclose(other.values, found.values, rtol=0, atol=1e-14)
    np.testing.assert_allclose(other.predictions, found.predictions, rtol=0, atol=1e-14)


# ------------------------------------------------------------------------------------------------------------- lookups


def word_net():
    layers = [nn.Embedding(9, 2), nn.Flatten(), nn.Linear(4), nn.Tanh(), nn.Linear(1)]
    return nn.Sequential(layers).build((3,), random_state=0, dtype="float64")


def test_words_have_what_their_vectors_have():
    model = word_net()
    found = nn.expected_gradients(model, WORDS, OTHERS, n_samples=40, random_state=0)
    behind = model[1:]
    table = model.parameters()["0.weight"]
    vectors = nn.expected_gradients(behind, table[WORDS], table[OTHERS], n_samples=40, random_state=0)
    assert found.values.shape == (5, 3) and vectors.values.shape == (5, 3, 2)
    np.testing.assert_allclose(found.values, vectors.values.sum(axis=2), rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.gap, vectors.gap, atol=1e-14)
    assert (found.data == WORDS).all()


def table_net(last):
    """Two columns that are looked up, beside numbers; columns are read in another order than they have."""
    parts = {"b": [nn.Columns([3]), nn.Embedding(4, 3), nn.Flatten()], "numbers": [nn.Columns([2, 0]), nn.Linear(2)],
             "a": [nn.Columns([1]), nn.Embedding(5, 2), nn.Flatten()]}  # fmt: skip
    return nn.Sequential([nn.Inputs(**parts), *last]).build((4,), random_state=0, dtype="float64")


def table_rows(count):
    random = np.random.default_rng(count)
    return np.column_stack([random.normal(size=count), random.integers(0, 5, count), random.normal(size=count),
                            random.integers(0, 4, count)])  # fmt: skip


@pytest.mark.parametrize("frozen", [False, True])
def test_codes_beside_numbers_closed_form(frozen):
    model = table_net([nn.Linear(2)])
    if frozen:
        model.freeze("*")
    rows, others = table_rows(6), table_rows(9)
    found = nn.expected_gradients(model, rows, others, n_samples=9, random_state=0)
    arrays = model.parameters()
    vectors_b, inner, vectors_a = (np.asarray(arrays[f"0.{part}.1.weight"]) for part in range(3))
    last = arrays["1.weight"]

    def by_column(rows):
        """(rows, columns, outputs) of the net, which is linear in them."""
        out = np.zeros((len(rows), 4, 2))
        out[:, 3] = vectors_b[rows[:, 3].astype(int)] @ last[:3]
        out[:, 2] = rows[:, 2, None] * (inner[0] @ last[3:5])
        out[:, 0] = rows[:, 0, None] * (inner[1] @ last[3:5])
        out[:, 1] = vectors_a[rows[:, 1].astype(int)] @ last[5:]
        return out

    np.testing.assert_allclose(found.values, by_column(rows) - by_column(others).mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.gap, 0, atol=1e-14)


def test_codes_of_a_net_that_is_not_linear_are_complete():
    model = table_net([nn.Linear(6), nn.Tanh(), nn.Linear(1)])
    rows, others = table_rows(6), table_rows(9)
    few, many = (nn.expected_gradients(model, rows, others, n_samples=n, random_state=0) for n in (90, 9000))
    assert np.abs(many.gap).max() < np.abs(few.gap).max() / 3
    assert np.abs(many.gap).max() < 0.01 * np.abs(many.values).max()


# -------------------------------------------------------------------------------------------------------------- tables

N = 60
COLUMNS = {
    "size": [None if row % 7 == 0 else float(row % 13) for row in range(N)],
    "town": [None if row % 11 == 0 else "ABC"[row % 3] for row in range(N)],
    "street": [f"street {row % 12}" for row in range(N)],
    "day": pd.date_range("2020-01-01", periods=N, freq="5D").to_pydatetime().tolist(),
    "planet": ["Earth"] * N,
}
FRAME = pd.DataFrame(COLUMNS)
RENT = 100.0 + 10 * (np.arange(N) % 13) + 50 * (np.arange(N) % 3)


@pytest.fixture(scope="module", params=["td", "td-s"])
def regressor(request):
    return nn.TableRegressor(request.param, hidden=8, epochs=15, random_state=0).fit(FRAME, RENT)


def test_columns_of_a_table_are_sums_of_what_the_net_reads(regressor):
    found = nn.expected_gradients(regressor, FRAME[:9], FRAME, n_samples=30, random_state=0)
    rows, every = (regressor.net_rows(frame).rows for frame in (FRAME[:9], FRAME))
    inner = nn.expected_gradients(regressor.model_, rows, every, n_samples=30, random_state=0)
    names = regressor.scheme_.get_feature_names_out()
    expected = np.zeros((9, 5))
    for place, name in enumerate(names):
        column = list(COLUMNS).index(name.split("_")[0])
        expected[:, column] += inner.values[:, place] * regressor.targets_.std
    # Slopes of y in float32 beside those of the outputs, times y's spread: some 20 roundings on the way.
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=20 * 2.0**-24 * RENT.max())
    assert found.names == list(COLUMNS)
    assert (found.values[:, 4] == 0).all()  # what is left out
    assert found.data[1].tolist() == [1.0, "B", "street 1", "2020-01-06 00:00:00", None]
    assert found.data[0, :2].tolist() == [None, None]


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table], ids=["polars", "pyarrow"])
def test_tables_of_all_libraries_have_the_same(regressor, make):
    found, other = (nn.expected_gradients(regressor, data, data, n_samples=10, random_state=0)
                    for data in (FRAME, make(COLUMNS)))  # fmt: skip
    np.testing.assert_array_equal(found.values, other.values)
    assert found.data.tolist() == other.data.tolist()


def test_predictions_of_tables_are_in_the_units_of_y(regressor):
    found = nn.expected_gradients(regressor, FRAME, FRAME, n_samples=60, random_state=0)
    said = regressor.targets_.clamped(found.predictions) if regressor.recipe_ == "td" else found.predictions
    np.testing.assert_allclose(said, regressor.predict(FRAME), rtol=1e-6)
    assert found.base_values == pytest.approx(found.predictions.mean())


SEVERAL = {"tabm": {"recipe": "tabm"}, "folds": {"recipe": "td", "n_members": 2}}


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_nets_it_is_their_mean(name):
    model = nn.TableRegressor(hidden=8, epochs=4, random_state=0, **SEVERAL[name]).fit(FRAME, RENT)
    few, many = (nn.expected_gradients(model, FRAME[:5], FRAME, n_samples=n, random_state=0) for n in (60, 6000))
    said = model.targets_.clamped(many.predictions) if name == "folds" else many.predictions
    np.testing.assert_allclose(said, model.predict(FRAME[:5]), rtol=1e-6)
    assert few.values.shape == (5, 5)
    assert np.abs(many.gap).max() < np.abs(few.gap).max() / 3
    assert np.abs(many.gap).max() < 0.02 * np.abs(many.values).max()
    labels = np.array(["a", "b", "c"])[np.arange(N) % 3]
    classifier = nn.TableClassifier(hidden=4, epochs=2, random_state=0, **SEVERAL[name]).fit(FRAME, labels)
    found = nn.expected_gradients(classifier, FRAME, FRAME, n_samples=6, random_state=0)
    scores = classifier.model_.predict(classifier.net_rows(FRAME).rows)
    np.testing.assert_allclose(found.predictions, scores.mean(axis=1, dtype=float), rtol=0, atol=1e-6)


def test_a_temperature_divides_the_scores():
    labels = np.array(["no", "yes"])[np.arange(N) % 2]
    model = nn.TableClassifier("td-s", hidden=4, epochs=20, calibrate=True, random_state=0).fit(FRAME, labels)
    assert model.temperature_ != 1
    found, probability = nn.expected_gradients(model, FRAME, FRAME, n_samples=6), model.predict_proba(FRAME)
    np.testing.assert_allclose(np.exp(found.predictions), probability[:, 1] / probability[:, 0], rtol=1e-4)


def test_classes_are_scores_and_two_are_log_odds():
    for labels in (np.array(["no", "yes"])[np.arange(N) % 2], np.array(["a", "b", "c"])[np.arange(N) % 3]):
        for model in (nn.TableClassifier("td-s", hidden=4, epochs=3, random_state=0).fit(FRAME, labels),
                      nn.NNClassifier(layers=[4], epochs=3, random_state=0).fit(X[np.arange(N) % 6], labels)):  # fmt: skip
            data = FRAME if isinstance(model, nn.TableClassifier) else X
            found = nn.expected_gradients(model, data, data, n_samples=10, random_state=0)
            probability = model.predict_proba(data)
            score = np.exp(found.predictions)
            if len(model.classes_) == 2:
                np.testing.assert_allclose(score, probability[:, 1] / probability[:, 0], rtol=1e-4)
                assert found.output_names == ["yes"]
            else:
                np.testing.assert_allclose(score / score.sum(axis=1, keepdims=True), probability, rtol=1e-4)
                assert found.output_names == ["a", "b", "c"]


def test_nns_with_frames_and_two_outputs():
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = nn.NNRegressor(layers=[3], epochs=1, random_state=0).fit(frame, X[:, :2])
    found = nn.expected_gradients(model, frame, frame, n_samples=6)
    assert (found.names, found.output_names) == (list("abcd"), ["output 0", "output 1"])
    np.testing.assert_allclose(found.predictions, model.predict(frame), atol=1e-6)


def test_images_keep_their_shape_and_the_model_what_it_has():
    layers = [nn.Conv2d(2, 3), nn.BatchNorm2d(), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(2)]
    model = nn.Sequential(layers).build((1, 5, 5), random_state=0)
    images = np.random.default_rng(0).normal(size=(4, 1, 5, 5)).astype(np.float32)
    model.backward(np.ones_like(model.forward(images, training=True)))
    before = {name: array.copy() for kind in (model.gradients(), model.states()) for name, array in kind.items()}
    found = nn.expected_gradients(model, images, images, n_samples=400, random_state=0)
    assert found.values.shape == (4, 1, 5, 5, 2) and found.names == []
    assert np.abs(found.gap).max() < 0.15 * np.abs(found.predictions - found.base_values).max()
    after = {name: array for kind in (model.gradients(), model.states()) for name, array in kind.items()}
    assert all((after[name] == array).all() for name, array in before.items())


# ------------------------------------------------------------------------------------------------------ what one sees


def test_a_table_and_a_picture():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from tests.pictures import assert_legible

    model = tanh_net()
    found = nn.expected_gradients(model, X, BACKGROUND, random_state=0)
    lines = str(found).splitlines()
    assert lines[0] == "How much each column adds to a prediction or takes from it (mean of 6 rows)"
    assert lines[2].split() == ["column", "output", "0", "output", "1"]
    size = np.abs(found.values).mean(axis=0).sum(axis=1)
    assert [line.split()[0] for line in lines[4:]] == [f"x{place}" for place in np.argsort(-size)]
    axes = found.plot()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["output 0", "output 1"]
    assert_legible(axes)
    matplotlib.pyplot.close("all")


def test_without_shap_its_explanations_say_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "shap", None)
    found = nn.expected_gradients(tanh_net(), X, BACKGROUND, n_samples=1)
    with pytest.raises(nn.MissingLibraryError, match="the library shap, which is not installed; pip install shap"):
        found.to_shap()


@pytest.fixture
def shap():
    pytest.importorskip("matplotlib").use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own business
        try:
            yield importlib.import_module("shap")
        except ImportError:
            pytest.skip("shap is not installed")


def test_explanations_of_shap(shap, regressor):
    found = nn.expected_gradients(regressor, FRAME, FRAME, n_samples=60, random_state=0)
    explanation = found.to_shap()
    np.testing.assert_array_equal(explanation.values, found.values)
    np.testing.assert_allclose(explanation.base_values + explanation.values.sum(axis=1) + found.gap, found.predictions)
    assert explanation.feature_names == found.names
    assert explanation.shape == (N, 5)
    row = explanation[3]
    assert (row.base_values, row.data.tolist()) == (found.base_values, found.data[3].tolist())
    shap.plots.waterfall(row, show=False)
    shap.plots.bar(explanation, show=False)
    several = nn.expected_gradients(tanh_net(), X, BACKGROUND, n_samples=10).to_shap()
    assert several.output_names == ["output 0", "output 1"]
    assert several[..., 1].values.shape == (6, 4)


def test_shaps_own_explainer(shap):
    torch = pytest.importorskip("torch")
    model = tanh_net("float32")
    twin = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    w1, b1, w2, b2 = (torch.tensor(np.asarray(array)) for array in model.parameters().values())
    twin.load_state_dict({"0.weight": w1.T, "0.bias": b1, "2.weight": w2.T, "2.bias": b2})
    explainer = shap.GradientExplainer(twin, torch.tensor(BACKGROUND, dtype=torch.float32))
    theirs = np.asarray(explainer.shap_values(torch.tensor(X, dtype=torch.float32), nsamples=2000, rseed=0))
    found = nn.expected_gradients(model, X, BACKGROUND, n_samples=2000, random_state=0)
    _, std = moments(*parts_of_tanh_net(model, X, BACKGROUND))
    assert theirs.shape == found.values.shape
    bound = SIGMAS * std * np.sqrt(1 / 2000 + 1 / 1999) + 1e-6  # theirs are independent samples
    assert (np.abs(theirs - found.values) < bound).all()


# ------------------------------------------------------------------------------------------------------------ refusals

NET = tanh_net()
BAG = nn.Sequential([nn.EmbeddingBag(9, 2), nn.Linear(1)]).build((3,))
PADDED = nn.Sequential([nn.Embedding(9, 2, padding_idx=0), nn.Flatten(), nn.Linear(1)]).build((3,))
TWO = nn.Sequential([nn.Inputs(a=nn.Linear(2), b=nn.Linear(2)), nn.Linear(1)]).build({"a": (2,), "b": (3,)})
TABLE = nn.TableRegressor("td-s", hidden=2, epochs=1, random_state=0).fit(X, X[:, 0])
STEPS = nn.Sequential([nn.TimeDistributed(nn.Linear(2))]).build((4, 1))
WRONG = {
    "samples": (lambda: nn.expected_gradients(NET, X, X, n_samples=0), nn.ParameterError, "n_samples .* at least 1, got 0"),
    "model": (lambda: nn.expected_gradients("net", X, X), nn.ParameterError, "expected a Sequential"),
    "not built": (lambda: nn.expected_gradients(nn.Sequential(["linear"]), X, X), nn.NotBuiltError, "built model"),
    "not fitted": (lambda: nn.expected_gradients(nn.NNClassifier(), X, X), nn.ParameterError, "fit it before"),
    "width": (lambda: nn.expected_gradients(NET, X[:, :3], X), nn.ShapeError, r"expected X of shape \('N', 4\)"),
    "background": (lambda: nn.expected_gradients(NET, X, X[:, :3]), nn.ShapeError, "expected background of shape"),
    "empty": (lambda: nn.expected_gradients(NET, X, X[:0]), nn.DataError, "background: expected at least one row"),
    "no rows": (lambda: nn.expected_gradients(TABLE, X, pd.DataFrame(X[:0])), nn.DataError, "rows in background, got none"),
    "NaN": (lambda: nn.expected_gradients(NET, X * np.nan, X), nn.DataError, "X: expected finite"),
    "word": (lambda: nn.expected_gradients(word_net(), WORDS + 9, OTHERS), nn.DataError, "from 0 to 8"),
    "bag": (lambda: nn.expected_gradients(BAG, WORDS, OTHERS), nn.ParameterError, "no vector for each"),
    "padding": (lambda: nn.expected_gradients(PADDED, WORDS, OTHERS), nn.ParameterError, "leaves padding out"),
    "sequence": (lambda: nn.expected_gradients(STEPS, X[:, :, None], X[:, :, None]), nn.ParameterError, r"shape \(4, 2\)"),
    "inputs": (lambda: nn.expected_gradients(TWO, X, X), nn.ParameterError, "a model of one input"),
    "random": (lambda: nn.expected_gradients(NET, X, X, random_state="a"), nn.ParameterError, "random_state"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()
