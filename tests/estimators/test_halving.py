"""Successive halving by epochs: the bits of fits in one go, scikit-learn's scores, and fewer epochs than afresh."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import nnkit as nn
from nnkit.errors import ParameterError
from nnkit.estimators.legs import Leg
from nnkit.network import network_of
from tests.searches import same_results

X, Y = load_iris(return_X_y=True)
RATES = {"optimizer__lr": [1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]}
epochs_done = []


class Count(nn.Callback):
    """Counts the epochs of all fits."""

    acts_outside = False

    def on_epoch_end(self, fit):
        epochs_done.append(fit.epoch)


def net(**options):
    return nn.NNClassifier(**{"layers": [6, nn.Dropout(0.2)], "epochs": 9, "batch_size": 30, "random_state": 0, **options})


# ------------------------------------------------------------------------------------------------------------ legs

COSINE = nn.Adam(lr=0.05, schedule=nn.CosineSchedule())
PLATEAU = nn.SGD(lr=0.1, momentum=0.9, schedule=nn.ReduceOnPlateau(patience=0, threshold=0.5))
NETS = {
    "dropout and batch norm": net(layers=[8, nn.BatchNorm1d(), nn.Dropout(0.5)]),
    "a schedule of all epochs": net(optimizer=COSINE),
    "a schedule that observes": net(optimizer=PLATEAU),
    "no random state": net(layers=[8, nn.Dropout(0.5)], random_state=np.random.RandomState(7)),
    "rows held out": net(early_stopping=True, patience=50),
    "stopped early": net(early_stopping=True, patience=0, epochs=60, optimizer=nn.Adam(lr=0.3)),
    "a mean of the parameters": net(callbacks=["ema"]),
    "all rows at once": net(layers=[4], optimizer="lbfgs", batch_size="auto"),
    "numbers": nn.NNRegressor(layers=[6], epochs=9, batch_size=30, random_state=0),
    "a table": nn.TableClassifier("td-s", hidden=8, epochs=9, batch_size=32, n_members=2, random_state=0),
}


def numbers(estimator):
    network = network_of(estimator.model_)
    return {**network.arrays(), "losses": np.array(estimator.loss_curve_), "epochs": np.array(estimator.n_iter_)}


@pytest.mark.parametrize("estimator", NETS.values(), ids=NETS)
def test_a_fit_in_legs_is_one_fit(estimator):
    whole, places = clone(estimator).fit(X, Y), {}
    total = estimator.epochs
    for epochs in (total // 9, total // 3, total):
        legs = clone(estimator).set_params(epochs=Leg(epochs, total, places)).fit(X, Y)
        assert legs.n_iter_ == min(epochs, whole.n_iter_)
        assert len(places) == getattr(estimator, "n_members", 1)
    left, right = numbers(legs), numbers(whole)
    assert left.keys() == right.keys()
    for name, expected in right.items():
        np.testing.assert_array_equal(left[name], expected, err_msg=name)


def test_a_leg_is_left_as_a_fit_of_so_many_epochs_ends():
    """With a learning rate that does not depend on the number of epochs."""
    legs, short = net(epochs=Leg(3, 9, {})).fit(X, Y), net(epochs=3).fit(X, Y)
    for name, expected in numbers(short).items():
        np.testing.assert_array_equal(numbers(legs)[name], expected, err_msg=name)


def test_only_the_same_fit_goes_on():
    places = {}
    for rows in (slice(0, 120), slice(1, 121)):
        net(epochs=Leg(2, 4, places)).fit(X[rows], Y[rows])
    net(epochs=Leg(2, 4, places), random_state=1).fit(X[:120], Y[:120])
    assert len(places) == 3
    with pytest.raises(ParameterError, match="batch_size"):
        net(epochs=Leg(4, 4, places), batch_size=10).fit(X[:120], Y[:120])


@pytest.mark.parametrize("threads", [1, 2])
def test_fits_to_the_same_rows_each_go_on(threads):
    """Folds that differ in what they look at alone; and rungs of as many epochs as the one before."""
    folds = [(np.arange(0, 150, 2), np.arange(1, 150, step)) for step in (2, 4, 6)]
    options = {"cv": folds, "max_resources": 4, "factor": 1.5, "min_resources": 1}
    rates = {"optimizer__lr": RATES["optimizer__lr"][2:6]}
    ours = nn.HalvingSearchCV(net(), rates, n_jobs=threads, **options).fit(X, Y)
    theirs = HalvingGridSearchCV(net(), rates, resource="epochs", return_train_score=False, **options).fit(X, Y)
    assert ours.n_resources_[:2] == [1, 1]
    same_results(ours.cv_results_, theirs.cv_results_)


def test_nets_that_do_not_stay_are_forgotten(monkeypatch):
    """Memory is that of the nets on a rung, not of all that have ever been trained."""
    found = []

    class Noted(Leg):
        def __new__(cls, epochs, total, places):
            if all(places is not other for other in found):
                found.append(places)
            return super().__new__(cls, epochs, total, places)

    monkeypatch.setattr("nnkit.search.halving.Leg", Noted)
    nn.HalvingSearchCV(net(), RATES, cv=2).fit(X, Y)
    assert sorted(sum(map(len, places.values())) for places in found) == [0] * 8 + [2]


# ---------------------------------------------------------------------------------------------------------- search

SEARCHES = {
    "plain": (net(), {}),
    "weights kept": (net(early_stopping=True, patience=3), {"min_resources": "smallest", "max_resources": 20, "factor": 2}),
    "few epochs": (net(), {"min_resources": 4, "max_resources": 8}),
    "one rung": (net(), {"min_resources": 5, "max_resources": 9}),
    "a fraction": (net(), {"factor": 2.5, "min_resources": 2, "max_resources": 30}),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("estimator", "options"), SEARCHES.values(), ids=SEARCHES)
def test_the_scores_are_those_of_scikit_learn(estimator, options, threads):
    options = {"cv": 3, "max_resources": 9, "return_train_score": True, **options}
    ours = nn.HalvingSearchCV(estimator, RATES, n_jobs=threads, **options).fit(X, Y)
    theirs = HalvingGridSearchCV(estimator, RATES, resource="epochs", **options).fit(X, Y)
    same_results(ours.cv_results_, theirs.cv_results_)
    for name in ("best_index_", "best_score_", "best_params_", "n_candidates_", "n_resources_", "n_iterations_",
                 "n_remaining_candidates_"):  # fmt: skip
        assert getattr(ours, name) == getattr(theirs, name)
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert all(type(params["epochs"]) is int for params in ours.cv_results_["params"])


@pytest.mark.parametrize("random_state", [0, None])
def test_it_takes_fewer_epochs_than_afresh(random_state):
    epochs_done.clear()
    search = nn.HalvingSearchCV(net(callbacks=[Count()], random_state=random_state), RATES, cv=3, refit=False).fit(X, Y)
    assert (search.n_candidates_, search.n_resources_) == ([9, 3, 1], [1, 3, 9])
    assert len(epochs_done) == 3 * (9 * 1 + 3 * 2 + 1 * 6)
    epochs_done.clear()
    HalvingGridSearchCV(net(callbacks=[Count()]), RATES, resource="epochs", max_resources=9, cv=3, refit=False).fit(X, Y)
    assert len(epochs_done) == 3 * (9 * 1 + 3 * 3 + 1 * 9)


def test_the_last_rung_is_a_search_of_so_many_epochs():
    """Also where a schedule looks at the number of epochs: it is that of the last rung."""
    search = nn.HalvingSearchCV(net(optimizer=COSINE), RATES, cv=3).fit(X, Y)
    last = search.cv_results_["iter"] == search.n_iterations_ - 1
    for place in np.flatnonzero(last):
        rate = search.cv_results_["params"][place]["optimizer__lr"]
        whole = GridSearchCV(net(optimizer=COSINE), {"optimizer__lr": [rate]}, cv=3).fit(X, Y).cv_results_
        for fold in range(3):
            name = f"split{fold}_test_score"
            assert search.cv_results_[name][place] == whole[name][0]


def test_pipelines_and_what_is_drawn():
    pipeline = make_pipeline(StandardScaler(), net(callbacks=[Count()]))
    rates = {"nnclassifier__optimizer__lr": [0.001, 0.01, 0.1, 1.0], "nnclassifier__layers": [[4], [8]]}
    epochs_done.clear()
    ours = nn.HalvingSearchCV(pipeline, rates, n_iter=6, resource="nnclassifier__epochs", cv=3, random_state=0, refit=False)
    assert ours.fit(X, Y).n_resources_ == [3, 9]
    assert len(epochs_done) == 3 * (6 * 3 + 2 * 6)
    theirs = HalvingRandomSearchCV(pipeline, rates, n_candidates=6, resource="nnclassifier__epochs", cv=3, random_state=0,
                                   max_resources=9, min_resources=3, refit=False, return_train_score=False)  # fmt: skip
    same_results(ours.cv_results_, theirs.fit(X, Y).cv_results_)


def test_folds_are_drawn_once():
    search = nn.HalvingSearchCV(net(callbacks=[Count()]), RATES, cv=ShuffleSplit(2, test_size=0.3), refit=False)
    epochs_done.clear()
    search.fit(X, Y)
    assert len(epochs_done) == 2 * (9 * 1 + 3 * 2 + 1 * 6)


def test_several_scores():
    options = {"cv": KFold(3, shuffle=True, random_state=0), "scoring": ["accuracy", "neg_log_loss"]}
    search = nn.HalvingSearchCV(net(), RATES, refit="neg_log_loss", **options).fit(X, Y)
    one = nn.HalvingSearchCV(net(), RATES, cv=options["cv"], scoring="neg_log_loss").fit(X, Y)
    assert search.best_params_ == one.best_params_
    assert search.best_score_ == one.best_score_
    with pytest.raises(ParameterError, match="refit: expected the name of the score that decides, one of accuracy, neg_log"):
        nn.HalvingSearchCV(net(), RATES, refit=False, **options).fit(X, Y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more of the t:UserWarning")
def test_candidates_that_cannot_be_fitted_come_last():
    search = nn.HalvingSearchCV(net(), {"batch_size": [0, 30, -1]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"batch_size": 30, "epochs": 9}


def test_other_estimators_are_fitted_afresh():
    search = nn.HalvingSearchCV(DecisionTreeClassifier(random_state=0), {"min_samples_leaf": [1, 40, 70]}, cv=3,
                                resource="max_depth", max_resources=6).fit(X, Y)  # fmt: skip
    assert search.best_params_ == {"max_depth": 6, "min_samples_leaf": 1}


@pytest.mark.parametrize(
    ("estimator", "options", "words"),
    [
        (net(), {"factor": 1}, "factor: expected a number above 1, got 1"),
        (net(), {"resource": "epoch"}, "resource: expected a hyper-parameter of NNClassifier, such as 'epochs', got 'epoch'"),
        (make_pipeline(net()), {}, "such as 'nnclassifier__epochs', got 'epochs'"),
        (net(), {"min_resources": 0}, "min_resources: expected 'exhaust', 'smallest' or an integer"),
        (net(), {"max_resources": "all"}, "max_resources: expected 'auto' or an integer"),
        (net(), {"cv": KFold(2).split(X)}, "cv: expected a number, a splitter or a list of folds"),
        (net(), {"min_resources": 10}, "min_resources: expected at most 9, got 10"),
        (net(early_stopping=True, random_state=None), {}, "random_state to be a number where early_stopping is True"),
        (net(epochs=None), {}, "max_resources: expected a number, as epochs of the estimator is None"),
    ],
)
def test_what_is_wrong_is_refused(estimator, options, words):
    with pytest.raises(ParameterError, match=words):
        nn.HalvingSearchCV(estimator, {"layers": [[4], [5]]}, **options).fit(X, Y)


def test_epochs_are_not_searched_for():
    with pytest.raises(ParameterError, match="no values of epochs, which the rungs set"):
        nn.HalvingSearchCV(net(), {"epochs": [1, 2]}).fit(X, Y)
