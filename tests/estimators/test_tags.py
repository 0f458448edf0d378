"""What scikit-learn's tags say of a net follows from its layers and its loss; rows may have more than one axis."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.utils import get_tags

import nnkit as nn

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
IMAGES = X.reshape(-1, 1, 8, 8)
CNN = [nn.Conv2d(4, 3), "relu", nn.Flatten()]


def axes(estimator):
    tags = get_tags(estimator).input_tags
    return tags.two_d_array, tags.three_d_array


@pytest.mark.parametrize(("layers", "expected"), [
    ([16], (True, False)), ([], (True, False)), (["relu", 16], (True, False)), ([nn.Flatten(), 16], (True, False)),
    ([nn.Reshape((8, 8)), nn.GRU(4)], (True, False)), ([nn.Reshape((1, 8, 8)), *CNN], (True, False)),
    ([nn.LayerNorm(), 16], (True, False)), ([nn.BatchNorm1d(), 16], (True, False)), ([nn.Embedding(17, 2)], (True, False)),
    ([nn.Conv1d(4, 3), nn.Flatten()], (False, True)), ([nn.GRU(4)], (False, True)), ([nn.LSTM(4)], (False, True)),
    ([nn.MultiHeadAttention(2), nn.Flatten()], (False, True)), (CNN, (False, False)),
    ([nn.Branches([nn.Linear(3)], [nn.Linear(4), "relu"])], (True, False)),
])  # fmt: skip
def test_axes_of_the_rows(layers, expected):
    assert axes(nn.NNClassifier(layers)) == axes(nn.NNRegressor(layers)) == expected


def test_after_a_fit_the_rows_are_known():
    images = nn.NNClassifier([nn.Flatten(), 8], epochs=1).fit(X.reshape(-1, 8, 8), Y)
    assert axes(images) == (False, True)
    assert axes(nn.NNClassifier([nn.Flatten(), 8], epochs=1).fit(X, Y)) == (True, False)


@pytest.mark.parametrize(("layers", "expected"), [
    ([16], True), ([], True), ([nn.Linear(4), "relu"], True), ([nn.Branches([nn.Linear(3)], [nn.Linear(4), "relu"])], True),
    (["relu", 16], False), ([nn.Reshape((8, 8)), nn.GRU(4)], False), ([nn.Dropout(0.1), 16], False), ([nn.LayerNorm()], False),
    ([nn.Residual(nn.Linear(64))], False), ([nn.Branches([nn.Linear(3)], "identity")], False), ([nn.Flatten(), 8], False),
    ([nn.Embedding(17, 2), nn.Flatten()], False), ([nn.Reshape((1, 8, 8)), *CNN], False),
])  # fmt: skip
def test_sparse_rows(layers, expected):
    estimator = nn.NNClassifier(layers, epochs=1)
    assert get_tags(estimator).input_tags.sparse == expected
    if expected:
        estimator.fit(sp.csr_array(X), Y)
    else:
        with pytest.raises(ValueError, match="sparse"):
            estimator.fit(sp.csr_array(X), Y)


@pytest.mark.parametrize(("layers", "expected"), [([nn.Embedding(17, 2), nn.Flatten()], True), ([16], False), (CNN, False)])
def test_numbers_that_are_looked_up(layers, expected):
    tags = get_tags(nn.NNClassifier(layers)).input_tags
    assert (tags.categorical, tags.positive_only, tags.allow_nan, tags.string) == (expected, expected, False, False)


def test_negative_numbers_that_are_looked_up_are_refused():
    with pytest.raises(ValueError, match="Negative values in data passed to NNClassifier"):
        nn.NNClassifier([nn.Embedding(17, 2), nn.Flatten()], epochs=1).fit(np.round(16 * X) - 1, Y)


@pytest.mark.parametrize(("loss", "expected"), [
    ("auto", True), ("hinge", True), ("bce_with_logits", True), ("cross_entropy", False), (nn.CrossEntropyLoss(), False),
])  # fmt: skip
def test_several_labels(loss, expected):
    estimator = nn.NNClassifier((), loss, epochs=1)
    assert get_tags(estimator).classifier_tags.multi_label == expected
    labels = np.stack([Y > 4, Y % 2], axis=1)
    if expected:
        assert estimator.fit(X, labels).predict(X).shape == labels.shape
    else:
        with pytest.raises(ValueError, match="several labels a row"):
            estimator.fit(X, labels)


def test_targets_of_a_regressor():
    assert not get_tags(nn.NNRegressor()).target_tags.positive_only
    tags = get_tags(nn.NNRegressor(loss="poisson_nll")).target_tags
    assert (tags.positive_only, tags.multi_output, tags.single_output, tags.required) == (True, True, True, True)


@pytest.mark.parametrize("options", [{"layers": ["nonsense"]}, {"layers": [-1]}, {"loss": "nonsense"}, {"activation": None}])
def test_estimators_that_cannot_be_fitted_have_tags_all_the_same(options):
    assert get_tags(nn.NNClassifier(**options)).requires_fit
    assert get_tags(nn.NNRegressor(**options)).requires_fit


# ------------------------------------------------------------------------------------------------- rows with more axes


def test_images(tmp_path):
    net = nn.NNClassifier(CNN, optimizer=nn.Adam(lr=0.02), epochs=12, random_state=0)
    assert cross_val_score(net, IMAGES, Y, cv=3).min() > 0.7
    net.fit(IMAGES, Y)
    flat = nn.NNClassifier([nn.Reshape((1, 8, 8)), *CNN], optimizer=nn.Adam(lr=0.02), epochs=12, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(net.predict_proba(IMAGES), flat.predict_proba(X))
    assert net.transform(IMAGES).shape == (300, 4 * 6 * 6)
    assert len(net.get_feature_names_out()) == 4 * 6 * 6
    assert nn.NNRegressor(CNN, epochs=1, early_stopping=True).fit(IMAGES, Y).partial_fit is not None
    net.save(tmp_path / "net.safetensors")
    for again in (pickle.loads(pickle.dumps(net)), nn.load(tmp_path / "net.safetensors")):
        np.testing.assert_array_equal(again.predict(IMAGES), net.predict(IMAGES))
        again.partial_fit(IMAGES, Y)


def test_images_without_a_hidden_layer_with_units():
    net = nn.NNClassifier([nn.Flatten()], epochs=1, random_state=0).fit(IMAGES, Y)
    np.testing.assert_array_equal(net.decision_function(IMAGES), nn.NNClassifier([nn.Flatten()], epochs=1, random_state=0)
                                  .fit(X, Y).decision_function(X))  # fmt: skip
    assert net.transform(IMAGES).shape == (300, 64)


def test_layers_that_give_more_than_one_row_are_refused():
    with pytest.raises(nn.ParameterError, match=r"NNClassifier: expected layers that give one row .*, got 8 for .*Flatten"):
        nn.NNClassifier([nn.Reshape((8, 8)), nn.GRU(4, return_sequences=True)]).fit(X, Y)
    with pytest.raises(nn.ParameterError, match=r"NNRegressor: expected layers that give one row .*, got 8 for .* \(8, 8"):
        nn.NNRegressor().fit(X.reshape(-1, 8, 8), Y)


def test_rows_of_other_axes_than_in_the_fit_are_refused():
    flat, images = nn.NNClassifier([8], epochs=1).fit(X, Y), nn.NNClassifier(CNN, epochs=1).fit(IMAGES, Y)
    with pytest.raises(ValueError, match="dim 3, while dim <= 2 is required by NNClassifier"):
        flat.predict(X.reshape(-1, 64, 1))
    for rows in (IMAGES[:, :, :7], IMAGES[:, 0], IMAGES.reshape(-1, 2, 4, 8)):
        with pytest.raises(ValueError, match=r"expected X of shape|is expecting 1 features"):
            images.predict(rows)
        with pytest.raises(ValueError, match=r"expected|is expecting 1 features"):
            images.partial_fit(rows, Y)
