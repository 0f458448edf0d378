"""scikit-learn's callbacks: what they are told about a fit, and that they are listened to."""

import copy
import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import nnkit as nn

callback = pytest.importorskip("sklearn.callback")

X, Y = scale(load_wine().data), load_wine().target
DIABETES = tuple(map(scale, load_diabetes(return_X_y=True)))


def classifier(**options):
    return nn.NNClassifier(**{"layers": [12], "optimizer": nn.Adam(lr=0.02), "epochs": 5, "random_state": 0, **options})


class Watch:
    """Notes every event, and the net as it was after each epoch."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events, self.nets, self.given = [], [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.events.append(f"end {context.task_name} {context.task_id}")
        self.given.append((X, y, metadata))
        if context.task_name == "epoch":
            self.nets.append(fitted_estimator)
            return context.task_id + 1 == self.stop_after
        self.final = fitted_estimator
        return False


class Count:
    """Counts epochs, also those of estimators within others."""

    max_propagation_depth = None

    def __init__(self):
        self.epochs, self.names = 0, []

    def setup(self, estimator, context):
        self.names.append(type(estimator).__name__)

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.epochs += context.task_name == "epoch"


def test_events_come_in_order():
    watch = Watch()
    classifier(epochs=3).set_callbacks(watch).fit(X, Y)
    epochs = [event for epoch in range(3) for event in (f"begin epoch {epoch}", f"end epoch {epoch}")]
    assert watch.events == ["setup", "begin fit 0", *epochs, "end fit 0", "teardown"]


@pytest.mark.parametrize("make", [nn.NNClassifier, nn.NNRegressor])
def test_fitted_estimator_is_as_of_that_epoch(make):
    net = make([12], optimizer=nn.SGD(lr=0.1, momentum=0.9), epochs=5, random_state=0)
    watch = Watch()
    clone(net).set_callbacks(watch).fit(X, Y)
    for epochs, seen in enumerate(watch.nets, 1):  # looked at when all is over
        alone = clone(net).set_params(epochs=epochs).fit(X, Y)
        np.testing.assert_array_equal(seen.predict(X), alone.predict(X))
        np.testing.assert_array_equal(seen.transform(X), alone.transform(X))
    assert len(watch.nets) == 5
    assert not np.array_equal(watch.nets[0].transform(X), watch.nets[4].transform(X))


def test_fitted_estimator_can_all_that_a_fitted_one_can():
    watch = Watch()
    labels = np.array(["b", "a", "c"])[Y]
    net = classifier(epochs=2).set_callbacks(watch).fit(X, labels)
    for seen in (*watch.nets, watch.final):
        assert seen.predict_proba(X).shape == (len(X), 3)
        assert set(seen.predict(X)) <= {"a", "b", "c"}
        assert seen.score(X, labels) > 0.2
        assert seen.decision_function(X).shape == (len(X), 3)
    np.testing.assert_array_equal(watch.final.predict_proba(X), net.predict_proba(X))


@pytest.mark.parametrize(("y", "make"), [
    (np.eye(3)[Y].astype(int), nn.NNClassifier),
    (np.column_stack([Y, -Y]).astype(float), nn.NNRegressor),
], ids=["labels", "outputs"])  # fmt: skip
def test_fitted_estimator_of_several_columns(y, make):
    watch = Watch()
    net = make([8], epochs=2, random_state=0).set_callbacks(watch).fit(X, y)
    assert watch.nets[0].predict(X).shape == y.shape
    np.testing.assert_array_equal(watch.nets[1].predict(X), net.predict(X))


def test_a_second_fit_of_another_kind_is_seen_as_it_is():
    net, watch = classifier(epochs=2), Watch()
    net.fit(X, np.eye(3)[Y].astype(int))
    net.set_callbacks(watch).fit(X, Y)
    assert watch.nets[0].predict(X).shape == Y.shape


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_callback_stops_the_fit(stop_after):
    watch = Watch(stop_after)
    net = classifier(epochs=50).set_callbacks(watch).fit(X, Y)
    assert net.n_iter_ == len(net.loss_curve_) == len(watch.nets) == stop_after
    assert watch.events[-3:] == [f"end epoch {stop_after - 1}", "end fit 0", "teardown"]
    np.testing.assert_array_equal(
        net.predict_proba(X), classifier(epochs=50).set_params(epochs=stop_after).fit(X, Y).predict_proba(X)
    )


def test_watching_changes_nothing():
    watched = classifier(layers=[12, nn.Dropout(0.3)]).set_callbacks(Watch()).fit(X, Y)
    np.testing.assert_array_equal(watched.predict_proba(X), clone(watched).set_callbacks().fit(X, Y).predict_proba(X))


def test_early_stopping_is_seen():
    watch = Watch()
    net = classifier(epochs=300, early_stopping=True, patience=1, optimizer=nn.Adam(lr=0.5)).set_callbacks(watch).fit(X, Y)
    assert len(watch.nets) == net.n_iter_ < 300
    np.testing.assert_array_equal(watch.nets[net.history_.best_epoch].predict_proba(X), net.predict_proba(X))
    np.testing.assert_array_equal(watch.final.predict_proba(X), net.predict_proba(X))


def test_data_are_what_the_net_is_trained_on():
    watch, weight = Watch(), np.linspace(0, 1, len(X))
    classifier(epochs=2).set_callbacks(watch).fit(X, Y, sample_weight=weight)
    for rows, labels, metadata in watch.given:
        np.testing.assert_array_equal(rows, X)
        np.testing.assert_array_equal(labels, Y)
        np.testing.assert_array_equal(metadata["sample_weight"], weight)


@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 1, len(X))], ids=["equal", "weighted"])
def test_rows_held_out_are_not_among_the_data(weight):
    watch, monitor = Watch(), callback.ScoringMonitor(scoring="accuracy")
    classifier(early_stopping=True, validation_fraction=0.25).set_callbacks(watch, monitor).fit(X, Y, sample_weight=weight)
    rows, labels, metadata = watch.given[0]
    assert rows.shape[0] == labels.shape[0] == 133
    assert metadata["sample_weight"] is None or len(metadata["sample_weight"]) == 133
    assert monitor.get_logs().data[-1]["accuracy"] > 0.5


def test_teardown_comes_also_after_an_error():
    watch = Watch()
    net = classifier().set_callbacks(watch)
    net.callbacks = [nn.LambdaCallback(lambda fit: 1 / 0)]
    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y)
    assert watch.events[-1] == "teardown"


def test_error_of_a_callback_comes_through():
    class Broken(Count):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        classifier().set_callbacks(Broken()).fit(X, Y)


def test_warm_start_is_one_run_after_the_other():
    watch = Watch()
    net = classifier(epochs=2, warm_start=True).set_callbacks(watch)
    net.fit(X, Y).fit(X, Y)
    assert [event for event in watch.events if event.startswith("end epoch")] == ["end epoch 0", "end epoch 1"] * 2


def test_partial_fit_is_no_task():
    watch = Watch()
    classifier().set_callbacks(watch).partial_fit(X, Y, classes=[0, 1, 2])
    assert watch.events == []


def test_callbacks_are_kept_by_a_clone_and_by_a_copy():
    count = Count()
    net = classifier(epochs=2).set_callbacks(count)
    clone(net).fit(X, Y)
    copied = copy.deepcopy(net.fit(X, Y))
    assert count.epochs == 4
    np.testing.assert_array_equal(copied.predict(X), net.predict(X))


def test_fitted_net_with_a_callback_is_pickled():
    net = classifier(epochs=2).set_callbacks(callback.ScoringMonitor(scoring="accuracy")).fit(X, Y)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


# ------------------------------------------------------------------------------------------- those of scikit-learn


def test_progress_bar(capsys):
    net = classifier(epochs=3).set_callbacks(callback.ProgressBar()).fit(X, Y)
    shown = capsys.readouterr()
    assert "NNClassifier" in shown.out + shown.err
    assert "100%" in shown.out + shown.err
    assert net.n_iter_ == 3


@pytest.mark.parametrize(
    ("make", "scoring"), [(nn.NNClassifier, "accuracy"), (nn.NNClassifier, "neg_log_loss"), (nn.NNRegressor, "r2")]
)
def test_scoring_monitor(make, scoring):
    monitor = callback.ScoringMonitor(scoring=scoring)
    net = make([12], optimizer=nn.Adam(lr=0.02), epochs=6, random_state=0).set_callbacks(monitor)
    net.fit(X, Y)
    rows = monitor.get_logs().data
    scores = [row[scoring] for row in rows if row["task_name"] == "epoch"]
    assert [row["task_name"] for row in rows] == ["fit"] + ["epoch"] * 6
    assert rows[0][scoring] == scores[-1] > scores[0]
    scorer = sklearn.metrics.get_scorer(scoring)
    expected = [scorer(clone(net).set_callbacks().set_params(epochs=epochs).fit(X, Y), X, Y) for epochs in range(1, 7)]
    np.testing.assert_allclose(scores, expected)


def test_scoring_monitor_with_weights():
    weight = np.where(Y == 0, 5.0, 0.1)
    monitor = callback.ScoringMonitor(scoring="accuracy")
    net = classifier(epochs=3).set_callbacks(monitor).fit(X, Y, sample_weight=weight)
    assert monitor.get_logs().data[-1]["accuracy"] == pytest.approx(net.score(X, Y, sample_weight=weight))


# ----------------------------------------------------------------------------------------------- in other estimators


def test_propagated_through_a_search():
    count = Count()
    search = GridSearchCV(classifier(epochs=4), {"optimizer__lr": [0.001, 0.02]}, cv=3).set_callbacks(count).fit(X, Y)
    assert count.epochs == 4 * (2 * 3 + 1)
    assert count.names == ["GridSearchCV"]
    assert not hasattr(search.best_estimator_, "_skl_callbacks")


def test_propagated_through_a_search_over_pipelines():
    count = Count()
    pipeline = Pipeline([("scale", StandardScaler()), ("net", classifier(epochs=4))])
    GridSearchCV(pipeline, {"net__optimizer__lr": [0.001, 0.02]}, cv=3).set_callbacks(count).fit(X, Y)
    assert count.epochs == 4 * (2 * 3 + 1)


def test_progress_bar_of_a_search(capsys):
    GridSearchCV(classifier(epochs=3), {"optimizer__lr": [0.001, 0.02]}, cv=2).set_callbacks(callback.ProgressBar()).fit(X, Y)
    shown = capsys.readouterr()
    assert "NNClassifier" in shown.out + shown.err


def test_scoring_monitor_of_the_net_in_a_search():
    monitor = callback.ScoringMonitor(scoring="accuracy")
    GridSearchCV(classifier(epochs=3).set_callbacks(monitor), {"optimizer__lr": [0.001, 0.02]}, cv=2).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 3 * (2 * 2 + 1)
    assert len({row["parent_task_id_path"] for row in rows}) == 5


def test_stopping_one_net_of_a_search_lets_the_others_go_on():
    class Stop(Count):
        def on_fit_task_end(self, estimator, context):
            super().on_fit_task_end(estimator, context)
            return context.task_name == "epoch" and estimator.optimizer.lr > 0.01

    stop = Stop()
    GridSearchCV(classifier(epochs=4), {"optimizer__lr": [0.001, 0.02]}, cv=2, refit=False).set_callbacks(stop).fit(X, Y)
    assert stop.epochs == 2 * 4 + 2 * 1


# -------------------------------------------------------------------------------------------------------- metadata


def test_sample_weight_is_routed():
    weight = np.where(Y == 0, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        net = classifier(epochs=20)
        pipeline = make_pipeline(StandardScaler(), net)
        with pytest.raises(ValueError, match="sample_weight"):
            pipeline.fit(X, Y, sample_weight=weight)
        net.set_fit_request(sample_weight=True)
        pipeline[0].set_fit_request(sample_weight=False)
        routed = pipeline.fit(X, Y, sample_weight=weight).predict(X)
        net.set_fit_request(sample_weight=False)
        pipeline[0].set_fit_request(sample_weight=True)
        others = pipeline.fit(X, Y, sample_weight=weight).predict(X)
    assert 0 not in routed
    assert 0 in others


@pytest.mark.parametrize("make", [nn.NNClassifier, nn.NNRegressor])
def test_requests_of_every_method(make):
    with sklearn.config_context(enable_metadata_routing=True):
        net = make().set_fit_request(sample_weight="w", X_val=True, y_val=True).set_partial_fit_request(sample_weight=True)
        net.set_score_request(sample_weight=False)
        assert net.get_metadata_routing().fit.requests == {"sample_weight": "w", "X_val": True, "y_val": True}
        assert clone(net).get_metadata_routing().partial_fit.requests["sample_weight"] is True


def test_weights_in_cross_validation():
    X, y = load_iris(return_X_y=True)
    with sklearn.config_context(enable_metadata_routing=True):
        net = classifier(epochs=20).set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        scores = cross_val_score(net, X, y, cv=3, params={"sample_weight": np.where(y == 0, 0.0, 1.0)}, error_score="raise")
    assert scores.max() <= 0.7  # the first class is never predicted


def test_regressor_is_watched_too():
    watch = Watch(2)
    net = nn.NNRegressor([8], epochs=9, random_state=0).set_callbacks(watch).fit(*DIABETES)
    assert net.n_iter_ == 2
    np.testing.assert_array_equal(watch.final.predict(DIABETES[0]), net.predict(DIABETES[0]))
