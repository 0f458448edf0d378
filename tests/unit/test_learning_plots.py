"""Pictures of training and of decisions: drawn without a screen, looked at by their parts."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_moons
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import nnkit as nn
from nnkit.network import network_of
from tests.pictures import assert_legible

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

X, Y = make_moons(120, noise=0.2, random_state=0)
NAMES = np.array(["no", "yes"])
HEIGHT = X[:, 0] - X[:, 1] ** 2


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def history_of(epochs, best=None, **figures):
    history = nn.History()
    for epoch in range(epochs):
        history.add(**{name: values[epoch] for name, values in figures.items()})
    history.best_epoch = best
    return history


# ------------------------------------------------------------------------------------------------------------- history


def test_losses_metrics_and_rate_have_a_panel_each():
    falling = [10.0**-k for k in range(12)]
    history = history_of(12, best=7, loss=falling, val_loss=falling, val_accuracy=[0.5] * 12, lr=[0.1] * 6 + [0.01] * 6)
    axes = history.plot()
    assert [panel.get_title(loc="left") for panel in axes] == ["loss", "accuracy", "learning rate"]
    losses, accuracy, _ = axes
    assert [line.get_label() for line in losses.lines] == ["training", "validation", "best epoch, 8"]
    np.testing.assert_array_equal(losses.lines[0].get_xdata(), range(1, 13))
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), falling)
    assert losses.lines[2].get_xdata()[0] == 8
    assert losses.get_yscale() == "log" and accuracy.get_yscale() == "linear"
    assert len({line.get_linestyle() for line in losses.lines}) == 3
    assert losses.get_legend() is not None
    assert_legible(axes)


def test_what_does_not_change_is_not_shown_and_negative_losses_are_linear():
    [panel] = history_of(3, loss=[20.0, 0.1, -1.0], lr=[0.1] * 3).plot()
    assert panel.get_yscale() == "linear"
    assert len(panel.lines) == 1


def test_one_epoch_is_a_point_and_nan_a_gap():
    [panel] = history_of(1, loss=[2.0], lr=[0.1]).plot()
    assert panel.lines[0].get_marker() != ""
    assert_legible([panel])
    assert [tick for tick in panel.get_xticks() if 0.5 <= tick <= 1.5] == [1]
    axes = history_of(3, loss=[np.nan, np.inf, 1.0], val_f1=[np.nan] * 3).plot()
    assert_legible(axes)


def test_many_metrics_fill_several_rows():
    history = history_of(50, **{name: np.linspace(0, 1, 50) for name in ("loss", "val_loss", "a", "b", "c", "d", "e")})
    axes = history.plot()
    assert len(axes) == 6
    assert_legible(axes)


def test_no_epoch_is_an_error():
    with pytest.raises(nn.DataError, match="at least one finished epoch"):
        nn.History().plot()


def test_into_axes_of_ones_own():
    _, ax = plt.subplots()
    history = history_of(3, loss=[3.0, 2.0, 1.0], accuracy=[0.1, 0.2, 0.3])
    [drawn] = history.plot(ax)
    assert drawn is ax and len(ax.lines) == 1
    with pytest.raises(nn.ParameterError, match="expected ax"):
        history.plot("here")


def test_an_estimator_has_it_too():
    classifier = nn.NNClassifier(layers=[4], epochs=4, early_stopping=True, random_state=0).fit(X, NAMES[Y])
    axes = classifier.history_.plot()
    assert [line.get_label() for line in axes[0].lines][:2] == ["training", "validation"]


# ------------------------------------------------------------------------------------------------------------- monitor


@pytest.mark.parametrize("depth", [1, 9, 45])
@pytest.mark.parametrize("epochs", [1, 23])
@pytest.mark.filterwarnings("ignore::nnkit.errors.TrainingWarning")
def test_monitor_draws_every_layer(depth, epochs):
    layers = [part for _ in range(depth) for part in (nn.Linear(8, weight_init="glorot_uniform"), nn.Tanh())]
    monitor = nn.Monitor(rows=16)
    nn.Sequential([*layers, nn.Linear(1)]).fit(X, HEIGHT[:, None], epochs=epochs, callbacks=[monitor], random_state=0)
    axes = monitor.plot()
    titles = [panel.get_title(loc="left") for panel in axes]
    assert titles == ["spread of the outputs", "delta (RMS)", "|gradient| / |w|", "|update| / |w|"]
    for panel, rows in zip(axes, [2 * depth + 1] * 2 + [2 * depth + 2] * 2, strict=True):
        assert panel.images[0].get_array().shape == (rows, epochs + 1)
    np.testing.assert_allclose(axes[1].images[0].get_array()[0], next(iter(monitor.series("delta").values())))
    assert axes[0].get_yticklabels()[0].get_text().startswith("0 Linear(")
    assert_legible(axes)


@pytest.mark.filterwarnings("ignore::nnkit.errors.TrainingWarning")
def test_monitor_of_a_net_without_parameters_that_learn():
    monitor = nn.Monitor()
    model = nn.Sequential([nn.Linear(4), nn.ReLU(), nn.Linear(1)]).build((2,))
    network_of(model).vector[:] = 0.0
    model.fit(X, HEIGHT[:, None], epochs=1, callbacks=[monitor], optimizer=nn.SGD(lr=0.0 + 1e-30))
    assert_legible(monitor.plot())
    _, ax = plt.subplots()
    assert [*monitor.plot(ax)] == [ax]


# ------------------------------------------------------------------------------------------------------------ decision


def net(outputs, target, loss, *more, data=X):
    model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(outputs), *more])
    model.fit(data, target, loss=loss, optimizer=nn.Adam(lr=0.05), epochs=20, random_state=0)
    return model


THREE = (X[:, 0] > 0).astype(int) + (X[:, 0] > 1)
CLASSIFIERS = {
    "cross entropy": lambda: (net(2, Y, "cross_entropy"), Y, ["0", "1"]),
    "three": lambda: (net(3, THREE, "cross_entropy"), THREE, ["0", "1", "2"]),
    "one output": lambda: (net(1, Y[:, None] * 1.0, "bce_with_logits"), Y, ["0", "1"]),
    "one probability": lambda: (net(1, Y[:, None] * 1.0, "bce", nn.Sigmoid()), Y[:, None], ["0", "1"]),
    "hinge": lambda: (net(1, Y[:, None] * 2 - 1, "hinge"), Y * 2 - 1, ["-1", "1"]),
    "textbook": lambda: (net(2, np.eye(2)[Y], "half_squared_error", nn.Sigmoid()), np.eye(2)[Y], ["0", "1"]),
    "estimator": lambda: (nn.NNClassifier(layers=[8], epochs=5, random_state=0).fit(X, NAMES[Y]), NAMES[Y], ["no", "yes"]),
    "tree": lambda: (DecisionTreeClassifier(max_depth=3).fit(X, NAMES[Y]), NAMES[Y], ["no", "yes"]),
    "no probabilities": lambda: (LinearSVC().fit(X, THREE), THREE, ["0", "1", "2"]),
    "pipeline": lambda: (make_pipeline(StandardScaler(), nn.NNClassifier(layers=[8], epochs=5, random_state=0)).fit(X, Y), Y,
                         ["0", "1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes_are_regions(name):
    model, target, names = CLASSIFIERS[name]()
    ax = nn.plot_decision(model, X, target, resolution=30)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    assert len(ax.images) == 1
    assert ax.images[0].get_array().shape == (30, 30, 3)
    scatters = [item for item in ax.collections if isinstance(item, matplotlib.collections.PathCollection)]
    assert sum(len(item.get_offsets()) for item in scatters) == len(X)
    assert len({tuple(item.get_paths()[0].vertices.ravel()) for item in scatters}) == len(names)  # markers differ
    assert len({tuple(item.get_facecolor()[0]) for item in scatters}) == len(names)
    assert len(ax.collections) - len(scatters) == len(names) - (len(names) == 2)  # lines between
    assert_legible(ax)


def test_the_colour_of_a_region_is_that_of_the_class_predicted_there():
    model = net(3, THREE, "cross_entropy")
    ax = nn.plot_decision(model, X, THREE, resolution=25)
    image = np.asarray(ax.images[0].get_array())
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    across, along = (np.linspace(*ends, 25) for ends in zip(low, high, strict=True))
    raw = model.predict(np.stack(np.meshgrid(across, along), axis=-1).reshape(-1, 2))
    winner = raw.argmax(axis=1).reshape(25, 25)
    colours = np.array([item.get_facecolor()[0][:3] for item in ax.collections
                        if isinstance(item, matplotlib.collections.PathCollection)])  # fmt: skip
    tint = (1 - image) / (1 - image).max(axis=-1, keepdims=True)
    pure = (1 - colours) / (1 - colours).max(axis=-1, keepdims=True)
    np.testing.assert_allclose(tint, pure[winner], atol=1e-6)
    strength = (1 - image).max(axis=-1) / (1 - colours).max(axis=-1)[winner]
    certain = np.exp(raw).max(axis=1) / np.exp(raw).sum(axis=1)
    assert np.corrcoef(strength.ravel(), certain)[0, 1] > 0.999  # the fuller the surer


def test_many_classes_keep_their_own_colour_and_marker():
    target = np.arange(len(X)) % 12
    ax = nn.plot_decision(DecisionTreeClassifier().fit(X, target), X, target, resolution=20)
    scatters = [item for item in ax.collections if isinstance(item, matplotlib.collections.PathCollection)]
    looks = {(tuple(item.get_facecolor()[0]), tuple(item.get_paths()[0].vertices.ravel())) for item in scatters}
    assert len({tuple(item.get_facecolor()[0]) for item in scatters}) == len(looks) == 12
    assert_legible(ax)


def test_a_data_frame_names_the_axes_and_a_series_the_legend():
    frame = pd.DataFrame({"width of the petal": X[:, 0], "height": X[:, 1]})
    target = pd.Series(NAMES[Y], name="answer")
    model = make_pipeline(StandardScaler(), nn.NNClassifier(layers=[4], epochs=3, random_state=0)).fit(frame, target)
    ax = nn.plot_decision(model, frame, target, resolution=20)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width of the petal", "height")
    assert ax.get_legend().get_title().get_text() == "answer"
    ax = nn.plot_decision(net(2, Y, "cross_entropy"), frame, Y, resolution=20, names=["left", "right"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]


@pytest.mark.parametrize("model", [
    lambda: net(1, HEIGHT[:, None], "mse"), lambda: net(2, HEIGHT[:, None], "gaussian_nll"),
    lambda: nn.NNRegressor(layers=[8], epochs=5, random_state=0).fit(X, HEIGHT), lambda: LinearRegression().fit(X, HEIGHT),
], ids=["net", "mean and variance", "estimator", "line"])  # fmt: skip
def test_numbers_are_heights(model):
    ax = nn.plot_decision(model(), X, HEIGHT, resolution=20)
    assert ax.get_legend() is None
    [points] = [item for item in ax.collections if isinstance(item, matplotlib.collections.PathCollection)]
    np.testing.assert_array_equal(points.get_array(), HEIGHT)
    bar = next(other for other in ax.figure.axes if other is not ax)
    assert bar.get_ylabel() == "y"
    assert points.get_clim() == ax.collections[0].get_clim()  # one scale for both
    assert_legible(ax)


def test_of_many_points_some_are_drawn():
    many = np.tile(X, (50, 1))
    ax = nn.plot_decision(LinearRegression().fit(X, HEIGHT), many, np.tile(HEIGHT, 50), resolution=10)
    assert len(ax.collections[-1].get_offsets()) == 4000


def test_extreme_data():
    one = nn.plot_decision(LinearRegression().fit(X, 0 * HEIGHT), X[:1], [0.0], resolution=10)  # a point, a constant
    assert_legible(one)
    ax = nn.plot_decision(DecisionTreeClassifier().fit(X, np.zeros(len(X))), X, np.zeros(len(X)), resolution=10)
    assert len(ax.get_legend().get_texts()) == 1
    model = net(2, Y, "cross_entropy")
    _, ax = plt.subplots()
    assert nn.plot_decision(model, X, Y, ax, loss=nn.CrossEntropyLoss(), resolution=5) is ax


BUILT = nn.Sequential([nn.Linear(2)]).build((2,))
WRONG = {
    "three features": (lambda: nn.plot_decision(BUILT, np.ones((5, 3)), np.ones(5)), nn.ShapeError, "two features"),
    "rows": (lambda: nn.plot_decision(BUILT, X, Y[:5]), nn.ShapeError, "expected y with 120 rows"),
    "not built": (lambda: nn.plot_decision(nn.Sequential([nn.Linear(2)]), X, Y), nn.NotBuiltError, "built model"),
    "not fitted": (lambda: nn.plot_decision(BUILT, X, Y), nn.ParameterError, "expected loss="),
    "another net": (lambda: nn.plot_decision(nn.Sequential([nn.Linear(2)]).build((3,)), X, Y), nn.ShapeError, r"got \(3,\)"),
    "no model": (lambda: nn.plot_decision("net", X, Y), nn.ParameterError, "with predict"),
    "labels": (lambda: nn.plot_decision(BUILT, X, Y + 1, loss="cross_entropy"), nn.DataError, "expected labels in y of 0"),
    "names": (lambda: nn.plot_decision(BUILT, X, Y, loss="cross_entropy", names=["a"]), nn.ParameterError, "of 2 classes"),
    "two numbers": (lambda: nn.plot_decision(BUILT, X, HEIGHT, loss="mse"), nn.ShapeError, "one number a row, got 2"),
    "several labels": (lambda: nn.plot_decision(BUILT, X, np.ones((120, 2)), loss="bce_with_logits"), nn.ShapeError, "several"),
    "NaN": (lambda: nn.plot_decision(BUILT, X * np.nan, Y, loss="mse"), nn.DataError, "finite"),
    "NaN in y": (lambda: nn.plot_decision(BUILT, X, HEIGHT * np.nan, loss="mse"), nn.DataError, "y: expected finite"),
    "resolution": (lambda: nn.plot_decision(BUILT, X, Y, resolution=1), nn.ParameterError, "at least 2"),
    "text": (lambda: nn.plot_decision(BUILT, X, NAMES[Y], loss="cross_entropy"), nn.DataError, "y: expected numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()
    assert plt.get_fignums() == []
