"""NNClassifier and NNRegressor of several nets: each is what it would be alone, and together they say their mean."""

import os
import pickle
import signal

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import nnkit as nn
from nnkit.core.span import Span
from nnkit.errors import ParameterError, PersistenceError
from nnkit.estimators.resampling import RESAMPLES, resampled
from nnkit.estimators.saving import described
from nnkit.persistence.file import write

IRIS = scale(load_iris().data), load_iris().target
DIABETES = scale(load_diabetes().data)[:150], load_diabetes().target[:150]
DATA = {nn.NNClassifier: IRIS, nn.NNRegressor: DIABETES}
BOTH = pytest.mark.parametrize("kind", [nn.NNClassifier, nn.NNRegressor])
LAYERS = [6, nn.BatchNorm1d(), nn.Dropout(0.2)]


def several(kind=nn.NNClassifier, **options):
    return kind(**{"layers": [6], "optimizer": nn.Adam(lr=0.02), "epochs": 3, "batch_size": 32, "random_state": 0,
                   "n_members": 3, **options})  # fmt: skip


def numbers(net):
    return {**net.model_.parameters(), **net.model_.states()}


def assert_same(first, second):
    first, second = numbers(first), numbers(second)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def rows_of(net, y):
    """The rows of each member, as the random state that has drawn the seeds goes on to draw them."""
    random = np.random.RandomState(0)
    assert [each.random_state for each in net.estimators_] == random.randint(2**31, size=net.n_members).tolist()
    labels = y if isinstance(net, nn.NNClassifier) else None
    return list(resampled(net.resample, net.n_members, labels, len(y), 0.0, random))


# ------------------------------------------------------------------------------------------------------ the members


@BOTH
@pytest.mark.parametrize("early_stopping", [False, True], ids=["all epochs", "early stopping"])
@pytest.mark.parametrize("resample", RESAMPLES)
def test_a_member_is_what_it_would_be_alone(kind, resample, early_stopping):
    X, y = DATA[kind]
    options = {"layers": LAYERS, "early_stopping": early_stopping, "patience": 0, "epochs": 6}
    net = several(kind, resample=resample, **options).fit(X, y)
    splits = rows_of(net, y)
    for member, (train, held) in zip(net.estimators_, splits, strict=True):
        own = {"X_val": X[held], "y_val": y[held]} if early_stopping and resample != "seeds" else {}
        train = slice(None) if resample == "seeds" else train
        alone = several(kind, **options, n_members=1, random_state=member.random_state).fit(X[train], y[train], **own)
        assert_same(member, alone)
        assert member.loss_curve_ == alone.loss_curve_ and member.history_.get("val_loss") == alone.history_.get("val_loss")
        np.testing.assert_array_equal(member.predict(X), alone.predict(X))
    assert len({member.model_.parameters()["0.weight"].tobytes() for member in net.estimators_}) == 3
    assert ("val_loss" in net.history_) == early_stopping


@BOTH
def test_threads_do_not_change_a_bit(kind):
    X, y = DATA[kind]
    one, two, three = (several(kind, layers=LAYERS, resample="bootstrap", n_threads=count).fit(X, y) for count in (1, 2, 3))
    assert_same(one, two)
    assert_same(one, three)


@BOTH
def test_one_net_is_no_ensemble(kind):
    X, y = DATA[kind]
    one, plain = several(kind, n_members=1, resample="bootstrap").fit(X, y), several(kind, n_members=1).fit(X, y)
    assert_same(one, plain)
    assert not hasattr(one, "estimators_") and [type(layer).__name__ for layer in one.model_] == ["Linear", "ReLU", "Linear"]
    ask = one.predict_proba if kind is nn.NNClassifier else one.predict
    with pytest.raises(ParameterError, match="return_std: expected several nets, got one; fit with n_members=5"):
        ask(X, return_std=True)
    again = several(kind).fit(X, y).set_params(n_members=1).fit(X, y)
    assert_same(again, plain)
    assert not hasattr(again, "estimators_")


def test_every_member_has_parts_of_its_own():
    layer, seen = nn.Linear(5), []
    watch = nn.LambdaCallback(lambda fit: seen.append(fit.epoch))
    net = several(layers=[layer, "relu"], callbacks=[watch]).fit(*IRIS)
    assert len({id(member.model_.layers[0]) for member in net.estimators_}) == 3
    assert net.layers == [layer, "relu"] and net.callbacks == [watch]
    first = net.estimators_[0]
    assert first.callbacks[0] is watch and net.estimators_[1].callbacks[0] is not watch
    assert len(seen) == 9
    assert net.history_ is first.history_ and net.loss_curve_ == first.loss_curve_ and net.n_iter_ == 3


# ------------------------------------------------------------------------------------------------- what they say


@pytest.mark.parametrize("loss", ["cross_entropy", "bce_with_logits", "hinge"])
@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_the_mean(loss, classes):
    X, y = IRIS[0][: classes * 50], np.array(["a", "b", "c"])[IRIS[1]][: classes * 50]
    net = several(loss=loss, epochs=20).fit(X, y)
    scores = net.decision_function(X)
    places = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
    np.testing.assert_array_equal(net.predict(X), net.classes_[places])
    assert net.score(X, y) > 0.6
    if loss == "hinge":
        mean = np.mean([member.decision_function(X) for member in net.estimators_], axis=0)
        np.testing.assert_allclose(scores, mean, rtol=1e-12, atol=1e-12)
        assert not hasattr(net, "predict_proba")
        return
    each = np.stack([member.predict_proba(X) for member in net.estimators_])
    mean, std = net.predict_proba(X, return_std=True)
    np.testing.assert_array_equal(mean, net.predict_proba(X))
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(std, np.sqrt(((each - each.mean(axis=0)) ** 2).mean(axis=0)), rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(net.predict(X), net.classes_[mean.argmax(axis=1)])
    np.testing.assert_allclose(np.exp(net.predict_log_proba(X)), mean, rtol=1e-14)
    odds = np.log(mean[:, 1] / mean[:, 0]) if classes == 2 else np.log(mean)
    np.testing.assert_allclose(scores, odds, rtol=1e-9, atol=1e-12)


def test_several_labels_a_row():
    y = np.eye(3, dtype=int)[IRIS[1]]
    net = several(epochs=20, resample="folds").fit(IRIS[0], y)
    mean, std = net.predict_proba(IRIS[0], return_std=True)
    assert mean.shape == std.shape == y.shape
    np.testing.assert_allclose(mean, np.mean([member.predict_proba(IRIS[0]) for member in net.estimators_], axis=0), rtol=1e-14)
    np.testing.assert_array_equal(net.predict(IRIS[0]), mean > 0.5)
    np.testing.assert_allclose(net.model_.predict(IRIS[0]), mean, rtol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "poisson_nll", "gaussian_nll"])
@pytest.mark.parametrize("columns", [0, 2])
def test_numbers_are_the_mean_in_the_units_of_y(loss, columns):
    X, y = DIABETES
    y = np.column_stack([y, y / 2])[:, :columns] if columns else y
    net = several(nn.NNRegressor, loss=loss, epochs=5).fit(X, y)
    each = np.stack([member.predict(X) for member in net.estimators_])
    mean, std = net.predict(X, return_std=True)
    assert mean.shape == std.shape == y.shape
    np.testing.assert_array_equal(mean, net.predict(X))
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, each.std(axis=0), rtol=1e-6)
    raw = net.model_.predict(X)
    if loss == "mse":
        np.testing.assert_allclose(raw.reshape(mean.shape), mean, rtol=1e-9)
        np.testing.assert_allclose(net.rescale(3.0, 2.0).predict(X), 2 * mean + 3, rtol=1e-9)
        np.testing.assert_allclose(net.model_.predict(X).reshape(mean.shape), net.predict(X), rtol=1e-9)
    else:  # no layer is what this loss makes of outputs: those of all nets
        assert raw.shape == (150, 3, net.n_outputs_)
        np.testing.assert_array_equal(raw, np.stack([member.model_.predict(X) for member in net.estimators_], axis=1))


def test_the_link_of_a_loss_is_what_it_makes_of_raw_predictions():
    raw = np.random.default_rng(0).normal(size=(5, 4))
    for kind in nn.registry.losses.values():
        loss = kind.examples()[0].part
        given = loss.probabilities(raw) if loss.suits(Span()) and not loss.interpreted else None
        if kind.__module__.startswith("nnkit."):  # others need not say so
            assert bool(kind.link) == (given is not None), kind
        if kind.link:
            layer = nn.Sequential([kind.link]).build((4,), dtype="float64")
            np.testing.assert_allclose(layer.predict(raw), given, rtol=1e-12, err_msg=kind.__name__)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_nets_are_one_function(dtype, tmp_path):
    X, y = IRIS[0].astype(dtype), IRIS[1]
    net = several(layers=[*LAYERS, "tanh"], epochs=10, dtype=dtype).fit(X, y)
    expected, function = net.predict_proba(X), net.model_.as_function()
    # Sums of six terms and a softmax, in the net's dtype and in double: some tens of roundings of numbers below 1.
    close = {"rtol": 0, "atol": 100 * np.finfo(dtype).eps}
    out = np.empty(3, dtype)
    for row, probabilities in zip(X[::30], expected[::30], strict=True):
        function(row, out)
        np.testing.assert_allclose(out, probabilities, **close)
    runtime = pytest.importorskip("onnxruntime")
    nn.onnx.export(net, tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    close["atol"] = max(close["atol"], 2.0**-24)  # attributes, such as the eps of a norm, have single precision there
    np.testing.assert_allclose(session.run(None, {"x": X})[0], expected, **close)
    again = nn.onnx.load(tmp_path / "net.onnx")
    np.testing.assert_allclose(again.predict(X), expected, **close)
    assert [type(layer) for layer in again] == [nn.Branches]


@BOTH
def test_features_are_those_of_all_nets(kind):
    X, y = DATA[kind]
    net = several(kind, layers=[6, 4]).fit(X, y)
    np.testing.assert_array_equal(net.transform(X), np.hstack([member.transform(X) for member in net.estimators_]))
    assert net.get_feature_names_out().shape == (12,)
    np.testing.assert_array_equal(net.set_params(transform_layer=1).transform(X)[:, 6:12], net.estimators_[1].set_params(
        transform_layer=1).transform(X))  # fmt: skip
    assert several(kind, layers=[]).fit(X, y).transform(X).shape == X.shape


def test_rows_of_a_sparse_matrix_weights_and_words():
    X, y = IRIS
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y))
    for resample in RESAMPLES:
        options = {"resample": resample, "class_weight": {0: 2.0, 1: 1.0, 2: 0.5}, "early_stopping": True}
        dense = several(**options).fit(X, y, weights)
        sparse = several(**options).fit(csr_matrix(X), y, weights)
        np.testing.assert_allclose(sparse.predict_proba(csr_matrix(X)), dense.predict_proba(X), rtol=1e-9)
    codes = np.arange(150)[:, None] % 7
    net = several(layers=[nn.Embedding(7, 3), nn.Flatten()], resample="bootstrap").fit(codes, y)
    assert net.predict_proba(codes).shape == (150, 3)


def test_all_know_the_labels_of_all_rows():
    y = np.r_[np.zeros(10, int), np.ones(10, int), 2]  # so that most samples with replacement lack the last one
    net = several(n_members=8, resample="bootstrap").fit(IRIS[0][:21], y)
    assert net.predict_proba(IRIS[0]).shape == (150, 3)


# ------------------------------------------------------------------------------------------------------- going on


@BOTH
@pytest.mark.parametrize("resample", RESAMPLES)
def test_a_warm_start_goes_on_with_the_same_rows(kind, resample):
    X, y = DATA[kind]
    net = several(kind, layers=LAYERS, resample=resample, warm_start=True).fit(X, y).fit(X, y)
    member, (train, _) = net.estimators_[1], rows_of(net, y)[1]
    train = slice(None) if resample == "seeds" else train
    alone = several(kind, layers=LAYERS, n_members=1, random_state=member.random_state, warm_start=True)
    assert_same(member, alone.fit(X[train], y[train]).fit(X[train], y[train]))
    assert net.n_iter_ == 6 and len(net.loss_curve_) == 6
    before = net.predict(X)
    with pytest.raises(ParameterError, match="expected n_members=3 of the fit that goes on, got 4"):
        net.set_params(n_members=4).fit(X, y)
    np.testing.assert_array_equal(net.predict(X), before)


@BOTH
def test_partial_fit_goes_on_with_each(kind, tmp_path):
    X, y = DATA[kind]
    first = {"classes": [0, 1, 2]} if kind is nn.NNClassifier else {}
    parts = [slice(0, 150, 2), slice(1, 150, 2)]
    net = several(kind, layers=LAYERS).partial_fit(X[parts[0]], y[parts[0]], **first).partial_fit(X[parts[1]], y[parts[1]])
    for member in net.estimators_:
        alone = several(kind, layers=LAYERS, n_members=1, random_state=member.random_state)
        alone.partial_fit(X[parts[0]], y[parts[0]], **first).partial_fit(X[parts[1]], y[parts[1]])
        assert_same(member, alone)
    drawn = several(kind, resample="bootstrap")
    for part in parts:
        drawn.partial_fit(X[part], y[part], **first)
    assert drawn.n_iter_ == 2
    with pytest.raises(ParameterError, match="partial_fit: expected resample='seeds' or 'bootstrap', got 'folds'"):
        several(kind, resample="folds").partial_fit(X, y, **first)


@BOTH
def test_a_file_and_a_pickle_have_all_of_it(kind, tmp_path):
    X, y = DATA[kind]
    adam = nn.Adam(lr=0.02, schedule=nn.ReduceOnPlateau(patience=0, threshold=0.9))
    twice = nn.Linear(6)
    net = several(kind, layers=[*LAYERS, twice, "tanh", twice], optimizer=adam, resample="bootstrap").fit(X, y)
    net.save(tmp_path / "net.safetensors")
    for again in (nn.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net))):
        assert again.get_params(deep=False).keys() == net.get_params(deep=False).keys()
        assert_same(again, net)
        ask = [each.predict_proba if kind is nn.NNClassifier else each.predict for each in (again, net)]
        for given, expected in zip(*(item(X, return_std=True) for item in ask), strict=True):
            np.testing.assert_array_equal(given, expected)
        assert [each.loss_curve_ for each in again.estimators_] == [each.loss_curve_ for each in net.estimators_]
        reference = pickle.loads(pickle.dumps(net)).partial_fit(X, y)
        assert_same(again.partial_fit(X, y), reference)
        for mine, theirs in zip(again.estimators_, reference.estimators_, strict=True):
            assert_same(mine, theirs)


def _longer(nets):
    nets.append(nets[0])


@pytest.mark.parametrize(("spoil", "message"), [
    (_longer, "4 branches of 3 layers"),
    (lambda nets: nets.clear() or nets.append(7), "each with its seed"),
    (lambda nets: nets[1].pop("history"), "each with its seed"),
    (lambda nets: nets[0].update(seed=-1), "the seed of a net"),
    (lambda nets: nets[0].update(position=[0, 2**62]), "the seed of a net"),
    (lambda nets: nets[0]["learned"].pop("n_iter_"), "of each net"),
    (lambda nets: nets[2]["learned"].update(classes_=3), "of each net"),
])  # fmt: skip
def test_a_file_that_says_something_else_is_refused(spoil, message, tmp_path):
    net = several(epochs=1).fit(*IRIS)
    description, arrays = described(net)
    spoil(description["estimator"]["nets"])
    write(tmp_path / "net.safetensors", description, arrays)
    with pytest.raises(PersistenceError, match=message):
        nn.load(tmp_path / "net.safetensors")


class Press(nn.Callback):
    """Somebody presses Ctrl-C in the second epoch, or it fails."""

    acts_outside = False

    def __init__(self, fails=False):
        self.fails = fails

    def on_epoch_end(self, fit):
        if fit.epoch == 1 and self.fails:
            raise OSError("the disk is full")
        if fit.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)


@BOTH
@pytest.mark.parametrize("fails", [False, True], ids=["Ctrl-C", "an error"])
def test_what_was_learned_before_is_as_it_was(kind, fails):
    X, y = DATA[kind]
    error = OSError if fails else KeyboardInterrupt
    # Long enough for the main thread, which looks for Ctrl-C some times a second.
    net = several(kind, layers=LAYERS, epochs=100_000, callbacks=[Press(fails)])
    with pytest.raises(error):
        net.fit(X, y)
    with pytest.raises(NotFittedError):
        net.predict(X)
    net.set_params(epochs=2, callbacks=()).fit(X, y)
    before = pickle.loads(pickle.dumps(net))
    for warm in (True, False):
        with pytest.raises(error):
            net.set_params(warm_start=warm, epochs=100_000, callbacks=[Press(fails)]).fit(X, y)
        assert_same(net, before)
        for mine, theirs in zip(net.estimators_, before.estimators_, strict=True):
            assert_same(mine, theirs)
    assert_same(net.set_params(callbacks=()).partial_fit(X, y), before.partial_fit(X, y))


# ---------------------------------------------------------------------------------------------- within scikit-learn


def test_a_search_over_the_number_of_nets():
    search = GridSearchCV(several(), {"n_members": [1, 2], "resample": ["seeds", "folds"]}, cv=2, error_score="raise")
    search.fit(*IRIS)
    assert (search.cv_results_["mean_test_score"] > 0).all()
    net = make_pipeline(StandardScaler(), several(n_members=2)).fit(*IRIS)
    assert_same(clone(net).fit(*IRIS)[-1], net[-1])
    assert several().set_params(n_members=7).get_params()["n_members"] == 7


@BOTH
def test_scikit_learns_callbacks_see_every_net(kind):
    pytest.importorskip("sklearn.callback")
    X, y = DATA[kind]
    seen = []

    class Watch:
        def setup(self, estimator, context):
            seen.append("setup")

        def teardown(self, estimator, context):
            seen.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            member = context.parent if context.task_name == "epoch" else context
            seen.append((context.task_name, member.task_id, context.task_id, fitted_estimator.predict(X)))
            return context.task_name == "epoch" and member.task_id == 1

    net = several(kind).set_callbacks(Watch()).fit(X, y)
    assert seen[0] == "setup" and seen[-1] == "teardown" and seen[-2][0] == "fit"
    np.testing.assert_array_equal(seen[-2][3], net.predict(X))
    epochs = sorted(item[1:3] for item in seen[1:-1] if item[0] == "epoch")
    assert epochs == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2)]  # the second net was stopped
    for name, place, _, given in seen[1:-2]:
        if name == "member":
            np.testing.assert_array_equal(given, net.estimators_[place].predict(X))


@BOTH
@pytest.mark.parametrize(("options", "message"), [
    ({"n_members": 0}, "n_members: expected an integer of at least 1, got 0"),
    ({"n_members": 2.0}, r"n_members: expected an integer of at least 1, got 2\.0"),
    ({"n_members": True}, "n_members: expected an integer of at least 1, got True"),
    ({"n_members": "many"}, "n_members: expected an integer of at least 1, got 'many'"),
    ({"resample": "fold"}, "resample: expected one of 'folds', 'seeds', 'bootstrap', got 'fold'"),
    ({"resample": None}, "resample: expected one of"),
    ({"random_state": -1}, "random_state: expected None, an integer"),
    ({"callbacks": [nn.Checkpoint("a.safetensors")]}, "callbacks: expected callbacks that write no checkpoints, got Checkp"),
    ({"layers": [-1]}, "layers"),
])  # fmt: skip
def test_wrong_settings_are_refused(kind, options, message):
    with pytest.raises(ParameterError, match=f"{kind.__name__}: {message}"):
        several(kind, **options).fit(*DATA[kind])


@BOTH
def test_one_row_has_no_folds(kind):
    X, y = DATA[kind]
    with pytest.raises(ParameterError, match="resample: expected two rows for folds, or more, got n_samples=1; take 'seeds'"):
        several(kind, resample="folds").fit(X[:1], y[:1])


def test_tables_refuse_to_write_one_file_for_several_nets(tmp_path):
    net = nn.TableClassifier("td-s", n_members=2, epochs=2, callbacks=[nn.Checkpoint(tmp_path / "a.safetensors")])
    with pytest.raises(ParameterError, match="TableClassifier: callbacks: expected callbacks that write no checkpoints"):
        net.fit(*IRIS)
