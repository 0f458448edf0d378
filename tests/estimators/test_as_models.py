"""A fitted estimator where a model is meant is its net; what is none is told how to give one."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nnkit as nn

X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture(scope="module")
def fitted():
    return nn.NNClassifier([4], epochs=2, random_state=0).fit(X, Y)


def test_it_is_written_in_onnx(fitted, tmp_path):
    pytest.importorskip("onnx")
    nn.onnx.export(fitted, tmp_path / "net.onnx")
    again = nn.onnx.load(tmp_path / "net.onnx")
    np.testing.assert_allclose(again.predict(X), fitted.model_.predict(X), rtol=1e-5, atol=1e-6)


def test_it_is_traced_stepped_and_nested(fitted):
    assert repr(nn.trace(fitted, X[:1], Y[:1])) == repr(nn.trace(fitted.model_, X[:1], Y[:1]))
    nested = nn.Sequential([fitted, "softmax"]).build((3,))
    np.testing.assert_allclose(nested.predict(X), fitted.predict_proba(X), rtol=1e-5, atol=1e-6)
    again = nn.NNClassifier([4], epochs=2, random_state=0).fit(X, Y)
    before = again.model_.parameters()["0.bias"].copy()
    again.model_.forward(X, training=True)
    again.model_.backward(np.ones((40, 2)))
    nn.SGD(0.1).step(again)
    assert (again.model_.parameters()["0.bias"] != before).any()
    nn.torch_weights(again, {"0.weight": np.ones((4, 3)), "0.bias": np.ones(4), "2.weight": np.ones((2, 4)),
                             "2.bias": np.ones(2)})
    assert (again.model_.parameters()["0.weight"] == 1).all()


OTHERS = {
    "not fitted": (lambda: nn.NNClassifier(), "fit it before"),
    "a pipeline": (lambda: make_pipeline(StandardScaler(), nn.NNClassifier([2], epochs=1)).fit(X, Y),
                   "of a pipeline the last step"),
    "a search": (lambda: GridSearchCV(nn.NNClassifier([2]), {"epochs": [1, 2]}, cv=2).fit(X, Y),
                 "of a search give best_estimator_"),
    "a path": (lambda: "net.safetensors", r"got 'net.safetensors'; read it with nnkit.load\(path\)"),
    "nothing": (lambda: None, "expected a Sequential or a fitted NNClassifier or NNRegressor, got None"),
    "an array": (lambda: X, r"got (ndarray\(|array)"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_model_is_told_how_to_give_one(other, tmp_path):
    make, message = OTHERS[other]
    given = make()
    with pytest.raises(nn.ParameterError, match=f"^trace: .*{message}"):
        nn.trace(given, X[:1], Y[:1])
    with pytest.raises(nn.ParameterError, match=f"^torch_weights: .*{message}"):
        nn.torch_weights(given, {})
    with pytest.raises(nn.ParameterError, match=f"^Adam.step: .*{message}"):
        nn.Adam().step(given)
    pytest.importorskip("onnx")
    with pytest.raises(nn.ParameterError, match=f"^onnx.export: .*{message}"):
        nn.onnx.export(given, tmp_path / "net.onnx")


@pytest.mark.parametrize("name", ["summary", "to_c", "plot", "parameters", "evaluate", "as_function"])
def test_what_its_net_has_is_said(fitted, name):
    for estimator in (fitted, nn.NNRegressor()):
        with pytest.raises(AttributeError, match=f"write model_.{name}$"):
            getattr(estimator, name)


def test_what_nobody_has_is_said_as_before(fitted):
    with pytest.raises(AttributeError, match=r"object has no attribute 'foo'$"):
        fitted.foo  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'predict_proba'$"):
        nn.NNClassifier(loss="hinge").predict_proba  # noqa: B018
