"""A row of weight 2 counts as two rows, one of weight 0 is absent: whatever batch it is in, on every path."""

import copy

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(24, 3)), RANDOM.normal(size=(24, 2))
LABELS = RANDOM.integers(0, 2, 24)
TIMES = np.arange(24) % 4

LOSSES = [
    (nn.MSELoss(), Y), (nn.MSELoss(reduction="sum"), Y), (nn.HalfSquaredErrorLoss(), Y), (nn.L1Loss(), Y), (nn.HuberLoss(), Y),
    (nn.CrossEntropyLoss(), LABELS), (nn.CrossEntropyLoss(reduction="sum"), LABELS),
    (nn.CrossEntropyLoss(label_smoothing=0.1), np.eye(2)[LABELS]), (nn.BCEWithLogitsLoss(), np.eye(2)[LABELS]),
    (nn.GaussianNLLLoss(), Y[:, :1]),
]  # fmt: skip


def net():
    return nn.Sequential([nn.Linear(4), nn.Tanh(), nn.Linear(2)]).build((3,), random_state=0, dtype="float64")


def fitted(X, y, *, loss="mse", batch_size=8, epochs=2, **options):
    """Its history and what it has learned."""
    model = net()
    options |= {"loss": loss, "batch_size": batch_size, "epochs": epochs}
    history = model.fit(X, y, optimizer=nn.SGD(0.01), random_state=3, **options)
    return history, np.concatenate([array.ravel() for array in model.parameters().values()])


def step(X, y, weights, first, *, loss="mse", batch_size=1, **options):
    """By how much the first step of a fit, that on some rows, changes the parameters."""
    model = net()
    before = [array.copy() for array in model.parameters().values()]

    class Stop(nn.Callback):
        def on_batch_end(self, fit):
            fit.stop("looked at")

    order = np.roll(np.arange(len(X)), -first)
    model.fit(X[order], y[order], sample_weight=None if weights is None else weights[order], loss=loss, epochs=1, shuffle=False,
              batch_size=batch_size, optimizer=nn.SGD(0.01), callbacks=[Stop()], **options)  # fmt: skip
    after = model.parameters().values()
    return np.concatenate([(new - old).ravel() for new, old in zip(after, before, strict=True)])


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize(("loss", "y"), LOSSES)
def test_a_weight_is_as_many_rows_in_one_batch(loss, y, engine):
    options = {"loss": loss, "batch_size": 1000, "shuffle": False, "engine": engine}
    history, weighted = fitted(X, y, sample_weight=TIMES, **options)
    again, repeated = fitted(X.repeat(TIMES, axis=0), y.repeat(TIMES, axis=0), **options)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12)
    np.testing.assert_allclose(history["loss"], again["loss"], rtol=1e-12)


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize(("loss", "y"), LOSSES)
def test_a_weight_scales_the_step_of_a_row_alone(loss, y, engine):
    weights = np.where(np.arange(24) == 5, 3.0, 0.7)
    scale = 3.0 / weights.mean() if loss.reduction == "mean" else 3.0
    weighted = step(X, y, weights, 5, loss=loss, engine=engine)
    np.testing.assert_allclose(weighted, scale * step(X, y, None, 5, loss=loss, engine=engine), rtol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 5, 24])
def test_weights_are_those_of_the_data_not_of_the_batch(batch_size):
    """The steps of one epoch from the same parameters add up to that of the whole, in the share of their rows."""
    weights = RANDOM.uniform(0.1, 5.0, 24)
    total = np.zeros(fitted(X, Y)[1].size)
    for first in range(0, 24, batch_size):
        rows = min(batch_size, 24 - first)
        order = np.roll(np.arange(24), -first)
        total += rows / 24 * step(X[order][:], Y[order], weights[order], 0, batch_size=rows)
    np.testing.assert_allclose(total, step(X, Y, weights, 0, batch_size=24), rtol=1e-9)


@pytest.mark.parametrize("loss", ["mse", nn.MSELoss(reduction="sum")])
@pytest.mark.parametrize("options", [
    {}, {"n_threads": 2}, {"engine": "python"}, {"metrics": ["r2"]}, {"batch_size": 1}, {"shuffle": False},
], ids=str)  # fmt: skip
def test_a_row_of_no_weight_is_absent(loss, options):
    """To the bit, though what is in it may be anything: also where rows are drawn, mixed and counted."""
    weights = RANDOM.uniform(0.5, 2.0, 24) * (np.arange(24) % 3 > 0)
    there = weights > 0
    wild = np.where(there[:, None], Y, 1e30)
    history, first = fitted(X, wild, loss=loss, sample_weight=weights, **options)
    alone, second = fitted(X[there], Y[there], loss=loss, sample_weight=weights[there], **options)
    np.testing.assert_array_equal(first, second)
    assert dict(history) == dict(alone) and history.steps == alone.steps


def test_batch_statistics_are_those_of_the_rows_that_are_there():
    models = []
    there = np.arange(24) % 2 == 0
    for rows, weights in ((slice(None), there.astype(float)), (there, None)):
        model = nn.Sequential([nn.BatchNorm1d(), nn.Linear(2)])
        model.fit(X[rows], Y[rows], sample_weight=weights, batch_size=6, epochs=3, random_state=0)
        models.append(model)
    for name, array in models[0].states().items():
        np.testing.assert_array_equal(array, models[1].states()[name])


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize("weight", [1.0, 0.1, 1 / 3, 7.7, 1e-200, 1e200])
def test_equal_weights_are_none_to_the_bit(weight, engine):
    plain, expected = fitted(X, LABELS, loss="cross_entropy", validation_data=(X, LABELS), engine=engine)
    weights = np.full(24, weight)
    history, got = fitted(X, LABELS, loss="cross_entropy", sample_weight=weights, validation_data=(X, LABELS, weights),
                          engine=engine)  # fmt: skip
    np.testing.assert_array_equal(got, expected)
    assert dict(history) == dict(plain)
    model, out = net(), X[:, :2]
    assert model.evaluate(X, Y, sample_weight=weights) == model.evaluate(X, Y)
    for one, other in zip(nn.MSELoss()(out, Y, weights), nn.MSELoss()(out, Y), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch_size", [1, 7, 24])
@pytest.mark.parametrize(("loss", "y"), LOSSES)
def test_the_loss_of_an_epoch_is_the_weighted_mean_over_the_data(loss, y, batch_size):
    model = net()
    expected = model.evaluate(X, y, loss=loss, sample_weight=TIMES)
    by_hand = loss(model.predict(X), y, TIMES)[0]
    repeated = model.evaluate(X.repeat(TIMES, axis=0), y.repeat(TIMES, axis=0), loss=loss)
    history = model.fit(X, y, loss=loss, sample_weight=TIMES, optimizer=nn.SGD(1e-300), batch_size=batch_size, epochs=1,
                        validation_data=(X, y, TIMES))  # fmt: skip
    for figure in (by_hand, repeated, history["loss"][0], history["val_loss"][0]):
        np.testing.assert_allclose(figure, expected, rtol=1e-12)


def test_a_validation_split_weighs_both_sides_by_themselves():
    weights = RANDOM.uniform(0.5, 2.0, 24)
    history, _ = fitted(X, Y, sample_weight=weights, validation_split=0.25, epochs=1, batch_size=24)
    doubled, _ = fitted(X, Y, sample_weight=2 * weights, validation_split=0.25, epochs=1, batch_size=24)
    np.testing.assert_allclose(history["val_loss"], doubled["val_loss"])
    np.testing.assert_allclose(history["loss"], doubled["loss"])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_row_of_no_weight_may_have_any_loss_by_hand(reduction):
    """A probability of 0 for what has happened costs infinitely much."""
    loss = nn.NLLLoss(reduction=reduction)
    value, grad = loss([[-1.0, -2.0], [-np.inf, 0.0]], [1, 0], [2.0, 0.0])
    assert value == (2.0 if reduction == "mean" else 4.0)
    np.testing.assert_array_equal(grad, [[0.0, -1.0 if reduction == "mean" else -2.0], [0.0, 0.0]])


def test_a_sample_has_the_weights_that_were_given():
    seen = []

    class Look(nn.Callback):
        def on_epoch_end(self, fit):
            seen.append(fit.sample(100))

    fitted(X, Y, sample_weight=TIMES, callbacks=[Look()], epochs=1)
    np.testing.assert_array_equal(seen[0][2], TIMES[TIMES > 0])
    np.testing.assert_array_equal(seen[0][0], X[TIMES > 0])


@pytest.mark.parametrize("make", [nn.NNClassifier, nn.NNRegressor])
def test_estimators_weigh_rows_alone_too(make):
    y = LABELS if make is nn.NNClassifier else Y[:, 0]
    weights = RANDOM.uniform(0.5, 2.0, 24)
    est = make(layers=[4], epochs=1, batch_size=1, optimizer=nn.SGD(0.01), shuffle=False, random_state=0, dtype="float64")
    plain, weighted, scaled = (copy.deepcopy(est).fit(X, y, w) for w in (None, weights, 4 * weights))
    first, second, third = (network_of(fit.model_).vector for fit in (plain, weighted, scaled))
    assert not np.allclose(first, second, rtol=1e-6)
    np.testing.assert_allclose(second, third, rtol=1e-12)


def test_a_partial_fit_is_weighed_by_its_own_rows():
    est = nn.NNRegressor(layers=[4], batch_size=1, optimizer=nn.SGD(0.01), shuffle=False, random_state=0, dtype="float64")
    weights = np.where(np.arange(24) < 12, 1.0, 5.0)
    first, second = copy.deepcopy(est), copy.deepcopy(est)
    for rows in (slice(0, 12), slice(12, 24)):
        first.partial_fit(X[rows], Y[rows], weights[rows])
        second.partial_fit(X[rows], Y[rows])
    np.testing.assert_array_equal(network_of(first.model_).vector, network_of(second.model_).vector)
