"""Trainers in a fit: the way they go is that of torch and SciPy; history, validation, checkpoints and estimators as always."""

import copy

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import Ridge

import nnkit as nn
from nnkit.core.line_search import Point, strong_wolfe

RANDOM = np.random.default_rng(21)
X, WEIGHTS = RANDOM.uniform(-1.0, 1.0, (60, 2)), RANDOM.uniform(0.0, 2.0, 60)
Y = np.sin(3 * X[:, :1]) + X[:, 1:]


def net(dtype="float64", hidden=8, outputs=1):
    layers = [nn.Linear(hidden), nn.Tanh(), nn.Linear(outputs)]
    return nn.Sequential(layers).build((2,), random_state=0, dtype=dtype)


def held(model):
    return {name: array.copy() for name, array in model.parameters().items()}


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------------------------------------------------------- L-BFGS


@pytest.mark.parametrize("iterations", [1, 2, 6, 15])
@pytest.mark.parametrize("history_size", [3, 10])
def test_lbfgs_goes_the_way_of_torchs(iterations, history_size):
    torch = pytest.importorskip("torch")
    model = net()
    arrays = {name: torch.tensor(array, requires_grad=True) for name, array in held(model).items()}
    model.fit(X, Y, optimizer=nn.LBFGS(history_size=history_size, tol=0, tol_change=0), epochs=iterations)
    rows, target = torch.tensor(X), torch.tensor(Y)
    optimizer = torch.optim.LBFGS(list(arrays.values()), max_iter=iterations, max_eval=1000, history_size=history_size,
                                  line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0)  # fmt: skip

    def closure():
        optimizer.zero_grad()
        hidden = torch.tanh(rows @ arrays["0.weight"] + arrays["0.bias"])
        loss = ((hidden @ arrays["2.weight"] + arrays["2.bias"] - target) ** 2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    for name, array in model.parameters().items():  # rounding, some 10 times larger after each iteration at worst
        np.testing.assert_allclose(array, arrays[name].detach().numpy(), rtol=1e-8, atol=1e-10)


def test_lbfgs_needs_as_many_evaluations_as_scipys():
    from scipy.optimize import minimize

    model = net()
    f = nn.value_and_grad(model, X, Y, "mse")
    theirs = minimize(f, f.start, jac=True, method="L-BFGS-B", options={"gtol": 1e-4, "maxcor": 10})
    history = model.fit(X, Y, optimizer="lbfgs")
    assert history["evaluations"][-1] <= 1.5 * theirs.nfev
    assert history["loss"][-1] <= 1.5 * theirs.fun + 1e-6
    assert "tol" in history.stopped


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("optimizer", [nn.LBFGS(tol=1e-10, tol_change=0)], ids=repr)
def test_minimum_with_a_penalty_is_that_of_ridge_regression(weights, optimizer):
    model = nn.Sequential([nn.Linear(1, bias=False)]).build((2,), random_state=0, dtype="float64")
    history = model.fit(X, Y, optimizer=optimizer.replace(weight_decay=0.1), sample_weight=weights)
    # mse + 0.05 |w|**2 is (|Xw - y|**2 + 0.05 N |w|**2) / N; weights are divided by their mean.
    own = None if weights is None else weights / weights.mean()
    ridge = Ridge(alpha=0.05 * len(X), fit_intercept=False).fit(X, Y[:, 0], own)
    np.testing.assert_allclose(model.parameters()["0.weight"][:, 0], ridge.coef_, rtol=1e-8)
    assert history["loss"][-1] == pytest.approx(model.evaluate(X, Y, "mse", weights), rel=1e-9)  # without the penalty


def test_rows_of_weight_2_count_as_two():
    twice, once = net(), net()
    optimizer = nn.LBFGS(tol=0, tol_change=0)
    doubled = np.r_[np.arange(60), np.arange(10)]
    twice.fit(X, Y, optimizer=optimizer, epochs=5, sample_weight=np.r_[np.full(10, 2.0), np.ones(50)])
    once.fit(X[doubled], Y[doubled], optimizer=optimizer, epochs=5)
    np.testing.assert_allclose(twice.predict(X), once.predict(X), rtol=1e-8)


def test_line_search_meets_both_conditions_of_wolfe():
    def along(t):
        gradient = np.array([4 * (t - 1.3) ** 3 + np.cos(7 * t)])
        return Point(t, (t - 1.3) ** 4 + np.sin(7 * t) / 7, gradient[0], gradient)

    start = along(0.0)
    for first in (1e-3, 0.1, 1.0, 5.0, 40.0):
        found = strong_wolfe(along, start, first, 1.0)
        assert found.value <= start.value + 1e-4 * found.t * start.slope
        assert abs(found.slope) <= 0.9 * abs(start.slope)


def test_line_search_comes_back_from_where_the_loss_is_infinite():
    def along(t):
        value = t * t - t if t < 0.8 else np.inf
        return Point(t, value, 2 * t - 1, np.array([2 * t - 1]))

    found = strong_wolfe(along, along(0.0), 100.0, 1.0)
    assert 0 < found.t < 0.8 and found.value < 0


def test_lbfgs_in_float32_ends_where_float32_ends():
    model = nn.Sequential([nn.Linear(1)]).build((2,), random_state=0)
    history = model.fit(X, Y, optimizer=nn.LBFGS(tol=0.0, tol_change=0.0), epochs=100)
    assert "float64" in history.stopped and history.epochs < 50
    least = np.linalg.lstsq(np.c_[X, np.ones(60)], Y, rcond=None)[1][0] / 60
    assert history["loss"][-1] == pytest.approx(least, rel=1e-5)


def test_lbfgs_stops_by_the_words_of_scikit_learn():
    assert "tol=10" in net().fit(X, Y, optimizer=nn.LBFGS(tol=10.0)).stopped
    assert "max_fun=5" in net().fit(X, Y, optimizer=nn.LBFGS(tol=0, max_fun=5)).stopped
    assert net().fit(X, Y, optimizer=nn.LBFGS(tol=0, tol_change=0, max_iter=3)).epochs == 3
    assert net().fit(X, Y, optimizer=nn.LBFGS(tol=0, tol_change=0), epochs=4).stopped == "finished"


# ------------------------------------------------------------------------------------------------------------- any trainer

TRAINERS = [example.part for part in nn.registry.trainers.values() for example in part.examples()]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_history_validation_metrics_and_callbacks(trainer):
    seen, model = [], net()
    watch = nn.LambdaCallback(lambda fit: seen.append((fit.epoch, fit.step, fit.loss, fit.batch_size)))
    history = model.fit(X[:40], Y[:40], optimizer=trainer, epochs=6, validation_data=(X[40:], Y[40:]), metrics=["r2"],
                        callbacks=[watch])  # fmt: skip
    assert set(history) == {"loss", "val_loss", "val_r2", *trainer.figures}
    assert history["loss"][-1] < history["loss"][0] and history.epochs == len(seen) == history.steps
    assert seen[0][1] == 1 and seen[-1][2] == history["loss"][-1] and seen[0][3] == 40
    assert model.last_fit["optimizer"] is trainer


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("validated", [False, True])
def test_training_goes_on_from_a_checkpoint_to_the_bit(trainer, validated, tmp_path):
    path, whole, part = tmp_path / "a.safetensors", net("float32"), net("float32")
    given = {"optimizer": trainer, "validation_split": 0.25 * validated, "random_state": 3}
    expected = whole.fit(X, Y, epochs=9, **given)
    for epochs in (4, 9):
        history = part.fit(X, Y, epochs=epochs, callbacks=[nn.Checkpoint(path)], resume=True, **given)
    assert same(held(whole), held(part))
    assert all(history[name] == expected[name] for name in expected)
    assert nn.load(path).predict(X).shape == Y.shape


@pytest.mark.parametrize("trainer", TRAINERS)
def test_same_bits_on_any_number_of_threads(trainer):
    many, target = RANDOM.normal(size=(400, 2)), RANDOM.normal(size=(400, 1))
    results = []
    for threads in (1, 2, 3):
        model = net(hidden=150)
        model.fit(many, target, optimizer=trainer, epochs=2, n_threads=threads)
        results.append(held(model))
    assert same(results[0], results[1]) and same(results[0], results[2])


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_reference_engine_goes_the_same_way(trainer):
    compiled, uncompiled = net(), net()
    compiled.fit(X[:9], Y[:9], optimizer=trainer, epochs=2)
    uncompiled.fit(X[:9], Y[:9], optimizer=trainer, epochs=2, engine="python")
    np.testing.assert_allclose(compiled.predict(X), uncompiled.predict(X), rtol=1e-7)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_frozen_parameters_stay(trainer):
    model = net()
    model.freeze("0.*")
    before = held(model)
    history = model.fit(X, Y, optimizer=trainer, epochs=5)
    after = held(model)
    assert same({"0.weight": before["0.weight"]}, {"0.weight": after["0.weight"]})
    assert not np.array_equal(before["2.weight"], after["2.weight"]) and history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_several_outputs_have_one_loss(trainer):
    model = nn.Sequential([nn.Linear(6), nn.Tanh(), nn.Heads(left=[nn.Linear(1)], right=[nn.Linear(2)])])
    model.build((2,), random_state=0, dtype="float64")
    y = {"left": Y, "right": np.c_[Y, -Y]}
    history = model.fit(X, y, loss="mse", loss_weights={"left": 2.0, "right": 0.5}, optimizer=trainer, epochs=8)
    assert history["loss"][-1] < history["loss"][0]
    assert history["loss"][-1] == pytest.approx(model.evaluate(X, y), rel=1e-9)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_estimators_train_with_it_and_are_saved(trainer, tmp_path):
    regressor = nn.NNRegressor(layers=[8], activation="tanh", optimizer=trainer, random_state=0, epochs=60).fit(X, Y[:, 0])
    assert regressor.score(X, Y[:, 0]) > 0.95
    regressor.save(tmp_path / "net.safetensors")
    assert np.array_equal(nn.load(tmp_path / "net.safetensors").predict(X), regressor.predict(X))
    with pytest.raises(nn.ParameterError, match="partial_fit: expected an optimizer that goes by steps"):
        regressor.partial_fit(X, Y[:, 0])
    early = nn.NNRegressor(layers=[8], optimizer=trainer, early_stopping=True, random_state=0, epochs=20).fit(X, Y[:, 0])
    assert "val_loss" in early.history_


def test_classifier_and_warm_start():
    rows, labels = load_iris(return_X_y=True)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    classifier = nn.NNClassifier(layers=[8], optimizer="lbfgs", random_state=0, epochs=5, warm_start=True).fit(rows, labels)
    first = classifier.loss_
    classifier.fit(rows, labels)
    assert classifier.loss_ < first and classifier.n_iter_ == 10
    assert classifier.set_params(epochs=100).fit(rows, labels).score(rows, labels) > 0.98


@pytest.mark.parametrize("trainer", TRAINERS)
def test_whoever_moves_the_net_between_iterations_is_followed(trainer):
    def halve(fit):
        for array in fit.model.parameters().values():
            array *= 0.5

    model = net()
    history = model.fit(X, Y, optimizer=trainer, epochs=3, callbacks=[nn.LambdaCallback(halve)])
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_error_within_an_iteration_leaves_the_net_where_it_was(trainer, monkeypatch):
    from nnkit.training.problem import AllRows

    model, calls = net(), []
    kept = [held(model)]  # as each iteration leaves it
    plain = AllRows.move

    def move(problem, theta):
        plain(problem, theta)
        calls.append(theta)
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(AllRows, "move", move)
    keep = nn.LambdaCallback(lambda fit: kept.append(held(fit.model)))
    history = model.fit(X, Y, optimizer=trainer, epochs=9, callbacks=[keep])
    assert history.stopped == "interrupted" and same(kept[-1], held(model))


@pytest.mark.parametrize("trainer", TRAINERS)
def test_many_nets_side_by_side(trainer):
    alone, together = net(), [net(), net(hidden=3)]
    expected = alone.fit(X, Y, optimizer=trainer, epochs=4)
    histories = nn.fit_many(together, X, Y, optimizer=trainer, epochs=4, n_threads=2)
    assert same(held(alone), held(together[0]))
    assert histories[0]["loss"] == expected["loss"] and histories[1]["loss"] != expected["loss"]


REFUSED = {
    "batches": (net(), {"batch_size": 8}, "no batches, .* got batch_size=8"),
    "accumulate": (net(), {"accumulate": 2}, "no batches, .* got accumulate=2"),
    "dropout": (nn.Sequential([nn.Linear(3), nn.Dropout(0.5), nn.Linear(1)]), {}, r"Dropout\(\), which draws numbers"),
    "batch statistics": (nn.Sequential([nn.Linear(3), nn.BatchNorm1d(), nn.Linear(1)]), {}, "BatchNorm1d.*statistics of batch"),
    "a mean of the parameters": (net(), {"callbacks": [nn.EMA(0.9)]}, "no mean of the parameters"),
    "a schedule": (nn.Sequential([nn.ELU(alpha=1.0 * nn.CosineSchedule()), nn.Linear(1)]), {}, "follows"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_settings_that_contradict_each_other_are_refused_before_anything_runs(trainer, case):
    model, given, message = REFUSED[case]
    model = copy.deepcopy(model)
    with pytest.raises(nn.ParameterError, match=f"{type(trainer).__name__}: .*{message}"):
        model.fit(X, Y, optimizer=trainer, epochs=1, **given)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_schedules_and_rates_are_refused_by_name(trainer):
    with pytest.raises(nn.CallError, match="unexpected argument 'schedule'; a schedule is that of an optimizer"):
        type(trainer)(schedule="cosine")
    with pytest.raises(nn.CallError, match="got an unexpected argument 'lr'; the learning rate is"):
        type(trainer)(lr=0.1)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_columns_that_say_the_same_do_not_stop_it(trainer):
    """J'J is singular, and so is the Hessian, at every place."""
    model = nn.Sequential([nn.Linear(1)]).build((2,), random_state=0, dtype="float64")
    rows = np.c_[X[:, :1], X[:, :1]]
    model.fit(rows, Y, optimizer=trainer, epochs=100)
    least = np.linalg.lstsq(np.c_[rows, np.ones(60)], Y, rcond=None)[0]
    error = np.mean((np.c_[rows, np.ones(60)] @ least - Y) ** 2)
    assert model.evaluate(rows, Y, "mse") == pytest.approx(error, rel=1e-2)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_loss_that_is_not_finite_is_named(trainer):
    model = net()
    model.parameters()["2.weight"] = np.full((8, 1), 1e200)
    model.parameters()["0.bias"] = np.ones(8)
    with pytest.raises(nn.NonFiniteError, match="MSELoss"):
        model.fit(X, Y, optimizer=trainer, epochs=2)


def test_steps_by_hand_and_profiles_are_not_for_trainers():
    model = net()
    with pytest.raises(nn.ParameterError, match="goes by steps"):
        model.update(nn.LBFGS())
    with pytest.raises(nn.ParameterError, match="goes by steps"):
        model.profile(X, Y, optimizer="lbfgs")
    with pytest.raises(nn.ParameterError, match="lr"):
        nn.LBFGS(lr=0.1)


def test_checks_know_trainers():
    assert isinstance(nn.testing.check_optimizer("lm").part, nn.LevenbergMarquardt)
    with pytest.raises(nn.testing.CheckError, match="as figures say"):
        nn.testing.check_optimizer(Silent)


class Silent(nn.LBFGS):
    """Announces what it never notes."""

    figures = ("nothing",)


def test_a_monitor_looks_on():
    monitor, model = nn.Monitor(), net()
    model.fit(X, Y, optimizer="lbfgs", epochs=4, callbacks=[monitor])
    assert monitor.looks and all(np.isnan(item.update) for item in monitor.looks[-1].parameters.values())


def test_a_sparse_matrix_is_read_as_it_is():
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(np.where(X > 0.3, X, 0.0))
    one, other = net(), net()
    one.fit(sparse, Y, optimizer="lbfgs", epochs=5)
    other.fit(sparse.toarray(), Y, optimizer="lbfgs", epochs=5)
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-8)
