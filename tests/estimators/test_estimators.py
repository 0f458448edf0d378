"""What the estimators promise: parameters, targets, losses, sparse input, going on, seeds, copies, mistakes."""

import copy
import inspect
import io
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_linnerud, load_wine
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

import nnkit as nn
from nnkit.estimators.base import Estimator
from nnkit.network import network_of

X, Y = scale(load_iris().data), load_iris().target
BINARY = scale(load_breast_cancer().data), load_breast_cancer().target
DIABETES = tuple(map(scale, load_diabetes(return_X_y=True)))
LABELS = np.column_stack([Y == 0, Y == 1, X[:, 0] > 0]).astype(int)

BOTH = pytest.mark.parametrize("make", [nn.NNClassifier, nn.NNRegressor])


def classifier(**options):
    return nn.NNClassifier(**{"layers": [12], "optimizer": nn.Adam(lr=0.02), "epochs": 20, "random_state": 0, **options})


def regressor(**options):
    return nn.NNRegressor(**{"layers": [12], "optimizer": nn.Adam(lr=0.02), "epochs": 20, "random_state": 0, **options})


def small(make, **options):
    return make(**{"layers": [6], "epochs": 3, "random_state": 0, **options})


def outputs(net, rows=X):
    return net.predict_proba(rows) if hasattr(net, "predict_proba") else net.predict(rows)


def numbers(net):
    return np.concatenate([array.ravel() for array in net.model_.parameters().values()])


# ------------------------------------------------------------------------------------------------------ parameters


@BOTH
def test_constructor_only_stores(make):
    values = {
        "layers": object(), "loss": object(), "optimizer": object(), "activation": object(), "epochs": -3,
        "batch_size": "wrong", "early_stopping": object(), "validation_fraction": 7,
        "patience": None, "metrics": object(), "callbacks": object(),
        "shuffle": object(), "warm_start": object(), "random_state": object(), "dtype": "int", "n_threads": -1,
        "transform_layer": "no", "verbose": object(), "n_members": 0, "resample": object(),
        **({"class_weight": object()} if make is nn.NNClassifier else {}),
    }  # fmt: skip
    net = make(**values)
    assert vars(net) == values
    assert all(getattr(net, name) is value for name, value in values.items())
    assert set(make().get_params(deep=False)) == set(values)


def test_constructors_take_the_same_arguments():
    """They are written out in each class, as scikit-learn wants it: order, kinds, defaults and types are those of the base."""
    base, classifier, regressor = (list(inspect.signature(make.__init__).parameters.values())
                                   for make in (Estimator, nn.NNClassifier, nn.NNRegressor))  # fmt: skip
    assert regressor == base
    assert [item for item in classifier if item.name != "class_weight"] == base


def test_what_fit_of_a_model_takes_too_has_the_same_default_but_where_it_follows_from_the_data():
    estimator, model = (inspect.signature(function).parameters for function in (Estimator.__init__, nn.Sequential.fit))
    shared = {name: (item.default, model[name].default) for name, item in estimator.items() if name in model and name != "self"}
    assert shared.keys() == {"loss", "optimizer", "epochs", "batch_size", "metrics", "callbacks", "shuffle", "random_state",
                             "n_threads"}  # fmt: skip
    assert {name: both for name, both in shared.items() if both[0] != both[1]} == {
        "loss": ("auto", "mse"), "epochs": (200, None), "batch_size": ("auto", None),
    }  # fmt: skip


@BOTH
def test_every_argument_is_documented_where_it_is_taken(make):
    section = re.search(r"Parameters\n-+\n(.*?)\n\n", inspect.getdoc(make), re.S)[1]
    documented = [name for line in section.splitlines() if line[0] != " " for name in line.split(" : ")[0].split(", ")]
    assert sorted(documented) == sorted(inspect.signature(make).parameters)


@BOTH
def test_fitting_leaves_the_parameters_alone(make):
    given = {
        "layers": [nn.Linear(4), nn.Dropout(0.2), 3],
        "optimizer": nn.Adam(),
        "loss": "auto",
        "metrics": [],
        "callbacks": [],
    }
    net = make(epochs=2, **given).fit(X, Y)
    assert all(getattr(net, name) is value for name, value in given.items())
    assert repr(given["layers"]) == "[Linear(out_features=4), Dropout(rate=0.2), 3]"
    assert list(given) and not given["metrics"] and not given["callbacks"]


def test_get_params_looks_into_parts():
    net = nn.NNClassifier(
        layers=[nn.Linear(8, weight_init=nn.Normal(std=0.2)), "relu", nn.Dropout(0.3), 4],
        loss=nn.CrossEntropyLoss(label_smoothing=0.1),
        optimizer=nn.AdamW(lr=0.05, schedule=nn.OneCycle(rise=0.2)),
    )
    deep, shallow = net.get_params(), net.get_params(deep=False)
    assert {key: deep[key] for key in shallow} == shallow
    assert deep["optimizer__lr"] == 0.05
    assert deep["optimizer__schedule__rise"] == 0.2
    assert deep["layers__0__out_features"] == 8
    assert deep["layers__0__weight_init__std"] == 0.2
    assert deep["layers__1"] == "relu"
    assert deep["layers__2__rate"] == 0.3
    assert deep["layers__3"] == 4
    assert deep["loss__label_smoothing"] == 0.1
    assert not any("__" in key for key in shallow)


def test_every_parameter_can_be_set_to_what_it_is():
    net = nn.NNClassifier(
        [nn.Linear(8), "relu", nn.Dropout(0.3), 4], optimizer=nn.AdamW(schedule=nn.OneCycle()), metrics=["accuracy"]
    )
    before = repr(net)
    assert repr(net.set_params(**net.get_params())) == before
    for key, value in net.get_params().items():
        assert repr(net.set_params(**{key: value})) == before


SETTINGS = {
    "optimizer__lr": (0.5, lambda net: net.optimizer.lr),
    "optimizer__schedule": ("cosine", lambda net: net.optimizer.schedule),
    "layers__0__out_features": (99, lambda net: net.layers[0].out_features),
    "layers__1": ("tanh", lambda net: net.layers[1]),
    "layers__2__rate": (0.75, lambda net: net.layers[2].rate),
    "layers__3": (17, lambda net: net.layers[3]),
    "loss__label_smoothing": (0.2, lambda net: net.loss.label_smoothing),
    "epochs": (7, lambda net: net.epochs),
    "activation__negative_slope": (0.3, lambda net: net.activation.negative_slope),
}


def deep_net(**options):
    return nn.NNClassifier(**{
        "layers": [nn.Linear(8), "relu", nn.Dropout(0.3), 4], "loss": nn.CrossEntropyLoss(), "optimizer": nn.Adam(),
        "activation": nn.LeakyReLU(), **options,
    })  # fmt: skip


@pytest.mark.parametrize("key", SETTINGS)
def test_set_params(key):
    value, look = SETTINGS[key]
    net = deep_net()
    assert net.set_params(**{key: value}) is net
    assert look(net) == value
    assert net.get_params()[key] == value


@pytest.mark.parametrize(("given", "key", "value"), [
    ("adam", "optimizer__lr", 0.5), (nn.Adam, "optimizer__lr", 0.5), ("cross_entropy", "loss__label_smoothing", 0.2),
    ("leaky_relu", "activation__negative_slope", 0.2), (["dropout"], "layers__0__rate", 0.2),
    (["early_stopping"], "callbacks__0__patience", 3),
    (nn.Adam(schedule="cosine"), "optimizer__schedule__final", 0.1),
])  # fmt: skip
def test_set_params_within_a_part_given_by_name(given, key, value):
    name = key.partition("__")[0]
    net = nn.NNClassifier(**{name: given}).set_params(**{key: value})
    assert net.get_params()[key] == value


def test_set_params_takes_the_whole_before_its_pieces():
    net = deep_net().set_params(optimizer__lr=0.3, optimizer="sgd", layers__0=5, layers=[nn.Linear(1), 2])
    assert repr(net.optimizer) == "SGD(lr=0.3)"
    assert net.layers == [5, 2]


def test_set_params_leaves_the_part_alone_that_was_passed_in():
    layers, optimizer = [nn.Linear(8), nn.Dropout(0.3)], nn.Adam(lr=0.01)
    net = nn.NNClassifier(layers, optimizer=optimizer).set_params(optimizer__lr=0.5, layers__1__rate=0.1, layers__0=3)
    assert optimizer.lr == 0.01
    assert repr(layers) == "[Linear(out_features=8), Dropout(rate=0.3)]"
    assert repr(net.layers) == "[3, Dropout(rate=0.1)]"


@pytest.mark.parametrize(("wrong", "value", "message"), [
    ("size", 3, "size"),
    ("hidden__lr", 3, "hidden"),
    ("optimizer__rate", 3, "rate"),
    ("optimizer__lr__x", 3, "optimizer__lr__x"),
    ("optimizer__lr", -1.0, "lr"),
    ("layers__9", 3, "9"),
    ("layers__first", 3, "first"),
    ("layers__0__rate", 0.1, "rate"),
    ("layers__3__rate", 0.1, "layers__3__rate"),
    ("layers__2__rate", 1.5, "rate"),
    ("loss__margin", 1, "margin"),
    ("epochs__x", 1, "epochs__x"),
    ("random_state__x", 1, "random_state__x"),
])  # fmt: skip
def test_unknown_or_illegal_parameters_are_refused(wrong, value, message):
    net = deep_net()
    before = repr(net)
    with pytest.raises(ValueError, match=message):
        net.set_params(**{wrong: value})
    assert repr(net) == before


def test_unknown_names_of_parts_are_refused():
    for name in ("layers", "loss", "optimizer", "activation"):
        value = ["nonsense"] if name == "layers" else "nonsense"
        with pytest.raises((ValueError, LookupError), match="nonsense"):
            nn.NNClassifier(epochs=1).set_params(**{name: value}).fit(X, Y)


def test_set_params_within_an_unknown_part_is_a_value_error():
    with pytest.raises(ValueError, match="nonsense"):
        nn.NNClassifier(optimizer="nonsense").set_params(optimizer__lr=1.0)


def test_clone_shares_nothing():
    net = deep_net(metrics=["accuracy"], callbacks=[nn.EarlyStopping("loss")], epochs=2).fit(X, Y)
    other = clone(net)
    assert repr(other) == repr(net)
    assert not hasattr(other, "model_")
    for name in ("layers", "loss", "optimizer", "activation", "metrics", "callbacks"):
        assert getattr(other, name) is not getattr(net, name)
    assert other.layers[0] is not net.layers[0]
    assert other.callbacks[0] is not net.callbacks[0]
    other.layers[0].out_features = 1000
    other.optimizer.lr = 1000.0
    assert net.layers[0].out_features == 8
    assert net.optimizer.lr == 1e-3


def test_nets_from_the_same_parts_share_nothing():
    layers, optimizer = [nn.Linear(8), nn.Dropout(0.1)], nn.Adam(lr=0.02)
    first, second = (nn.NNClassifier(layers, optimizer=optimizer, epochs=5, random_state=0) for _ in range(2))
    before = first.fit(X, Y).predict_proba(X)
    second.fit(X[:, :2], Y == 0)
    np.testing.assert_array_equal(first.predict_proba(X), before)
    np.testing.assert_array_equal(first.fit(X, Y).predict_proba(X), before)


@pytest.mark.parametrize("layers", [8, nn.Linear(8), "tanh"], ids=repr)
def test_one_part_alone_is_a_list_of_one(layers):
    one, several = (
        nn.NNClassifier(given, callbacks=calls, metrics=metrics, epochs=2, random_state=0).fit(X, Y)
        for given, calls, metrics in (
            (layers, nn.EarlyStopping("loss"), "accuracy"), ([layers], [nn.EarlyStopping("loss")], ["accuracy"])
        )
    )  # fmt: skip
    np.testing.assert_array_equal(numbers(one), numbers(several))
    assert one.history_["accuracy"] == several.history_["accuracy"]
    small(nn.NNClassifier, callbacks="early_stopping").fit(X, Y, X_val=X, y_val=Y)


def test_sizes_in_an_array():
    net = nn.NNClassifier(np.array([6, 3]), epochs=1)
    assert net.get_params()["layers__0"] == 6
    assert clone(net).set_params(layers__0=5).layers == [5, 3]
    assert [layer.out_features for layer in net.fit(X, Y).model_ if isinstance(layer, nn.Linear)] == [6, 3, 3]


def test_set_params_within_the_loss_that_auto_is():
    assert repr(nn.NNClassifier().set_params(loss__label_smoothing=0.1).loss) == "CrossEntropyLoss(label_smoothing=0.1)"
    assert repr(nn.NNRegressor().set_params(loss__reduction="sum").loss) == "MSELoss(reduction='sum')"


def test_set_params_within_an_optimizer_that_is_yet_to_be_chosen():
    with pytest.raises(ValueError, match="optimizer='auto' is chosen as fit begins; set optimizer to one"):
        nn.NNClassifier(optimizer="auto").set_params(optimizer__lr=0.1)


@pytest.mark.parametrize("key", ["random_state__x", "class_weight__0", "epochs__x"])
def test_set_params_within_what_is_no_part_says_so(key):
    with pytest.raises(ValueError, match="expected a part"):
        nn.NNClassifier(class_weight={0: 1.0}).set_params(**{key: 1})


WRONG = {
    "epochs": 0, "batch_size": 0, "dtype": "float16", "validation_fraction": 1.5, "patience": -1, "layers": [-3],
    "loss": 3, "optimizer": 3, "activation": 3, "metrics": ["nonsense"], "callbacks": ["nonsense"], "n_threads": 0,
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", WRONG)
def test_illegal_values_are_refused_by_fit(make, name):
    net = make(**{"epochs": 1, "early_stopping": name in ("validation_fraction", "patience"), name: WRONG[name]})
    with pytest.raises((ValueError, LookupError)):
        net.fit(X, Y)


@pytest.mark.parametrize(("name", "value"), [
    ("layers", [-3]), ("layers", ["nonsense"]), ("layers", [None]), ("activation", None), ("loss", 3), ("loss", "mses"),
    ("optimizer", 0.1), ("callbacks", [print]), ("patience", -1), ("validation_fraction", 0), ("validation_fraction", "x"),
    ("random_state", -1), ("early_stopping", "no"), ("shuffle", "no"), ("warm_start", None), ("transform_layer", "last"),
    ("class_weight", "balance"), ("class_weight", {7: 1.0}), ("class_weight", 5),
])  # fmt: skip
def test_errors_name_the_estimator_and_the_parameter(name, value):
    options = {"early_stopping": True} if name in ("patience", "validation_fraction") else {}
    with pytest.raises(nn.NnkitError, match=rf"^NNClassifier: {name}: \w"):
        small(nn.NNClassifier, **options, **{name: value}).fit(X, Y).transform(X)


@pytest.mark.parametrize(("argument", "given"), [
    ("X", {"X": np.full((150, 2), "a")}), ("y", {"y": np.array(["1", "2", "3"])[Y]}),
    ("y", {"y": np.array(["a", "b", "c"])[Y]}),
    ("y", {"y": np.array(["a", "b", "c"], object)[Y]}), ("sample_weight", {"sample_weight": "balanced"}),
    ("X", {"X": np.ma.array(X, mask=X > np.median(X))}), ("y", {"y": np.ma.array(Y, mask=Y > 1)}),
    ("sample_weight", {"sample_weight": np.ma.array(np.ones(150), mask=Y > 1)}),
    ("sample_weight", {"sample_weight": np.ones(3)}), ("sample_weight", {"sample_weight": np.full(150, np.nan)}),
])  # fmt: skip
def test_errors_name_the_estimator_and_the_argument(argument, given):
    with pytest.raises(nn.DataError, match=rf"^NNRegressor: {argument}: \w"):
        small(nn.NNRegressor).fit(**{"X": X, "y": Y, **given})


@BOTH
def test_masked_rows_are_refused_and_those_without_a_mask_are_rows(make):
    net = small(make).fit(np.ma.array(X), np.ma.array(Y))
    np.testing.assert_array_equal(net.predict(np.ma.array(X)), net.predict(X))
    with pytest.raises(nn.DataError, match=r"NN\w+: X: expected numbers everywhere, got a masked array"):
        net.predict(np.ma.array(X, mask=X > np.median(X)))


@BOTH
def test_switches_from_a_grid_are_numpys(make):
    """scikit-learn compares what a constructor was given with what it has stored."""
    grid = {"early_stopping": np.array([True, False]), "shuffle": np.array([True, False])}
    assert GridSearchCV(small(make), grid, cv=2).fit(X, Y).best_params_.keys() == grid.keys()


@pytest.mark.parametrize("size", ["big", None, 2.5, True])
def test_illegal_batch_sizes_are_refused(size):
    with pytest.raises(ValueError, match="batch_size"):
        nn.NNClassifier(epochs=1, batch_size=size).fit(X, Y)


# ---------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("labels", [
    np.array(["setosa", "versicolor", "virginica"]), np.array(["c", "a", "b"], object), np.array([10, -3, 7]),
    np.array([0.0, 1.0, 2.0]),
], ids=["text", "objects", "integers", "floats"])  # fmt: skip
def test_labels_of_three_classes(labels):
    net = classifier(epochs=50).fit(X, labels[Y])
    assert list(net.classes_) == sorted(labels)
    assert net.score(X, labels[Y]) > 0.9
    assert net.predict(X).dtype == net.classes_.dtype
    probability = net.predict_proba(X)
    assert probability.shape == net.decision_function(X).shape == (150, 3)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(net.classes_[probability.argmax(axis=1)], net.predict(X))
    np.testing.assert_array_equal(net.classes_[net.decision_function(X).argmax(axis=1)], net.predict(X))
    np.testing.assert_allclose(np.exp(net.predict_log_proba(X)), probability)


@pytest.mark.parametrize("loss", ["auto", "bce_with_logits", "hinge"])
@pytest.mark.parametrize("labels", [np.array(["no", "yes"]), np.array([False, True]), np.array([-1, 1]), np.array([5, 2])],
                         ids=["text", "bool", "signs", "swapped"])  # fmt: skip
def test_labels_of_two_classes(labels, loss):
    rows, y = BINARY
    net = classifier(loss=loss, epochs=10).fit(rows, labels[y])
    assert list(net.classes_) == sorted(labels)
    assert net.score(rows, labels[y]) > 0.95
    decision = net.decision_function(rows)
    assert decision.shape == (len(rows),)
    np.testing.assert_array_equal(net.classes_[(decision > 0).astype(int)], net.predict(rows))
    assert net.n_outputs_ == (2 if loss == "auto" else 1)
    if loss == "hinge":
        return
    probability = net.predict_proba(rows)
    assert probability.shape == (len(rows), 2)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-decision.astype(float))), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("loss", ["auto", "bce_with_logits", "hinge", "cross_entropy"])
@pytest.mark.parametrize("label", ["only", 3])
def test_one_class_only(loss, label):
    net = classifier(loss=loss, epochs=3).fit(X, np.full(len(X), label))
    assert net.classes_.tolist() == [label]
    assert set(net.predict(X)) == {label}
    assert net.decision_function(X).shape == (150,)
    if loss != "hinge":
        np.testing.assert_array_equal(net.predict_proba(X), np.ones((150, 1)))


@pytest.mark.parametrize("loss", ["bce_with_logits", "hinge", "mse"])
def test_losses_of_numbers_for_three_classes(loss):
    net = classifier(loss=loss, epochs=60).fit(X, Y)
    assert net.n_outputs_ == 3
    assert net.score(X, Y) > 0.9
    if loss == "bce_with_logits":
        np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_losses_of_numbers_for_two_classes(loss):
    rows, y = BINARY
    net = classifier(loss=loss, epochs=10).fit(rows, y)
    assert net.score(rows, y) > 0.9
    np.testing.assert_array_equal(net.decision_function(rows) > 0, net.predict(rows) == 1)


@pytest.mark.parametrize("loss", ["hinge", nn.HingeLoss(reduction="sum"), "mse"])
def test_losses_without_probabilities(loss):
    net = classifier(loss=loss, epochs=2)
    assert not hasattr(net, "predict_proba")
    net.fit(X, Y)
    assert not hasattr(net, "predict_proba") and not hasattr(net, "predict_log_proba")
    assert hasattr(net, "decision_function")
    with pytest.raises(AttributeError, match="predict_proba"):
        net.predict_proba(X)
    assert hasattr(classifier(), "predict_proba")


@pytest.mark.parametrize("loss", ["auto", "bce_with_logits", "hinge", "mse"])
def test_several_labels_a_row(loss):
    net = classifier(loss=loss, epochs=60).fit(X, LABELS)
    predicted = net.predict(X)
    assert predicted.shape == net.decision_function(X).shape == LABELS.shape
    assert predicted.dtype.kind == "i" and set(predicted.ravel()) == {0, 1}
    assert (predicted == LABELS).mean() > 0.9
    np.testing.assert_array_equal(net.decision_function(X) > 0, predicted == 1)
    assert net.classes_.tolist() == [0, 1, 2]
    if loss in ("auto", "bce_with_logits"):
        probability = net.predict_proba(X)
        assert probability.shape == LABELS.shape
        np.testing.assert_array_equal(probability > 0.5, predicted == 1)
        assert np.abs(probability.sum(axis=1) - 1).max() > 0.1


def test_several_labels_a_row_as_a_sparse_matrix():
    dense, sparse = (small(nn.NNClassifier).fit(X, y).predict_proba(X) for y in (LABELS, sp.csr_matrix(LABELS)))
    np.testing.assert_array_equal(dense, sparse)


@pytest.mark.parametrize("classes", [[0, 1, 2], np.arange(3)])
def test_several_labels_a_row_with_the_classes_named(classes):
    net = small(nn.NNClassifier).partial_fit(X, LABELS, classes=classes).partial_fit(X, LABELS)
    assert net.predict(X).shape == LABELS.shape


def test_several_labels_a_row_of_a_validation_set():
    losses = [
        small(nn.NNClassifier).fit(X, LABELS, X_val=X, y_val=y).history_["val_loss"] for y in (LABELS, sp.csr_matrix(LABELS))
    ]
    assert losses[0] == losses[1]


def test_several_labels_a_row_with_early_stopping_and_partial_fit():
    net = classifier(early_stopping=True, patience=3).fit(X, LABELS)
    assert net.predict(X).shape == LABELS.shape
    net = small(nn.NNClassifier).partial_fit(X, LABELS).partial_fit(X, LABELS)
    assert net.n_iter_ == 2 and net.predict(X).shape == LABELS.shape


def test_loss_of_classes_for_several_labels_a_row_is_refused():
    with pytest.raises(ValueError, match=r"CrossEntropyLoss.*bce_with_logits"):
        classifier(loss="cross_entropy").fit(X, LABELS)


def test_several_classes_a_row_are_refused():
    with pytest.raises(ValueError, match="NNClassifier"):
        classifier().fit(X, np.column_stack([Y, Y]))


def test_numbers_as_labels_are_refused():
    with pytest.raises(ValueError, match="Unknown label type"):
        classifier().fit(X, X[:, 0])


def test_kind_of_target_is_learnt_anew():
    net = classifier(epochs=2).fit(X, LABELS)
    assert net.fit(X, Y).predict(X).shape == (150,)
    assert net.fit(X, LABELS).predict(X).shape == (150, 3)


def test_labels_of_a_validation_set_may_be_text():
    labels = np.array(["b", "a", "c"])[Y]
    net = classifier(epochs=2).fit(X, labels, X_val=X[:30], y_val=labels[:30])
    assert len(net.history_["val_loss"]) == 2


@pytest.mark.parametrize("loss", ["auto", "bce_with_logits"])
def test_labels_of_a_validation_set_may_be_a_column(loss):
    row, column = (
        small(nn.NNClassifier, loss=loss).fit(X, Y == 0, X_val=X, y_val=y).history_ for y in (Y == 0, (Y == 0)[:, None])
    )
    assert row["val_loss"] == column["val_loss"]


def test_label_of_a_validation_set_must_be_known():
    with pytest.raises(ValueError, match="new"):
        classifier(epochs=2).fit(X, np.array(["b", "a", "c"])[Y], X_val=X[:2], y_val=np.array(["a", "new"]))


@BOTH
def test_column_of_targets(make):
    net = small(make)
    row = clone(net).fit(X, Y)
    if make is nn.NNClassifier:
        with pytest.warns(DataConversionWarning, match="column-vector"):
            column = clone(net).fit(X, Y[:, None])
        assert column.predict(X).shape == (150,)
    else:
        column = clone(net).fit(X, Y[:, None])
        assert column.predict(X).shape == (150, 1)
    np.testing.assert_array_equal(outputs(column).ravel(), outputs(row).ravel())


# ------------------------------------------------------------------------------------------------------ regression


def test_several_outputs():
    rows, targets = map(scale, load_linnerud(return_X_y=True))
    net = regressor(epochs=200).fit(rows, targets)
    assert net.predict(rows).shape == targets.shape
    assert net.n_outputs_ == 3
    assert net.score(rows, targets) > 0.5
    frame = regressor(epochs=200).fit(rows, pd.DataFrame(targets))
    np.testing.assert_array_equal(frame.predict(rows), net.predict(rows))


@pytest.mark.parametrize("loss", ["mse", "huber", "mae", "log_cosh", "smooth_l1", nn.HuberLoss(delta=0.3),
                                  nn.MSELoss(reduction="sum")])
def test_losses_of_a_regressor(loss):
    rows, y = DIABETES
    lr = 0.001 if getattr(loss, "reduction", "mean") == "sum" else 0.01
    net = regressor(loss=loss, optimizer=nn.Adam(lr=lr), epochs=60).fit(rows, y)
    assert net.score(rows, y) > 0.45


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantile_loss(quantile):
    rows, y = DIABETES
    net = regressor(layers=(), loss=nn.QuantileLoss(quantile=quantile), epochs=150, batch_size=500).fit(rows, y)
    assert (y < net.predict(rows)).mean() == pytest.approx(quantile, abs=0.05)


def test_poisson_loss():
    rows, y = scale(load_digits().data[:500, 1:]), load_digits().target[:500]
    net = regressor(loss="poisson_nll", optimizer=nn.Adam(lr=0.005), epochs=30).fit(rows, y)
    predicted = net.predict(rows)
    assert predicted.min() >= 0
    assert predicted.mean() == pytest.approx(y.mean(), rel=0.15)
    assert net.score(rows, y) > 0.5
    with pytest.raises(ValueError, match="PoissonNLLLoss"):
        net.fit(rows, y - 1)


@pytest.mark.parametrize("columns", [1, 2])
def test_gaussian_loss_has_means_and_variances(columns):
    random = np.random.default_rng(0)
    rows = random.uniform(-1, 1, (2000, 1))
    noise = np.where(rows > 0, 0.5, 0.05)
    y = np.hstack([rows + noise * random.normal(size=rows.shape) for _ in range(columns)])
    net = regressor(loss="gaussian_nll", layers=[24], epochs=100).fit(rows, y[:, 0] if columns == 1 else y)
    assert net.n_outputs_ == 2 * columns
    predicted = net.predict(rows)
    assert predicted.shape == ((2000,) if columns == 1 else (2000, 2))
    np.testing.assert_allclose(predicted.reshape(2000, -1)[:, 0], rows[:, 0], atol=0.3)
    spread = np.exp(net.set_params(transform_layer=-1).transform(np.array([[-0.5], [0.5]]))[:, columns:] / 2)
    np.testing.assert_allclose(spread[:, 0], [0.05, 0.5], rtol=0.5)


class Quartic(nn.PythonLoss):
    """Of one's own, in NumPy."""

    def forward(self, prediction, target):
        return (prediction - target) ** 4

    def backward(self, prediction, target):
        return 4 * (prediction - target) ** 3


def test_python_loss_of_ones_own():
    rows, y = DIABETES
    net = regressor(loss=Quartic(), epochs=30).fit(rows, y)
    assert net.score(rows, y) > 0.3
    assert net.loss_curve_[-1] < net.loss_curve_[0]
    assert regressor(loss=Quartic, epochs=1).fit(rows, y).loss_ == net.loss_curve_[0]


def test_outputs_mean_what_they_meant_in_the_fit(tmp_path):
    """Another loss is for the next fit: the net's outputs are still read as the one that it was trained with says."""
    net = small(nn.NNClassifier).fit(*BINARY)
    before = net.predict_proba(BINARY[0])
    for loss in ("hinge", "bce_with_logits", "nll"):
        np.testing.assert_array_equal(net.set_params(loss=loss).predict_proba(BINARY[0]), before)
    net.save(tmp_path / "net.safetensors")
    for again in (pickle.loads(pickle.dumps(net)), nn.load(tmp_path / "net.safetensors")):
        assert again.loss == "nll"
        np.testing.assert_array_equal(again.predict_proba(BINARY[0]), before)
    assert not hasattr(net.set_params(loss="hinge").fit(*BINARY), "predict_proba")
    regressor = small(nn.NNRegressor).fit(X, Y)
    before = regressor.predict(X)
    np.testing.assert_array_equal(regressor.set_params(loss="gaussian_nll").predict(X), before)
    np.testing.assert_array_equal(regressor.set_params(loss="poisson_nll").predict(X), before)


def test_loss_of_classes_is_refused_by_a_regressor():
    with pytest.raises(ValueError, match="CrossEntropyLoss"):
        regressor(loss="cross_entropy").fit(X, Y)


# ---------------------------------------------------------------------------------------------------------- sparse


def sparse_rows():
    rows = load_digits().data / 16
    return np.where(rows > 0.5, rows, 0.0), load_digits().target


FORMATS = pytest.mark.parametrize("convert", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_matrix, sp.csc_array],
                                  ids=lambda convert: convert.__name__)  # fmt: skip


@BOTH
@FORMATS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse_rows_are_as_good_as_dense_ones(make, convert, dtype):
    rows, y = sparse_rows()
    rows = rows.astype(dtype)
    sparse = convert(rows)
    net = make([16], optimizer=nn.Adam(lr=0.005), epochs=4, random_state=0)
    dense, other = clone(net).fit(rows, y), clone(net).fit(sparse, y)
    assert dense.model_.dtype == other.model_.dtype == np.dtype(dtype).name
    np.testing.assert_allclose(outputs(dense, sparse), outputs(dense, rows), atol=1e-5)
    np.testing.assert_allclose(outputs(other, rows), outputs(dense, rows), atol=1e-5 if dtype == np.float64 else 1e-3)
    np.testing.assert_allclose(dense.transform(sparse), dense.transform(rows), atol=1e-5)
    np.testing.assert_allclose(other.loss_curve_, dense.loss_curve_, rtol=1e-4)


def test_sparse_rows_in_every_method():
    rows, y = sparse_rows()
    sparse = sp.csr_matrix(rows)
    net = classifier(epochs=5, early_stopping=True, metrics=["accuracy"]).fit(sparse, y).set_params(early_stopping=False)
    np.testing.assert_array_equal(net.predict(sparse), net.predict(rows))
    np.testing.assert_allclose(net.decision_function(sparse), net.decision_function(rows), atol=1e-9)
    assert net.score(sparse, y) > 0.8
    net.partial_fit(sparse, y)
    assert len(classifier(epochs=2).fit(sparse, y, X_val=sparse[:100], y_val=y[:100]).history_["val_loss"]) == 2
    assert len(classifier(epochs=2).fit(rows, y, X_val=sparse[:100], y_val=y[:100]).history_["val_loss"]) == 2
    weight = np.linspace(0, 1, len(y))
    both = [classifier(epochs=2).fit(item, y, sample_weight=weight).predict_proba(rows) for item in (rows, sparse)]
    np.testing.assert_allclose(*both, atol=1e-9)


def test_sparse_rows_that_are_not_sorted_or_name_a_place_twice():
    rows, y = sparse_rows()
    sparse = sp.csr_matrix(rows)
    mixed = sparse.copy()
    for row in range(len(y)):
        piece = slice(mixed.indptr[row], mixed.indptr[row + 1])
        mixed.indices[piece], mixed.data[piece] = mixed.indices[piece][::-1].copy(), mixed.data[piece][::-1].copy()
    mixed.has_sorted_indices = False
    twice = sp.csr_matrix((np.repeat(sparse.data / 2, 2), np.repeat(sparse.indices, 2), sparse.indptr * 2), shape=rows.shape)
    net = classifier(epochs=3).fit(sparse, y)
    for other in (mixed, twice):
        np.testing.assert_allclose(net.predict_proba(other), net.predict_proba(sparse), atol=1e-9)
        np.testing.assert_allclose(classifier(epochs=3).fit(other, y).predict_proba(rows), net.predict_proba(rows), atol=1e-9)


def test_sparse_integers_and_empty_rows():
    rows, y = sparse_rows()
    rows = (rows * 16).astype(np.int64)
    rows[:5] = 0
    dense, sparse = (classifier(epochs=2).fit(item, y).predict_proba(rows) for item in (rows, sp.csr_matrix(rows)))
    np.testing.assert_allclose(dense, sparse, atol=1e-9)


def test_sparse_rows_of_many_columns():
    random = np.random.default_rng(0)
    places = random.integers(0, 200_000, 300 * 20)
    rows = sp.csr_matrix((np.ones(len(places)), places, np.arange(0, len(places) + 1, 20)), shape=(300, 200_000))
    y = np.arange(300) % 2
    net = classifier(layers=[4], epochs=10).fit(rows, y)  # dense they would be 480 MB
    assert net.score(rows, y) > 0.95


@pytest.mark.parametrize("first", [nn.Dropout(0.2), "tanh"])
def test_first_layer_that_wants_dense_rows_says_so(first):
    rows, y = sparse_rows()
    net = classifier(layers=[first, 8])
    with pytest.raises(ValueError, match=r"toarray|dense|sparse"):
        net.fit(sp.csr_matrix(rows), y)
    net.set_params(epochs=1).fit(rows, y)
    with pytest.raises(ValueError, match=r"toarray|dense|sparse"):
        net.predict(sp.csr_matrix(rows))


def test_sparse_nan_is_refused():
    rows, y = sparse_rows()
    rows[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        classifier().fit(sp.csr_matrix(rows), y)


# -------------------------------------------------------------------------------------------------------- going on

KEEPS = [nn.Adam(lr=0.01), nn.SGD(lr=0.1, momentum=0.9), "rmsprop", nn.NAdam(), nn.Lion(lr=1e-3), nn.Adagrad()]


@BOTH
@pytest.mark.parametrize("optimizer", KEEPS)
@pytest.mark.parametrize("batch_size", ["auto", 32])
def test_two_calls_of_partial_fit_are_a_fit_of_two_epochs(make, optimizer, batch_size):
    net = small(make, optimizer=optimizer, epochs=2, shuffle=False, batch_size=batch_size)
    whole = clone(net).fit(X, Y)
    parts = clone(net)
    for _ in range(2):
        parts.partial_fit(X, Y, **({"classes": [0, 1, 2]} if make is nn.NNClassifier else {}))
    np.testing.assert_allclose(numbers(parts), numbers(whole), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.loss_curve_, whole.loss_curve_)
    assert parts.n_iter_ == whole.n_iter_ == 2


def test_classes_come_at_the_first_call():
    net = small(nn.NNClassifier)
    with pytest.raises(ValueError, match="classes"):
        net.partial_fit(X, Y)
    first = Y == 1
    net.partial_fit(X[first], Y[first], classes=[2, 1, 0])
    assert net.classes_.tolist() == [0, 1, 2]
    net.partial_fit(X[~first], Y[~first]).partial_fit(X, Y, classes=[0, 1, 2])
    assert net.predict_proba(X).shape == (150, 3)
    assert net.n_iter_ == len(net.loss_curve_) == 3
    with pytest.raises(ValueError, match="classes"):
        net.partial_fit(X, Y, classes=[0, 1])


def test_label_that_was_not_announced_is_refused():
    net = small(nn.NNClassifier).partial_fit(X[Y < 2], Y[Y < 2], classes=[0, 1])
    for labels in (Y, np.full(150, -1)):
        with pytest.raises(ValueError, match="NNClassifier"):
            net.partial_fit(X, labels)
    with pytest.raises(ValueError, match="NNClassifier"):
        small(nn.NNClassifier).partial_fit(X, Y, classes=[0, 1])


def test_failed_first_partial_fit_leaves_an_unfitted_net():
    net = small(nn.NNClassifier)
    with pytest.raises(ValueError, match="NNClassifier"):
        net.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(NotFittedError):
        net.predict(X)
    assert net.partial_fit(X, Y, classes=[0, 1, 2]).predict_proba(X).shape == (150, 3)


def test_partial_fit_of_text_labels_in_two_classes():
    rows, y = BINARY
    labels = np.array(["bad", "good"])[y]
    net = classifier(loss="bce_with_logits").partial_fit(rows[:10], labels[:10], classes=["good", "bad"])
    for _ in range(10):
        net.partial_fit(rows, labels)
    assert net.score(rows, labels) > 0.9
    assert net.classes_.tolist() == ["bad", "good"]


@BOTH
def test_partial_fit_after_fit_goes_on(make):
    net = small(make, epochs=2, shuffle=False).fit(X, Y)
    net.partial_fit(X, Y)
    whole = small(make, epochs=3, shuffle=False).fit(X, Y)
    np.testing.assert_allclose(numbers(net), numbers(whole), rtol=1e-9, atol=1e-12)
    assert net.n_iter_ == 3


@BOTH
def test_partial_fit_with_weights(make):
    options = {"classes": [0, 1, 2]} if make is nn.NNClassifier else {}
    weight = np.where(Y == 0, 1.0, 0.0)
    net = small(make, epochs=1, batch_size=200, dtype="float64").partial_fit(X, Y, sample_weight=weight, **options)
    alone = small(make, epochs=1, batch_size=200, dtype="float64").partial_fit(X[:50], Y[:50], **options)
    np.testing.assert_allclose(numbers(net), numbers(alone), rtol=1e-9, atol=1e-12)


@BOTH
@pytest.mark.parametrize("fitted", [False, True])
def test_partial_fit_refuses_to_stop_early(make, fitted):
    """It would hold rows out of every call, and learn nothing from them."""
    net = small(make)
    if fitted:
        net.fit(X, Y)
    net.set_params(early_stopping=True)
    with pytest.raises(ValueError, match=r"NN\w+: partial_fit does not support early_stopping=True"):
        net.partial_fit(X, Y, **({"classes": [0, 1, 2]} if make is nn.NNClassifier else {}))
    assert hasattr(net, "model_") == fitted


@BOTH
def test_partial_fit_learns_from_every_row_of_a_call(make):
    seen = []
    net = small(make, callbacks=[nn.LambdaCallback(lambda fit: seen.append(len(fit.sample(1000)[0])))], epochs=7)
    net.partial_fit(X[::75], Y[::75], **({"classes": [0, 1, 2]} if make is nn.NNClassifier else {}))
    assert seen == [2]  # one epoch, whatever ``epochs`` is, of both rows
    assert net.n_iter_ == len(net.loss_curve_) == 1


@BOTH
def test_warm_start_goes_on(make):
    net = small(make, epochs=2, shuffle=False, warm_start=True).fit(X, Y)
    net.fit(X, Y)
    whole = small(make, epochs=4, shuffle=False).fit(X, Y)
    np.testing.assert_allclose(numbers(net), numbers(whole), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(net.loss_curve_, whole.loss_curve_)
    assert net.n_iter_ == 4 and net.history_.epochs == 2
    assert net.loss_ == net.loss_curve_[-1]


@BOTH
def test_without_warm_start_a_fit_begins_anew(make):
    net = small(make).fit(X, Y)
    before = numbers(net)
    np.testing.assert_array_equal(numbers(net.fit(X, Y)), before)
    assert net.n_iter_ == len(net.loss_curve_) == 3
    net.fit(X[:, :2], Y)
    assert net.n_features_in_ == 2


def test_warm_start_wants_the_same_kind_of_data():
    net = small(nn.NNClassifier, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="features"):
        net.fit(X[:, :2], Y)
    with pytest.raises(ValueError, match="NNClassifier"):
        net.fit(X, Y + 1)


def test_warm_start_with_another_optimizer_begins_its_state_anew():
    net = small(nn.NNClassifier, warm_start=True).fit(X, Y)
    for optimizer in ("sgd", "adam", nn.Lion(lr=1e-3), nn.SGD(lr=0.01, momentum=0.9)):
        net.set_params(optimizer=optimizer).fit(X, Y)
    assert net.n_iter_ == 15 and np.isfinite(net.loss_)


def test_warm_start_with_another_schedule_follows_it():
    net = small(nn.NNClassifier, warm_start=True).fit(X, Y)
    rates = net.set_params(optimizer__schedule="cosine").fit(X, Y).history_["lr"]
    assert rates[0] > rates[-1]


# ----------------------------------------------------------------------------------------------------------- seeds


@BOTH
@pytest.mark.parametrize("options", [{}, {"layers": [nn.Dropout(0.2), 6]}, {"early_stopping": True}, {"batch_size": 16}],
                         ids=["plain", "dropout", "early stopping", "batches"])  # fmt: skip
def test_same_seed_gives_the_same_bits(make, options):
    first, again, other = (small(make, **{"random_state": seed, **options}).fit(X, Y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(numbers(first), numbers(again))
    np.testing.assert_array_equal(numbers(first.fit(X, Y)), numbers(again))
    assert not np.array_equal(numbers(first), numbers(other))


@BOTH
def test_no_seed_gives_others(make):
    first, second = (small(make, random_state=None).fit(X, Y) for _ in range(2))
    assert not np.array_equal(numbers(first), numbers(second))


@BOTH
def test_random_state_is_drawn_from(make):
    first, second = (small(make, random_state=np.random.RandomState(5)).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(numbers(first), numbers(second))
    assert not np.array_equal(numbers(first), numbers(second.fit(X, Y)))


def test_global_seed_counts_where_there_is_none():
    nets = []
    for _ in range(2):
        np.random.seed(3)
        nets.append(small(nn.NNClassifier, random_state=None).fit(X, Y))
    np.testing.assert_array_equal(*map(numbers, nets))


def test_global_generator_is_left_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    small(nn.NNClassifier, random_state=0, early_stopping=True).fit(X, Y).predict(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@BOTH
def test_same_bits_for_any_number_of_threads(make):
    rows, y = load_digits().data / 16, load_digits().target
    options = {"layers": [128, nn.Dropout(0.1), 64], "epochs": 2, "batch_size": 256, "random_state": 0}
    one, two = (make(n_threads=threads, **options).fit(rows, y) for threads in (1, 2))
    np.testing.assert_array_equal(numbers(one), numbers(two))
    np.testing.assert_array_equal(outputs(one, rows), outputs(two, rows))
    assert one.loss_curve_ == two.loss_curve_


def test_dropout_differs_from_call_to_call():
    """Whatever the seed: what is dropped again and again would never be learnt from."""
    net = small(nn.NNRegressor, layers=[nn.Dropout(0.5), 6], optimizer=nn.SGD(lr=1e-12), batch_size=150)
    for _ in range(4):
        net.partial_fit(X, Y)
    assert np.diff(np.sort(net.loss_curve_)).min() > 1e-6
    net.set_params(warm_start=True, epochs=1).fit(X, Y).fit(X, Y).fit(X, Y)
    assert np.diff(np.sort(net.loss_curve_)).min() > 1e-6


def test_order_differs_from_call_to_call():
    seen = []

    class Keep(nn.PythonLayer):
        def forward(self, x):
            seen.append(x[:, 0].tolist())
            return x

        def backward(self, grad_out):
            return grad_out

    net = small(nn.NNRegressor, layers=[Keep(), 6], batch_size=150, n_threads=1)
    for _ in range(3):
        net.partial_fit(X, Y)
    assert seen[0] != seen[1] != seen[2] != seen[0]


# ---------------------------------------------------------------------------------------------------- data frames


def test_feature_names_are_remembered_and_checked():
    frame, y = load_wine(return_X_y=True, as_frame=True)
    frame = (frame - frame.mean()) / frame.std()
    net = classifier().fit(frame, y)
    assert net.feature_names_in_.tolist() == frame.columns.tolist()
    np.testing.assert_array_equal(net.predict(frame), classifier().fit(frame.to_numpy(), y).predict(frame.to_numpy()))
    with pytest.raises(ValueError, match="feature names should match"):
        net.predict(frame.rename(columns={"alcohol": "spirit"}))
    with pytest.raises(ValueError, match="same order"):
        net.predict(frame[frame.columns[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        net.predict(frame.to_numpy())
    plain = classifier().fit(frame.to_numpy(), y)
    assert not hasattr(plain, "feature_names_in_")
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        plain.predict(frame)
    assert not hasattr(net.fit(frame.to_numpy(), y), "feature_names_in_")


def test_data_frame_of_several_dtypes_and_a_series_of_labels():
    frame, y = load_iris(return_X_y=True, as_frame=True)
    frame["flag"], frame["count"] = y == 0, (y * 2).astype("int8")
    net = classifier(epochs=30).fit(frame, y.map({0: "a", 1: "b", 2: "c"}))
    assert net.score(frame, y.map({0: "a", 1: "b", 2: "c"})) > 0.9
    assert net.n_features_in_ == 6


@pytest.mark.parametrize("kind", ["category", "string"])
def test_labels_of_pandas_dtypes(kind):
    labels = pd.Series(np.array(["b", "a", "c"])[Y]).astype(kind)
    net = classifier(epochs=50).fit(X, labels)
    assert net.classes_.tolist() == ["a", "b", "c"]
    assert net.score(X, labels) > 0.9


@BOTH
def test_lists_are_taken(make):
    net = small(make).fit(X.tolist(), Y.tolist())
    np.testing.assert_array_equal(net.predict(X.tolist()), net.predict(X))


@BOTH
@pytest.mark.parametrize("change", [
    np.asfortranarray, lambda rows: np.repeat(rows, 2, axis=0)[::2], lambda rows: rows[::-1].copy()[::-1],
], ids=["fortran", "sliced", "reversed"])  # fmt: skip
def test_memory_order_does_not_matter(make, change):
    net = small(make).fit(X, Y)
    np.testing.assert_array_equal(outputs(net, change(X)), outputs(net))
    np.testing.assert_array_equal(numbers(small(make).fit(change(X), Y)), numbers(net))


@BOTH
def test_data_are_left_alone(make):
    rows, y, weight = X.copy(), Y.copy(), np.ones(150)
    for array in (rows, y, weight):
        array.flags.writeable = False
    net = small(make, early_stopping=True).fit(rows, y, sample_weight=weight)
    before = outputs(net)
    outputs(net)[:] = 7  # what was given out is the caller's
    np.testing.assert_array_equal(outputs(net), before)
    hidden = net.transform(rows).copy()
    net.transform(rows)[:] = 7
    np.testing.assert_array_equal(net.transform(rows), hidden)


@BOTH
@pytest.mark.parametrize(("dtype", "given", "expected"), [
    ("auto", np.float32, "float32"), ("auto", np.float64, "float64"), ("auto", np.int32, "float64"),
    ("float32", np.float64, "float32"), ("float64", np.float32, "float64"),
])  # fmt: skip
def test_dtype(make, dtype, given, expected):
    net = small(make, dtype=dtype).fit(X.astype(given), Y)
    assert net.model_.dtype == expected
    assert net.transform(X.astype(given)).dtype == expected


def test_float32_outputs_of_a_regressor():
    targets = np.column_stack([Y, -Y]).astype(float)
    assert small(nn.NNRegressor).fit(X, targets).predict(X).dtype == np.float64
    assert small(nn.NNRegressor).fit(X.astype(np.float32), targets).predict(X.astype(np.float32)).dtype.kind == "f"


# ---------------------------------------------------------------------------------------------------------- copies

COPIES = {
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "pickled twice": lambda net: pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(net)))),
    "deepcopy": copy.deepcopy,
    "old protocol": lambda net: pickle.loads(pickle.dumps(net, protocol=2)),
}


def dump_and_load(net):
    file = io.BytesIO()
    joblib.dump(net, file)
    file.seek(0)
    return joblib.load(file)


COPIES["joblib"] = dump_and_load


@BOTH
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
def test_copy_predicts_the_same_and_goes_on_the_same(make, copied):
    net = small(make, layers=[6, nn.PReLU(), nn.Dropout(0.2), 4], optimizer=nn.AdamW(lr=0.01, schedule="cosine")).fit(X, Y)
    other = copied(net)
    assert repr(other) == repr(net)
    np.testing.assert_array_equal(outputs(other), outputs(net))
    np.testing.assert_array_equal(other.transform(X), net.transform(X))
    before = outputs(net)
    other.partial_fit(X, Y)
    np.testing.assert_array_equal(outputs(net), before)  # they share nothing
    net.partial_fit(X, Y)
    np.testing.assert_array_equal(numbers(other), numbers(net))  # the optimizer's state came along
    assert other.n_iter_ == 4


@BOTH
def test_net_that_is_not_fitted_is_copied(make):
    net = make([4, nn.Dropout(0.1)], optimizer=nn.Adam(schedule=nn.OneCycle()))
    for copied in COPIES.values():
        assert repr(copied(net)) == repr(net)


def test_pickle_with_a_random_state_goes_on_with_it():
    net = small(nn.NNClassifier, random_state=np.random.RandomState(0)).fit(X, Y)
    other = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(numbers(other.fit(X, Y)), numbers(net.fit(X, Y)))


def test_pickle_is_not_much_larger_than_the_parameters():
    rows, y = load_digits(return_X_y=True)
    net = nn.NNClassifier([512], epochs=1, random_state=0, dtype="float32").fit(rows / 16, y)
    assert len(pickle.dumps(net)) < 8 * numbers(net).nbytes + 100_000  # a few times: Adam's two means, too


def test_loaded_in_another_process(script, tmp_path):
    net = small(nn.NNClassifier).fit(X, Y)
    joblib.dump(net, tmp_path / "net.joblib")
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "expected.npy", net.predict_proba(X))
    script(f"""
        import joblib, numpy as np
        net = joblib.load({str(tmp_path / "net.joblib")!r})
        rows, expected = (np.load({str(tmp_path)!r} + name) for name in ("/rows.npy", "/expected.npy"))
        np.testing.assert_array_equal(net.predict_proba(rows), expected)
        net.partial_fit(rows, rows[:, 0] > 0)
    """)


# -------------------------------------------------------------------------------------------------------- mistakes


@BOTH
@pytest.mark.parametrize(("rows", "message"), [
    (np.where(np.arange(600).reshape(150, 4) == 7, np.nan, X), "NaN"),
    (np.where(np.arange(600).reshape(150, 4) == 7, np.inf, X), "infinity"),
    ([[1.0, 2.0], [3.0]], "inhomogeneous|different lengths|sequence"),
    (X[:0], "0 sample"),
    (X[:, :0], "0 feature"),
    (X[:, 0], "Reshape your data"),
    (X[:, None, None], "dim|Flatten"),
    (X[:100], "inconsistent numbers of samples"),
    (X.astype(complex), "omplex"),
    (np.full((150, 2), "text"), "convert|numeric|float"),
], ids=["nan", "infinity", "ragged", "no rows", "no features", "one axis", "three axes", "fewer rows", "complex",
        "text"])  # fmt: skip
def test_data_that_cannot_be_learnt_from(make, rows, message):
    with pytest.raises(ValueError, match=message):
        small(make).fit(rows, Y)
    fitted = small(make).fit(X, Y)
    if message not in ("inconsistent numbers of samples", "0 feature"):
        with pytest.raises(ValueError, match=message):
            fitted.predict(rows)


@BOTH
def test_targets_that_cannot_be_learnt_from(make):
    with pytest.raises(ValueError, match="NaN"):
        small(make).fit(X, np.where(Y == 0, np.nan, Y))
    with pytest.raises(ValueError, match="y"):
        small(make).fit(X, None)
    with pytest.raises(ValueError, match="inconsistent"):
        small(make).fit(X, Y[:-1])


@BOTH
@pytest.mark.parametrize("method", ["predict", "transform", "partial_fit", "score"])
def test_wrong_number_of_features(make, method):
    net = small(make).fit(X, Y)
    more = () if method in ("predict", "transform") else (Y,)
    for rows in (X[:, :3], np.hstack([X, X]), sp.csr_matrix(X[:, :3])):
        with pytest.raises(ValueError, match=r"X has \d features, but NN\w+ is expecting 4 features"):
            getattr(net, method)(rows, *more)


@BOTH
def test_validation_set_of_another_width(make):
    with pytest.raises(ValueError, match="features"):
        small(make).fit(X, Y, X_val=X[:, :2], y_val=Y)


@BOTH
@pytest.mark.parametrize(("weight", "message"), [
    (np.ones(10), "sample_weight"), (np.full(150, np.nan), "NaN"), (-np.ones(150), "sample_weight"),
    (np.zeros(150), "ample.weight"), (np.ones((150, 2)), "ample.weight"),
], ids=["fewer", "nan", "negative", "zero", "two axes"])  # fmt: skip
def test_weights_that_cannot_be_used(make, weight, message):
    with pytest.raises(ValueError, match=message):
        small(make).fit(X, Y, sample_weight=weight)


@BOTH
def test_using_a_net_before_it_is_fitted(make):
    for method in ("predict", "transform", *(["predict_proba", "decision_function"] if make is nn.NNClassifier else [])):
        with pytest.raises(NotFittedError):
            getattr(make(), method)(X)


@BOTH
def test_net_that_could_not_be_trained_is_not_fitted(make):
    net = small(make, epochs=0)
    with pytest.raises(ValueError, match="epochs"):
        net.fit(X, Y)
    with pytest.raises(NotFittedError):
        net.predict(X)


@BOTH
def test_failed_fit_leaves_the_last_one_as_it_was(make):
    net = small(make).fit(X, Y)
    before = outputs(net)
    with pytest.raises(ValueError, match="epochs"):
        net.set_params(epochs=0).fit(X[:, :2], Y == 0)
    np.testing.assert_array_equal(outputs(net), before)
    assert net.n_features_in_ == 4 and net.n_iter_ == 3


@BOTH
@pytest.mark.parametrize("loss", ["bce", nn.NLLLoss(), "kl_div"])
def test_losses_of_probabilities_are_refused(make, loss):
    with pytest.raises(nn.ParameterError, match="bce_with_logits"):
        small(make, loss=loss).fit(X, Y == 0)


@BOTH
@pytest.mark.parametrize("row", [[np.inf, -np.inf, 0, 0], [np.inf, 0, 0, 0], [np.nan, np.inf, 0, 0]])
def test_infinities_are_refused_without_a_warning(make, row):
    net = small(make).fit(X, Y)
    for method in (net.predict, net.transform):
        with pytest.raises(ValueError, match="contains"):
            method(np.array([row]))


@BOTH
def test_large_numbers_are_none(make):
    small(make).fit(X, Y).predict(np.full((3, 4), 1e308))  # their sum is infinite, they are not


@BOTH
def test_diverging_is_an_error_that_says_so(make):
    with pytest.raises(nn.NonFiniteError, match="learning rate"):
        small(make, loss="mse", optimizer=nn.SGD(lr=1e6), epochs=50).fit(X * 100, Y)


@BOTH
@pytest.mark.parametrize("place", [5, -6, 99])
def test_hidden_layer_that_is_not_there(make, place):
    net = small(make, layers=[4, 4]).fit(X, Y)
    assert net.set_params(transform_layer=4).transform(X).shape[0] == 150
    with pytest.raises(ValueError, match="transform_layer"):
        net.set_params(transform_layer=place).transform(X)


# ------------------------------------------------------------------------------------------------------ attributes


@BOTH
def test_attributes_of_a_fit(make):
    net = small(make, epochs=7)
    assert not [name for name in vars(net) if name.endswith("_")]
    net.fit(X, Y)
    assert len(net.loss_curve_) == net.n_iter_ == net.history_.epochs == 7
    assert net.loss_ == net.loss_curve_[-1]
    assert net.loss_curve_ == list(net.history_["loss"])
    assert net.n_features_in_ == 4
    assert net.n_layers_ == len(net.model_) == 3
    assert net.n_outputs_ == (3 if make is nn.NNClassifier else 1)
    assert isinstance(net.model_, nn.Sequential) and isinstance(net.history_, nn.History)


def test_metrics_and_callbacks():
    seen = []
    net = classifier(epochs=3, metrics=["accuracy"], callbacks=[nn.LambdaCallback(lambda fit: seen.append(fit.epoch))]).fit(
        X, Y
    )
    assert seen == [0, 1, 2]
    assert net.history_["accuracy"][-1] == pytest.approx(net.score(X, Y))


@pytest.mark.parametrize("loss", ["auto", "hinge", "bce_with_logits"])
@pytest.mark.parametrize("labels", [Y, Y == 0], ids=["three", "two"])
def test_accuracy_in_the_history_is_the_score(loss, labels):
    net = small(nn.NNClassifier, loss=loss, metrics=["accuracy"]).fit(X, labels)
    assert net.history_["accuracy"][-1] == pytest.approx(net.score(X, labels))


@BOTH
@pytest.mark.parametrize("weight", [None, np.linspace(0.1, 1, 150)], ids=["equal", "weighted"])
def test_early_stopping_goes_back_to_the_best(make, weight):
    net = small(
        make, layers=[32], optimizer=nn.Adam(lr=0.05), epochs=500, early_stopping=True, patience=4, validation_fraction=0.3
    )
    kept = []
    net.callbacks = [nn.LambdaCallback(lambda fit: kept.append(fit.network.vector.copy()))]
    net.fit(X, Y, sample_weight=weight)
    losses = net.history_["val_loss"]
    best = net.history_.best_epoch
    assert net.n_iter_ == len(losses) < 500
    assert best == np.argmin(losses) == len(losses) - 6
    np.testing.assert_array_equal(network_of(net.model_).vector, kept[best])


def test_early_stopping_holds_out_some_of_every_class():
    seen = []
    net = classifier(early_stopping=True, validation_fraction=0.2, epochs=1)
    net.callbacks = [nn.LambdaCallback(lambda fit: seen.append(np.bincount(fit._y[""].ravel())))]
    net.fit(X, Y)
    np.testing.assert_array_equal(seen[0], [40, 40, 40])


TWENTY = np.arange(20) % 3
SPLITS = {
    "fewer than classes":
        (TWENTY, 0.1, "early_stopping: expected a row of each of 3 classes to hold out and as many to train on, got "
                      "validation_fraction=0.1 of 20 rows, which holds out 2; take 0.15 or a little more, or give rows"),
    "nothing left": (TWENTY, 0.9, "got validation_fraction=0.9 of 20 rows, which holds out 18; take less, or give rows"),
    "one row of a class":
        (np.array([*"ab" * 9, "c", "a"]), 0.2, "early_stopping: expected at least two rows of each class, one to train on and "
                                               "one to hold out (validation_fraction), got one of the class 'c' (row 18)"),
    "one row of some": (np.arange(20), 0.5, "got one of the class '0' (row 0), and of 19 more classes"),
    "too few for both": (TWENTY[:5] % 2, 0.1, "got validation_fraction=0.1 of 5 rows, which holds out 1; take 0.4 or a little"),
    "no share": (TWENTY, 3, "validation_fraction: expected a share of the rows between 0 and 1, got 3"),
    "nothing": (TWENTY, 0.0, "validation_fraction: expected a share of the rows between 0 and 1, got 0.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLITS)
def test_early_stopping_with_too_few_rows_says_what_to_do(name):
    labels, fraction, message = SPLITS[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        classifier(early_stopping=True, validation_fraction=fraction, epochs=1).fit(X[: len(labels)], labels)


def test_early_stopping_does_what_its_message_says():
    classifier(early_stopping=True, validation_fraction=0.15, epochs=1).fit(X[:20], TWENTY)
    classifier(early_stopping=True, epochs=1).fit(X[:20], TWENTY, X_val=X[:2], y_val=TWENTY[:2])
    with pytest.raises(ValueError, match=r"expected a row to hold out .* of 1 rows, which holds out 1; give rows of your own"):
        nn.NNRegressor(early_stopping=True, epochs=1).fit(X[:1], [1.0])


# ------------------------------------------------------------------------------------------------------ appearance


@BOTH
def test_html_names_the_layers_before_and_after(make):
    net = make([7, nn.Dropout(0.25), "tanh"], activation="gelu", epochs=1)
    last = repr(nn.Linear(3 if make is nn.NNClassifier else 1))
    for item, also in ((net, ()), (clone(net).fit(X, Y), (last,))):
        html = item._repr_html_()
        for text in (make.__name__, "Linear(out_features=7, weight_init=", "GELU()", "Dropout(rate=0.25)", "Tanh()", *also):
            assert f">{text}" in html
    assert "Linear(out_features=7, " in net._repr_mimebundle_()["text/html"]


def test_html_of_a_net_that_cannot_be_made_is_shown_all_the_same():
    assert "NNClassifier" in nn.NNClassifier(layers=["nonsense"])._repr_html_()


def test_repr():
    net = nn.NNClassifier([64, nn.Dropout(0.2)], optimizer=nn.AdamW(lr=0.01), epochs=5)
    assert repr(net) == "NNClassifier(epochs=5, layers=[64, Dropout(rate=0.2)], optimizer=AdamW(lr=0.01))"
    assert repr(nn.NNRegressor()) == "NNRegressor()"


@BOTH
def test_verbose_shows_a_line(make, capsys):
    small(make, verbose=True).fit(X, Y)
    shown = capsys.readouterr()
    assert "epoch 3/3" in shown.err and "loss" in shown.err
    assert shown.out == ""
    small(make).fit(X, Y)
    assert capsys.readouterr() == ("", "")
