"""Estimators of tables in ONNX: a runtime is given the columns as they are, and predicts what nnkit does."""

import numpy as np
import pandas as pd
import pytest

import nnkit as nn
from nnkit.estimators.recipes import RECIPES
from nnkit.network import network_of
from nnkit.persistence.onnx.writing import Written, to_proto
from nnkit.tables.scheme import TableScheme

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

FEW = {"hidden": (8,), "epochs": 4, "batch_size": 32, "random_state": 0}
ROWS = 60
CLOSE = 1e-5  # of what a net of float32 gives: layers and their sums may be rounded in another order
HALF_BIT = 2.0**-24  # of numbers of float32


def session(content):
    return runtime.InferenceSession(content, providers=["CPUExecutionProvider"])


def run(content, frame):
    """What a runtime gives for a frame, by the names of the outputs: numbers as they are, "" for no text, dates in seconds."""
    net, feed = session(content), {}
    for port in net.get_inputs():
        if port.name == "x":
            feed["x"] = frame.to_numpy(np.float64)
            continue
        column = frame[port.name]
        if port.type == "tensor(string)":
            cells = column.astype(object).where(column.notna(), "").to_numpy(object)
        elif column.dtype.kind == "M":
            cells = (column - pd.Timestamp(0)).dt.total_seconds().to_numpy()
        else:
            cells = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
        feed[port.name] = cells[:, None]
    return dict(zip([port.name for port in net.get_outputs()], net.run(None, feed), strict=True))


def written(net, tmp_path):
    nn.onnx.export(net, tmp_path / "net.onnx")
    return (tmp_path / "net.onnx").read_bytes()


def numbers(rng):
    """Numbers of any size, missing ones, constants, truth, ids and a column that the user calls categorical."""
    frame = pd.DataFrame({
        "small": rng.normal(size=ROWS) * 1e-12, "large": rng.lognormal(20, 1, ROWS), "far": 1e9 + rng.integers(0, 5, ROWS),
        "missing": rng.normal(size=ROWS), "only missing": np.where(np.arange(ROWS) % 3, 1.0, np.nan),
        "always": 3.0, "nothing": np.nan, "truth": rng.random(ROWS) < 0.5, "user_id": rng.integers(0, 12, ROWS),
        "stars": rng.choice([0.5, 1.0, 2.0], ROWS), "side": rng.choice([-1, 1], ROWS), "spike": np.r_[np.zeros(ROWS - 1), 9.0],
    })  # fmt: skip
    frame.loc[::7, "missing"] = frame.loc[3, "stars"] = np.nan
    return frame, {"categorical": ["stars", "side"]}


def mixed(rng):
    """Text of few and of many kinds, numbers as text, dates, truth with missing cells, and what is left out."""
    days = pd.Timestamp("2019-11-03 04:05:06") + pd.to_timedelta(rng.integers(0, 10**8, ROWS), unit="s")
    frame = pd.DataFrame({
        "size": rng.normal(size=ROWS), "sex": rng.choice(["m", "f"], ROWS), "town": [f"t{place % 20}" for place in range(ROWS)],
        "colour": rng.choice(["red", "green", "blau ü"], ROWS), "zip": rng.choice(["1", "2", "7"], ROWS),
        "weight": [f"{place / 8}" for place in range(ROWS)], "when": days, "month": pd.Timestamp("2020-01-01"),
        "old": pd.array([None, True, False] * (ROWS // 3), dtype="boolean"), "name": [f"n{place}" for place in range(ROWS)],
    })  # fmt: skip
    frame["month"] += pd.to_timedelta(31 * (np.arange(ROWS) % 12), unit="D")
    for name in ("sex", "town", "colour", "when", "size"):
        frame.loc[rng.choice(ROWS, 5, replace=False), name] = None
    return frame, {}


def unseen(frame):
    """The same rows, with what the fit has not seen in them."""
    frame = frame.copy()
    for name in frame.columns:
        if frame[name].dtype == float:
            frame.loc[0, name], frame.loc[1, name], frame.loc[2, name] = np.nan, np.inf, -1e300
    if "town" in frame:
        frame.loc[0, ["town", "sex", "colour"]] = "never"
        frame.loc[1, "when"], frame.loc[2, "when"] = pd.Timestamp("1899-12-31 23:59:59"), pd.Timestamp("2100-03-01")
    else:
        frame.loc[0, ["user_id", "side"]] = 99
    return frame


TABLES = {"numbers": numbers, "mixed": mixed}


@pytest.mark.parametrize("max_one_hot", [0, 8, None])
@pytest.mark.parametrize("table", TABLES)
def test_what_a_net_sees_is_the_same_to_the_last_bits(table, max_one_hot):
    frame, said = TABLES[table](np.random.default_rng(3))
    scheme = TableScheme(max_one_hot=max_one_hot, **said).fit(frame)
    graph, width = Written(), scheme.n_numbers_ + scheme.n_codes_
    graph.output("seen", scheme.onnx(graph), "float32", (width,))
    content = to_proto(graph, "a scheme").SerializeToString()
    read = ["size", "sex", "town", "colour", "zip", "weight", "when", "month", "old"]  # the names are left out
    assert [port.name for port in session(content).get_inputs()] == (["x"] if table == "numbers" else read)
    for rows in (frame, unseen(frame)):
        expected = scheme.transform(rows)
        given = run(content, rows)["seen"]
        assert given.dtype == np.float32 and given.shape == expected.shape
        # Both are rounded to float32 once, from doubles that differ far less: in the next number at most.
        assert np.all(np.abs(given - expected) <= 2 * HALF_BIT * np.abs(expected) + 1e-10)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(("recipe", "members"), [*((recipe, {}) for recipe in RECIPES), ("td-s", {"n_members": 3}),
                                                 ("tabm", {"n_members": 2})])  # fmt: skip
def test_a_runtime_predicts_classes_and_probabilities(table, recipe, members, tmp_path):
    frame, said = TABLES[table](np.random.default_rng(4))
    y = np.array(["a", "b", "c"])[np.arange(ROWS) % 3]
    net = nn.TableClassifier(recipe, **FEW, **said, **members, calibrate=True).fit(frame, y)
    assert net.temperature_ != 1.0
    content = written(net, tmp_path)
    for rows in (frame, unseen(frame)):
        given, shares = run(content, rows), net.predict_proba(rows)
        assert [*given] == ["label", "probabilities"] and given["label"].shape == (ROWS,)
        np.testing.assert_allclose(given["probabilities"], shares, rtol=0, atol=CLOSE)
        clear = np.sort(shares, axis=1) @ [0, -1, 1] > 2 * CLOSE
        assert clear.sum() > ROWS / 2 and (given["label"] == net.predict(rows))[clear].all()
    net.save(tmp_path / "net.safetensors")
    assert written(nn.load(tmp_path / "net.safetensors"), tmp_path) == content


@pytest.mark.parametrize(("recipe", "outputs", "n_members"), [("td", 0, 1), ("td-s", 1, 1), ("td", 3, 1), ("td-s", 3, 2),
                                                              ("tabm", 0, 1), ("tabm", 3, 1)])  # fmt: skip
def test_a_runtime_predicts_numbers_in_their_units_and_clamped(recipe, outputs, n_members, tmp_path):
    frame, _ = mixed(np.random.default_rng(5))
    y = 1e4 + np.outer(np.arange(ROWS), [1.0, -7.0, 30.0])[:, :outputs] if outputs else 1e4 + np.arange(float(ROWS))
    net = nn.TableRegressor(recipe, **FEW, n_members=n_members).fit(frame, y)
    for name, bias in net.model_.parameters().items():  # the last one stays: some outputs are beyond all targets
        if name.endswith("bias"):
            bias[0] += 2.0
    given = run(written(net, tmp_path), frame)
    assert [*given] == ["out"] and given["out"].shape == (ROWS, max(outputs, 1)) and given["out"].dtype == np.float64
    expected = net.predict(frame).reshape(ROWS, -1)
    assert np.all(np.abs(given["out"] - expected) <= CLOSE * net.targets_.std * max(1.0, np.abs(net._said(frame)).max()))
    assert bool(np.any(expected == net.targets_.high)) == RECIPES[recipe].clamps


@pytest.mark.parametrize(("labels", "kind"), [
    ([3, 7], "tensor(int64)"), ([False, True], "tensor(bool)"), ([1.0, 2.0], "tensor(double)"),
    (np.array(["no", "yes"], object), "tensor(string)"), (np.array([1, 2], np.uint8), "tensor(uint8)"),
])  # fmt: skip
def test_labels_come_as_they_are(labels, kind, tmp_path):
    X, y = np.arange(24.0)[:, None], np.asarray(labels)[np.arange(24) % 2]
    net = nn.TableClassifier("td-s", **FEW).fit(X, y)
    content = written(net, tmp_path)
    assert session(content).get_outputs()[0].type == kind
    assert run(content, pd.DataFrame(X))["label"].tolist() == net.predict(X).tolist()


@pytest.mark.parametrize(("names", "output"), [(["label", "table/Sub"], "label_out"), (["probabilities", "x"], "label")])
def test_names_of_columns_may_be_any(names, output, tmp_path):
    frame = pd.DataFrame({names[0]: ["a", "b", "c", "b"] * 6, names[1]: [f"{place}" for place in range(24)]})
    net = nn.TableClassifier("td-s", **FEW).fit(frame, np.arange(24) % 2)
    made = session(written(net, tmp_path))
    assert [port.name for port in made.get_inputs()] == names and made.get_outputs()[0].name == output
    feed = {names[0]: frame[[names[0]]].to_numpy(object), names[1]: frame[[names[1]]].to_numpy(np.float64)}
    np.testing.assert_allclose(made.run(None, feed)[1], net.predict_proba(frame), rtol=0, atol=CLOSE)


def test_several_nets_in_one_file_keep_their_own_numbers(tmp_path):
    nets = [nn.Sequential([nn.Linear(3), nn.ReLU(), nn.Linear(2)]).build((4,), random_state=seed) for seed in (0, 1)]
    graph, X = Written(), np.random.default_rng(0).normal(size=(5, 4)).astype("f4")
    x = graph.input("x", "float32", (4,))
    one, other = (graph.net(network_of(net), x, f"{place}.").astype("float64") for place, net in enumerate(nets))
    graph.output("mean", (one + other) / 2, "float64", (2,))
    (mean,) = session(to_proto(graph, "two nets").SerializeToString()).run(None, {"x": X})
    np.testing.assert_allclose(mean, (nets[0].predict(X) + nets[1].predict(X)) / 2, atol=CLOSE)


def named(*names):
    """A table of text and numbers, with these names."""
    return pd.DataFrame([["a", 1.0], ["b", 2.0]] * 8, columns=pd.Index(names, dtype=object))


LABELS, NUMBERS = [0, 1] * 8, np.arange(16.0)[:, None]
REFUSED = {
    "two columns of one name": (lambda: (named("c", "c"), LABELS), "got 'c' twice"),
    "no name": (lambda: (named("", "c"), LABELS), "got none"),
    "nothing to learn from": (lambda: (pd.DataFrame({"c": ["a"] * 16}), LABELS), "a column to learn from.*always 'a'"),
    "labels that are dates": (lambda: (NUMBERS, np.array(["2024-01-01", "2024-01-02"] * 8, "M8[D]")), "text or numbers"),
    "text that is none": (lambda: (np.array([["\ud800"], ["b"]] * 8, object), LABELS), "UTF-8"),
    "a name that is no text": (lambda: (named("\ud800", "c"), LABELS), "UTF-8"),
    "a label that is no text": (lambda: (NUMBERS, np.array(["\ud800", "b"] * 8, object)), "UTF-8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_form_is_refused_by_name(case, tmp_path):
    make, message = REFUSED[case]
    net = nn.TableClassifier("td-s", **FEW).fit(*make())
    with pytest.raises(nn.OnnxError, match=f"^onnx.export: .*{message}"):
        nn.onnx.export(net, tmp_path / "net.onnx")
    assert not [*tmp_path.iterdir()]


def test_an_estimator_that_has_not_learned_is_refused_and_a_table_is_no_model(tmp_path):
    with pytest.raises(nn.ParameterError, match="fit it before"):
        nn.onnx.export(nn.TableClassifier(), tmp_path / "net.onnx")
    for X in (np.arange(16.0)[:, None], pd.DataFrame({"c": ["a", "b"] * 8})):
        written(nn.TableClassifier("td-s", **FEW).fit(X, [0, 1] * 8), tmp_path)
        with pytest.raises(nn.OnnxError, match=r"^onnx.load: "):
            nn.onnx.load(tmp_path / "net.onnx")
