"""Searches and cross-validation side by side: scikit-learn's own results, to the bit; the threads, Ctrl-C and errors."""

import os
import signal
import threading
import warnings
from contextlib import nullcontext

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import Parallel, delayed, parallel_config
from scipy.stats import loguniform
from sklearn import model_selection
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_info

import nnkit as nn
from nnkit.engine import workers
from nnkit.engine.workers import available_threads
from nnkit.errors import ParameterError
from tests.searches import same_results

X, Y = load_iris(return_X_y=True)
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "d"])
WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, size=len(Y))
GROUPS = np.arange(len(Y)) % 7
RATES = {"optimizer__lr": [0.001, 0.03]}


def net(**options):
    return nn.NNClassifier(**{"layers": [6, nn.Dropout(0.2)], "epochs": 3, "batch_size": 30, "random_state": 0, **options})


def best_of_the_small(results):
    return int(np.argmax(results["mean_test_score"]))


def same_search(ours, theirs, rows=X):
    same_results(ours.cv_results_, theirs.cv_results_)
    for name in ("best_index_", "best_score_", "n_splits_", "multimetric_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None)
    assert repr(getattr(ours, "best_params_", None)) == repr(getattr(theirs, "best_params_", None))
    assert hasattr(ours, "best_estimator_") == hasattr(theirs, "best_estimator_")
    if hasattr(theirs, "best_estimator_"):
        np.testing.assert_array_equal(ours.predict_proba(rows), theirs.predict_proba(rows))


GRIDS = {
    "one score": ({}, {}),
    "training scores": ({"return_train_score": True, "cv": KFold(3, shuffle=True, random_state=1)}, {}),
    "several scores": ({"scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"}, {}),
    "several scores, no refit": ({"scoring": {"right": "accuracy", "loss": "neg_log_loss"}, "refit": False}, {}),
    "refit by a function": ({"refit": best_of_the_small}, {}),
    "groups": ({"cv": GroupKFold(3)}, {"groups": GROUPS}),
    "weights": ({}, {"sample_weight": WEIGHTS}),
}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("options", "data"), GRIDS.values(), ids=GRIDS)
def test_the_results_are_those_of_grid_search(options, data, threads):
    options = {"cv": 3, **options}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The scoring")  # that it takes no weights
        ours = nn.SearchCV(net(), RATES, n_jobs=threads, **options).fit(X, Y, **data)
        theirs = GridSearchCV(net(), RATES, n_jobs=1, **options).fit(X, Y, **data)
    same_search(ours, theirs)


def test_pipelines_are_fitted_on_each_fold():
    grid = [{"nnclassifier__layers": [[4], [nn.Linear(5), "tanh"]]}, {"nnclassifier__optimizer": ["sgd", nn.Adam(lr=0.01)]}]
    pipeline = make_pipeline(StandardScaler(), net())
    same_search(nn.SearchCV(pipeline, grid, cv=3).fit(FRAME, Y), GridSearchCV(pipeline, grid, cv=3).fit(FRAME, Y), FRAME)


def test_what_is_drawn_is_what_randomized_search_draws():
    rates = {"optimizer__lr": loguniform(1e-4, 1e-1), "layers": [[4], [8]]}
    ours = nn.SearchCV(net(), rates, n_iter=4, cv=3, random_state=0).fit(X, Y)
    same_search(ours, RandomizedSearchCV(net(), rates, n_iter=4, cv=3, random_state=0).fit(X, Y))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more of the test scores:UserWarning")
def test_a_candidate_that_cannot_be_fitted_has_no_score():
    grid = {"batch_size": [0, 30]}
    same_search(nn.SearchCV(net(), grid, cv=3, n_jobs=2).fit(X, Y), GridSearchCV(net(), grid, cv=3).fit(X, Y))
    with pytest.raises(ParameterError, match="batch_size"):
        nn.SearchCV(net(), grid, cv=3, n_jobs=2, error_score="raise").fit(X, Y)


def test_estimators_of_others():
    other, grid = DecisionTreeClassifier(random_state=0), {"max_depth": [1, 3]}
    same_search(nn.SearchCV(other, grid, cv=3, n_jobs=2).fit(X, Y), GridSearchCV(other, grid, cv=3).fit(X, Y))


def test_metadata_is_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        routed = net().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        ours = nn.SearchCV(routed, RATES, cv=GroupKFold(3), n_jobs=2).fit(X, Y, sample_weight=WEIGHTS, groups=GROUPS)
        theirs = GridSearchCV(routed, RATES, cv=GroupKFold(3)).fit(X, Y, sample_weight=WEIGHTS, groups=GROUPS)
    same_search(ours, theirs)


def test_it_is_an_estimator_like_others():
    search = nn.SearchCV(net(), RATES, cv=3, n_jobs=2, refit=False)
    again = sklearn.clone(search).set_params(estimator__epochs=1, n_iter=None)
    assert again.fit(X, Y).cv_results_["params"] == search.fit(X, Y).cv_results_["params"]
    assert "SearchCV(" in repr(search)


def test_it_says_what_it_does(capsys):
    nn.SearchCV(net(), RATES, cv=3, n_jobs=2, verbose=2).fit(X, Y)
    said = capsys.readouterr().out
    assert "Fitting 3 folds for each of 2 candidates, totalling 6 fits" in said
    assert said.count("END") == 6


# ---------------------------------------------------------------------------------------------------------- curves

CALLS = {
    "cross_val_score": {"scoring": "neg_log_loss"},
    "cross_validate": {"scoring": ["accuracy", "neg_log_loss"], "return_train_score": True},
    "learning_curve": {"train_sizes": [0.4, 1.0], "shuffle": True, "random_state": 0},
    "validation_curve": {"param_name": "optimizer__lr", "param_range": [0.001, 0.1]},
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "how"), CALLS.items(), ids=CALLS)
def test_curves_are_those_of_scikit_learn(name, how, threads):
    ours = getattr(nn, name)(net(), X, Y, cv=3, n_jobs=threads, **how)
    theirs = getattr(model_selection, name)(net(), X, Y, cv=3, **how)
    if isinstance(theirs, dict):
        same_results(ours, theirs)
    elif isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for mine, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, expected)
    else:
        np.testing.assert_array_equal(ours, theirs)


def test_whatever_scikit_learn_runs_in_parallel():
    with nn.side_by_side(2):
        ours = BaggingClassifier(net(), n_estimators=3, random_state=0, n_jobs=2).fit(X, Y)
    theirs = BaggingClassifier(net(), n_estimators=3, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))


def test_a_search_within_a_cross_validation():
    ours = nn.cross_val_score(nn.SearchCV(net(), RATES, cv=2), X, Y, cv=2, n_jobs=2)
    np.testing.assert_array_equal(ours, model_selection.cross_val_score(GridSearchCV(net(), RATES, cv=2), X, Y, cv=2))


# --------------------------------------------------------------------------------------------------------- threads


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(workers, "usable_cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "NNKIT_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("given", "tasks", "each"), [(None, 3, 2), (None, 20, 1), (2, 20, 4), (-4, 20, 1), (8, 1, 8)])
@pytest.mark.parametrize("told", [None, "8"])
def test_cores_are_shared_out(given, tasks, each, told, cores, monkeypatch):
    if told is not None:
        monkeypatch.setenv("NNKIT_NUM_THREADS", told)
    with nn.side_by_side(given):
        assert Parallel(pre_dispatch="all")(delayed(available_threads)() for _ in range(tasks)) == [each] * tasks
    assert available_threads() == 8


def test_tasks_come_in_order_and_share_memory():
    rows = np.zeros(30, int)

    def write(place):
        rows[place] = place
        return place, threading.current_thread() is threading.main_thread(), joblib.effective_n_jobs(-1)

    with nn.side_by_side(3):
        assert Parallel()(delayed(write)(place) for place in range(30)) == [(place, False, 1) for place in range(30)]
        assert Parallel(n_jobs=1)(delayed(write)(7) for _ in range(2))[0][:2] == (7, True)
        assert Parallel()([]) == []
    assert (rows == np.arange(30)).all()


def test_tasks_have_the_settings_of_the_caller():
    with nn.side_by_side(2), np.errstate(over="raise"):
        told = Parallel(pre_dispatch=1)(delayed(np.geterr)() for _ in range(6))
    assert [errors["over"] for errors in told] == ["raise"] * 6


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def state():
    """What a search might leave behind."""
    backend = joblib.parallel.get_active_backend()[0]
    return threading.active_count(), blas_threads(), warnings.filters[:], type(backend), signal.getsignal(signal.SIGINT)


@pytest.mark.parametrize("call", [lambda: nn.SearchCV(net(), RATES, cv=3, n_jobs=2).fit(X, Y), "fails"], ids=["ends", "fails"])
def test_nothing_is_left_behind(call):
    before = state()
    if call == "fails":
        with pytest.raises(ParameterError):
            nn.SearchCV(net(epochs=0), RATES, cv=3, n_jobs=2, error_score="raise").fit(X, Y)
    else:
        call()
    assert state() == before


class Tell(nn.Callback):
    """Says that a fit has begun."""

    acts_outside = False
    began = threading.Event()

    def on_epoch_end(self, fit):
        self.began.set()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no such signals")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_ctrl_c_ends_a_search_and_leaves_all_as_it_was(threads):
    before = state()
    search = nn.SearchCV(net(callbacks=[Tell()]), RATES, cv=3, n_jobs=threads).fit(X, Y)
    results = search.cv_results_
    search.set_params(estimator__epochs=10**9)
    Tell.began.clear()

    def interrupt():
        Tell.began.wait()
        os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=interrupt)
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    killer.join()
    assert search.cv_results_ is results
    assert state() == before
    again = search.set_params(estimator__epochs=3).fit(X, Y)
    same_search(again, GridSearchCV(net(), RATES, cv=3).fit(X, Y))


@pytest.mark.parametrize("epochs", [(10**9, 0), (0, 10**9)], ids=str)
def test_an_error_calls_off_the_others(epochs):
    with nn.side_by_side(2):
        with pytest.raises(ParameterError, match="epochs"):
            nn.SearchCV(net(), {"epochs": list(epochs)}, cv=[*KFold(2).split(X)][:1], n_jobs=2, error_score="raise").fit(X, Y)
        assert Parallel()(delayed(abs)(number) for number in (-1, -2)) == [1, 2]  # which is as it was


def test_what_hands_tasks_over_may_fail():
    def tasks():
        yield delayed(abs)(-1)
        raise OSError("no more")

    with nn.side_by_side(2):
        with pytest.raises(OSError, match="no more"):
            Parallel(pre_dispatch="all")(tasks())
        with pytest.raises(OSError, match="no more"):
            Parallel(pre_dispatch=1)(tasks())
        assert Parallel()(delayed(abs)(number) for number in (-1, -2)) == [1, 2]


@pytest.mark.parametrize("show", [True, False])
def test_one_line_says_how_many_are_done(show, capfd):
    nn.SearchCV(net(), RATES, cv=3, n_jobs=2, progress=show).fit(X, Y)
    said = capfd.readouterr().err
    assert ("6 of 6 nets" in said) == show


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.SearchCV(net(), RATES, n_jobs=0).fit(X, Y), "n_jobs: expected an integer other than 0"),
        (lambda: nn.SearchCV(net(), RATES, n_jobs="2").fit(X, Y), "n_jobs: .*got '2'"),
        (lambda: nn.SearchCV(net(), RATES, n_iter=0).fit(X, Y), "n_iter: expected an integer of at least 1"),
        (lambda: nn.SearchCV(net(), {"optimizer__lr": loguniform(1e-3, 1)}).fit(X, Y), "optimizer__lr: .*n_iter=20 draws"),
        (lambda: nn.SearchCV(net(), RATES, progress="no").fit(X, Y), "progress: expected 'auto'"),
    ],
)
def test_what_is_wrong_is_refused(call, words):
    with pytest.raises(ParameterError, match=words):
        call()


@pytest.mark.parametrize("context", [nullcontext, lambda: parallel_config("threading")], ids=["plain", "threading"])
def test_scikit_learn_asks_in_its_own_ways(context):
    """Few tasks handed over in advance, and results asked for by others."""
    with context(), nn.side_by_side(2):
        ours = GridSearchCV(net(), RATES, cv=3, pre_dispatch=1).fit(X, Y)
    same_search(ours, GridSearchCV(net(), RATES, cv=3).fit(X, Y))
