"""Many models at the same time: each as alone, rows of its own, and what is refused."""

import os
import signal
import threading

import numpy as np
import pytest
from scipy import sparse

import nnkit as nn
from nnkit.errors import DataError, NonFiniteError, ParameterError, TrainingWarning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = X @ RNG.normal(size=(4, 2)).astype(np.float32)


def net(size=5):
    return nn.Sequential([nn.Linear(size), "tanh", nn.Dropout(0.2), nn.Linear(2)])


def fold(place):
    held = np.arange(60) % 3 == place
    return np.flatnonzero(~held), np.flatnonzero(held)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_each_gives_what_it_would_give_alone(threads):
    nets, weights = [net(size) for size in (3, 4, 5)], RNG.random(60)
    settings = [{"rows": fold(place)[0], "validation_rows": fold(place)[1], "random_state": place, "epochs": 3 + place,
                 "optimizer": nn.Adam(lr=0.01 * (place + 1)), "callbacks": ["early_stopping"]}
                for place in range(3)]  # fmt: skip
    histories = nn.fit_many(nets, X, Y, settings=settings, batch_size=16, n_threads=threads, sample_weight=weights)
    for place, history in enumerate(histories):
        rows, held = fold(place)
        alone = net(place + 3)
        expected = alone.fit(
            X[rows], Y[rows], sample_weight=weights[rows], validation_data=(X[held], Y[held], weights[held]), batch_size=16,
            random_state=place, epochs=3 + place, optimizer=nn.Adam(lr=0.01 * (place + 1)), callbacks=["early_stopping"],
        )  # fmt: skip
        assert {name: history[name] for name in history} == {name: expected[name] for name in expected}
        np.testing.assert_array_equal(nets[place].predict(X), alone.predict(X))


@pytest.mark.parametrize("form", [np.asarray, list, sparse.csr_matrix], ids=["array", "list", "csr"])
def test_rows_of_data_in_every_form(form):
    mask = np.arange(60) < 40
    (history,) = nn.fit_many([net()], form(X), form(Y) if form is list else Y, settings=[{"rows": mask}], random_state=0)
    given = sparse.csr_matrix(X[:40]) if form is sparse.csr_matrix else X[:40]
    assert history["loss"] == net().fit(given, Y[:40], random_state=0)["loss"]


def test_several_inputs_have_rows_too():
    def two():
        return nn.Sequential([nn.Inputs(a=nn.Linear(2), b=nn.Linear(2)), nn.Linear(2)])

    parts = {"a": X[:, :2], "b": X[:, 2:]}
    (history,) = nn.fit_many([two()], parts, Y, settings=[{"rows": range(30)}], random_state=0)
    alone = two().fit({name: part[:30] for name, part in parts.items()}, Y[:30], random_state=0)
    assert history["loss"] == alone["loss"]


def test_a_row_may_come_several_times():
    rows = np.array([0, 0, 5, -1])
    (history,) = nn.fit_many([net()], X, Y, settings=[{"rows": rows}], random_state=0)
    assert history["loss"] == net().fit(X[rows], Y[rows], random_state=0)["loss"]


def test_no_models_are_no_error():
    assert nn.fit_many([], X, Y) == []


@pytest.mark.parametrize(
    ("settings", "shared", "error", "words"),
    [
        ([{}], {}, ParameterError, "settings for each of 2 models, got 1"),
        ([{"epoch": 3}, {}], {}, ParameterError, "'epoch'; did you mean 'epochs'"),
        ([], {"rows": [1]}, ParameterError, "got 'rows'"),
        ([], {"callbacks": [nn.EarlyStopping()]}, ParameterError, "callbacks of each model"),
        ([{"rows": [60]}, {}], {}, DataError, "below 60"),
        ([{"rows": [0.5]}, {}], {}, DataError, "whole numbers"),
        ([{"rows": []}, {}], {}, DataError, "one or more"),
        ([{"validation_rows": [1], "validation_split": 0.5}, {}], {}, ParameterError, "got two of them"),
        ([{"optimizer": nn.SGD(lr=1e30), "epochs": 100}, {}], {}, NonFiniteError, "expected finite numbers"),
    ],
)
def test_what_is_wrong_is_refused(settings, shared, error, words):
    with pytest.raises(error, match=words):
        nn.fit_many([net(), net()], X, Y, settings=settings, **shared)


def test_a_model_is_there_once():
    model = net()
    with pytest.raises(ParameterError, match="each model once"):
        nn.fit_many([model, model], X, Y)


def test_a_loss_that_does_not_fit_the_net_is_told_once():
    nets = [nn.Sequential([nn.Linear(3), "softmax"]) for _ in range(2)]
    with pytest.warns(TrainingWarning) as warned:
        nn.fit_many(nets, X, np.arange(60) % 3, loss="cross_entropy", epochs=1)
    assert len(warned) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_after_an_interrupt_models_are_left_as_they_are(threads):
    began = threading.Event()

    class Tell(nn.Callback):
        acts_outside = False

        def on_epoch_end(self, fit):
            began.set()

    def interrupt():
        began.wait()
        os.kill(os.getpid(), signal.SIGINT)

    nets = [net() for _ in range(5)]
    killer = threading.Thread(target=interrupt)
    killer.start()
    histories = nn.fit_many(nets, X, Y, epochs=100_000_000, settings=[{"callbacks": [Tell()]} for _ in nets], n_threads=threads)
    killer.join()
    assert [history.stopped for history in histories] == ["interrupted"] * 5
    assert sum(history.epochs > 0 for history in histories) >= 1
    for model, history in zip(nets, histories, strict=True):
        assert model.is_built == (history.epochs > 0) or threads > 1
        if history.epochs:
            assert np.isfinite(model.predict(X)).all()
