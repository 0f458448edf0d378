"""Class labels stay labels on every path: what a loss of many classes costs, and that all ways of giving targets agree."""

import tracemalloc

import numpy as np
import pytest

import nnkit as nn
from nnkit.kernels.math import exp, log
from tests.parts import OneHotCrossEntropy

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(90, 6))


class LabelCrossEntropy(nn.Loss):
    """For labels alone."""

    rowwise = classes = True

    @staticmethod
    def forward(prediction, label):
        total = 0.0
        for k in range(prediction.shape[0]):
            total += exp(prediction[k])
        return log(total) - prediction[label]

    @staticmethod
    def backward(prediction, label, grad_prediction):
        total = 0.0
        for k in range(prediction.shape[0]):
            total += exp(prediction[k])
        for k in range(prediction.shape[0]):
            grad_prediction[k] = exp(prediction[k]) / total
        grad_prediction[label] -= 1.0


class OneHotInNumPy(nn.PythonLoss):
    rowwise = classes = True

    def forward(self, prediction, target):
        return np.log(np.exp(prediction).sum(axis=1)) - (target * prediction).sum(axis=1)

    def backward(self, prediction, target):
        powers = np.exp(prediction)
        return powers / powers.sum(axis=1, keepdims=True) - target


class LabelsInNumPy(nn.PythonLoss):
    rowwise = classes = True

    @staticmethod
    def spelt(prediction, target, label):
        if target.shape == prediction.shape:
            return target
        return (label[:, None] == np.arange(prediction.shape[1])) * target

    def forward(self, prediction, target, label):
        return OneHotInNumPy.forward(self, prediction, self.spelt(prediction, target, label))

    def backward(self, prediction, target, label):
        return OneHotInNumPy.backward(self, prediction, self.spelt(prediction, target, label))


LOSSES = {
    loss.__name__: loss
    for loss in (nn.CrossEntropyLoss, OneHotCrossEntropy, LabelCrossEntropy, OneHotInNumPy, LabelsInNumPy)
}


def trained(loss, y, out_shape, engine="compiled", n_threads=1, **options):
    layers = [nn.Linear(int(np.prod(out_shape))), nn.Reshape(out_shape)]
    model = nn.Sequential(layers).build((6,), random_state=0, dtype="float64")
    history = model.fit(X, y, loss=loss, epochs=2, batch_size=16, optimizer=nn.SGD(0.1), random_state=0, engine=engine,
                        n_threads=n_threads, validation_data=(X[:20], y[:20]), **options)  # fmt: skip
    numbers = [*history["loss"], *history["val_loss"], model.evaluate(X, y), loss(model.predict(X), y)[0]]
    return np.array(numbers), model.parameters()["0.weight"]


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("out_shape", [(3,), (4, 3)])
def test_labels_are_the_same_for_every_kind_of_loss_on_every_path(name, out_shape, engine):
    y = np.random.default_rng(1).integers(0, 3, (90, *out_shape[:-1]))
    expected, weight = trained(nn.CrossEntropyLoss(), np.eye(3)[y], out_shape)  # as rows of probabilities
    numbers, own = trained(LOSSES[name](), y, out_shape, engine)
    np.testing.assert_allclose(numbers, expected, rtol=1e-10)
    np.testing.assert_allclose(own, weight, rtol=1e-9)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"LabelCrossEntropy"}))
def test_a_row_of_probabilities_is_as_many_shares_of_labels(name):
    shares = np.random.default_rng(1).dirichlet(np.ones(3), 90)
    prediction = RANDOM.normal(size=(90, 3))
    loss, grad = LOSSES[name]()(prediction, shares)
    of_labels = [LOSSES[name](reduction="sum")(prediction, np.full(90, k), shares[:, k]) for k in range(3)]
    np.testing.assert_allclose(loss, sum(value for value, _ in of_labels) / 90)
    np.testing.assert_allclose(grad, sum(grad for _, grad in of_labels) / 90, atol=1e-15)


def test_a_fit_of_labels_is_the_same_for_any_number_of_threads():
    data = np.random.default_rng(2)
    rows, y = data.normal(size=(512, 64)), data.integers(0, 500, 512)
    fits = []
    for n_threads in (1, 2):
        model = nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Linear(500)])
        history = model.fit(rows, y, loss="cross_entropy", epochs=2, batch_size=256, random_state=0, n_threads=n_threads,
                            validation_split=0.5)  # fmt: skip
        fits.append((history["loss"], history["val_loss"], model.evaluate(rows, y, n_threads=n_threads)))
    assert fits[0] == fits[1]


def test_label_smoothing_of_labels_is_that_of_one_hot_rows():
    y, prediction = np.array([0, 2, 1]), RANDOM.normal(size=(3, 3))
    smoothed = 0.8 * np.eye(3)[y] + 0.2 / 3
    for target in (y, np.eye(3)[y]):
        loss, grad = nn.CrossEntropyLoss(label_smoothing=0.2)(prediction, target)
        expected, slope = nn.CrossEntropyLoss()(prediction, smoothed)
        np.testing.assert_allclose(loss, expected)
        np.testing.assert_allclose(grad, slope, atol=1e-16)


def peak(call):
    """Bytes that a call has at the same time, at most; what is compiled is not counted."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), LabelCrossEntropy()])
def test_many_classes_cost_no_more_than_their_predictions(loss):
    classes, rows = 5_000, 600
    y = RANDOM.integers(0, classes, rows)
    whole = 4 * rows * classes  # of all outputs
    prediction = np.zeros((rows, classes), np.float32)
    model = nn.Sequential([nn.Linear(classes)]).build((2,), random_state=0)
    few = RANDOM.normal(size=(rows, 2)).astype(np.float32)
    options = {"loss": loss, "optimizer": "sgd", "epochs": 1, "batch_size": 16, "n_threads": 1, "validation_data": (few, y)}
    by_hand = peak(lambda: loss(prediction, y))
    evaluate = peak(lambda: model.evaluate(few, y, loss=loss, n_threads=1))
    fit = peak(lambda: model.fit(few, y, **options))
    trace = peak(lambda: nn.trace(model, few[:16], y[:16], loss=loss))
    assert by_hand < 1.2 * whole  # the gradient
    assert evaluate < 0.5 * whole  # 256 rows
    assert fit < 0.7 * whole  # and batches of 16, with their gradients
    assert trace < 0.7 * whole


def test_one_row_of_many_classes_costs_little():
    """Not the square of the number of classes."""
    nn.CrossEntropyLoss()(np.zeros((1, 3)), [1])
    assert peak(lambda: nn.CrossEntropyLoss()(np.zeros((1, 15_000)), [3])) < 2e6


def test_losses_of_other_kinds_see_one_block_of_one_hot_rows_at_a_time():
    classes, rows = 5_000, 2_600
    model = nn.Sequential([nn.Linear(classes)]).build((6,), random_state=0)
    y = RANDOM.integers(0, classes, rows)
    data = np.zeros((rows, 6), np.float32)
    cost = peak(lambda: model.evaluate(data, y, loss=OneHotCrossEntropy(), n_threads=1))
    assert cost < 0.4 * 4 * rows * classes


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), LabelCrossEntropy(), OneHotCrossEntropy(), LabelsInNumPy()])
@pytest.mark.parametrize(("y", "message"), [
    ([0, 3, 1], r"expected labels in [\w ]+ from 0 to 2 \(the model has 3 outputs\), got 3 in row 1"),
    ([0, 1, -1], r"expected labels in [\w ]+ from 0 to 2 \(the model has 3 outputs\), got -1 in row 2"),
    ([0.0, 1.0, 2.0], r"expected [\w ]+ to hold integer class labels, got dtype float64"),
])  # fmt: skip
def test_labels_of_no_class_are_refused_everywhere(loss, y, message):
    model = nn.Sequential([nn.Linear(3)]).build((2,))
    rows = np.zeros((3, 2))
    for call in (
        lambda: loss(np.zeros((3, 3)), y),
        lambda: model.evaluate(rows, y, loss=loss),
        lambda: model.fit(rows, y, loss=loss),
        lambda: model.fit(rows, [0, 1, 2], loss=loss, validation_data=(rows, y)),
        lambda: nn.trace(model, rows, y, loss=loss),
    ):
        with pytest.raises(nn.DataError, match=f"{type(loss).__name__}: {message}"):
            call()


def test_a_label_that_changes_within_a_sequence_is_named():
    y = np.zeros((20, 4), np.int64)

    class Changes(nn.Callback):
        def on_epoch_end(self, fit):
            y[7, 2] = 5

    model = nn.Sequential([nn.Linear(12), nn.Reshape((4, 3))])
    with pytest.raises(nn.DataError, match=r"the labels .* from 0 to 2, got 5 in row 7, place 2"):
        model.fit(X[:20], y, loss="cross_entropy", epochs=2, batch_size=5, callbacks=[Changes()])


def test_a_loss_of_labels_alone_says_so():
    with pytest.raises(nn.ShapeError, match=r"LabelCrossEntropy: expected target of shape \(2,\) for model outputs"):
        LabelCrossEntropy()(np.zeros((2, 3)), np.eye(3)[:2])


@pytest.mark.parametrize(("first", "second", "options", "message"), [
    ("prediction, target, label", "prediction, target", {}, "label and target, target"),
    ("prediction, label", "prediction, target, label", {}, "label, label and target"),
    ("prediction, label", "prediction, label", {"classes": False}, "rowwise = classes = True, as its kernels name 'label'"),
    ("prediction, label", "prediction, label", {"rowwise": False}, "rowwise = classes = True, as its kernels name 'label'"),
])  # fmt: skip
def test_kernels_that_disagree_about_labels_are_refused(first, second, options, message):
    made = {}
    exec(f"def forward({first}): return 0.0\ndef backward({second}, grad_prediction): grad_prediction[:] = 0.0", made)
    body = {name: staticmethod(made[name]) for name in ("forward", "backward")}
    wrong = type("Wrong", (nn.Loss,), {"rowwise": True, "classes": True, **options, **body})
    with pytest.raises(nn.KernelError, match=f"Wrong: .*{message}"):
        nn.register("wrong_labels")(wrong)
    assert "wrong_labels" not in nn.registry.losses


@pytest.mark.parametrize("loss", [LabelCrossEntropy(), OneHotCrossEntropy(), LabelsInNumPy()])
def test_losses_of_all_kinds_keep_the_contract(loss):
    nn.testing.check_loss(loss)
