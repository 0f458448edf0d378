"""Frames of pandas, Polars, PyArrow and what speaks their protocols: numbers by the types of columns, all else refused."""

import datetime
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.arrays import numeric
from nnkit.core.frames import Frame

pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))

RNG = np.random.default_rng(0)
A = RNG.normal(size=(30, 2))
LABELS = np.arange(30) % 3
WORDS = np.array(["b", "a", "c"])[LABELS]
COLUMNS = {"u": A[:, 0], "v": A[:, 1]}


def speaker(table, protocol):
    """A table of an unknown library, which speaks one protocol."""
    kind = type("Speaker", (), {protocol: lambda self, *arguments, **options: getattr(table, protocol)(*arguments, **options)})
    return kind()


def from_parquet(library):
    def read(data, folder):
        pl.DataFrame(data).write_parquet(folder / "a.parquet")
        return library(folder / "a.parquet")

    return read


def from_feather(library):
    def read(data, folder):
        pd.DataFrame(data).to_feather(folder / "a.feather")
        return library(folder / "a.feather")

    return read


def from_text(encoding, library):
    def read(data, folder):
        pd.DataFrame(data).to_csv(folder / "a.csv", index=False, encoding=encoding)
        return library(folder / "a.csv")

    return read


MAKERS = {
    "pandas": lambda data, folder: pd.DataFrame(data),
    "pandas of Arrow": lambda data, folder: pa.table(data).to_pandas(types_mapper=pd.ArrowDtype),
    "Polars": lambda data, folder: pl.DataFrame(data),
    "PyArrow": lambda data, folder: pa.table(data),
    "a batch of PyArrow": lambda data, folder: pa.record_batch(data),
    "the Arrow protocol": lambda data, folder: speaker(pl.DataFrame(data), "__arrow_c_stream__"),
    "the interchange protocol": lambda data, folder: speaker(pa.table(data), "__dataframe__"),
    "Parquet by pandas": from_parquet(pd.read_parquet),
    "Parquet by Polars": from_parquet(pl.read_parquet),
    "Parquet by PyArrow": from_parquet(lambda path: __import__("pyarrow.parquet").parquet.read_table(path)),
    "Feather by pandas": from_feather(pd.read_feather),
    "Feather by Polars": from_feather(pl.read_ipc),
    "Feather by PyArrow": from_feather(lambda path: __import__("pyarrow.feather").feather.read_table(path)),
    "UTF-16 by pandas": from_text("utf-16", lambda path: pd.read_csv(path, encoding="utf-16")),
    "CSV by Polars": from_text("utf-8", pl.read_csv),
}
SERIES = {
    "pandas": pd.Series, "Polars": pl.Series, "PyArrow": lambda cells: pa.chunked_array([cells]), "PyArrow array": pa.array,
    "pandas nullable": lambda cells: pd.Series(cells).convert_dtypes(), "index": pd.Index,
}  # fmt: skip
CLASSES = SERIES | {
    "pandas category": lambda cells: pd.Series(cells, dtype="category"),
    "pandas string": lambda cells: pd.Series(cells, dtype="string"),
    "pandas objects": lambda cells: pd.Series(cells, dtype=object),
    "Polars Categorical": lambda cells: pl.Series(cells, dtype=pl.Categorical),
    "Polars Enum": lambda cells: pl.Series(cells, dtype=pl.Enum(["c", "b", "a"])),
    "Arrow dictionary": lambda cells: pa.chunked_array([cells]).dictionary_encode(),
    "Arrow dictionary array": lambda cells: pa.array(cells).dictionary_encode(),
}


def trained(X, y, **more):
    net = nn.Sequential([nn.Linear(4), nn.Tanh(), nn.Linear(3)])
    net.fit(X, y, loss="cross_entropy", epochs=2, random_state=0, n_threads=1, **more)
    return net


@pytest.mark.parametrize("maker", MAKERS)
def test_a_frame_is_its_numbers(maker, tmp_path):
    X = MAKERS[maker](COLUMNS, tmp_path)
    net, plain = trained(X, LABELS, validation_data=(X, LABELS)), trained(A, LABELS)
    np.testing.assert_array_equal(net.predict(X), plain.predict(A))
    assert net.evaluate(X, LABELS) == plain.evaluate(A, LABELS)
    np.testing.assert_array_equal(net.forward(X), plain.forward(A))


@pytest.mark.parametrize("maker", MAKERS)
def test_an_estimator_knows_the_names_of_columns(maker, tmp_path):
    def made(data):
        return MAKERS[maker](data, tmp_path)

    net = nn.NNClassifier(layers=[4], epochs=2, random_state=0).fit(made(COLUMNS), WORDS, X_val=made(COLUMNS), y_val=WORDS)
    assert net.feature_names_in_.tolist() == ["u", "v"] and net.n_features_in_ == 2
    plain = nn.NNClassifier(layers=[4], epochs=2, random_state=0).fit(A, WORDS)
    np.testing.assert_array_equal(net.predict_proba(made(COLUMNS)), plain.predict_proba(A))
    with pytest.raises(ValueError, match="must be in the same order"):
        net.predict(made({"v": A[:, 1], "u": A[:, 0]}))
    with pytest.raises(ValueError, match="unseen at fit time:\n- w"):
        net.predict(made({"u": A[:, 0], "w": A[:, 1]}))
    with pytest.raises(nn.DataError, match="X: expected finite numbers, got nan in row 2, column v"):
        net.predict(made({"u": A[:, 0], "v": [0.5, 0.5, None] * 10}))
    dates = {"u": np.full(30, "2020-01-01", "M8[us]"), "v": A[:, 0]}
    for data, told in (({"u": A[:, 0], "v": WORDS}, "'v' ("), (dates, "'u' (")):
        for call in (net.predict, net.transform, lambda X: net.partial_fit(X, WORDS), lambda X: net.fit(X, WORDS)):
            with pytest.raises(nn.DataError) as caught:
                call(made(data))
            assert "expected columns of numbers, got " + told in str(caught.value)


@pytest.mark.parametrize("kind", SERIES)
def test_targets_of_any_library(kind):
    labels, numbers = SERIES[kind](LABELS.tolist()), SERIES[kind](A[:, 0].tolist())
    np.testing.assert_array_equal(trained(A, labels, sample_weight=labels).predict(A),
                                  trained(A, LABELS, sample_weight=LABELS).predict(A))  # fmt: skip
    plain, net = (nn.NNRegressor(layers=[4], epochs=2, random_state=0).fit(A, y) for y in (A[:, 0], numbers))
    np.testing.assert_array_equal(plain.predict(A), net.predict(A))
    flags = SERIES[kind]((LABELS == 1).tolist())
    np.testing.assert_array_equal(trained(A, flags).predict(A), trained(A, LABELS == 1).predict(A))


@pytest.mark.parametrize("kind", CLASSES)
def test_labels_of_any_library(kind):
    words = CLASSES[kind](WORDS.tolist())
    net, plain = (nn.NNClassifier(layers=[4], epochs=2, random_state=0).fit(A, y) for y in (words, WORDS))
    assert net.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(net.predict_proba(A), plain.predict_proba(A))
    again = nn.NNClassifier(layers=[4], random_state=0).partial_fit(A, words, classes=CLASSES[kind](["b", "a", "c"]))
    assert again.classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(nn.DataError, match="y: expected numbers, got"):
        trained(A, words)
    with pytest.raises(nn.DataError, match="y: expected numbers, got"):
        nn.NNRegressor(epochs=1).fit(A, words)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind != "index"])
def test_a_label_that_is_missing_is_refused(kind):
    words = CLASSES[kind](["a", None, "b"] * 10)
    with pytest.raises(nn.DataError, match="y: expected a label in every row, got none in row 1"):
        nn.NNClassifier(epochs=1).fit(A, words)


def test_several_targets_in_a_frame():
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        net = nn.NNRegressor(layers=[4], epochs=2, random_state=0).fit(A, make(COLUMNS))
        assert net.predict(A).shape == (30, 2)


# --------------------------------------------------------------------------------------------------------- types of columns

DAY, LONG = datetime.datetime(2020, 1, 1), datetime.timedelta(1)
NUMERIC = {
    "pandas nullable": (pd.DataFrame({"a": pd.array([1, 2], "Int8"), "b": pd.array([True, None], "boolean")}),
                        [[1, 1], [2, np.nan]]),
    "pandas decimals": (pd.DataFrame({"a": pd.array([Decimal("1.5"), None], pd.ArrowDtype(pa.decimal128(5, 2)))}),
                        [[1.5], [np.nan]]),
    "pandas objects": (pd.DataFrame({"a": [1, 2], "b": [True, None], "c": [Decimal("0.5"), 2]}, dtype=object),
                       [[1, 1, 0.5], [2, np.nan, 2]]),
    "pandas flags": (pd.DataFrame({"a": [True, False], "b": [1.5, 2]}), [[1, 1.5], [0, 2]]),
    "pandas Arrow": (pd.DataFrame({"a": pd.array([1, None], pd.ArrowDtype(pa.int64()))}), [[1], [np.nan]]),
    "pandas sparse": (pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.0]), "b": [1, 2]}), [[0, 1], [1, 2]]),
    "pandas big-endian": (pd.DataFrame({"a": np.array([1, 2], ">i8"), "b": np.array([1, 2], ">f4")}), [[1, 1], [2, 2]]),
    "pandas half": (pd.DataFrame({"a": np.array([1, 2], "f2")}), [[1], [2]]),
    "pandas without names": (pd.DataFrame([[1.0, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "pandas with pairs of names": (pd.DataFrame([[1.0, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])), [[1, 2]]),
    "pandas with a name twice": (pd.DataFrame([[1, 2.5]], columns=["a", "a"]), [[1, 2.5]]),
    "Polars nulls": (pl.DataFrame({"a": [1, None], "b": [True, None], "c": [None, None]}), [[1, 1, np.nan], [np.nan] * 3]),
    "Polars decimals": (pl.DataFrame({"a": [Decimal("1.5"), None], "b": [1, 2]}), [[1.5, 1], [np.nan, 2]]),
    "Polars flags": (pl.DataFrame({"a": [True, False], "b": [1.5, 2]}), [[1, 1.5], [0, 2]]),
    "Polars wide integers": (pl.DataFrame({"a": [1, 2]}, schema={"a": pl.Int128}), [[1], [2]]),
    "Arrow nulls": (pa.table({"a": [1, None], "b": [True, None]}), [[1, 1], [np.nan, np.nan]]),
    "Arrow decimals": (pa.table({"a": [Decimal("1.5"), None]}), [[1.5], [np.nan]]),
    "Arrow half": (pa.table({"a": pa.array(np.array([1, 2], "f2"))}), [[1], [2]]),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMERIC)
def test_columns_that_are_numbers(name):
    frame, rows = NUMERIC[name]
    array = numeric(frame, "X")
    assert array.dtype.kind in "biuf" and array.dtype.isnative
    np.testing.assert_array_equal(array, np.array(rows, float))
    if np.isfinite(np.array(rows, float)).all() and "twice" not in name:
        nn.NNRegressor(layers=[2], epochs=1).fit(frame, np.ones(len(rows)))


def test_numbers_that_are_together_are_not_copied():
    for frame in (pd.DataFrame(A), pl.from_numpy(np.asfortranarray(A))):
        assert np.shares_memory(numeric(frame, "X"), numeric(frame, "X"))


REFUSED = {
    "pandas text": (pd.DataFrame({"a": ["x"], "b": [1]}), ["'a' (", "OneHotEncoder"]),
    "pandas text of digits": (pd.DataFrame({"a": ["1"], "b": [1]}), ["'a' (", "OneHotEncoder"]),
    "pandas objects": (pd.DataFrame({"a": [1, "x"]}), ["'a' (object)", "OneHotEncoder"]),
    "pandas dates": (pd.DataFrame({"a": [DAY], "b": [LONG]}), ["'a' (datetime64", "'b' (timedelta64", "give times as numbers"]),
    "pandas zones": (pd.DataFrame({"a": pd.to_datetime([DAY], utc=True)}), ["'a' (datetime64[", "give times as numbers"]),
    "pandas categories": (pd.DataFrame({"a": pd.Categorical([1, 2])}), ["'a' (category)", "OneHotEncoder"]),
    "pandas periods": (pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="Y")}), ["'a' (period[", "drop them"]),
    "pandas complex": (pd.DataFrame({"a": [1j]}), ["'a' (complex128)", "drop them"]),
    "pandas text with a name twice": (pd.DataFrame([[1, "x"]], columns=["a", "a"]), ["got dtype object"]),
    "Polars text": (pl.DataFrame({"a": ["x"], "b": [1.0]}), ["'a' (String)", "OneHotEncoder"]),
    "Polars dates": (pl.DataFrame({"a": [DAY.date()], "b": [1.0]}), ["'a' (Date)", "give times as numbers"]),
    "Polars times": (pl.DataFrame({"a": [DAY], "b": [LONG], "c": [DAY.time()]}),
                     ["'a' (Datetime", "'b' (Duration", "'c' (Time)"]),
    "Polars categories": (pl.DataFrame({"a": ["x"], "b": ["y"]}, schema={"a": pl.Categorical, "b": pl.Enum(["y"])}),
                          ["'a' (Categorical", "'b' (Enum", "OneHotEncoder"]),
    "Polars lists": (pl.DataFrame({"a": [[1]], "b": [{"c": 1}]}), ["'a' (List", "'b' (Struct", "a column of its own"]),
    "Polars bytes": (pl.DataFrame({"a": [b"x"]}), ["'a' (Binary)"]),
    "Arrow text": (pa.table({"a": ["x"]}), ["'a' (string)", "OneHotEncoder"]),
    "Arrow dictionary": (pa.table({"a": pa.array(["x"]).dictionary_encode()}), ["'a' (dictionary<", "OneHotEncoder"]),
    "Arrow dates": (pa.table({"a": [DAY.date()], "b": [DAY]}), ["'a' (date32", "'b' (timestamp", "give times as numbers"]),
    "many": (pl.DataFrame({f"c{place}": ["x"] for place in range(20)}), ["'c11' (String) and 8 more"]),
    "a lazy frame": (pl.LazyFrame({"a": [1]}), ["expected data, got a lazy LazyFrame; read it first: collect()"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_columns_that_are_no_numbers_are_named(name):
    frame, words = REFUSED[name]
    net = nn.Sequential([nn.Linear(1)])
    for call in (lambda: net.fit(frame, [[1.0]]), lambda: nn.Sequential([nn.Linear(1)]).build((1,)).predict(frame)):
        with pytest.raises(nn.DataError) as caught:
            call()
        assert all(word in str(caught.value) for word in words), caught.value
    if "twice" not in name:
        with pytest.raises(nn.DataError) as caught:
            nn.NNClassifier(epochs=1).fit(frame, ["a"])
        assert all(word in str(caught.value) for word in words), caught.value


def test_missing_cells_are_named_where_they_are_refused_and_go_through_where_not():
    data = {"a": [1.0, 2], "b": [1, None]}
    for frame in (pd.DataFrame({"a": [1.0, 2], "b": pd.array([1, None], "Int64")}), pl.DataFrame(data), pa.table(data)):
        net = nn.Sequential([nn.Linear(1)])
        with pytest.raises(nn.DataError, match="X: expected finite numbers, got nan in row 1, column b"):
            net.fit(frame, [[1.0], [2.0]])
        assert np.isnan(net.build((2,)).predict(frame)).ravel().tolist() == [False, True]


def test_whole_numbers_stay_whole():
    ids = [2**53 + 1, 2**53]
    data = {"a": ids}
    for frame in (pd.DataFrame(data), pl.DataFrame(data), pa.table(data), pd.DataFrame(data, dtype=object)):
        assert numeric(frame, "X").ravel().tolist() == ids
    net = nn.Sequential([nn.Embedding(3, 2), nn.Flatten(), nn.Linear(1)]).build((1,))
    assert net.predict(pl.DataFrame({"a": [0, 2]})).shape == (2, 1)


def test_a_column_alone_is_no_table():
    with pytest.raises(nn.ShapeError, match=r"one feature is X\.reshape"):
        nn.Sequential([nn.Linear(1)]).fit(pl.Series([1.0, 2.0]), [[1.0], [2.0]])


def test_means_and_weights_of_any_library():
    weight = 1.0 + LABELS
    plain = nn.NNRegressor(layers=[4], epochs=2, random_state=0).fit(A, A[:, 0], sample_weight=weight).predict(A)
    for make, series in ((pd.DataFrame, pd.Series), (pl.DataFrame, pl.Series), (pa.table, pa.array)):
        assert nn.Standardize.of(make(COLUMNS)).mean == nn.Standardize.of(A).mean
        with pytest.raises(nn.DataError, match=r"Standardize\.of: X: expected columns of numbers, got 'a' \("):
            nn.Standardize.of(make({"a": [DAY, DAY], "b": [1.0, 2.0]}))
        net = nn.NNRegressor(layers=[4], epochs=2, random_state=0).fit(A, A[:, 0], sample_weight=series(weight))
        np.testing.assert_array_equal(net.predict(A), plain)


def test_plots_of_any_library():
    pytest.importorskip("matplotlib").use("Agg")
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        X, y = make(COLUMNS), pl.Series("kind", WORDS)
        axes = nn.plot_decision(nn.NNClassifier(layers=[4], epochs=1, random_state=0).fit(X, y), X, y, resolution=5)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("u", "v")
        axes.figure.clear()


def test_arrays_and_lists_need_no_library():
    code = "import sys, nnkit as nn; nn.Sequential([nn.Linear(1)]).fit([[1.0]], [[1.0]]); print('narwhals' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    assert Frame.of(A) is None and Frame.of([[1.0]]) is None and Frame.of("text") is None
