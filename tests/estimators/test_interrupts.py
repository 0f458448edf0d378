"""Ctrl-C ends whatever an estimator is in with KeyboardInterrupt; what was learned before is as it was. Real signals."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nnkit as nn
from nnkit.network import network_of

X, Y = load_iris(return_X_y=True)
begun = []  # fits


class Pressing(nn.Callback):
    """Somebody presses Ctrl-C after so many steps."""

    acts_outside = False

    def __init__(self, step=7):
        self.step = step

    def on_fit_begin(self, fit):
        begun.append(fit)

    def on_batch_end(self, fit):
        if fit.step == self.step:
            signal.raise_signal(signal.SIGINT)


def net(kind=nn.NNClassifier, **options):
    return kind(**{"layers": [8], "epochs": 4, "batch_size": 30, "random_state": 0, "callbacks": [Pressing()], **options})


def numbers(estimator):
    network = network_of(estimator.model_)
    return {**{name: array.copy() for name, array in network.arrays().items()}, "loss": np.array(estimator.loss_curve_)}


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", [nn.NNClassifier, nn.NNRegressor])
def test_a_first_fit_leaves_nothing_and_the_next_one_works(kind):
    estimator = net(kind)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, Y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    estimator.set_params(callbacks=()).fit(X, Y)
    assert same(numbers(estimator), numbers(net(kind, callbacks=()).fit(X, Y)))


@pytest.mark.parametrize("kind", [nn.NNClassifier, nn.NNRegressor])
@pytest.mark.parametrize("layers", [[8], [8, nn.BatchNorm1d()]], ids=str)
@pytest.mark.parametrize("way", ["fit", "warm start", "partial_fit"])
def test_a_later_call_leaves_what_was_learned_before(kind, layers, way):
    schedule = nn.ReduceOnPlateau(patience=0, threshold=0.9)
    plain = net(kind, layers=layers, optimizer=nn.Adam(schedule=schedule), callbacks=(), warm_start=way == "warm start")
    plain.fit(X, Y)
    before, progress = numbers(plain), plain._before
    plain.set_params(callbacks=[Pressing(3)])
    with pytest.raises(KeyboardInterrupt):
        plain.partial_fit(X, Y) if way == "partial_fit" else plain.fit(X, Y)
    assert same(numbers(plain), before)
    assert plain._before.schedule.observed() == progress.schedule.observed()
    plain.set_params(callbacks=())
    assert plain.n_iter_ == 4
    assert plain.partial_fit(X, Y).n_iter_ == 5


def test_an_error_while_it_goes_on_leaves_what_was_learned_before():
    def fail(fit):
        raise OSError("the disk is full")

    estimator = net(nn.NNRegressor, callbacks=()).fit(X, Y)
    before = numbers(estimator)
    with pytest.raises(OSError, match="disk"):
        estimator.set_params(callbacks=[nn.LambdaCallback(fail)]).partial_fit(X, Y)
    assert same(numbers(estimator), before)


def searched():
    return GridSearchCV(net(), {"optimizer__lr": [0.01, 0.02]}, cv=3)


CALLS = {
    "grid search": lambda: searched().fit(X, Y),
    "cross validation": lambda: cross_val_score(net(), X, Y, cv=3),
    "pipeline": lambda: make_pipeline(StandardScaler(), net()).fit(X, Y),
    "search over a pipeline": lambda: GridSearchCV(
        make_pipeline(StandardScaler(), net()), {"nnclassifier__layers": [[4], [8]]}, cv=3
    ).fit(X, Y),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_goes_on(call):
    begun.clear()
    with pytest.raises(KeyboardInterrupt):
        call()
    assert len(begun) == 1


def test_a_search_works_after_one_that_was_interrupted():
    search = searched()
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    search.set_params(estimator__callbacks=()).fit(X, Y)
    assert search.best_score_ == clone(search).fit(X, Y).best_score_


def test_a_net_alone_keeps_what_it_has_learned_and_returns():
    model = nn.Sequential([nn.Linear(8), nn.ReLU(), nn.Linear(3)])
    history = model.fit(X, Y, loss="cross_entropy", epochs=4, batch_size=30, callbacks=[Pressing()], random_state=0)
    assert (history.stopped, history.epochs, history.steps) == ("interrupted", 1, 7)


WORKERS = """
    import os, signal, sys
    import nnkit as nn
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV

    class Pressing(nn.Callback):
        acts_outside = False

        def __init__(self, parent, group):
            self.parent, self.group = parent, group

        def on_epoch_end(self, fit):  # in a worker
            if fit.epoch == 2:
                os.killpg(os.getpgid(self.parent), signal.SIGINT) if self.group else os.kill(self.parent, signal.SIGINT)

    rates = {"optimizer__lr": [0.01 * (1 + number) for number in range(20)]}
    for group in (False, True):
        net = nn.NNClassifier([8], epochs=3000, callbacks=[Pressing(os.getpid(), group)])
        search = GridSearchCV(net, rates, cv=3, n_jobs=2)
        try:
            search.fit(*load_iris(return_X_y=True))
        except KeyboardInterrupt:
            print("interrupted", hasattr(search, "cv_results_"))
    search.set_params(estimator__callbacks=(), estimator__epochs=2).fit(*load_iris(return_X_y=True))
    print(len(search.cv_results_["params"]))
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no process groups here")
def test_a_search_in_other_processes_ends_too(tmp_path):
    """Whether the parent alone gets the signal (`kill`), or all of them (Ctrl-C in a terminal)."""
    file = tmp_path / "search.py"
    file.write_text(textwrap.dedent(WORKERS))
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=200, start_new_session=True)
    assert done.stdout.splitlines() == ["interrupted False", "interrupted False", "20"], done.stderr
