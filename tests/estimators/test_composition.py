"""The estimators inside scikit-learn's other tools, on its data sets."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_config
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_linnerud, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, BaggingRegressor, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectFromModel, SequentialFeatureSelector
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler, scale
from sklearn.semi_supervised import SelfTrainingClassifier

import nnkit as nn

WINE = load_wine(return_X_y=True)
IRIS = load_iris(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = tuple(map(scale, load_diabetes(return_X_y=True)))


def classifier(**options):
    options = {"layers": [16], "optimizer": nn.Adam(lr=0.02), "epochs": 20, "random_state": 0, **options}
    return nn.NNClassifier(**options)


def regressor(**options):
    options = {"layers": [16], "optimizer": nn.Adam(lr=0.02), "epochs": 20, "random_state": 0, **options}
    return nn.NNRegressor(**options)


def scaled(estimator):
    return Pipeline([("scale", StandardScaler()), ("net", estimator)])


# ------------------------------------------------------------------------------------------------------- pipelines


def test_pipeline():
    X_train, X_test, y_train, y_test = train_test_split(*CANCER, random_state=0)
    pipeline = Pipeline([("scale", StandardScaler()), ("pca", PCA(10)), ("net", classifier())]).fit(X_train, y_train)
    assert pipeline.score(X_test, y_test) > 0.94
    assert pipeline["net"].n_features_in_ == 10
    assert pipeline.set_params(net__optimizer__lr=0.5)["net"].optimizer.lr == 0.5


def test_parameters_of_a_step_reach_its_layers():
    pipeline = scaled(classifier(layers=[nn.Linear(4), nn.Dropout(0.5), 3]))
    pipeline.set_params(net__layers__1__rate=0.25, net__layers__2=7, net__layers__0__out_features=5)
    assert repr(pipeline["net"].layers) == "[Linear(out_features=5), Dropout(rate=0.25), 7]"
    assert pipeline.get_params()["net__layers__1__rate"] == 0.25


def test_column_transformer():
    X, y = load_wine(return_X_y=True, as_frame=True)
    X["strength"] = np.where(X["alcohol"] > 13, "strong", "light")
    columns = ColumnTransformer([("numbers", StandardScaler(), list(X.columns[:5])), ("names", OneHotEncoder(), ["strength"])])
    pipeline = make_pipeline(columns, classifier(epochs=60)).fit(X, y)
    assert pipeline.score(X, y) > 0.85
    assert pipeline[-1].n_features_in_ == 7


def test_net_in_a_column_transformer():
    X, y = load_wine(return_X_y=True, as_frame=True)
    columns = ColumnTransformer([("net", make_pipeline(StandardScaler(), classifier(layers=[3])), list(X.columns[:5]))])
    frame = columns.set_output(transform="pandas").fit_transform(X, y)
    assert list(frame.columns) == [f"net__nnclassifier{place}" for place in range(3)]


def test_feature_union():
    X, y = WINE
    union = FeatureUnion([("pca", PCA(2)), ("net", classifier(layers=[4]))])
    assert make_pipeline(StandardScaler(), union).fit_transform(X, y).shape == (len(X), 6)


def test_transformed_target():
    X, y = load_diabetes(return_X_y=True)
    model = TransformedTargetRegressor(scaled(regressor(epochs=30)), transformer=MinMaxScaler()).fit(X, y)
    assert model.score(X, y) > 0.4


# -------------------------------------------------------------------------------------------------------- searches


@pytest.mark.parametrize("optimizer", ["adam", nn.Adam(), "nadam", nn.RMSprop(weight_decay=1e-3)])
def test_grid_search_over_the_learning_rate(optimizer):
    search = GridSearchCV(scaled(classifier(optimizer=optimizer)), {"net__optimizer__lr": [1e-6, 0.02]}, cv=3).fit(*WINE)
    assert search.best_params_ == {"net__optimizer__lr": 0.02}
    assert search.best_score_ > 0.85
    best = search.best_estimator_["net"].optimizer
    assert best.lr == 0.02 and type(best) is type(nn.Optimizer.make(optimizer))
    assert getattr(optimizer, "lr", 1e-3) != 0.02  # what was passed in is as it was


def test_grid_search_over_layers():
    grid = {
        "net__layers__0__out_features": [2, 12],
        "net__layers__1": ["relu", nn.Tanh()],
        "net__layers__2__rate": [0.0, 0.2],
    }
    net = classifier(layers=[nn.Linear(5), "relu", nn.Dropout(0.9)], epochs=10)
    search = GridSearchCV(scaled(net), grid, cv=2).fit(*WINE)
    assert len(search.cv_results_["params"]) == 8
    best = search.best_estimator_["net"]
    assert best.model_[0].out_features == best.layers[0].out_features == search.best_params_["net__layers__0__out_features"]
    assert repr(net.layers) == "[Linear(out_features=5), 'relu', Dropout(rate=0.9)]"


def test_grid_search_over_sizes():
    search = GridSearchCV(scaled(classifier(layers=[8, 4])), {"net__layers__0": [1, 16]}, cv=3).fit(*WINE)
    assert search.best_params_ == {"net__layers__0": 16}
    assert search.best_estimator_["net"].layers == [16, 4]


def test_grid_search_over_whole_parts():
    grid = {
        "net__layers": [(), (8,), [nn.Linear(8), "tanh"]],
        "net__loss": ["cross_entropy", nn.CrossEntropyLoss(label_smoothing=0.1), "hinge"],
        "net__optimizer": ["lion", nn.SGD(lr=0.1, momentum=0.9)],
        "net__optimizer__schedule": ["cosine", None],
    }
    search = GridSearchCV(scaled(classifier(epochs=5)), grid, cv=2, error_score="raise").fit(*IRIS)
    assert len(search.cv_results_["params"]) == 36
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_randomized_search():
    space = {"optimizer__lr": loguniform(1e-3, 1e-1), "optimizer__weight_decay": loguniform(1e-5, 1e-2), "epochs": [10, 20]}
    search = RandomizedSearchCV(regressor(), space, n_iter=5, cv=2, random_state=0, error_score="raise").fit(*DIABETES)
    assert search.best_score_ > 0.2
    assert search.best_estimator_.optimizer.lr == search.best_params_["optimizer__lr"]


def test_halving_search_over_epochs():
    search = HalvingGridSearchCV(
        classifier(), {"optimizer__lr": [1e-6, 1e-4, 0.02]}, resource="epochs", min_resources=5, max_resources=45, cv=3,
        random_state=0, error_score="raise",
    ).fit(scale(WINE[0]), WINE[1])  # fmt: skip
    assert search.best_params_ == {"optimizer__lr": 0.02, "epochs": 15}


def test_halving_search_over_samples():
    X, y = load_digits(return_X_y=True)
    search = HalvingGridSearchCV(classifier(epochs=10), {"optimizer__lr": [1e-6, 0.02]}, cv=2, random_state=0, factor=2)
    search.fit(X[:800] / 16, y[:800])
    assert search.best_params_ == {"optimizer__lr": 0.02}


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("net", [classifier(layers=[16, nn.Dropout(0.2), 8]), classifier(early_stopping=True)])
def test_search_side_by_side_gives_the_same(net, backend):
    grid = {"net__optimizer__lr": [1e-4, 0.01, 0.1]}
    alone = GridSearchCV(scaled(net), grid, cv=3, n_jobs=1).fit(*WINE)
    with parallel_config(backend):
        together = GridSearchCV(scaled(net), grid, cv=3, n_jobs=2).fit(*WINE)
    assert together.best_score_ == alone.best_score_
    assert together.best_params_ == alone.best_params_
    np.testing.assert_array_equal(together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(together.predict_proba(WINE[0]), alone.predict_proba(WINE[0]))


# ------------------------------------------------------------------------------------------------ cross-validation


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss", "roc_auc_ovr", "balanced_accuracy"])
def test_cross_val_score(scoring):
    floor = {"neg_log_loss": -0.3}.get(scoring, 0.9)
    assert cross_val_score(scaled(classifier()), *WINE, cv=3, scoring=scoring).mean() > floor


def test_cross_val_score_of_a_regressor():
    folds = KFold(3, shuffle=True, random_state=0)
    assert cross_val_score(regressor(loss="huber"), *DIABETES, cv=folds).mean() > 0.35


@pytest.mark.parametrize("method", ["predict_proba", "decision_function", "predict", "predict_log_proba"])
def test_cross_val_predict(method):
    X, y = scale(CANCER[0]), CANCER[1]
    given = cross_val_predict(classifier(), X, y, cv=3, method=method)
    binary = {"predict_proba": lambda p: p[:, 1] > 0.5, "predict_log_proba": lambda p: p[:, 1] > np.log(0.5),
              "decision_function": lambda p: p > 0, "predict": lambda p: p}[method](given)  # fmt: skip
    assert (binary == y).mean() > 0.94


def test_learning_curve():
    sizes, train, test = learning_curve(scaled(classifier()), *CANCER, train_sizes=[0.1, 0.5, 1.0], cv=3, error_score="raise")
    assert train.shape == test.shape == (3, 3)
    assert list(sizes) == sorted(sizes)
    assert test[-1].mean() > 0.94


def test_learning_curve_goes_on_from_size_to_size():
    X, y = scale(WINE[0]), WINE[1]
    options = {"train_sizes": [0.3, 1.0], "cv": 3, "shuffle": True, "random_state": 0, "error_score": "raise"}
    test = learning_curve(classifier(), X, y, exploit_incremental_learning=True, **options)[2]
    assert test.shape == (2, 3) and np.isfinite(test).all()


def test_validation_curve():
    train, _ = validation_curve(
        classifier(), scale(WINE[0]), WINE[1], param_name="optimizer__lr", param_range=[1e-6, 0.02], cv=2
    )
    assert train[1].mean() > train[0].mean() + 0.2


# ------------------------------------------------------------------------------------------------------- ensembles


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("loss", ["auto", "hinge"])
def test_calibrated(method, loss):
    X, y = scale(CANCER[0]), CANCER[1]
    calibrated = CalibratedClassifierCV(classifier(loss=loss), method=method, cv=3).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    assert calibrated.score(X, y) > 0.95


def test_bagging_of_classifiers():
    bagged = BaggingClassifier(scaled(classifier()), n_estimators=4, max_features=0.7, random_state=0).fit(*WINE)
    assert bagged.score(*WINE) > 0.95
    first, second = bagged.estimators_[:2]
    assert first["net"].random_state != second["net"].random_state
    assert first["net"].optimizer is not second["net"].optimizer


def test_bagging_of_regressors():
    bagged = BaggingRegressor(regressor(), n_estimators=4, n_jobs=2, random_state=0)
    with parallel_config("threading"):
        bagged.fit(*DIABETES)
    assert bagged.score(*DIABETES) > 0.45


def test_stacking():
    parts = [("net", scaled(classifier())), ("flat", scaled(LogisticRegression())), ("wide", scaled(classifier(layers=[64])))]
    stack = StackingClassifier(parts, final_estimator=classifier(layers=[]), cv=3, passthrough=False).fit(*WINE)
    assert stack.score(*WINE) > 0.95


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_voting(voting):
    parts = [(str(size), scaled(classifier(layers=[size]))) for size in (4, 8, 16)]
    voted = VotingClassifier(parts, voting=voting).fit(*WINE)
    assert voted.score(*WINE) > 0.95


def test_one_against_the_rest():
    model = OneVsRestClassifier(classifier(loss="hinge")).fit(scale(WINE[0]), WINE[1])
    assert model.score(scale(WINE[0]), WINE[1]) > 0.95


def test_one_net_for_each_output():
    X, Y = map(scale, load_linnerud(return_X_y=True))
    assert MultiOutputRegressor(regressor(), n_jobs=1).fit(X, Y).predict(X).shape == Y.shape


def test_self_training():
    X, y = scale(WINE[0]), WINE[1].copy()
    y[np.random.default_rng(0).random(len(y)) < 0.7] = -1
    assert SelfTrainingClassifier(classifier(), threshold=0.9).fit(X, y).score(X, WINE[1]) > 0.9


# ------------------------------------------------------------------------------------------------------ inspection


def test_permutation_importance():
    X, y = IRIS
    X = np.hstack([scale(X), np.random.default_rng(0).normal(size=(len(X), 1))])
    net = classifier(epochs=60).fit(X, y)
    importance = permutation_importance(net, X, y, n_repeats=5, random_state=0).importances_mean
    assert importance.argmax() in (2, 3)  # of petals
    assert importance[4] < 0.05


def test_partial_dependence():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    net = regressor(epochs=40).fit(pd.DataFrame(scale(X), columns=X.columns), scale(y))
    average = partial_dependence(net, pd.DataFrame(scale(X), columns=X.columns), ["bmi"], kind="average")["average"][0]
    assert average[-1] > average[0] + 0.3


def test_sequential_feature_selection():
    selector = SequentialFeatureSelector(classifier(layers=[8], epochs=10), n_features_to_select=2, cv=2)
    assert selector.fit(scale(IRIS[0]), IRIS[1]).get_support().sum() == 2


def test_select_from_model_by_the_first_layer():
    def getter(net):
        return np.abs(net.model_.parameters()["0.weight"]).sum(axis=1)

    X, y = scale(WINE[0]), WINE[1]
    assert 0 < SelectFromModel(classifier(), importance_getter=getter).fit(X, y).transform(X).shape[1] < X.shape[1]


# ----------------------------------------------------------------------------------------------------- metadata


def test_sample_weights_are_routed():
    X, y = WINE
    weight = np.where(y == 0, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        net = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = scaled(net)
        pipeline["scale"].set_fit_request(sample_weight=False)
        search = GridSearchCV(pipeline, {"net__optimizer__lr": [0.02]}, cv=3, error_score="raise").fit(
            X, y, sample_weight=weight
        )
    assert 0 not in search.predict(X)
    by_hand = clone(pipeline).fit(X, y, net__sample_weight=weight)
    np.testing.assert_array_equal(by_hand.predict_proba(X), search.predict_proba(X))
