"""Optuna prunes fits: what it is told, what is left behind, and its own search over our estimators."""

import copy
import pickle
import threading

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner, ThresholdPruner
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial, TrialState
from optuna_integration import OptunaSearchCV
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nnkit as nn
from nnkit.errors import ParameterError

X, Y = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


class After(BasePruner):
    """Gives up every trial but the first after so many epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def prune(self, study, trial):
        return trial.number > 0 and trial.last_step + 1 >= self.epochs


def net(trial, **options):
    return nn.NNClassifier(**{"layers": [6], "epochs": 5, "batch_size": 30, "random_state": 0, "callbacks":
                              [nn.PruneTrials(trial, monitor="loss")], **options})  # fmt: skip


def study_of(objective, trials=2, pruner=None, **options):
    study = optuna.create_study(sampler=RandomSampler(seed=0), pruner=pruner or After(2), **options)
    study.optimize(objective, n_trials=trials)
    return study


def test_a_trial_hears_every_epoch_and_ends_where_it_says():
    seen = []

    def objective(trial):
        model = nn.Sequential([nn.Linear(6), "tanh", nn.Linear(3)])
        try:
            return model.fit(X, Y, loss="cross_entropy", epochs=5, validation_split=0.2, random_state=0,
                             callbacks=[nn.PruneTrials(trial)])["val_loss"][-1]  # fmt: skip
        finally:
            seen.append((model.copy(), threading.active_count()))

    before = threading.active_count()
    study = study_of(objective)
    whole, pruned = study.trials
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert [*whole.intermediate_values] == [0, 1, 2, 3, 4]
    assert whole.value == whole.intermediate_values[4]
    assert [*pruned.intermediate_values] == [0, 1]
    assert pruned.intermediate_values[1] == whole.intermediate_values[1]
    assert [count for _, count in seen] == [before, before]
    short = nn.Sequential([nn.Linear(6), "tanh", nn.Linear(3)])
    short.fit(X, Y, loss="cross_entropy", epochs=2, validation_split=0.2, random_state=0)
    np.testing.assert_array_equal(seen[1][0].predict(X), short.predict(X))  # it is left as it is then


@pytest.mark.parametrize("kind", ["net", "pipeline"])
def test_an_estimator_is_left_as_it_was(kind):
    given = []

    def objective(trial):
        estimator = net(trial) if kind == "net" else make_pipeline(StandardScaler(), net(trial))
        given.append(estimator)
        return estimator.fit(X, Y).score(X, Y)

    study_of(objective, direction="minimize")
    given[0].predict(X)
    with pytest.raises(NotFittedError):
        given[1][-1].predict(X) if kind == "pipeline" else given[1].predict(X)


def test_a_fit_that_goes_on_keeps_what_it_had_learned():
    def objective(trial):
        estimator = net(None, callbacks=()).fit(X, Y)
        before = estimator.predict_proba(X)
        try:
            estimator.set_params(callbacks=[nn.PruneTrials(trial)], warm_start=True).fit(X, Y)
        finally:
            np.testing.assert_array_equal(estimator.predict_proba(X), before if trial.number else estimator.predict_proba(X))
        return 0.0

    assert study_of(objective).trials[1].state == TrialState.PRUNED


def test_clones_and_copies_tell_the_same_trial():
    def objective(trial):
        for copied in (clone(net(trial)), copy.deepcopy(net(trial)), net(trial).set_params(callbacks__0__monitor="loss")):
            assert copied.callbacks[0].trial is trial
        cross_val_score(net(trial), X, Y, cv=2, error_score="raise")
        return 0.0

    with pytest.warns(UserWarning, match="already reported"):
        study = study_of(objective)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]


@pytest.mark.parametrize("threads", [1, 2])
def test_of_several_fits_one_is_given_up_and_the_others_end(threads):
    def objective(trial):
        nets = [nn.Sequential(["linear"]) for _ in range(3)]
        settings = [{"callbacks": [nn.PruneTrials(trial, monitor="loss")] if place == 1 else []} for place in range(3)]
        nn.fit_many(nets, X, X[:, :1], settings=settings, epochs=5, n_threads=threads)
        return 0.0

    assert [trial.state for trial in study_of(objective).trials] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_metrics_that_rise():
    def objective(trial):
        history = nn.Sequential([nn.Linear(3)]).fit(
            X, Y, loss="cross_entropy", epochs=4, metrics=["accuracy"], random_state=0,
            callbacks=[nn.PruneTrials(trial, monitor="accuracy")],
        )  # fmt: skip
        return history["accuracy"][-1]

    study = study_of(objective, direction="maximize", pruner=ThresholdPruner(lower=2.0), trials=1)
    assert len(study.trials[0].intermediate_values) == 1
    assert study.trials[0].state == TrialState.PRUNED


def fit(trial, monitor=None, **options):
    options = {"loss": "cross_entropy", "epochs": 1, "metrics": ["accuracy"], "random_state": 0, **options}
    return nn.Sequential([nn.Linear(3)]).fit(X, Y, callbacks=[nn.PruneTrials(trial, monitor=monitor)], **options)


def test_what_is_wrong_is_refused():
    def refused(words, monitor=None, **options):
        def objective(trial):
            with pytest.raises(ParameterError, match=words):
                fit(trial, monitor)
            return 0.0 if "directions" not in options else (0.0, 0.0)

        study_of(objective, trials=1, pruner=NopPruner(), **options)

    refused("a figure that the study is to maximize, got loss, which is to fall; .*direction='minimize'", direction="maximize")
    refused("minimize, got accuracy, which is to rise; .*direction='maximize'", "accuracy")
    refused("monitor to be one of loss, lr, accuracy, got 'los'; did you mean 'loss'", "los")
    refused("a study of one objective, got 2", directions=["minimize", "minimize"])
    for wrong in (None, 3, "trial"):
        with pytest.raises(ParameterError, match=f"PruneTrials: expected trial to be a trial of Optuna's.*got {wrong!r}"):
            fit(wrong)
    with pytest.raises(ParameterError, match="monitor to be the name of a figure"):
        nn.PruneTrials(monitor=3)


@pytest.mark.parametrize("members", [2, 3])
def test_several_nets_have_no_trial_between_them(members):
    with pytest.raises(ParameterError, match="expected callbacks of which each net can have a copy, got PruneTrials"):
        net(FixedTrial({}), n_members=members).fit(X, Y)


def test_a_trial_that_is_given_is_never_given_up():
    assert fit(FixedTrial({"lr": 0.1}), epochs=3).epochs == 3


def test_files_do_not_hold_it(tmp_path):
    def objective(trial):
        net(trial).fit(X, Y).save(tmp_path / "net.safetensors")
        return 0.0

    study_of(objective, trials=1)
    with pytest.warns(UserWarning, match="PruneTrials"):
        assert nn.load(tmp_path / "net.safetensors").callbacks == []
    with pytest.warns(UserWarning, match="brings along"):
        (callback,) = nn.load(tmp_path / "net.safetensors", trust=True).callbacks
    assert (callback.trial, callback.monitor) == (None, "loss")


def test_it_is_pickled_without_optuna_having_a_say():
    assert pickle.loads(pickle.dumps(nn.PruneTrials(monitor="loss"))).monitor == "loss"


def test_nnkit_is_imported_without_optuna(script):
    assert script("""
        import sys
        sys.modules["optuna"] = None  # cannot be imported
        import nnkit as nn
        print(nn.PruneTrials)
    """) == "<class 'nnkit.training.pruning.PruneTrials'>\n"  # fmt: skip


# --------------------------------------------------------------------------------------------------- its own search


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:`optuna.terminator`:FutureWarning")
@pytest.mark.parametrize("kind", [nn.NNClassifier, nn.NNRegressor])
def test_its_search_prunes_our_estimators(kind):
    """By `partial_fit`, an epoch each: a trial that is not pruned has the scores of a fit of so many epochs."""
    estimator = kind(layers=[16], batch_size=10, random_state=0, epochs=4)
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0),
                                pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=2))  # fmt: skip
    splits = list(StratifiedKFold(3).split(X, Y))
    search = OptunaSearchCV(estimator, {"optimizer__lr": FloatDistribution(1e-5, 1e-1, log=True)}, cv=splits, n_trials=8,
                            enable_pruning=True, max_iter=4, study=study, error_score="raise").fit(X, Y)  # fmt: skip
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    best = clone(estimator).set_params(**search.best_params_)
    expected = []
    for train, test in splits:
        net = clone(best)
        for _ in range(4):
            net.partial_fit(X[train], Y[train], **({"classes": np.unique(Y)} if kind is nn.NNClassifier else {}))
        expected.append(net.score(X[test], Y[test]))
    assert search.best_score_ == np.mean(expected)
    np.testing.assert_array_equal(search.best_estimator_.predict(X), best.fit(X, Y).predict(X))
    if kind is nn.NNClassifier:
        assert search.score(X, Y) == accuracy_score(Y, search.predict(X))
