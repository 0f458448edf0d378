"""Training: what fit promises about its data, its history, its callbacks and its mistakes."""

import copy
import pickle
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(150, 4))
LABELS = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)
Y = np.sin(X[:, :1]) + 0.1 * X[:, 1:2]


def classifier():
    return nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(3)])


def regressor():
    return nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(1)])


def fit_classifier(model=None, **options):
    model = model or classifier()
    options = {"loss": "cross_entropy", "optimizer": nn.Adam(0.01), "epochs": 3, "batch_size": 32, "random_state": 0, **options}
    return model, model.fit(X, LABELS, **options)


def weights_of(model):
    return np.concatenate([array.ravel() for array in model.parameters().values()])


class Record(nn.Callback):
    """Notes every event."""

    def __init__(self):
        self.events = []

    def on_fit_begin(self, fit):
        self.events.append(("begin", fit.epoch, fit.step))

    def on_batch_end(self, fit):
        self.events.append(("batch", fit.epoch, fit.step, fit.loss))

    def on_epoch_end(self, fit):
        self.events.append(("epoch", fit.epoch, fit.step, fit.history["loss"][-1]))

    def on_fit_end(self, fit):
        self.events.append(("end", fit.epoch, fit.step))


# --------------------------------------------------------------------------------------------------------- history


def test_history_has_one_figure_an_epoch():
    _, history = fit_classifier(epochs=4)
    assert set(history) == {"loss", "lr"}
    assert len(history["loss"]) == history.epochs == 4
    assert history.steps == 4 * 5  # 150 rows in batches of 32: the last one has 22
    assert history.stopped == "finished"
    assert history["loss"][-1] < history["loss"][0]
    assert history["lr"] == [0.01] * 4
    assert "loss=" in repr(history)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_history_loss_is_that_of_all_rows(reduction):
    model = regressor().build((4,), random_state=0, dtype="float64")
    loss = nn.MSELoss(reduction=reduction)
    before = model.evaluate(X, Y, loss=loss)
    history = model.fit(X, Y, loss=loss, optimizer=nn.SGD(1e-12), epochs=1, batch_size=32)
    np.testing.assert_allclose(history["loss"][0], before, rtol=1e-8)


def test_weighted_history_loss_is_that_of_all_rows():
    model = regressor().build((4,), random_state=0, dtype="float64")
    weights = RANDOM.uniform(0.0, 3.0, 150)
    before = model.evaluate(X, Y, sample_weight=weights)
    history = model.fit(X, Y, sample_weight=weights, optimizer=nn.SGD(1e-12), epochs=1, batch_size=32)
    np.testing.assert_allclose(history["loss"][0], before, rtol=1e-8)


def test_batch_larger_than_data_is_all_of_them():
    _, history = fit_classifier(batch_size=1000)
    assert history.steps == 3


# --------------------------------------------------------------------------------------------------------- seeds


def test_same_seed_gives_the_same_bits():
    np.testing.assert_array_equal(weights_of(fit_classifier()[0]), weights_of(fit_classifier()[0]))


def test_other_seed_gives_others():
    assert not np.array_equal(weights_of(fit_classifier()[0]), weights_of(fit_classifier(random_state=1)[0]))


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_random_state_may_be_a_generator(make):
    first, again = (weights_of(fit_classifier(random_state=make(3))[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_without_shuffling_the_rows_keep_their_order():
    model = nn.Sequential([nn.Linear(1)]).build((4,), random_state=0, dtype="float64")
    by_hand = copy.deepcopy(model)
    model.fit(X, Y, optimizer=nn.SGD(0.05), epochs=2, batch_size=64, shuffle=False)
    weight, bias = by_hand.parameters().values()
    for _ in range(2):
        for start in range(0, 150, 64):
            x, y = X[start : start + 64], Y[start : start + 64]
            delta = 2 * (x @ weight + bias - y) / len(x)
            weight -= 0.05 * x.T @ delta
            bias -= 0.05 * delta.sum(axis=0)
    np.testing.assert_allclose(weights_of(model), weights_of(by_hand), rtol=1e-12)


def test_every_row_is_seen_once_an_epoch_in_a_new_order():
    class Keep(nn.PythonLayer):
        seen = []  # noqa: RUF012 - of all copies

        def forward(self, x):
            self.seen.extend(x[:, 0].tolist())
            return x

        def backward(self, grad_out):
            return grad_out

    nn.Sequential([Keep(), nn.Linear(1)]).fit(np.arange(20.0)[:, None] / 20, np.zeros((20, 1)), epochs=2, batch_size=8,
                                              random_state=0)  # fmt: skip
    first, second = np.array(Keep.seen[:20]) * 20, np.array(Keep.seen[20:]) * 20
    np.testing.assert_allclose(np.sort(first), np.arange(20), atol=1e-5)
    np.testing.assert_allclose(np.sort(second), np.arange(20), atol=1e-5)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.arange(20))


# ----------------------------------------------------------------------------------------------------- validation


def test_validation_loss_is_what_evaluate_gives():
    model, history = fit_classifier(validation_data=(X[:50], LABELS[:50]), epochs=2)
    assert set(history) == {"loss", "lr", "val_loss"}
    np.testing.assert_allclose(history["val_loss"][-1], model.evaluate(X[:50], LABELS[:50], "cross_entropy"), rtol=1e-5)


def test_weighted_validation_equals_repetition():
    times = np.arange(50) % 3
    _, weighted = fit_classifier(validation_data=(X[:50], LABELS[:50], times))
    _, repeated = fit_classifier(validation_data=(X[:50].repeat(times, axis=0), LABELS[:50].repeat(times)))
    np.testing.assert_allclose(weighted["val_loss"], repeated["val_loss"], rtol=1e-5)


def test_validation_does_not_change_training():
    plain, _ = fit_classifier()
    watched, _ = fit_classifier(validation_data=(X[:50], LABELS[:50]), metrics=["accuracy"])
    np.testing.assert_array_equal(weights_of(plain), weights_of(watched))


def test_validation_split_holds_rows_out():
    X_marked = np.hstack([X, np.arange(150.0)[:, None]]) / 150

    class Keep(nn.PythonLayer):
        seen = set()  # noqa: RUF012 - of all copies

        def forward(self, x, training):
            if training:
                self.seen.update(np.rint(x[:, 4] * 150).astype(int).tolist())
            return x

        def backward(self, grad_out):
            return grad_out

    history = nn.Sequential([Keep(), nn.Linear(1)]).fit(X_marked, Y, validation_split=0.2, epochs=3, random_state=0)
    assert len(Keep.seen) == 120
    assert len(history["val_loss"]) == 3
    assert history.steps == 3 * 2


@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr"])
def test_classification_metrics_are_scikit_learns(name):
    metrics = pytest.importorskip("sklearn.metrics")
    model, history = fit_classifier(metrics=[name], validation_data=(X[50:], LABELS[50:]))
    out = model.predict(X[50:]).astype(np.float64)
    probability = np.exp(out) / np.exp(out).sum(axis=1, keepdims=True)
    truth, decided = LABELS[50:], out.argmax(axis=1)
    expected = {
        "accuracy": lambda: metrics.accuracy_score(truth, decided),
        "f1_macro": lambda: metrics.f1_score(truth, decided, average="macro"),
        "neg_log_loss": lambda: -metrics.log_loss(truth, probability),
        "roc_auc_ovr": lambda: metrics.roc_auc_score(truth, probability, multi_class="ovr"),
    }[name]()
    np.testing.assert_allclose(history["val_" + name][-1], expected, rtol=1e-5)


def test_roc_auc_of_a_binary_logit_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    y = (LABELS > 0)[:, None].astype(float)
    model = regressor()
    history = model.fit(X, y, loss="bce_with_logits", metrics=["roc_auc", "accuracy"], epochs=2, random_state=0)
    out = model.predict(X)
    np.testing.assert_allclose(history["roc_auc"][-1], metrics.roc_auc_score(y.ravel(), out.ravel()), rtol=1e-5)
    np.testing.assert_allclose(history["accuracy"][-1], np.mean((out > 0) == y), rtol=1e-5)


def test_r2_is_one_minus_the_unexplained_variance():
    model = regressor()
    history = model.fit(X, Y, metrics=["r2"], epochs=2, random_state=0)
    left, total = ((Y - model.predict(X)) ** 2).sum(), ((Y - Y.mean()) ** 2).sum()
    np.testing.assert_allclose(history["r2"][-1], 1 - left / total, rtol=1e-5)


def test_weighted_metrics_equal_repetition():
    times = np.arange(150) % 3
    for item in (nn.Accuracy(), nn.R2()):
        loss = nn.CrossEntropyLoss() if isinstance(item, nn.Accuracy) else nn.MSELoss()
        truth, out = (LABELS, RANDOM.normal(size=(150, 3))) if loss.classes else (Y, RANDOM.normal(size=(150, 1)))
        repeated = item(truth.repeat(times, axis=0), out.repeat(times, axis=0), loss)
        np.testing.assert_allclose(item(truth, out, loss, times), repeated)


# -------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_equal_repetition_in_one_batch(reduction):
    times = np.arange(150) % 4
    models = [regressor().build((4,), random_state=0, dtype="float64") for _ in range(2)]
    options = {"loss": nn.MSELoss(reduction=reduction), "optimizer": nn.SGD(0.001), "epochs": 5, "batch_size": 1000,
               "shuffle": False}
    models[0].fit(X, Y, sample_weight=times, **options)
    models[1].fit(X.repeat(times, axis=0), Y.repeat(times, axis=0), **options)
    np.testing.assert_allclose(weights_of(models[0]), weights_of(models[1]), rtol=1e-9)


def test_rows_without_weight_are_not_learnt_from():
    weight = (np.arange(150) < 100).astype(float)
    wrong = np.where(weight[:, None] > 0, Y, 1e3)
    models = [regressor().build((4,), random_state=0) for _ in range(2)]
    for model, y in zip(models, (Y, wrong), strict=True):
        model.fit(X, y, sample_weight=weight, epochs=3, random_state=1)
    np.testing.assert_array_equal(weights_of(models[0]), weights_of(models[1]))


# ------------------------------------------------------------------------------------------------------ callbacks


def test_callbacks_see_every_event_in_order():
    record = Record()
    fit_classifier(callbacks=[record], epochs=2, batch_size=75)
    assert [event[:3] for event in record.events] == [
        ("begin", 0, 0), ("batch", 0, 1), ("batch", 0, 2), ("epoch", 0, 2), ("batch", 1, 3), ("batch", 1, 4), ("epoch", 1, 4),
        ("end", 2, 4),
    ]  # fmt: skip
    losses = [event[3] for event in record.events if event[0] == "batch"]
    epochs = [event[3] for event in record.events if event[0] == "epoch"]
    np.testing.assert_allclose(epochs, np.reshape(losses, (2, 2)).mean(axis=1))


def test_callbacks_do_not_change_training():
    plain, _ = fit_classifier()
    watched, _ = fit_classifier(callbacks=[Record()])
    np.testing.assert_array_equal(weights_of(plain), weights_of(watched))


class StopAtEpoch(nn.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, fit):
        if fit.epoch == self.epoch:
            fit.stop("enough epochs")


class StopAtStep(nn.Callback):
    def __init__(self, step):
        self.step = step

    def on_batch_end(self, fit):
        if fit.step == self.step:
            fit.stop("enough steps")


def test_stop_after_an_epoch_ends_training():
    _, history = fit_classifier(callbacks=[StopAtEpoch(1)], epochs=10)
    assert (history.epochs, history.stopped) == (2, "enough epochs")


def test_stop_after_a_step_ends_training():
    _, history = fit_classifier(callbacks=[StopAtStep(7)], epochs=10)
    assert (history.epochs, history.steps, history.stopped) == (1, 7, "enough steps")


def test_exception_in_a_callback_ends_training():
    class Broken(nn.Callback):
        def on_epoch_end(self, fit):
            raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        fit_classifier(callbacks=[Broken()])


def test_early_stopping_restores_the_best_epoch():
    kept = []
    history_of = nn.LambdaCallback(lambda fit: kept.append(fit.network.vector.copy()))
    model, history = fit_classifier(
        optimizer=nn.SGD(5.0), epochs=200, validation_data=(X[:20], LABELS[:20]),
        callbacks=[history_of, nn.EarlyStopping(patience=3)],
    )  # fmt: skip
    best = int(np.argmin(history["val_loss"]))
    assert history.best_epoch == best
    assert history.epochs == best + 5
    assert history.stopped == "val_loss has not improved for 4 epochs"
    np.testing.assert_array_equal(network_of(model).vector, kept[best])


def test_early_stopping_of_a_metric_waits_for_the_largest():
    model, history = fit_classifier(
        epochs=30, metrics=["accuracy"], callbacks=[nn.EarlyStopping("accuracy", patience=30)], optimizer=nn.Adam(0.05)
    )
    assert history.best_epoch == int(np.argmax(history["accuracy"]))
    accuracy = (model.predict(X).argmax(axis=1) == LABELS).mean()
    np.testing.assert_allclose(accuracy, max(history["accuracy"]))


# ------------------------------------------------------------------------------------------------------ schedules


def test_plateau_lowers_the_rate():
    schedule = nn.ReduceOnPlateau(gamma=0.5, patience=1)
    history = regressor().fit(np.zeros((8, 2)), np.zeros((8, 1)), optimizer=nn.SGD(1.0, schedule=schedule), epochs=7)
    assert history["loss"] == [0.0] * 7
    assert history["lr"] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert schedule.factor(np.zeros(1), 1)[0] == 1.0  # fit works on a copy


def test_warm_restarts_begin_again():
    optimizer = nn.SGD(1.0, schedule=nn.CosineSchedule(restart=2))
    history = regressor().fit(X, Y * 0, optimizer=optimizer, epochs=6, batch_size=150, random_state=0)
    np.testing.assert_allclose(history["lr"], [1.0, 0.5] * 3)


# --------------------------------------------------------------------------------------------- Ctrl-C and mistakes


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal as Unix does")
def test_interrupt_returns_the_history_so_far():
    text = """
        import sys
        import numpy as np, nnkit as nn
        X, y = np.ones((4096, 16)), np.ones((4096, 1))
        model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Linear(1)])
        model.fit(X, y, epochs=1, progress=False)
        print("ready", flush=True)
        history = model.fit(X, y, epochs=10**6, batch_size=4096, progress=False)
        print(history.stopped, history.epochs > 0, len(history["loss"]) == history.epochs)
        print(np.isfinite(model.predict(X)).all())
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.0)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=240)  # `predict` may have to compile
    finally:
        process.kill()
        process.communicate()
    assert out == "interrupted True True\nTrue\n"
    assert process.returncode == 0


class NaNOutput(nn.Activation):
    @staticmethod
    def forward(x):
        return np.log(x)

    @staticmethod
    def backward(grad_out, x):
        return grad_out / x


class NaNGradient(nn.Activation):
    @staticmethod
    def forward(x):
        return x

    @staticmethod
    def backward(grad_out, x):
        return grad_out * np.log(x)


@pytest.mark.parametrize(
    ("middle", "message", "part"),
    [
        (NaNOutput(), r"in epoch 0, step 0, the output of layer 1, NaNOutput\(\)", "NaNOutput"),
        (NaNGradient(), r"in epoch 0, step 0, the gradient of layer 1, NaNGradient\(\)", "NaNGradient"),
    ],
)
@pytest.mark.parametrize("engine", ["compiled", "python"])
def test_non_finite_number_names_epoch_step_and_part(middle, message, part, engine):
    with pytest.raises(nn.NonFiniteError, match=message) as caught:
        nn.Sequential([nn.Linear(3), middle, nn.Linear(1)]).fit(X, Y, epochs=2, random_state=0, engine=engine)
    assert (caught.value.epoch, caught.value.step) == (0, 0)
    assert part in caught.value.part


def test_non_finite_loss_is_named():
    y = np.full((150, 1), 1e30)
    with pytest.raises(nn.NonFiniteError, match="epoch 0, step 0, the value of MSELoss") as caught:
        regressor().fit(X, y, epochs=2, random_state=0)
    assert caught.value.part == "MSELoss"


def test_after_a_fit_that_failed_nobody_is_told_to_lower_the_learning_rate():
    model = regressor()
    with pytest.raises(nn.NonFiniteError, match="lower the learning rate"):
        model.fit(X, Y * 100, optimizer=nn.SGD(1e6), epochs=100, batch_size=50, random_state=0)
    said = r"epoch 0, step 0.*; nothing was updated before: .*begin again with model\.build\(in_shape\)$"
    with pytest.raises(nn.NonFiniteError, match=said):
        model.fit(X, Y * 100, epochs=2)
    assert np.isfinite(model.build(X.shape[1:]).fit(X, Y, epochs=2).loss).all()


def test_diverging_fit_says_when_and_leaves_the_last_parameters():
    model = regressor()
    with pytest.raises(nn.NonFiniteError) as caught:
        model.fit(X, Y * 100, optimizer=nn.SGD(1e6), epochs=100, batch_size=50, random_state=0)
    assert caught.value.step > 0
    assert caught.value.epoch == caught.value.step // 3


# --------------------------------------------------------------------------------------------- by hand, and again


@pytest.mark.parametrize("key", nn.registry.optimizers)
def test_loop_by_hand_equals_fit(key):
    fitted = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(3)]).build((4,), random_state=0, dtype="float64")
    by_hand = copy.deepcopy(fitted)
    optimizer, loss = nn.registry.optimizers[key](), nn.CrossEntropyLoss()
    fitted.fit(X, LABELS, loss=loss, optimizer=optimizer, epochs=2, batch_size=64, shuffle=False)
    for _ in range(2):
        for start in range(0, 150, 64):
            out = by_hand.forward(X[start : start + 64], training=True)
            _, grad = loss(out, LABELS[start : start + 64])
            by_hand.backward(grad)
            optimizer.step(by_hand)
    np.testing.assert_allclose(weights_of(by_hand), weights_of(fitted), rtol=1e-9)


def test_gradients_by_hand_are_live_and_of_the_last_batch():
    model = regressor().build((4,), random_state=0, dtype="float64")
    gradients = model.gradients()
    model.forward(X)
    grad_x = model.backward(np.ones((150, 1)))
    assert grad_x.shape == X.shape
    np.testing.assert_allclose(gradients["2.bias"], [150.0])
    model.forward(X[:10])
    model.backward(np.ones((10, 1)))
    np.testing.assert_allclose(gradients["2.bias"], [10.0])


def pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_copy_of_a_fitted_model_is_another_model(duplicate):
    model, _ = fit_classifier()
    other = duplicate(model)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    before = weights_of(model)
    fit_classifier(other)
    np.testing.assert_array_equal(weights_of(model), before)
    fit_classifier(model)
    np.testing.assert_array_equal(weights_of(model), weights_of(other))


def test_second_fit_goes_on_from_the_first():
    model, first = fit_classifier(epochs=20)
    _, second = fit_classifier(model, epochs=1)
    assert second["loss"][0] < first["loss"][0] / 1.2


def test_parameters_are_live():
    model, _ = fit_classifier()
    for array in model.parameters().values():
        array[...] = 0.0
    np.testing.assert_array_equal(model.predict(X), np.zeros((150, 3)))


def test_predict_does_not_depend_on_the_batch_or_threads():
    model, _ = fit_classifier()
    many = np.tile(X, (10, 1))
    whole = model.predict(many)
    np.testing.assert_array_equal(whole, model.predict(many, n_threads=2))
    np.testing.assert_allclose(whole[:150], model.predict(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.vstack([model.predict(row[None]) for row in X]), whole[:150], rtol=1e-5, atol=1e-6)


def test_progress_line_shows_epochs_and_loss(capsys):
    fit_classifier(progress=True, epochs=2)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "loss" in shown


def test_nothing_is_printed_where_nobody_watches(capsys):
    fit_classifier()
    assert capsys.readouterr() == ("", "")
