"""Levenberg-Marquardt: residuals, steps by closed forms, SciPy's minima; MacKay's evidence as scikit-learn has it."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import least_squares
from sklearn.linear_model import BayesianRidge

import nnkit as nn
from nnkit.core.criterion import Criterion
from nnkit.network import network_of
from nnkit.training.residuals import Residuals

RANDOM = np.random.default_rng(22)
X, WEIGHTS = RANDOM.uniform(-1.0, 1.0, (30, 2)), RANDOM.uniform(0.2, 2.0, 30)
Y = np.c_[np.sin(2 * X[:, :1]) + X[:, 1:], X[:, :1] * X[:, 1:]] + RANDOM.normal(scale=0.1, size=(30, 2))
LOSSES = [loss for loss in nn.registry.losses.values() if loss.least_squares]


def net(hidden=3, outputs=2, **options):
    layers = [nn.Linear(hidden), nn.Tanh(), nn.Linear(outputs)]
    return nn.Sequential(layers).build((2,), random_state=0, dtype="float64", **options)


def flat(model):
    return np.concatenate([array.ravel() for array in model.parameters().values()])


def jacobian(f, theta):
    """By the outputs, (rows * outputs, parameters)."""
    return np.stack([f.jvp(theta, unit).ravel() for unit in np.eye(f.size)], axis=1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_residuals_are_the_loss_and_its_gradient(loss, reduction, weights):
    model, made = net(), loss(reduction=reduction)
    criterion = Criterion.make(made, None, model.out_shape, "test")
    target = 3.0 * Y  # far enough for both branches of huber
    taken = Residuals(network_of(model), criterion, X, {"": target}, {"": weights}, np.arange(30), who="test")
    f = nn.value_and_grad(model, X, target, made, sample_weight=weights)
    (total, residuals), (value, expected) = taken.now(), f(f.start)
    assert taken.terms == len(residuals) == 60
    assert total == pytest.approx(value, rel=1e-14)
    assert 0.5 * residuals @ residuals == pytest.approx(value, rel=1e-7)  # of log_cosh, terms near 0 are taken to be quadratic
    np.testing.assert_allclose(taken.tangent(wide=False).gradient, expected, rtol=1e-9, atol=1e-12)


def test_where_the_target_is_hit_the_root_has_its_slope():
    model = nn.Sequential([nn.Linear(1, bias=False, weight_init="ones")]).build((1,), dtype="float64")
    rows, curvatures = np.array([[1.0], [2.0]]), {"mse": 2.0, "huber": 1.0, "log_cosh": 1.0, "half_squared_error": 1.0}
    for loss, curvature in curvatures.items():
        made = nn.registry.losses[loss](reduction="sum")
        criterion = Criterion.make(made, None, (1,), "test")
        taken = Residuals(network_of(model), criterion, rows, {"": rows}, {"": None}, np.arange(2), who="test")
        np.testing.assert_allclose(taken.tangent(wide=False).push(np.ones(1)), np.sqrt(curvature) * rows.ravel(), rtol=1e-6)
        assert not taken.now()[1].any()


@pytest.mark.parametrize("rows", [30, 7], ids=["one block", "many"])
@pytest.mark.parametrize("frozen", [None, "0.weight", "0.bias"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_factors_are_the_jacobian(rows, frozen, outputs, monkeypatch):
    from nnkit.training import row_pass, tangent

    monkeypatch.setattr(row_pass, "ROWS", rows)
    monkeypatch.setattr(tangent, "PIECE", 4096)
    monkeypatch.setattr(tangent, "FEW", 1)
    model = nn.Sequential([nn.Linear(5), nn.Tanh(), nn.Linear(4, bias=False), nn.Tanh(), nn.Linear(outputs)])
    model.build((2,), random_state=0, dtype="float64")
    if frozen:
        model.freeze(frozen)
    y, f = Y[:, :outputs], nn.value_and_grad(model, X, Y[:, :outputs], "half_squared_error", sample_weight=WEIGHTS)
    criterion, scale = Criterion.make("half_squared_error", None, (outputs,), "test"), np.sqrt(WEIGHTS / WEIGHTS.mean())
    J = np.stack([f.jvp(f.start, unit) for unit in np.eye(f.size)], axis=-1) * scale[:, None, None]  # (rows, outputs, size)
    J = J.transpose(1, 0, 2).reshape(-1, f.size)
    taken = Residuals(network_of(model), criterion, X, {"": y}, {"": WEIGHTS / WEIGHTS.mean()}, np.arange(30), who="test")
    u, v = RANDOM.normal(size=len(J)), RANDOM.normal(size=f.size)
    for wide, expected in ((False, J.T @ J), (True, J @ J.T)):
        found = taken.tangent(wide=wide)
        np.testing.assert_allclose(found.curvature, expected, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(found.gradient, J.T @ taken.now()[1], rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(found.push(v), J @ v, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.pull(u), J.T @ u, rtol=1e-9, atol=1e-12)


def test_what_is_not_kept_is_made_again(monkeypatch):
    from nnkit.training import row_pass, tangent

    kept, made = net(), net()
    optimizer = nn.LevenbergMarquardt(mu=1e-8)  # second steps are needed
    monkeypatch.setattr(row_pass, "ROWS", 7)
    kept.fit(X, Y, optimizer=optimizer, epochs=4)
    monkeypatch.setattr(tangent, "KEPT", 0)
    made.fit(X, Y, optimizer=optimizer, epochs=4)
    assert np.array_equal(flat(kept), flat(made))


class Valley:
    """Rosenbrock's, as a `Problem`: r = (10 (y - x**2), 1 - x); its minimum is at (1, 1)."""

    size = terms = 2

    def __init__(self):
        self.theta = np.array([-1.2, 1.0])

    def position(self):
        return self.theta.copy()

    def move(self, theta):
        self.theta = theta.copy()

    def residuals(self):
        x, y = self.theta
        r = np.array([10 * (y - x * x), 1 - x])
        return 0.5 * r @ r, r

    def tangent(self, *, wide):
        (value, r), J = self.residuals(), np.array([[-20 * self.theta[0], 10.0], [-1.0, 0.0]])
        return SimpleNamespace(value=value, curvature=J.T @ J, copied=lambda: J.T @ J, gradient=J.T @ r, pull=lambda u: J.T @ u)


def test_a_second_step_follows_the_bend():
    needed, seen = {}, 0
    for accelerated in (False, True):
        valley, states = Valley(), {"numbers": np.zeros(5)}
        trainer = nn.LevenbergMarquardt(accelerated=accelerated, min_grad=1e-10)
        for needed[accelerated] in range(200):
            start, r, tangent = valley.position(), valley.residuals()[1], valley.tangent(wide=False)
            if trainer.iterate(valley, states).stopping:
                break
            H = tangent.curvature + 5 * states["numbers"][2] * np.eye(2)  # with the mu of the step that was taken
            first = -np.linalg.solve(H, tangent.gradient)
            there = Valley()
            there.move(start + first)
            along = there.residuals()[1] - r - np.array([-20 * start[0] * first[0] + 10 * first[1], -first[0]])
            second = first - np.linalg.solve(H, tangent.pull(along))  # half of r'' along the step, by r at its end
            if accelerated and not np.allclose(valley.theta, start + first, rtol=1e-9, atol=0):
                np.testing.assert_allclose(valley.theta, start + second, rtol=1e-9)
                seen += 1
        np.testing.assert_allclose(valley.theta, 1.0, rtol=1e-9)
    assert seen and needed[True] <= needed[False]


def damped(f, theta, target, mu, decay=0.0, scaled=False):
    """Where one iteration on the mean of squares leads, by the textbook."""
    J = jacobian(f, theta) * np.sqrt(2 / target.size)
    r = (outputs(f, theta) - target).ravel() * np.sqrt(2 / target.size)
    H = J.T @ J + decay * np.eye(f.size)
    return theta - np.linalg.solve(H + mu * (np.diag(np.diag(H)) if scaled else np.eye(f.size)), J.T @ r + decay * theta)


def outputs(f, theta):
    model = net() if f.size == flat(net()).size else net(hidden=20)
    nn.value_and_grad(model, X, Y).write(theta)
    return model.predict(X)


@pytest.mark.parametrize("hidden", [3, 20], ids=["J'J", "JJ'"])  # 17 and 102 parameters, 60 residuals
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("scaled", [False, True])
def test_an_iteration_is_that_of_the_textbook(hidden, decay, scaled):
    model = net(hidden)
    f = nn.value_and_grad(model, X, Y, "mse")
    optimizer = nn.LevenbergMarquardt(mu=0.5, weight_decay=decay, scaled=scaled, accelerated=False)
    history = model.fit(X, Y, optimizer=optimizer, epochs=1)
    mu = 5 * history["mu"][0]  # of the step that was taken
    np.testing.assert_allclose(flat(model), damped(f, f.start, Y, mu, decay, scaled), rtol=1e-9, atol=1e-11)


def test_nguyen_and_widrows_weights_spread_the_bends():
    for inputs, units in ((1, 20), (3, 16), (10, 7)):
        part, random = nn.NguyenWidrow(inputs=inputs), np.random.default_rng(0)
        weight, bias = part((inputs, units), random), part((units,), random)
        length = 1.4 * units ** (1 / inputs)
        np.testing.assert_allclose(np.linalg.norm(weight, axis=0), length, rtol=1e-12)
        np.testing.assert_allclose(np.diff(bias), 2 * length / (units - 1), rtol=1e-12)
        assert (weight[0] > 0).all() and bias[0] == -length


@pytest.mark.parametrize("seed", range(3))
def test_sinc_is_learned_in_some_tens_of_iterations(seed):
    """MATLAB's first example: 61 weights, to 1e-8."""
    rows = np.linspace(-1.0, 1.0, 300).reshape(-1, 1)
    first = nn.Linear(20, weight_init="nguyen_widrow", bias_init="nguyen_widrow")
    model = nn.Sequential([first, nn.Tanh(), nn.Linear(1)]).build((1,), random_state=seed, dtype="float64")
    stop = nn.LambdaCallback(lambda fit: fit.history["loss"][-1] <= 1e-8 and fit.stop("there"))
    history = model.fit(rows, np.sinc(10 * rows / np.pi), optimizer="lm", epochs=40, callbacks=[stop])
    assert history.stopped == "there"


def test_where_the_loss_rises_the_step_is_undone_and_damped_more():
    model = net()
    model.parameters()["0.weight"] = np.full((2, 3), 3.0)
    f = nn.value_and_grad(model, X, Y, "mse")
    history = model.fit(X, Y, optimizer=nn.LevenbergMarquardt(mu=1e-9, accelerated=False), epochs=1)
    mu = 5 * history["mu"][0]  # of the step that was taken
    assert mu > 1e-9
    np.testing.assert_allclose(flat(model), damped(f, f.start, Y, mu), rtol=1e-6)
    assert f.value(damped(f, f.start, Y, mu / 3)) >= f.value(f.start) > f.value(flat(model))


def test_a_linear_net_needs_one_iteration():
    model = nn.Sequential([nn.Linear(2)]).build((2,), random_state=0, dtype="float64")
    history = model.fit(X, Y, optimizer=nn.LevenbergMarquardt(mu=1e-12), epochs=9)
    expected = np.linalg.lstsq(np.c_[X, np.ones(30)], Y, rcond=None)[0]
    np.testing.assert_allclose(model.parameters()["0.weight"], expected[:2], rtol=1e-9)
    assert history.epochs <= 3 and ("min_grad" in history.stopped or "mu_max" in history.stopped)


@pytest.mark.parametrize("made", [nn.MSELoss(), nn.HuberLoss(delta=0.1), nn.LogCoshLoss()], ids=repr)
def test_minimum_is_scipys(made):
    rows = np.linspace(-2, 2, 30).reshape(-1, 1)
    y = 1.5 * np.tanh(2 * rows - 1) + RANDOM.normal(scale=0.2, size=rows.shape)
    model = nn.Sequential([nn.Linear(1), nn.Tanh(), nn.Linear(1)]).build((1,), random_state=0, dtype="float64")
    f, start = nn.value_and_grad(model, rows, y, made), flat(model)
    history = model.fit(rows, y, loss=made, optimizer="lm", epochs=300)

    def roots(theta):
        f.write(theta)
        errors = model.predict(rows) - y
        return (np.sign(errors) * np.sqrt(2 * each(errors) / len(rows))).ravel()

    def each(errors):
        return np.array([float(made([[error]], [[0.0]]).loss) for error in errors.ravel()]).reshape(errors.shape)

    theirs = least_squares(roots, start, method="lm", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert history["loss"][-1] == pytest.approx(theirs.cost, rel=1e-6)
    assert history["grad_norm"][-1] <= 1e-6


def test_blocks_of_rows_add_up(monkeypatch):
    from nnkit.training import row_pass

    whole, cut = net(), net()
    whole.fit(X, Y, optimizer="lm", epochs=3)
    monkeypatch.setattr(row_pass, "ROWS", 7)
    cut.fit(X, Y, optimizer="lm", epochs=3)
    np.testing.assert_allclose(flat(whole), flat(cut), rtol=1e-7)


def test_rows_of_weight_2_count_as_two():
    twice, once, rows = net(), net(), np.r_[np.arange(30), np.arange(6)]
    twice.fit(X, Y, optimizer="lm", epochs=3, sample_weight=np.r_[np.full(6, 2.0), np.ones(24)])
    once.fit(X[rows], Y[rows], optimizer="lm", epochs=3)
    np.testing.assert_allclose(flat(twice), flat(once), rtol=1e-7)


NETS = {
    "convolution": ([nn.Conv1d(3, kernel_size=3), nn.Tanh(), nn.Flatten(), nn.Linear(1)], (1, 8)),
    "pooling": ([nn.Conv2d(2, kernel_size=3), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(1)], (1, 6, 6)),
    "sequence": ([nn.LSTM(4), nn.Linear(1)], (5, 2)),
    "attention": ([nn.MultiHeadAttention(2), nn.LayerNorm(), nn.Flatten(), nn.Linear(1)], (4, 6)),
    "residual": ([nn.Linear(4), nn.Residual(nn.Linear(4), nn.Tanh()), nn.RMSNorm(), nn.Linear(1)], (3,)),
}  # fmt: skip


@pytest.mark.parametrize("case", NETS)
def test_any_layer_works_in_it(case):
    layers, in_shape = NETS[case]
    model = nn.Sequential(layers).build(in_shape, random_state=0, dtype="float64")
    rows, y = RANDOM.normal(size=(20, *in_shape)), RANDOM.normal(size=(20, *model.out_shape))
    history = model.fit(rows, y, optimizer="lm", epochs=6)
    assert history["loss"][-1] < 0.7 * model.build(in_shape, random_state=0, dtype="float64").evaluate(rows, y, "mse")


def test_max_fail_ends_training_and_the_best_parameters_come_back():
    model, noise = net(hidden=12), RANDOM.normal(size=(60, 2))
    rows = RANDOM.uniform(-1.0, 1.0, (60, 2))
    history = model.fit(rows[:30], noise[:30], optimizer=nn.LevenbergMarquardt(max_fail=3), epochs=200,
                        validation_data=(rows[30:], noise[30:]))  # fmt: skip
    assert history.epochs < 200 and history.best_epoch is not None
    assert history.epochs - 1 - history.best_epoch >= 3
    assert model.evaluate(rows[30:], noise[30:], "mse") == pytest.approx(min(history["val_loss"]), rel=1e-12)


@pytest.mark.parametrize("hidden", [3, 20], ids=["J'J", "JJ'"])
def test_nets_that_are_too_large_are_refused_before_anything_runs(hidden, monkeypatch):
    from nnkit.training import iterations

    trainer, model = nn.LevenbergMarquardt(), net(hidden)
    needed = trainer.memory(len(flat(model)), 60)
    assert needed == 8 * (6 * 17 * 17 if hidden == 3 else 60 * 102)
    monkeypatch.setattr(iterations, "MEMORY", needed - 1)
    with pytest.raises(nn.ParameterError, match="a small net, got"):
        model.fit(X, Y, optimizer=trainer)
    monkeypatch.setattr(iterations, "MEMORY", needed)
    assert model.fit(X, Y, optimizer=trainer, epochs=1).epochs == 1


def test_at_a_minimum_mu_says_so():
    model = nn.Sequential([nn.Linear(2)]).build((2,), random_state=0)
    history = model.fit(X, Y, optimizer=nn.LevenbergMarquardt(min_grad=0.0, mu_max=1e3), epochs=100)
    assert "mu_max=1000" in history.stopped and history.epochs < 100
    assert "weight_decay, or another random_state, leads on" in history.stopped


@pytest.mark.parametrize("optimizer", ["lm", "lm_bayes"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mae", "quantile", "bce_with_logits", "poisson_nll"])
def test_losses_that_are_no_squares_are_refused(optimizer, loss):
    y = (X[:, 0] > 0).astype(int) if loss == "cross_entropy" else (Y > 0).astype(float)
    with pytest.raises(nn.ParameterError, match="made of squares"):
        net().fit(X, y, loss=loss, optimizer=optimizer, epochs=1)


@pytest.mark.parametrize("wrong", [{"mu": 0.0}, {"mu_inc": 1.0}, {"mu_dec": 1.0}, {"max_fail": -1}, {"min_grad": -1.0}])
def test_hyperparameters_out_of_range_are_refused(wrong):
    with pytest.raises(nn.ParameterError, match=next(iter(wrong))):
        nn.LevenbergMarquardt(**wrong)


# -------------------------------------------------------------------------------------------------------------- evidence


@pytest.mark.parametrize("loss", ["half_squared_error", "mse"])
def test_evidence_of_a_linear_net_is_that_of_bayesian_ridge(loss):
    model = nn.Sequential([nn.Linear(1, bias=False)]).build((2,), random_state=0, dtype="float64")
    y = Y[:, 0] + RANDOM.normal(scale=0.5, size=30)
    history = model.fit(X, y.reshape(-1, 1), loss=loss, optimizer=nn.BayesianLM(min_grad=0.0), epochs=60)
    ridge = BayesianRidge(fit_intercept=False, alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, tol=1e-12, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(model.parameters()["0.weight"][:, 0], ridge.coef_, rtol=1e-5)
    scale = 1.0 if loss == "half_squared_error" else 2 / 30  # what a squared error weighs in the loss
    assert history["weight_decay"][-1] == pytest.approx(scale * ridge.lambda_ / ridge.alpha_, rel=1e-4)
    e = np.linalg.eigvalsh(X.T @ X) * ridge.alpha_
    assert history["effective_parameters"][-1] == pytest.approx((e / (e + ridge.lambda_)).sum(), rel=1e-4)


def test_the_number_of_effective_parameters_stays_where_the_net_grows():
    rows = np.linspace(-1, 1, 80).reshape(-1, 1)
    y = np.sin(3 * rows) + RANDOM.normal(scale=0.3, size=rows.shape)
    effective, errors = [], []
    for hidden in (10, 20):
        model = nn.Sequential([nn.Linear(hidden), nn.Tanh(), nn.Linear(1)]).build((1,), random_state=0, dtype="float64")
        history = model.fit(rows, y, optimizer="lm_bayes", epochs=150)
        effective.append(history["effective_parameters"][-1])
        errors.append(np.abs(model.predict(rows) - np.sin(3 * rows)).mean())
    assert max(effective) < 12 and max(errors) < 0.12  # of 31 and 61; the noise's own mean is 0.24
